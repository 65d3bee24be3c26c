/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* docs/WIRE.md against the code: every struct, field, offset, size, message number and sender. The
 * document is the program's argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/chain_map.h"
#include "lib/status.h"
#include "lib/wire.h"

struct row { /* field NULL: the heading of its struct */
	const char *type, *field;
	size_t offset, bytes;
};

#define S(type)                                                                                    \
	{                                                                                          \
#type, NULL, 0, sizeof(struct type)                                                \
	}
#define F(type, field)                                                                             \
	{                                                                                          \
#type, #field, offsetof(struct type, field), sizeof(((struct type *)0)->field)     \
	}

/* clang-format off */
static const struct row rows[] = {
	S(wire_hdr),
	F(wire_hdr, magic),
	F(wire_hdr, version),
	F(wire_hdr, type),
	F(wire_hdr, flags),
	F(wire_hdr, meta_bytes),
	F(wire_hdr, data_bytes),
	F(wire_hdr, meta_crc),
	F(wire_hdr, data_crc),
	F(wire_hdr, chain),
	F(wire_hdr, reserved),
	F(wire_hdr, epoch),
	F(wire_hdr, seq),
	F(wire_hdr, token),
	F(wire_hdr, commit),
	F(wire_hdr, cluster),
	F(wire_hdr, from),
	F(wire_hdr, to),
	F(wire_hdr, credit),
	F(wire_hdr, tag),
	S(wire_connect),
	F(wire_connect, role),
	F(wire_connect, server_id),
	F(wire_connect, name),
	F(wire_connect, reserved),
	S(wire_connected),
	F(wire_connected, role),
	F(wire_connected, server_id),
	F(wire_connected, window_ops),
	F(wire_connected, window_bytes),
	S(wire_error),
	F(wire_error, code),
	F(wire_error, reserved),
	F(wire_error, text),
	S(op_rec),
	F(op_rec, seq),
	F(op_rec, epoch),
	F(op_rec, volume),
	F(op_rec, extent),
	F(op_rec, chain),
	F(op_rec, kind),
	F(op_rec, flags),
	F(op_rec, block),
	F(op_rec, blocks),
	F(op_rec, data_bytes),
	F(op_rec, result),
	F(op_rec, offset_bytes),
	F(op_rec, session),
	F(op_rec, client),
	F(op_rec, generation),
	F(op_rec, req_no),
	F(op_rec, low),
	F(op_rec, known),
	F(op_rec, crcs_n),
	F(op_rec, reserved0),
	F(op_rec, reserved1),
	S(wire_mark),
	F(wire_mark, chain),
	F(wire_mark, reserved),
	F(wire_mark, epoch),
	F(wire_mark, seq),
	F(wire_mark, commit),
	S(wire_dup),
	F(wire_dup, client),
	F(wire_dup, req_no),
	S(wire_request),
	F(wire_request, volume),
	F(wire_request, extent),
	F(wire_request, kind),
	F(wire_request, flags),
	F(wire_request, offset_bytes),
	F(wire_request, len_bytes),
	F(wire_request, session),
	F(wire_request, generation),
	F(wire_request, req_no),
	F(wire_request, low),
	F(wire_request, crcs_n),
	F(wire_request, reserved),
	S(wire_reply),
	F(wire_reply, req_no),
	F(wire_reply, session),
	F(wire_reply, status),
	F(wire_reply, offset_bytes),
	F(wire_reply, reserved),
	S(wire_read),
	F(wire_read, volume),
	F(wire_read, extent),
	F(wire_read, block),
	F(wire_read, blocks),
	F(wire_read, kind),
	F(wire_read, reserved),
	F(wire_read, generation),
	S(wire_read_reply),
	F(wire_read_reply, status),
	F(wire_read_reply, block),
	F(wire_read_reply, blocks),
	F(wire_read_reply, crcs_n),
	S(wire_confirm),
	F(wire_confirm, chain),
	F(wire_confirm, reserved),
	F(wire_confirm, epoch),
	S(wire_register),
	F(wire_register, name),
	F(wire_register, addrs),
	F(wire_register, disk),
	F(wire_register, previous),
	F(wire_register, incarnation),
	F(wire_register, bytes_total),
	F(wire_register, bytes_free),
	F(wire_register, domain),
	S(wire_registered),
	F(wire_registered, server_id),
	F(wire_registered, reserved),
	S(wire_server_report),
	F(wire_server_report, bytes_total),
	F(wire_server_report, bytes_free),
	F(wire_server_report, log_bytes),
	F(wire_server_report, log_used_bytes),
	F(wire_server_report, reads),
	F(wire_server_report, writes),
	F(wire_server_report, disk_written_bytes),
	F(wire_server_report, rss_bytes),
	S(wire_report),
	F(wire_report, chain),
	F(wire_report, state),
	F(wire_report, epoch),
	F(wire_report, last),
	F(wire_report, known),
	S(wire_open),
	F(wire_open, name),
	F(wire_open, flags),
	F(wire_open, reserved),
	S(wire_opened),
	F(wire_opened, status),
	F(wire_opened, reserved),
	F(wire_opened, volume),
	F(wire_opened, text),
	S(wire_admin),
	F(wire_admin, op),
	F(wire_admin, reserved),
	F(wire_admin, arg0),
	F(wire_admin, arg1),
	F(wire_admin, name),
	S(wire_admin_reply),
	F(wire_admin_reply, status),
	F(wire_admin_reply, reserved),
	F(wire_admin_reply, value),
	F(wire_admin_reply, text),
	S(chain_map_hdr),
	F(chain_map_hdr, cluster),
	F(chain_map_hdr, version),
	F(chain_map_hdr, servers_n),
	F(chain_map_hdr, chains_n),
	F(chain_map_hdr, volumes_n),
	F(chain_map_hdr, reserved),
	S(map_server),
	F(map_server, id),
	F(map_server, reserved),
	F(map_server, disk),
	F(map_server, incarnation),
	F(map_server, name),
	F(map_server, addrs),
	F(map_server, domain),
	S(map_chain),
	F(map_chain, id),
	F(map_chain, in_n),
	F(map_chain, epoch),
	F(map_chain, history),
	F(map_chain, target_n),
	F(map_chain, reserved),
	F(map_chain, in),
	F(map_chain, sync),
	S(map_member),
	F(map_member, server),
	F(map_member, reserved),
	F(map_member, incarnation),
	S(map_volume),
	F(map_volume, id),
	F(map_volume, size_bytes),
	F(map_volume, generation),
	F(map_volume, state),
	F(map_volume, sector_bytes),
	F(map_volume, base),
	F(map_volume, lanes_n),
	F(map_volume, lanes),
	F(map_volume, min_in),
	F(map_volume, reserved),
	F(map_volume, name),
	S(status_hdr),
	F(status_hdr, servers_n),
	F(status_hdr, chains_n),
	F(status_hdr, map_version),
	S(status_server),
	F(status_server, id),
	F(status_server, connected),
	F(status_server, silent_ms),
	F(status_server, report),
	S(status_chain),
	F(status_chain, id),
	F(status_chain, up),
	F(status_chain, last),
	F(status_chain, known),
	F(status_chain, reason),
};
/* clang-format on */

static const char *path;
static char text[1u << 16];

static int load(void **state)
{
	FILE *file = fopen(path, "r");

	(void)state;
	if (!file)
		return -1;
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return 0;
}

/* The line that begins with @start, behind @from; NULL when the struct's section ends before. */
static const char *line_behind(const char *from, const char *start)
{
	const char *end = strstr(from + 1, "\n#");
	const char *at = strstr(from, start);

	return at && (!end || at < end) ? at : NULL;
}

static void test_every_field_is_where_the_document_says(void **state)
{
	const char *at = text;
	size_t sum = 0, whole = 0;
	char line[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];

		if (!r->field) {
			assert_int_equal(sum,
					 whole); /* the struct before: no byte without a field */
			sum = 0;
			whole = r->bytes;
			snprintf(line, sizeof(line), "\n### %s (%zu bytes)\n", r->type, r->bytes);
			at = strstr(text, line);
		} else {
			assert_int_equal(r->offset, sum);
			sum += r->bytes;
			snprintf(line, sizeof(line), "\n| %zu | %zu | %s |", r->offset, r->bytes,
				 r->field);
			at = line_behind(at, line);
		}
		if (!at)
			fail_msg("%s does not say '%s' of %s", path, line + 1, r->type);
	}
	assert_int_equal(sum, whole);
}

static void test_every_message_has_its_number_and_senders(void **state)
{
	static const char *const names[ROLE_END] = {"not yet connected", "node", "client", "admin",
						    "cfg"};
	char start[64], senders[64];

	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		const struct wire_type_info *t = wire_type_info(type);
		size_t len = 0;
		const char *at, *end;

		if (!t)
			continue;
		for (unsigned role = 0; role < ROLE_END; role++)
			if (t->senders & (1u << role))
				len += (size_t)snprintf(senders + len, sizeof(senders) - len,
							"%s%s", len ? ", " : "", names[role]);
		len += (size_t)snprintf(senders + len, sizeof(senders) - len, " |");
		snprintf(start, sizeof(start), "\n| %s | %u |", t->name, type);
		at = strstr(text, start);
		if (!at)
			fail_msg("%s does not have the line '%s'", path, start + 1);
		end = strchr(at + 1, '\n');
		assert_non_null(end);
		if (strncmp(end - len, senders, len) != 0)
			fail_msg("%s: %s is sent by %s", path, t->name, senders);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field_is_where_the_document_says),
		cmocka_unit_test(test_every_message_has_its_number_and_senders),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: test_wire_doc docs/WIRE.md\n");
		return 2;
	}
	path = argv[1];
	return cmocka_run_group_tests(tests, load, NULL);
}
