/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chaind - the storage daemon as a program: words and options, and which command they mean. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "chaind/cmd.h"
#include "chaind/cmd_inspect.h"
#include "chaind/cmd_share.h"
#include "lib/size.h"

#define LOG_BYTES_MIN (4ull << 20)
#define SCRUB_DAYS_MAX 3650u

enum opt { /* bits of what a command takes; values of getopt_long */
	   OPT_SIZE = 1 << 0,
	   OPT_LOG_SIZE = 1 << 1,
	   OPT_FORCE = 1 << 2,
	   OPT_NAME = 1 << 3,
	   OPT_CFG = 1 << 4,
	   OPT_LISTEN = 1 << 5,
	   OPT_ADVERTISE = 1 << 6,
	   OPT_MEMORY = 1 << 7,
	   OPT_TRUST = 1 << 8,
	   OPT_INSECURE_LAB = 1 << 9,
	   OPT_JSON = 1 << 10,
	   OPT_REACTORS = 1 << 11,
	   OPT_PIN = 1 << 12,
	   OPT_SCRUB = 1 << 13,
	   OPT_HELP = 1 << 14,
	   OPT_VERSION = 1 << 15,
};

struct command {
	const char *word;
	unsigned opts; /* enum opt */
	int (*run)(const struct options *o);
};

static const struct command commands[] = {
	{"format", OPT_SIZE | OPT_LOG_SIZE | OPT_FORCE | OPT_JSON | OPT_REACTORS, cmd_format},
	{"run",
	 OPT_NAME | OPT_CFG | OPT_LISTEN | OPT_ADVERTISE | OPT_MEMORY | OPT_TRUST |
		 OPT_INSECURE_LAB | OPT_REACTORS | OPT_PIN | OPT_SCRUB,
	 cmd_run},
};

static const char usage_text[] =
	"usage: chaind format STORE --size SIZE [--reactors N] [--log-size SIZE] [--force]\n"
	"                  [--json]\n"
	"       chaind run STORE --name NAME --cfg ADDR[,ADDR...] --listen ADDR[,ADDR...]\n"
	"                  [--advertise ADDR[,ADDR...]] [--memory SIZE]\n"
	"                  [--reactors N] [--pin CPUS] [--scrub DAYS]\n"
	"                  [--trust-write-through] [--insecure-lab=PREFIX]\n"
	"       chaind inspect STORE [--json] [superblock|checkpoint|log|pages|extent V E]\n"
	"       chaind fsck STORE [--quick] [--json]\n"
	"\n"
	"The storage daemon of a chainblk cluster. STORE is a file or a block device.\n"
	"\n"
	"  --size SIZE            length of a store in a file (K, M, G, T: powers of 1024)\n"
	"  --reactors N           format: divide it among N threads, each with a slice of it\n"
	"                         (default 1, at most 64). run: refuse it if it has other than N\n"
	"  --log-size SIZE        length of its device logs (default: 5 %, at least 64M each)\n"
	"  --force                format even what holds data already: it is lost\n"
	"  --json                 print one JSON object that says what was made\n"
	"  --name NAME            name of this server in the cluster; of N reactors NAME.0 ...\n"
	"  --cfg ADDR[,...]       the configuration service: host:port or unix:/path\n"
	"  --listen ADDR[,...]    where to serve; further reactors take the next ports\n"
	"  --advertise ADDR[,...] how others reach it (default: the --listen addresses)\n"
	"  --memory SIZE          all it may take, at least what the store needs (default: that\n"
	"                         and 48M of payload buffers)\n"
	"  --pin CPUS             keep each reactor on a processor of its own: 2,3 or 0-3\n"
	"  --scrub DAYS           read and check all it holds once in so many days (default 14;\n"
	"                         0: never)\n"
	"  --trust-write-through  believe a block device that says it has no volatile cache\n"
	"  --insecure-lab=PREFIX  allow plaintext to addresses that begin with PREFIX; it is\n"
	"                         otherwise refused off loopback and unix sockets\n"
	"  -h, --help  --version\n";

int cmd_fail(const char *thing, const char *why)
{
	fprintf(stderr, "chaind: %s: %s\n", thing, why);
	return EXIT_FAILURE;
}

int cmd_fail_io(const char *why)
{
	fprintf(stderr, "chaind: %s\n", why);
	return EXIT_FAILURE;
}

int cmd_usage_error(const char *what)
{
	fprintf(stderr, "chaind: %s\n\n%s", what, usage_text);
	return 2;
}

void cmd_random(void *out, size_t len)
{
	if (getrandom(out, len, 0) != (ssize_t)len) {
		fprintf(stderr, "chaind: getrandom: %s\n", strerror(errno));
		exit(EXIT_FAILURE);
	}
}

static bool take_size(const char *option, const char *text, uint64_t *ret)
{
	if (size_parse(text, ret) == 0 && *ret > 0)
		return true;
	fprintf(stderr, "chaind: --%s %s: not a size: digits and one of K, M, G, T\n", option,
		text);
	return false;
}

static bool take_number(const char *option, const char *text, unsigned from, unsigned to,
			uint64_t *ret)
{
	if (opt_u64(text, to, ret) == 0 && *ret >= from)
		return true;
	fprintf(stderr, "chaind: --%s %s: not a number from %u to %u\n", option, text, from, to);
	return false;
}

static const struct option longs[] = {
	{"size", required_argument, NULL, OPT_SIZE},
	{"log-size", required_argument, NULL, OPT_LOG_SIZE},
	{"force", no_argument, NULL, OPT_FORCE},
	{"name", required_argument, NULL, OPT_NAME},
	{"cfg", required_argument, NULL, OPT_CFG},
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"advertise", required_argument, NULL, OPT_ADVERTISE},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"trust-write-through", no_argument, NULL, OPT_TRUST},
	{"insecure-lab", required_argument, NULL, OPT_INSECURE_LAB},
	{"reactors", required_argument, NULL, OPT_REACTORS},
	{"pin", required_argument, NULL, OPT_PIN},
	{"scrub", required_argument, NULL, OPT_SCRUB},
	{"json", no_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{0},
};

/* False after a complaint. */
static bool take_option(int c, struct options *o)
{
	switch (c) {
	case OPT_SIZE:
		return take_size("size", optarg, &o->size_bytes);
	case OPT_LOG_SIZE:
		return take_size("log-size", optarg, &o->log_bytes);
	case OPT_MEMORY:
		return take_size("memory", optarg, &o->memory_bytes);
	case OPT_FORCE:
		o->force = true;
		return true;
	case OPT_REACTORS:
		return take_number("reactors", optarg, 1, REACTORS_MAX, &o->reactors);
	case OPT_SCRUB:
		o->scrub_given = true;
		return take_number("scrub", optarg, 0, SCRUB_DAYS_MAX, &o->scrub_days);
	case OPT_PIN:
		o->pin = optarg;
		return true;
	case OPT_JSON:
		o->json = true;
		return true;
	case OPT_TRUST:
		o->trust_write_through = true;
		return true;
	case OPT_NAME:
		o->name = optarg;
		return true;
	case OPT_CFG:
		o->cfg = optarg;
		return true;
	case OPT_LISTEN:
		o->listen = optarg;
		return true;
	case OPT_ADVERTISE:
		o->advertise = optarg;
		return true;
	case OPT_INSECURE_LAB:
		o->insecure_lab = optarg;
		return true;
	default:
		cmd_usage_error("wrong option");
		return false;
	}
}

/* -1: go on, with what was given in *ret_given; else the exit status. */
static int parse_options(int argc, char **argv, struct options *o, unsigned *ret_given)
{
	int c;

	*ret_given = 0;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == OPT_HELP || c == 'h') {
			fputs(usage_text, stdout);
			return EXIT_SUCCESS;
		}
		if (c == OPT_VERSION) {
			puts("chaind (chainblk) " CHAINBLK_VERSION);
			return EXIT_SUCCESS;
		}
		if (!take_option(c, o))
			return 2;
		*ret_given |= (unsigned)c;
	}
	return -1;
}

/* Of a command's options given, the first it does not take. */
static const char *stray_option(const struct command *cmd, unsigned given)
{
	for (const struct option *l = longs; l->name; l++)
		if (given & (unsigned)l->val & ~cmd->opts)
			return l->name;
	return NULL;
}

int main(int argc, char **argv)
{
	const struct command *cmd = NULL;
	struct options o = {0};
	unsigned given;
	int rc;

	if (argc > 1 && strcmp(argv[1], "inspect") == 0)
		return cmd_inspect(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "fsck") == 0)
		return cmd_fsck(argc - 1, argv + 1);
	rc = parse_options(argc, argv, &o, &given);
	if (rc >= 0)
		return rc;
	if (argc - optind != 2)
		return cmd_usage_error("a command and a store are needed");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[optind], commands[i].word) == 0)
			cmd = &commands[i];
	if (!cmd)
		return cmd_usage_error("the commands are format, run, inspect and fsck");
	if (stray_option(cmd, given)) {
		fprintf(stderr, "chaind: %s takes no --%s: see chaind --help\n", cmd->word,
			stray_option(cmd, given));
		return 2;
	}
	if (o.log_bytes != 0 && o.log_bytes < LOG_BYTES_MIN)
		return cmd_usage_error("--log-size: at least 4M");
	o.store = argv[optind + 1];
	return cmd->run(&o);
}
