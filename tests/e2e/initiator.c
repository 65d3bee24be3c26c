/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* initiator - log in to an iSCSI LUN from user space, write stamped data, read and compare them.
 *
 *	initiator URL capacity               prints bytes, sector and physical block size
 *	initiator URL write OFFSET LENGTH SEED
 *	initiator URL verify OFFSET LENGTH SEED
 *
 * Byte counts, multiples of the sector size. Every 8 bytes hold a mix of the seed and their place,
 * so that data from another place or another run never look right. Exit 0 only when all was as
 * said.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define NAME "iqn.2025-01.example.chainblk:host"
#define CHUNK_BYTES (256u * 1024u)
#define UNIT_ATTENTIONS_MAX 8

struct lun {
	struct iscsi_context *ctx;
	int number;
	uint64_t bytes;
	uint32_t sector_bytes, physical_bytes;
};

static uint64_t stamp(uint64_t seed, uint64_t place)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u ^ place * 0xbf58476d1ce4e5b9u;

	x ^= x >> 31;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 29;
}

static int open_lun(struct lun *lun, const char *text)
{
	struct iscsi_url *url;
	struct scsi_task *task;
	struct scsi_readcapacity16 *cap;

	lun->ctx = iscsi_create_context(NAME);
	url = lun->ctx ? iscsi_parse_full_url(lun->ctx, text) : NULL;
	if (!url) {
		fprintf(stderr, "initiator: %s: not an iSCSI address with target and LUN\n", text);
		return -EINVAL;
	}
	lun->number = url->lun;
	iscsi_set_session_type(lun->ctx, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(lun->ctx, ISCSI_HEADER_DIGEST_NONE_CRC32C);
	iscsi_set_targetname(lun->ctx, url->target);
	iscsi_set_timeout(lun->ctx, 60);
	if (iscsi_full_connect_sync(lun->ctx, url->portal, url->lun)) {
		fprintf(stderr, "initiator: %s: %s\n", text, iscsi_get_error(lun->ctx));
		iscsi_destroy_url(url);
		return -EIO;
	}
	iscsi_destroy_url(url);
	for (int i = 0;; i++) {
		task = iscsi_readcapacity16_sync(lun->ctx, lun->number);
		if (task && task->status == SCSI_STATUS_GOOD)
			break;
		if (!task || task->sense.key != SCSI_SENSE_UNIT_ATTENTION ||
		    i == UNIT_ATTENTIONS_MAX) {
			fprintf(stderr, "initiator: READ CAPACITY(16): %s\n",
				iscsi_get_error(lun->ctx));
			return -EIO;
		}
		scsi_free_scsi_task(task);
	}
	cap = scsi_datain_unmarshall(task);
	if (!cap || !cap->block_length) {
		fprintf(stderr, "initiator: READ CAPACITY(16): unreadable answer\n");
		return -EIO;
	}
	lun->sector_bytes = cap->block_length;
	lun->bytes = (cap->returned_lba + 1) * cap->block_length;
	lun->physical_bytes = cap->block_length << cap->lbppbe;
	scsi_free_scsi_task(task);
	return 0;
}

/* One chunk, either way. @data is the expected or written data. */
static int transfer(struct lun *lun, bool write, uint64_t offset, uint8_t *data, uint32_t len)
{
	uint64_t lba = offset / lun->sector_bytes;
	int sector = (int)lun->sector_bytes, ret = 0;
	struct scsi_task *task;

	task = write ? iscsi_write16_sync(lun->ctx, lun->number, lba, data, len, sector, 0, 0, 0, 0,
					  0)
		     : iscsi_read16_sync(lun->ctx, lun->number, lba, len, sector, 0, 0, 0, 0, 0);
	if (!task || task->status != SCSI_STATUS_GOOD) {
		fprintf(stderr, "initiator: %s at %" PRIu64 ": %s\n", write ? "write" : "read",
			offset, iscsi_get_error(lun->ctx));
		ret = -EIO;
	} else if (!write &&
		   ((uint32_t)task->datain.size != len || memcmp(task->datain.data, data, len))) {
		fprintf(stderr, "initiator: data differ in the %u bytes at %" PRIu64 "\n", len,
			offset);
		ret = -EBADMSG;
	}
	if (task)
		scsi_free_scsi_task(task);
	return ret;
}

static int run(struct lun *lun, bool write, uint64_t offset, uint64_t len, uint64_t seed)
{
	static uint64_t chunk[CHUNK_BYTES / 8];

	if (offset % lun->sector_bytes || len % lun->sector_bytes || offset + len > lun->bytes) {
		fprintf(stderr, "initiator: not whole sectors, or past the end of the LUN\n");
		return -EINVAL;
	}
	while (len) {
		uint32_t n = len < CHUNK_BYTES ? (uint32_t)len : CHUNK_BYTES;
		int ret;

		for (uint32_t i = 0; i < n / 8; i++)
			chunk[i] = stamp(seed, offset + i * 8);
		ret = transfer(lun, write, offset, (uint8_t *)chunk, n);
		if (ret < 0)
			return ret;
		offset += n;
		len -= n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool write = argc == 6 && !strcmp(argv[2], "write");
	bool verify = argc == 6 && !strcmp(argv[2], "verify");
	bool capacity = argc == 3 && !strcmp(argv[2], "capacity");
	struct lun lun = {0};
	int ret;

	if (!write && !verify && !capacity) {
		fprintf(stderr,
			"usage: initiator URL capacity | URL write|verify OFFSET LENGTH SEED\n");
		return 2;
	}
	ret = open_lun(&lun, argv[1]);
	if (!ret && capacity)
		printf("%" PRIu64 " %u %u\n", lun.bytes, lun.sector_bytes, lun.physical_bytes);
	else if (!ret)
		ret = run(&lun, write, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
			  strtoull(argv[5], NULL, 10));
	if (lun.ctx) {
		iscsi_logout_sync(lun.ctx);
		iscsi_destroy_context(lun.ctx);
	}
	return ret ? 1 : 0;
}
