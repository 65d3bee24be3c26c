/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* chainctl as a whole, against the real controller instead of a cfgsvc behind a network: command
 * lines in, what people and programs read out. */
#include <errno.h>
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#include "libchainblk/admin.h"
#include "tests/unit/ctrl_test.h"

int chainctl_main(int argc, char **argv); /* main() of cli/main.c */

static struct ctrl_state st;
static struct ctrl_live live;
static char out[65536], err[8192]; /* of the last command */
static uint64_t discarded;
static int discard_status, refuse_conn;

/* ---- the library, as far as chainctl asks it ---- */

static void *status_bytes(size_t *ret_len)
{
	const struct chain_map *m = &st.map;
	size_t len = sizeof(struct status_hdr) + m->hdr.servers_n * sizeof(struct status_server) +
		     m->hdr.chains_n * sizeof(struct status_chain);
	uint8_t *bytes = calloc(1, len), *at = bytes;

	*(struct status_hdr *)(void *)at = (struct status_hdr){
		.servers_n = m->hdr.servers_n,
		.chains_n = m->hdr.chains_n,
		.map_version = m->hdr.version,
	};
	at += sizeof(struct status_hdr);
	for (uint32_t i = 0; i < m->hdr.servers_n; i++, at += sizeof(struct status_server)) {
		const struct status_server s = {.id = m->servers[i].id,
						.connected = live.servers[i].connected,
						.silent_ms = 400,
						.report = live.servers[i].report};

		memcpy(at, &s, sizeof(s));
	}
	for (uint32_t i = 0; i < m->hdr.chains_n; i++, at += sizeof(struct status_chain)) {
		struct status_chain c;

		ctrl_chain_status(&st, &live, &m->chains[i], &c);
		memcpy(at, &c, sizeof(c));
	}
	*ret_len = len;
	return bytes;
}

int chainblk_admin(const char *cfg_addrs, const char *insecure_lab, const struct wire_admin *req,
		   struct wire_admin_reply *ret_reply, void **ret_data, size_t *ret_data_len,
		   char text[CHAINBLK_ERR_BYTES])
{
	struct ctrl_answer a = {0};

	(void)insecure_lab;
	if (refuse_conn) {
		snprintf(text, CHAINBLK_ERR_BYTES, "configuration service at %s: nobody answers",
			 cfg_addrs);
		return -ENOTCONN;
	}
	*ret_data = NULL;
	*ret_data_len = 0;
	if (req->op == ADMIN_STATUS)
		*ret_data = status_bytes(ret_data_len);
	else
		ctrl_admin(&st, req, &live, &a);
	st.map.hdr.version += a.changed;
	*ret_reply = (struct wire_admin_reply){.status = a.status, .value = a.value};
	memcpy(ret_reply->text, a.text, sizeof(a.text));
	return 0;
}

int chainblk_admin_map(const char *cfg_addrs, const char *insecure_lab, struct chain_map *ret_map,
		       char text[CHAINBLK_ERR_BYTES])
{
	(void)cfg_addrs;
	(void)insecure_lab;
	(void)text;
	*ret_map = st.map;
	return 0;
}

int chainblk_open_deleting(const struct chainblk_options *opt, struct chainblk **ret_vol,
			   char text[CHAINBLK_ERR_BYTES])
{
	(void)text;
	assert_int_equal(chain_map_volume_named(&st.map, opt->volume)->state, VOLUME_DELETING);
	*ret_vol = (struct chainblk *)&st;
	return 0;
}

void chainblk_close(struct chainblk *vol)
{
	assert_ptr_equal(vol, &st);
}

void chainblk_get_info(struct chainblk *vol, struct chainblk_info *ret_info)
{
	(void)vol;
	*ret_info = (struct chainblk_info){.size_bytes = st.map.volumes[0].size_bytes};
}

int chainblk_discard(struct chainblk *vol, uint64_t offset_bytes, uint64_t len_bytes,
		     chainblk_done_fn *done, void *arg)
{
	const struct chainblk_result res = {.status = discard_status};

	(void)vol;
	assert_int_equal(offset_bytes, discarded);
	discarded += len_bytes;
	done(arg, &res);
	return 0;
}

const char *chainblk_strerror(int status)
{
	return status == -EIO ? "the chain failed the operation" : "?";
}

/* ---- running it ---- */

static int fresh(void **state)
{
	const struct id128 cluster = test_id('c', 1);
	struct ctrl_answer a;

	(void)state;
	ctrl_new(&st, &cluster);
	memset(&live, 0, sizeof(live));
	live.now_ns = 100ull * 1000 * 1000 * 1000;
	for (uint8_t n = 1; n <= 3; n++) {
		const struct wire_register r = test_registration(n, 1);

		ctrl_register(&st, &r, &a);
		live.servers[n - 1].connected = true;
		live.servers[n - 1].seen_ns = live.now_ns;
		live.servers[n - 1].report.bytes_total = 10ull << 30;
		live.servers[n - 1].report.bytes_free = 9ull << 30;
	}
	discarded = 0;
	discard_status = refuse_conn = 0;
	return 0;
}

/* The words of @line, cut at blanks, as a command; returns its exit status. */
static int run(const char *line)
{
	FILE *real_out = stdout, *real_err = stderr;
	char name[] = "chainctl", words[512], *argv[32] = {name};
	int argc = 1, rc;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	memset(out, 0, sizeof(out));
	memset(err, 0, sizeof(err));
	stdout = fmemopen(out, sizeof(out) - 1, "w");
	stderr = fmemopen(err, sizeof(err) - 1, "w");
	optind = 0;
	rc = chainctl_main(argc, argv);
	fclose(stdout);
	fclose(stderr);
	stdout = real_out;
	stderr = real_err;
	return rc;
}

static void prints(const char *part)
{
	if (!strstr(out, part))
		fail_msg("stdout has no '%s':\n%s\nstderr:\n%s", part, out, err);
}

static void complains(int rc, int want, const char *part)
{
	if (rc != want || !strstr(err, part))
		fail_msg("exit %d, and stderr has no '%s':\n%s", rc, part, err);
}

static json_t *run_json(const char *line)
{
	json_error_t e;
	json_t *o;

	assert_int_equal(run(line), 0);
	o = json_loads(out, 0, &e);
	if (!o)
		fail_msg("not JSON (%s):\n%s", e.text, out);
	return o;
}

static int num(const json_t *o, const char *key)
{
	assert_true(json_is_integer(json_object_get(o, key)));
	return (int)json_integer_value(json_object_get(o, key));
}

static const char *str(const json_t *o, const char *key)
{
	assert_true(json_is_string(json_object_get(o, key)));
	return json_string_value(json_object_get(o, key));
}

static void all_in(uint64_t last)
{
	for (uint8_t n = 0; n < 3; n++)
		for (uint32_t i = 0; i < st.map.hdr.chains_n; i++) {
			const struct wire_report r = {.chain = i + 1,
						      .state = REPLICA_IN,
						      .epoch = 1,
						      .last = last,
						      .known = last};

			ctrl_live_reports(&live.servers[n], &r, 1);
		}
}

static void test_every_command_says_what_it_does(void **state)
{
	static const char *const lines[] = {
		"-h",
		"cluster init -h",
		"server list -h",
		"volume create -h",
		"volume list --help",
		"volume show -h",
		"volume delete -h",
		"volume resize -h",
		"status -h",
		"where -h",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		assert_int_equal(run(lines[i]), 0);
		prints("usage: chainctl");
		prints("--cfg ADDR");
		assert_string_equal(err, "");
	}
	assert_int_equal(run("--version"), 0);
	prints("chainctl (chainblk)");
}

static void test_wrong_command_lines_exit_2_and_say_why(void **state)
{
	(void)state;
	complains(run(""), 2, "usage: chainctl");
	complains(run("volume"), 2, "no command 'volume'");
	complains(run("volume destroy x"), 2, "no command 'volume destroy'");
	complains(run("volume create"), 2, "--size is missing");
	complains(run("volume create --size 1G"), 2, "a word is missing");
	complains(run("volume create a b --size 1G"), 2, "a word too many");
	complains(run("volume create a --size 1X"), 2, "--size '1X': not a size");
	complains(run("volume create a --size 0"), 2, "--size '0': not a size");
	complains(run("status --size 1G"), 2, "an option this command does not take");
	complains(run("cluster init --replicas 9"), 2, "--replicas '9': not a number from 1 to 8");
	complains(run("cluster init --nonsense"), 2, "");
}

static void test_a_service_that_does_not_answer_is_named(void **state)
{
	(void)state;
	refuse_conn = 1;
	complains(run("--cfg 127.0.0.1:1 cluster init"), 1,
		  "chainctl: configuration service at 127.0.0.1:1: nobody answers");
	assert_string_equal(out, "");
}

static void test_init_create_status_and_where_for_people(void **state)
{
	(void)state;
	assert_int_equal(run("cluster init --replicas 3"), 0);
	prints("24 chains of 3 replicas over 3 servers");
	complains(run("cluster init"), 1, "24 chains already");
	assert_int_equal(run("volume create vol0 --size 1.5G"), 0);
	prints("volume vol0: created, 1.5G (1610612736 bytes), sectors of 512, on 24 chains, id 1");
	all_in(5);
	assert_int_equal(run("status"), 0);
	prints("SERVER  DOMAIN  STATE  USED  TOTAL  HEAD  MIDDLE  TAIL  LAST HEARD  ADDRESS");
	prints("s2      s2      up     1G    10G    8     8       8     0.4 s       "
	       "127.0.0.1:7402");
	prints("Chains: 24 of 3 members, all up");
	prints("vol0    1.5G  512     24      normal");
	assert_int_equal(run("where vol0 4M"), 0);
	prints("vol0 at 4194304: extent 1 on chain 2, epoch 1: s2 > s3 > s1 (head first");
	complains(run("where vol0 2G"), 1, "past its end");
	complains(run("where vol1 0"), 1, "volume vol1: there is none of this name");
	complains(run("where vol0 x"), 1, "offset 'x'");
}

static void test_status_says_why_a_chain_is_not_up(void **state)
{
	(void)state;
	assert_int_equal(run("cluster init --replicas 3 --chains 2"), 0);
	all_in(5);
	live.servers[2].connected = false;
	live.now_ns += 2000000000ull;
	assert_int_equal(run("status"), 0);
	prints("s3      down");
	prints("Chains: 2 of 3 members, 0 up, 2 not:");
	prints("\n  chain 1-2: s3 is not connected since 2 s: start it\n");
}

static void test_status_before_there_is_anything(void **state)
{
	(void)state;
	assert_int_equal(run("status"), 0);
	prints("Chains: none yet: run chainctl cluster init");
	complains(run("volume create v --size 1G"), 1, "run chainctl cluster init first");
}

static void test_status_for_programs_has_stable_keys(void **state)
{
	json_t *o, *item;

	(void)state;
	o = run_json("--json cluster init --replicas 3");
	assert_int_equal(num(o, "chains"), 24);
	assert_int_equal(num(o, "replicas"), 3);
	json_decref(o);
	o = run_json("volume create vol0 --size 8192 --sector 4096 --json");
	assert_string_equal(str(o, "name"), "vol0");
	assert_int_equal(num(o, "size_bytes"), 8192);
	assert_int_equal(num(o, "sector_bytes"), 4096);
	json_decref(o);
	all_in(7);
	o = run_json("--json status");
	assert_string_equal(str(o, "cluster"), "63010700000000000000000000000000");
	assert_int_equal(num(o, "chains_total"), 24);
	assert_int_equal(num(o, "chains_up"), 24);
	item = json_array_get(json_object_get(o, "servers"), 1);
	assert_string_equal(str(item, "name"), "s2");
	assert_string_equal(str(item, "domain"), "s2");
	assert_string_equal(str(item, "state"), "up");
	assert_int_equal(num(item, "head"), 8);
	assert_int_equal(num(item, "middle"), 8);
	assert_int_equal(num(item, "tail"), 8);
	item = json_array_get(json_object_get(o, "chains"), 0);
	assert_int_equal(num(item, "id"), 1);
	assert_int_equal(num(item, "epoch"), 1);
	assert_int_equal(num(item, "last"), 7);
	assert_true(json_is_true(json_object_get(item, "up")));
	assert_int_equal(json_array_size(json_object_get(item, "members")), 3);
	item = json_array_get(json_object_get(o, "volumes"), 0);
	assert_string_equal(str(item, "state"), "normal");
	json_decref(o);
	o = run_json("--json where vol0 4097");
	assert_int_equal(num(o, "extent"), 0);
	assert_string_equal(json_string_value(json_array_get(json_object_get(o, "members"), 0)),
			    "s1");
	json_decref(o);
}

static void test_resize_grows_and_tells_why_not(void **state)
{
	(void)state;
	run("cluster init");
	run("volume create vol0 --size 1G");
	assert_int_equal(run("volume resize vol0 --size 2G"), 0);
	prints("volume vol0: 2G (2147483648 bytes)");
	complains(run("volume resize vol0 --size 1G"), 1, "cannot shrink");
	assert_int_equal(run("volume resize vol0 --size 2147483649"), 0);
	assert_non_null(strstr(err, "note: size rounded up to 2147487744 bytes"));
	complains(run("volume create ../x --size 1G"), 1, "not a valid name");
}

static void test_delete_empties_the_volume_before_it_is_forgotten(void **state)
{
	(void)state;
	run("cluster init");
	run("volume create vol0 --size 1000M");
	discard_status = -EIO;
	complains(run("volume delete vol0"), 1,
		  "could not be emptied: the chain failed the operation");
	assert_int_equal(st.map.volumes[0].state, VOLUME_DELETING);
	assert_int_equal(run("volume show vol0"), 0);
	prints("being deleted");
	discard_status = 0;
	discarded = 0;
	assert_int_equal(run("volume delete vol0"), 0);
	prints("volume vol0: deleted");
	assert_int_equal(discarded, 1000ull << 20);
	assert_int_equal(st.map.hdr.volumes_n, 0);
	complains(run("volume delete vol0"), 1, "there is none of this name");
}

static void test_delete_of_a_volume_in_use_is_refused(void **state)
{
	(void)state;
	run("cluster init");
	run("volume create vol0 --size 1000M");
	live.opens = 1;
	complains(run("volume delete vol0"), 1, "1 client has it open: close it first");
	assert_int_equal(discarded, 0);
}

#define T(name) cmocka_unit_test_setup(name, fresh)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_every_command_says_what_it_does),
		T(test_wrong_command_lines_exit_2_and_say_why),
		T(test_a_service_that_does_not_answer_is_named),
		T(test_init_create_status_and_where_for_people),
		T(test_status_says_why_a_chain_is_not_up),
		T(test_status_before_there_is_anything),
		T(test_status_for_programs_has_stable_keys),
		T(test_resize_grows_and_tells_why_not),
		T(test_delete_empties_the_volume_before_it_is_forgotten),
		T(test_delete_of_a_volume_in_use_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
