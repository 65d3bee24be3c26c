/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chainctl - words and options of the command line, and which command they mean. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define EXIT_USAGE 2

enum opt { /* bits of what a command takes; values of getopt_long */
	   OPT_REPLICAS = 1,
	   OPT_CHAINS = 2,
	   OPT_SIZE = 4,
	   OPT_SECTOR = 8,
};

struct command {
	const char *words[2];  /* the second may be NULL */
	unsigned names_n;      /* words that follow */
	unsigned opts, needed; /* enum opt */
	int (*run)(const struct cli *c);
	const char *usage, *help;
};

static const struct command commands[] = {
	{{"cluster", "init"},
	 0,
	 OPT_REPLICAS | OPT_CHAINS,
	 0,
	 cmd_cluster_init,
	 "cluster init [--replicas N] [--chains N]",
	 "Make the chains over all servers that have registered. Once per cluster.\n"
	 "  --replicas N  copies of every block (default 2; 3 survives the loss of two)\n"
	 "  --chains N    how many chains (default: servers * 24 / replicas)\n"},
	{{"server", "list"},
	 0,
	 0,
	 0,
	 cmd_server_list,
	 "server list",
	 "Storage servers: state, space, in how many chains head, middle and tail.\n"},
	{{"volume", "create"},
	 1,
	 OPT_SIZE | OPT_SECTOR,
	 OPT_SIZE,
	 cmd_volume_create,
	 "volume create NAME --size SIZE [--sector 512|4096]",
	 "Make an empty volume. It uses space when it is written.\n"
	 "  --size SIZE    64M, 10G, 1T; rounded up to whole blocks of 4096 bytes\n"
	 "  --sector N     sector size initiators see: 512 (default) or 4096\n"},
	{{"volume", "list"}, 0, 0, 0, cmd_volume_list, "volume list", "All volumes.\n"},
	{{"volume", "show"}, 1, 0, 0, cmd_volume_show, "volume show NAME", "One volume.\n"},
	{{"volume", "delete"},
	 1,
	 0,
	 0,
	 cmd_volume_delete,
	 "volume delete NAME",
	 "Empty the volume on every server, then forget it. Refused while somebody has it open.\n"
	 "Interrupted, run it again.\n"},
	{{"volume", "resize"},
	 1,
	 OPT_SIZE,
	 OPT_SIZE,
	 cmd_volume_resize,
	 "volume resize NAME --size SIZE",
	 "Make a volume larger. Clients see it at once.\n"},
	{{"status", NULL},
	 0,
	 0,
	 0,
	 cmd_status,
	 "status",
	 "Servers, chains that are not up and why, volumes.\n"},
	{{"where", NULL},
	 2,
	 0,
	 0,
	 cmd_where,
	 "where NAME OFFSET",
	 "Which chain, and which servers, hold the byte at OFFSET (4096, 64K, 10G) of a volume.\n"},
};

static const char options_help[] =
	"  --cfg ADDR[,ADDR...]   configuration service: host:port or unix:/path (default: the\n"
	"                         environment's CHAINBLK_CFG, else 127.0.0.1:7400)\n"
	"  --insecure-lab=PREFIX  allow plaintext to addresses that begin with PREFIX\n"
	"  --json                 print one JSON object\n"
	"  -h, --help  --version\n";

static void usage(FILE *out)
{
	fputs("usage: chainctl [OPTIONS] COMMAND\n\n", out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(out, "  %s\n", commands[i].usage);
	fprintf(out,
		"\nSIZE = a number with K, M, G or T (powers of 1024). COMMAND -h says more.\n\n%s",
		options_help);
}

static void command_help(const struct command *cmd)
{
	printf("usage: chainctl [OPTIONS] %s\n\n%s\n%s", cmd->usage, cmd->help, options_help);
}

static const struct command *find(int words_n, char **words, int *ret_used)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const struct command *cmd = &commands[i];
		int n = cmd->words[1] ? 2 : 1;

		if (words_n < n || strcmp(words[0], cmd->words[0]) != 0)
			continue;
		if (n == 2 && strcmp(words[1], cmd->words[1]) != 0)
			continue;
		*ret_used = n;
		return cmd;
	}
	return NULL;
}

static bool parse_number(const char *option, const char *text, uint64_t max, uint64_t *ret)
{
	if (opt_u64(text, max, ret) == 0 && *ret > 0)
		return true;
	cli_fail("--%s '%s': not a number from 1 to %llu", option, text, (unsigned long long)max);
	return false;
}

static bool parse_size(const char *text, uint64_t *ret)
{
	if (size_parse(text, ret) == 0 && *ret > 0)
		return true;
	cli_fail("--size '%s': not a size: write 64M, 10G, 1.5T", text);
	return false;
}

struct parsed {
	struct cli cli;
	unsigned given; /* enum opt */
	bool help;
};

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct parsed *p)
{
	static const struct option longs[] = {
		{"replicas", required_argument, NULL, OPT_REPLICAS},
		{"chains", required_argument, NULL, OPT_CHAINS},
		{"size", required_argument, NULL, OPT_SIZE},
		{"sector", required_argument, NULL, OPT_SECTOR},
		{"cfg", required_argument, NULL, 'c'},
		{"insecure-lab", required_argument, NULL, 'i'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{0},
	};
	struct cli *c = &p->cli;
	bool ok = true;
	int o;

	while (ok && (o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (o <= OPT_SECTOR)
			p->given |= (unsigned)o;
		if (o == OPT_REPLICAS)
			ok = parse_number("replicas", optarg, CHAIN_MEMBERS_MAX, &c->replicas);
		else if (o == OPT_CHAINS)
			ok = parse_number("chains", optarg, CHAINS_MAX, &c->chains);
		else if (o == OPT_SIZE)
			ok = parse_size(optarg, &c->size_bytes);
		else if (o == OPT_SECTOR)
			ok = parse_number("sector", optarg, BLOCK_BYTES, &c->sector_bytes);
		else if (o == 'c')
			c->cfg = optarg;
		else if (o == 'i')
			c->insecure_lab = optarg;
		else if (o == 'j')
			c->json = true;
		else if (o == 'h')
			p->help = true;
		else if (o == 'v')
			return puts("chainctl (chainblk) " CHAINBLK_VERSION) < 0;
		else
			ok = false;
	}
	return ok ? -1 : EXIT_USAGE;
}

static int wrong(const struct command *cmd, const char *what)
{
	cli_fail("%s", what);
	fprintf(stderr, "usage: chainctl [OPTIONS] %s\n", cmd->usage);
	return EXIT_USAGE;
}

static int dispatch(struct parsed *p, int words_n, char **words)
{
	int used = 0;
	const struct command *cmd = find(words_n, words, &used);

	if (!cmd) {
		if (p->help) {
			usage(stdout);
			return EXIT_SUCCESS;
		}
		if (words_n > 0)
			cli_fail("no command '%s%s%s'", words[0], words_n > 1 ? " " : "",
				 words_n > 1 ? words[1] : "");
		usage(stderr);
		return EXIT_USAGE;
	}
	if (p->help) {
		command_help(cmd);
		return EXIT_SUCCESS;
	}
	if ((p->given & ~cmd->opts) != 0)
		return wrong(cmd, "an option this command does not take");
	if ((cmd->needed & ~p->given) != 0)
		return wrong(cmd, "--size is missing");
	if (words_n - used != (int)cmd->names_n)
		return wrong(cmd, words_n - used < (int)cmd->names_n ? "a word is missing"
								     : "a word too many");
	p->cli.name = cmd->names_n > 0 ? words[used] : NULL;
	p->cli.offset = cmd->names_n > 1 ? words[used + 1] : NULL;
	return cmd->run(&p->cli);
}

int main(int argc, char **argv)
{
	const char *env_cfg = getenv("CHAINBLK_CFG");
	struct parsed p = {.cli.cfg = env_cfg && *env_cfg ? env_cfg : "127.0.0.1:7400"};
	int rc = parse_options(argc, argv, &p);

	if (rc >= 0)
		return rc;
	return dispatch(&p, argc - optind, argv + optind);
}
