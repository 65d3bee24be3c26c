/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The disk format against its document and against its golden bytes.
 *
 *	test_store_format docs/DISK.md tests/golden/disk          compare
 *	test_store_format docs/DISK.md tests/golden/disk --write  make the golden files
 *
 * A difference is a change of the format: it needs a new STORE_VERSION and new files. */
#include "tests/unit/format_samples.h"

static const char *doc_path, *folder;
static bool writing;

/* ---- the document ---- */

struct row { /* field NULL: the heading of its struct */
	const char *type, *field;
	size_t offset, bytes;
};

/* clang-format off */
#define S(type) {#type, NULL, 0, sizeof(struct type)}
#define F(type, field)                                                                             \
	{#type, #field, offsetof(struct type, field), sizeof(((struct type *)0)->field)}

static const struct row rows[] = {
	S(disk_super), F(disk_super, magic), F(disk_super, version), F(disk_super, crc),
	F(disk_super, disk), F(disk_super, cluster), F(disk_super, incarnation),
	F(disk_super, previous), F(disk_super, generation), F(disk_super, secret),
	F(disk_super, start), F(disk_super, disk_bytes), F(disk_super, log_offset_bytes),
	F(disk_super, log_bytes), F(disk_super, ckpt_offset_bytes), F(disk_super, ckpt_bytes),
	F(disk_super, pages_offset_bytes), F(disk_super, pages_n), F(disk_super, chains_max),
	F(disk_super, ckpt_slot), F(disk_super, ckpt_generation), F(disk_super, ckpt_blocks),
	F(disk_super, replay_block), F(disk_super, prev_lsn), F(disk_super, prev_start),
	F(disk_super, prev_crc), F(disk_super, registered), F(disk_super, doubtful),
	F(disk_super, recs_offset_bytes), F(disk_super, recs_n), F(disk_super, slice),
	F(disk_super, slices_n), F(disk_super, scrub_page), F(disk_super, scrub_passes),
	F(disk_super, zero),
	S(disk_log_hdr), F(disk_log_hdr, magic), F(disk_log_hdr, crc), F(disk_log_hdr, prev_crc),
	F(disk_log_hdr, disk), F(disk_log_hdr, lsn), F(disk_log_hdr, offset_bytes),
	F(disk_log_hdr, stable), F(disk_log_hdr, start), F(disk_log_hdr, hdr_blocks),
	F(disk_log_hdr, data_blocks), F(disk_log_hdr, skip_blocks), F(disk_log_hdr, recs_bytes),
	F(disk_log_hdr, recs_n), F(disk_log_hdr, reserved),
	S(disk_log_rec), F(disk_log_rec, kind), F(disk_log_rec, flags), F(disk_log_rec, bytes),
	F(disk_log_rec, payload_block), F(disk_log_rec, reserved),
	S(disk_log_epoch), F(disk_log_epoch, chain), F(disk_log_epoch, reserved),
	F(disk_log_epoch, epoch), F(disk_log_epoch, history),
	S(disk_log_commit), F(disk_log_commit, chain), F(disk_log_commit, reserved),
	F(disk_log_commit, seq),
	S(disk_log_truncate), F(disk_log_truncate, chain), F(disk_log_truncate, reserved),
	F(disk_log_truncate, to), F(disk_log_truncate, epoch), F(disk_log_truncate, incarnation),
	S(disk_ckpt_hdr), F(disk_ckpt_hdr, magic), F(disk_ckpt_hdr, crc), F(disk_ckpt_hdr, kind),
	F(disk_ckpt_hdr, generation), F(disk_ckpt_hdr, index), F(disk_ckpt_hdr, n),
	F(disk_ckpt_hdr, reserved),
	S(disk_ckpt_recs), F(disk_ckpt_recs, index), F(disk_ckpt_recs, crc),
	F(disk_ckpt_recs, used),
	S(disk_ckpt_chain), F(disk_ckpt_chain, chain), F(disk_ckpt_chain, clients_n),
	F(disk_ckpt_chain, epoch), F(disk_ckpt_chain, history), F(disk_ckpt_chain, known),
	F(disk_ckpt_chain, base),
	S(req_client), F(req_client, chain), F(req_client, session), F(req_client, client),
	F(req_client, generation), F(req_client, session_seq), F(req_client, low),
	F(req_client, have), F(req_client, seq), F(req_client, result),
	F(req_client, offset_bytes),
	S(disk_recs), F(disk_recs, magic), F(disk_recs, crc), F(disk_recs, index),
	F(disk_recs, generation), F(disk_recs, reserved), F(disk_recs, rec),
	S(disk_page_rec), F(disk_page_rec, volume), F(disk_page_rec, extent),
	F(disk_page_rec, seq), F(disk_page_rec, chain), F(disk_page_rec, present),
	F(disk_page_rec, slot), F(disk_page_rec, reserved), F(disk_page_rec, crcs),
};
/* clang-format on */

static void test_document_has_every_struct_field_by_field(void **state)
{
	FILE *doc = fopen(doc_path, "r");
	char line[512], want[128];
	size_t at = 0, covered = 0;

	(void)state;
	assert_non_null(doc);
	while (fgets(line, sizeof(line), doc)) {
		bool heading = strncmp(line, "### ", 4) == 0;

		if (!heading && (line[0] != '|' || line[2] < '0' || line[2] > '9'))
			continue;
		if (at == ARRAY_LEN(rows))
			fail_msg("docs/DISK.md has a row too many: %s", line);
		if (!rows[at].field)
			snprintf(want, sizeof(want), "### %s (%zu bytes)", rows[at].type,
				 rows[at].bytes);
		else
			snprintf(want, sizeof(want), "| %zu | %zu | %s |", rows[at].offset,
				 rows[at].bytes, rows[at].field);
		if (strncmp(line, want, strlen(want)) != 0)
			fail_msg("docs/DISK.md says `%s`, the code says `%s`", line, want);
		covered = rows[at].field ? covered + rows[at].bytes : 0;
		at++;
		/* The fields of a struct leave no gap. */
		if (at == ARRAY_LEN(rows) || !rows[at].field) {
			size_t first = at - 1;

			while (rows[first].field)
				first--;
			assert_int_equal(covered, rows[first].bytes);
		}
	}
	fclose(doc);
	assert_int_equal(at, ARRAY_LEN(rows));
}

/* ---- golden bytes ---- */

static void golden(const char *name)
{
	static uint8_t was[BLOCK_BYTES];
	char path[4096];
	size_t len = BLOCK_BYTES;
	FILE *f;

	while (len && block[len - 1] == 0) /* files end where the zeros begin */
		len--;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, writing ? "wb" : "rb");
	if (!f)
		fail_msg("%s is missing: a struct without golden bytes", path);
	if (writing) {
		assert_int_equal(fwrite(block, 1, len, f), len);
	} else {
		assert_int_equal(fread(was, 1, sizeof(was), f), len);
		for (size_t i = 0; i < len; i++)
			if (was[i] != block[i])
				fail_msg("%s differs at byte %zu", name, i);
	}
	fclose(f);
}

static void test_superblock_has_the_bytes_it_always_had(void **state)
{
	struct disk_super *sb = (void *)block;
	const char *why;

	(void)state;
	*sb = super();
	super_seal(sb);
	assert_int_equal(super_check(sb, 1ull << 30, &why), 0);
	golden("super");
	sb->start++;
	assert_int_equal(super_check(sb, 1ull << 30, &why), -EBADMSG);
}

static void test_log_headers_have_the_bytes_they_always_had(void **state)
{
	struct disk_log_hdr *h = header();
	struct op_rec *op;

	(void)state;
	*(struct disk_log_commit *)add(h, LOG_COMMIT, 16) =
		(struct disk_log_commit){.chain = 3, .seq = 41};
	*(struct disk_log_epoch *)add(h, LOG_EPOCH, 24) =
		(struct disk_log_epoch){.chain = 3, .epoch = 6, .history = 2};
	*(struct disk_log_truncate *)add(h, LOG_TRUNCATE, 40) =
		(struct disk_log_truncate){.chain = 4, .to = 9, .epoch = 6, .incarnation = {{8}}};
	op = add(h, LOG_OP, sizeof(*op) + 16);
	*op = (struct op_rec){.seq = 42,
			      .epoch = 6,
			      .volume = 5,
			      .extent = 7,
			      .chain = 3,
			      .kind = OP_WRITE,
			      .block = 100,
			      .blocks = 3,
			      .data_bytes = 3 * BLOCK_BYTES,
			      .session = 1,
			      .client = {{0xaa}},
			      .generation = 1,
			      .req_no = 12,
			      .low = 10,
			      .known = 41,
			      .crcs_n = 3};
	memcpy(op + 1, (uint32_t[]){0x01020304, 0x05060708, 0x090a0b0c}, 12);
	add_paged_op(h, 3);
	h->data_blocks = 3 + 8;
	check_header(h, 5);
	golden("log_batch");
	h = header();
	h->skip_blocks = 16384 - 1234;
	check_header(h, 0);
	golden("log_filler");
}

static void check_ckpt(struct disk_ckpt_hdr *h, const char *name)
{
	const char *why;

	ckpt_seal(h, SECRET);
	assert_int_equal(ckpt_check(h, SECRET, 9, h->index, 1000, &why), 0);
	assert_int_equal(ckpt_check(h, SECRET, 9, h->index + 1, 1000, &why), -EBADMSG);
	assert_int_equal(ckpt_check(h, SECRET, 8, h->index, 1000, &why), -EBADMSG);
	assert_int_equal(ckpt_check(h, SECRET + 1, 9, h->index, 1000, &why), -EBADMSG);
	golden(name);
}

static void test_checkpoint_blocks_have_the_bytes_they_always_had(void **state)
{
	struct disk_ckpt_hdr *h = ckpt(CKPT_RECS, 0);
	struct disk_ckpt_recs *recs = (void *)(h + 1);
	struct req_client *client;

	(void)state;
	h->n = 2;
	recs[0] = (struct disk_ckpt_recs){.index = 0, .crc = 0x01020304, .used = 1ull << 41 | 5};
	recs[1] = (struct disk_ckpt_recs){.index = 23, .crc = 0x05060708, .used = RECS_HOME_B | 1};
	check_ckpt(h, "ckpt_recs");
	h = ckpt(CKPT_CHAIN, 1);
	*(struct disk_ckpt_chain *)(h + 1) = (struct disk_ckpt_chain){
		.chain = 3, .clients_n = 1, .epoch = 6, .history = 2, .known = 42, .base = 40};
	check_ckpt(h, "ckpt_chain");
	h = ckpt(CKPT_CLIENT, 2);
	client = (void *)(h + 1);
	*client = (struct req_client){.chain = 3,
				      .session = 2,
				      .client = {{0xaa}},
				      .generation = 1,
				      .session_seq = 30,
				      .low = 10,
				      .have = {1u << 12}};
	client->seq[12] = 42;
	client->result[12] = -84;
	client->offset_bytes[12] = 512;
	check_ckpt(h, "ckpt_client");
}

static void test_record_blocks_have_the_bytes_they_always_had(void **state)
{
	struct disk_recs *r = record_block();
	struct disk_ckpt_recs want = {.index = 23, .used = RECS_HOME_B | 1ull << 41 | 1};
	const char *why;

	(void)state;
	recs_seal(r, SECRET);
	want.crc = r->crc;
	assert_int_equal(recs_check(r, SECRET, &want, &why), 0);
	golden("recs");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document_has_every_struct_field_by_field),
		cmocka_unit_test(test_superblock_has_the_bytes_it_always_had),
		cmocka_unit_test(test_log_headers_have_the_bytes_they_always_had),
		cmocka_unit_test(test_checkpoint_blocks_have_the_bytes_they_always_had),
		cmocka_unit_test(test_record_blocks_have_the_bytes_they_always_had),
	};

	if (argc < 3) {
		fprintf(stderr, "usage: test_store_format DISK.md FOLDER [--write]\n");
		return 2;
	}
	doc_path = argv[1];
	folder = argv[2];
	writing = argc > 3;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
