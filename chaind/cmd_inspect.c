/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* `chaind inspect`: what lies on a store's disk, for people and for programs. Reads only; may be
 * used while the daemon runs, and then shows what may be changing. */
#include "chaind/cmd_inspect.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "chaind/cmd.h"
#include "chaind/cmd_out.h"
#include "chaind/cmd_source.h"
#include "lib/arena.h"
#include "lib/size.h"

static const char usage_text[] =
	"usage: chaind inspect STORE [--json] [WHAT]\n"
	"\n"
	"Shows what lies on a store's disk. WHAT is one of\n"
	"\n"
	"  superblock            the four copies\n"
	"  checkpoint            chains, and how many pages and record blocks it names\n"
	"  log                   every batch and record that replay would go over\n"
	"  pages                 every page that the checkpoint owns\n"
	"  extent VOLUME EXTENT  the pages of one extent, and what the log has of it\n"
	"\n"
	"or nothing: the sum of all. Reads only.\n"
	"\n"
	"  --json      print one JSON object\n"
	"  -h, --help\n"
	"\n"
	"Exit status: 0 shown; 2 shown, and part of it is damaged: see chaind fsck; 64 wrong "
	"usage;\n"
	"65 the store cannot be read.\n";

enum view { VIEW_SUM, VIEW_SUPER, VIEW_CKPT, VIEW_LOG, VIEW_PAGES, VIEW_EXTENT };

struct show {
	struct source src;
	struct out out;
	struct inspect in;
	struct inspect_supers supers;
	enum view view;
	uint64_t volume, extent;
	bool json, damaged;
	uint64_t blocks, recs_blocks, pages, chains; /* counted */
};

/* ---- superblock ---- */

static void super_fields(struct out *o, const struct disk_super *sb)
{
	out_u64(o, "version", sb->version);
	out_id(o, "disk", &sb->disk);
	out_id(o, "cluster", &sb->cluster);
	out_id(o, "incarnation", &sb->incarnation);
	out_bool(o, "registered", sb->registered);
	out_id(o, "previous", &sb->previous);
	out_u64(o, "generation", sb->generation);
	out_u64(o, "start", sb->start);
	out_u64(o, "disk_bytes", sb->disk_bytes);
	out_u64(o, "log_offset_bytes", sb->log_offset_bytes);
	out_u64(o, "log_bytes", sb->log_bytes);
	out_u64(o, "ckpt_offset_bytes", sb->ckpt_offset_bytes);
	out_u64(o, "ckpt_bytes", sb->ckpt_bytes);
	out_u64(o, "recs_offset_bytes", sb->recs_offset_bytes);
	out_u64(o, "recs_n", sb->recs_n);
	out_u64(o, "pages_offset_bytes", sb->pages_offset_bytes);
	out_u64(o, "pages_n", sb->pages_n);
	out_u64(o, "chains_max", sb->chains_max);
	out_u64(o, "slice", sb->slice);
	out_u64(o, "slices_n", sb->slices_n);
	out_u64(o, "ckpt_slot", sb->ckpt_slot);
	out_u64(o, "ckpt_generation", sb->ckpt_generation);
	out_u64(o, "ckpt_blocks", sb->ckpt_blocks);
	out_u64(o, "replay_block", sb->replay_block);
	out_u64(o, "prev_lsn", sb->prev_lsn);
	out_u64(o, "prev_start", sb->prev_start);
	out_u64(o, "scrub_page", sb->scrub_page);
	out_u64(o, "scrub_passes", sb->scrub_passes);
}

static const char *copy_state(struct show *s, const struct inspect_super_copy *c)
{
	if (c->res)
		return c->why;
	if (s->supers.chosen < 0)
		return "sound, but no second one is like it";
	return memcmp(&c->sb, &s->in.super, sizeof(c->sb)) == 0 ? "in force" : "another generation";
}

static void show_super(struct show *s)
{
	struct out *o = &s->out;

	out_list(o, "copies");
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct inspect_super_copy *c = &s->supers.copy[i];

		out_row(o);
		out_u64(o, "copy", i + 1);
		if (c->res == 0)
			out_u64(o, "generation", c->sb.generation);
		out_text(o, "state", copy_state(s, c));
		out_close(o);
	}
	out_close(o);
	if (s->supers.chosen < 0)
		return;
	out_open(o, "superblock");
	super_fields(o, &s->in.super);
	out_close(o);
}

/* ---- checkpoint ---- */

static void count_recs(struct show *s, const struct disk_ckpt_hdr *h)
{
	const struct disk_ckpt_recs *recs = (const void *)(h + 1);

	s->recs_blocks += h->n;
	for (uint32_t i = 0; i < h->n; i++)
		s->pages += (uint64_t)__builtin_popcountll(recs[i].used & ~RECS_HOME_B);
}

static bool ckpt_damaged(void *arg, const struct inspect_ckpt_block *b)
{
	struct show *s = arg;
	struct out *o = &s->out;

	s->blocks++;
	if (!b->why) {
		s->chains += b->hdr->kind == CKPT_CHAIN;
		if (b->hdr->kind == CKPT_RECS)
			count_recs(s, b->hdr);
		return true;
	}
	s->damaged = true;
	out_row(o);
	out_u64(o, "block", b->index);
	out_text(o, "why", b->why);
	out_close(o);
	return true;
}

static bool ckpt_chains(void *arg, const struct inspect_ckpt_block *b)
{
	struct show *s = arg;
	struct out *o = &s->out;
	const struct disk_ckpt_chain *chain;

	if (b->why || b->hdr->kind != CKPT_CHAIN)
		return true;
	chain = (const void *)(b->hdr + 1);
	out_row(o);
	out_u64(o, "chain", chain->chain);
	out_u64(o, "epoch", chain->epoch);
	out_u64(o, "history", chain->history);
	out_u64(o, "known", chain->known);
	out_u64(o, "base", chain->base);
	out_u64(o, "clients", chain->clients_n);
	out_close(o);
	return true;
}

static int show_ckpt(struct show *s)
{
	struct out *o = &s->out;
	int res;

	out_open(o, "checkpoint");
	out_u64(o, "generation", s->in.super.ckpt_generation);
	out_u64(o, "slot", s->in.super.ckpt_slot);
	s->blocks = s->recs_blocks = s->pages = s->chains = 0;
	out_list(o, "damaged");
	res = inspect_ckpt(&s->in, ckpt_damaged, s);
	out_close(o);
	out_u64(o, "blocks", s->blocks);
	out_u64(o, "record_blocks", s->recs_blocks);
	out_u64(o, "pages", s->pages);
	out_u64(o, "chains_n", s->chains);
	if (res == 0 && s->view == VIEW_CKPT) {
		out_list(o, "chains");
		res = inspect_ckpt(&s->in, ckpt_chains, s);
		out_close(o);
	}
	out_close(o);
	return res;
}

/* ---- pages ---- */

static bool wanted(const struct show *s, uint64_t volume, uint64_t extent)
{
	return s->view != VIEW_EXTENT || (volume == s->volume && extent == s->extent);
}

static void page_row(struct out *o, const struct inspect_recs_block *b, uint32_t i)
{
	const struct disk_page_rec *rec = &b->recs->rec[i];

	out_row(o);
	out_u64(o, "page", b->want.index * (uint64_t)RECS_PAGES + i);
	out_u64(o, "volume", rec->volume);
	out_u64(o, "extent", rec->extent);
	out_u64(o, "slot", rec->slot);
	out_u64(o, "chain", rec->chain);
	out_u64(o, "seq", rec->seq);
	out_hex(o, "present", rec->present, 4);
	out_text(o, "home", b->want.used & RECS_HOME_B ? "B" : "A");
	out_close(o);
}

static bool recs_rows(void *arg, const struct inspect_recs_block *b)
{
	struct show *s = arg;
	struct out *o = &s->out;

	s->damaged |= b->why != NULL;
	if (b->why) {
		out_row(o);
		out_u64(o, "record_block", b->want.index);
		out_text(o, "damaged", b->why);
		out_close(o);
		return true;
	}
	for (uint32_t i = 0; i < RECS_PAGES; i++)
		if (b->want.used >> i & 1 &&
		    wanted(s, b->recs->rec[i].volume, b->recs->rec[i].extent))
			page_row(o, b, i);
	return true;
}

static int show_pages(struct show *s)
{
	int res;

	out_list(&s->out, "pages");
	res = inspect_recs(&s->in, "page records", recs_rows, s);
	out_close(&s->out);
	return res;
}

/* ---- log ---- */

static void op_fields(struct out *o, const struct log_item *it)
{
	const struct op_rec *op = it->op;

	out_text(o, "kind", op_kind_name(op->kind));
	out_u64(o, "chain", op->chain);
	out_u64(o, "seq", op->seq);
	out_u64(o, "epoch", op->epoch);
	out_u64(o, "known", op->known);
	if (op_changes_blocks(op)) {
		out_u64(o, "volume", op->volume);
		out_u64(o, "extent", op->extent);
		out_u64(o, "block", op->block);
		out_u64(o, "blocks", op->blocks);
	}
	if (it->rec->flags & LOG_F_ZERO)
		out_bool(o, "zero", true);
	if (it->rec->flags & LOG_F_AGAIN)
		out_bool(o, "again", true);
	if (it->pages)
		out_numbers(o, "pages", it->pages, op_pages_of(op).n);
}

static void item_row(struct out *o, const struct log_item *it)
{
	out_row(o);
	if (it->op) {
		op_fields(o, it);
	} else if (it->epoch) {
		out_text(o, "kind", "EPOCH");
		out_u64(o, "chain", it->epoch->chain);
		out_u64(o, "epoch", it->epoch->epoch);
		out_u64(o, "history", it->epoch->history);
	} else if (it->commit) {
		out_text(o, "kind", "COMMIT");
		out_u64(o, "chain", it->commit->chain);
		out_u64(o, "seq", it->commit->seq);
	} else {
		out_text(o, "kind", "TRUNCATE");
		out_u64(o, "chain", it->truncate->chain);
		out_u64(o, "to", it->truncate->to);
		out_u64(o, "epoch", it->truncate->epoch);
		out_id(o, "incarnation", &it->truncate->incarnation);
	}
	out_close(o);
}

static void batch_fields(struct out *o, const struct inspect_batch *b)
{
	const struct disk_log_hdr *h = b->hdr;

	out_u64(o, "lsn", h->lsn);
	out_u64(o, "start", h->start);
	out_u64(o, "block", b->block);
	out_u64(o, "blocks", h->skip_blocks ? h->skip_blocks : h->hdr_blocks + h->data_blocks);
	out_u64(o, "stable", h->stable);
	if (h->skip_blocks)
		out_bool(o, "filler", true);
}

static bool batch_row(void *arg, const struct inspect_batch *b)
{
	struct show *s = arg;
	struct out *o = &s->out;
	struct log_cursor c;
	struct log_item it;
	const char *why;
	int more;

	if (s->view == VIEW_LOG) {
		out_row(o);
		batch_fields(o, b);
		out_list(o, "records");
	}
	log_cursor_init(&c, b->hdr);
	while ((more = log_cursor_next(&c, &it, &why)) == 1)
		if (s->view == VIEW_LOG ||
		    (it.op && op_changes_blocks(it.op) && wanted(s, it.op->volume, it.op->extent)))
			item_row(o, &it);
	s->damaged |= more < 0;
	if (s->view == VIEW_LOG) {
		out_close(o);
		if (more < 0)
			out_text(o, "damaged", why);
		out_close(o);
	}
	return true;
}

static void log_end(struct show *s, const struct inspect_log *l)
{
	static const char *const names[] = {"clean", "torn", "rot", "unreadable"};
	struct out *o = &s->out;

	out_open(o, "log");
	out_u64(o, "batches", l->batches);
	out_u64(o, "used_blocks", l->used_blocks);
	out_u64(o, "lsn", l->lsn);
	out_u64(o, "start", l->start);
	out_u64(o, "stable", l->stable);
	out_u64(o, "end_block", l->end_block);
	out_text(o, "end", names[l->end]);
	if (l->why)
		out_text(o, "why", l->why);
	out_close(o);
	s->damaged |= l->end == INSPECT_END_ROT || l->end == INSPECT_END_UNREADABLE;
}

static int show_log(struct show *s)
{
	struct inspect_log l;
	bool rows = s->view == VIEW_LOG || s->view == VIEW_EXTENT;
	int res;

	if (rows)
		out_list(&s->out, s->view == VIEW_LOG ? "batches" : "ops");
	res = inspect_log(&s->in, false, rows ? batch_row : NULL, s, &l);
	if (rows)
		out_close(&s->out);
	if (res == 0 && s->view != VIEW_EXTENT)
		log_end(s, &l);
	return res;
}

/* ---- all of it ---- */

static int show_views(struct show *s)
{
	int res = 0;

	if (s->view == VIEW_SUM || s->view == VIEW_SUPER)
		show_super(s);
	if (s->supers.chosen < 0 || s->view == VIEW_SUPER)
		return 0;
	if (s->view == VIEW_SUM || s->view == VIEW_CKPT)
		res = show_ckpt(s);
	if (res == 0 && (s->view == VIEW_PAGES || s->view == VIEW_EXTENT))
		res = show_pages(s);
	if (res == 0 && (s->view == VIEW_SUM || s->view == VIEW_LOG || s->view == VIEW_EXTENT))
		res = show_log(s);
	return res;
}

/* The status so far, and whether to go on is told by EXIT_CLEAN and EXIT_DAMAGED. */
static int show_slice(struct show *s, struct arena *a)
{
	int res;

	inspect_init(&s->in, &s->src.disk, a);
	res = inspect_supers(&s->in, &s->supers);
	if (res) {
		source_say(&s->src, s->supers.why);
		out_text(&s->out, "error", s->supers.why);
	}
	if (res && res != -EBADMSG)
		return EXIT_UNREADABLE;
	s->damaged |= res != 0;
	res = show_views(s);
	if (res && !source_stopped())
		source_say(&s->src, strerror(-res));
	return res ? EXIT_UNREADABLE : s->damaged ? EXIT_DAMAGED : EXIT_CLEAN;
}

static int show_slices(struct show *s, void *mem, size_t bytes)
{
	const struct inspect_slices slices = source_slices(&s->src, mem);
	int status = EXIT_CLEAN;
	struct arena a;

	out_begin(&s->out, stdout, s->json);
	out_text(&s->out, "store", s->src.path);
	out_u64(&s->out, "size_bytes", s->src.size_bytes);
	out_list(&s->out, "slices");
	for (uint32_t i = 0; i < slices.n && status != EXIT_UNREADABLE; i++) {
		int one;

		source_slice(&s->src, i * slices.each_bytes, slices.each_bytes);
		arena_init(&a, mem, bytes);
		out_row(&s->out);
		out_u64(&s->out, "slice", i);
		one = show_slice(s, &a);
		out_close(&s->out);
		status = MAX(status, one);
	}
	out_close(&s->out);
	out_end(&s->out);
	return status;
}

static int run(struct show *s, const char *path)
{
	char err[IO_ERR_BYTES];
	int status = EXIT_UNREADABLE;
	size_t bytes = inspect_bytes();
	void *mem;

	if (source_open(&s->src, path, err) < 0) {
		cmd_fail(path, err);
		return status;
	}
	if (s->src.busy)
		source_say(&s->src, "a daemon has it open: what is shown may be changing");
	mem = reactor_memory(bytes);
	if (mem)
		status = show_slices(s, mem, bytes);
	else
		source_say(&s->src, "no memory");
	reactor_memory_free(mem, bytes);
	source_quiet(&s->src);
	source_close(&s->src);
	return status;
}

static bool take_view(struct show *s, int argc, char **argv)
{
	static const char *const words[] = {"",    "superblock", "checkpoint",
					    "log", "pages",      "extent"};

	if (argc == 0)
		return true;
	for (unsigned i = VIEW_SUPER; i <= VIEW_EXTENT; i++)
		if (strcmp(argv[0], words[i]) == 0)
			s->view = (enum view)i;
	if (s->view == VIEW_EXTENT)
		return argc == 3 && opt_u64(argv[1], UINT64_MAX, &s->volume) == 0 &&
		       opt_u64(argv[2], EXTENTS_MAX - 1, &s->extent) == 0;
	return s->view != VIEW_SUM && argc == 1;
}

static int usage_error(const char *what)
{
	fprintf(stderr, "chaind: inspect: %s\n\n%s", what, usage_text);
	return EXIT_USAGE;
}

int cmd_inspect(int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	static struct show s;
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			return EXIT_CLEAN;
		}
		if (c != 'j')
			return usage_error("wrong option");
		s.json = true;
	}
	if (argc - optind < 1)
		return usage_error("a store is needed");
	if (!take_view(&s, argc - optind - 1, argv + optind + 1))
		return usage_error("that is nothing it can show");
	return run(&s, argv[optind]);
}
