/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Every message pulled apart in every way a broken or hostile peer might: each is refused with a
 * reason, and nothing is kept. The same over real connections: tests/cluster/test_wire.py. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/fuzz/samples.h"

static uint8_t stream[2u << 20];

/* Send a sample whose header went through @change. With @mended the receiver finds all checksums
 * right, so that what is refused is refused for what it says. */
static int changed(unsigned type, void (*change)(struct wire_hdr *h), bool mended,
		   const char **ret_why)
{
	struct frame *f = sample_frame(type), *got = NULL;
	int res;

	memset(stream, 0, sizeof(stream));
	sample_flatten(f, stream, sizeof(stream));
	frame_put(f);
	change((struct wire_hdr *)(void *)stream);
	*ret_why = NULL;
	res = sample_receive(stream, sizeof(stream), &got, ret_why);
	if (res == 0) {
		if (mended)
			wire_frame_seal(got);
		*ret_why = NULL;
		res = wire_frame_check(got, sample_role(type), ret_why);
		frame_put(got);
	}
	return res;
}

static void nothing(struct wire_hdr *h)
{
	(void)h;
}

static void test_every_sample_is_accepted_from_its_role_and_refused_from_every_other(void **state)
{
	const char *why;

	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		struct frame *f = sample_frame(type);

		if (!f)
			continue;
		for (unsigned role = 0; role < ROLE_END; role++) {
			bool may = wire_type_info(type)->senders & (1u << role);
			int res = wire_frame_check(f, (enum wire_role)role, &why);

			assert_int_equal(res, may ? 0 : -EPERM);
		}
		frame_put(f);
		assert_int_equal(changed(type, nothing, false, &why), 0);
	}
}

static void test_every_truncation_is_noticed(void **state)
{
	const char *why;

	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		struct frame *f = sample_frame(type), *got;
		size_t len;

		if (!f)
			continue;
		len = sample_flatten(f, stream, sizeof(stream));
		frame_put(f);
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(sample_receive(stream, cut, &got, &why), -EMSGSIZE);
	}
}

static void test_every_flipped_bit_is_noticed(void **state)
{
	const char *why;

	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		struct frame *f = sample_frame(type);
		size_t len;

		if (!f)
			continue;
		len = sizeof(f->hdr) + f->hdr.meta_bytes;
		sample_flatten(f, stream, sizeof(stream));
		frame_put(f);
		for (size_t bit = 0; bit < len * 8; bit++) {
			struct frame *got = NULL;
			int res;

			stream[bit / 8] ^= (uint8_t)(1u << (bit % 8));
			why = NULL;
			res = sample_receive(stream, sizeof(stream), &got, &why);
			if (res == 0) {
				res = wire_frame_check(got, sample_role(type), &why);
				frame_put(got);
			}
			assert_true(res < 0);
			assert_non_null(why);
			stream[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		}
	}
}

static void meta_zero(struct wire_hdr *h)
{
	h->meta_bytes = 0;
}

static void meta_max(struct wire_hdr *h)
{
	h->meta_bytes = WIRE_META_MAX;
}

static void meta_over(struct wire_hdr *h)
{
	h->meta_bytes = WIRE_META_MAX + 1;
}

static void meta_huge(struct wire_hdr *h)
{
	h->meta_bytes = UINT32_MAX;
}

static void data_max(struct wire_hdr *h)
{
	h->data_bytes = OP_BYTES_MAX;
}

static void data_over(struct wire_hdr *h)
{
	h->data_bytes = OP_BYTES_MAX + 1;
}

static void data_huge(struct wire_hdr *h)
{
	h->data_bytes = UINT32_MAX;
}

static void test_every_length_at_zero_and_max_and_beyond_is_refused_with_a_reason(void **state)
{
	static void (*const change[])(struct wire_hdr *) = {
		meta_zero, meta_max, meta_over, meta_huge, data_max, data_over, data_huge};
	const char *why;

	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		if (!wire_type_info(type))
			continue;
		for (unsigned i = 0; i < ARRAY_LEN(change); i++) {
			if (change[i] == meta_zero && wire_type_info(type)->meta_min == 0)
				continue; /* has no meta anyway */
			assert_true(changed(type, change[i], true, &why) < 0);
			assert_non_null(why);
		}
	}
	assert_int_equal(sample_source()->frames->free_n, sample_source()->frames->made_n);
	buf_pool_check(sample_source()->bufs);
}

static void wrong_magic(struct wire_hdr *h)
{
	h->magic ^= 0x20u;
}

static void wrong_version(struct wire_hdr *h)
{
	h->version++;
}

static void wrong_crc(struct wire_hdr *h)
{
	h->meta_crc ^= 1u;
}

static void test_a_wrong_magic_version_or_checksum_has_its_own_error(void **state)
{
	const char *why;

	(void)state;
	for (unsigned type = 0; type < WIRE_TYPE_END; type++) {
		if (!wire_type_info(type))
			continue;
		assert_int_equal(changed(type, wrong_magic, false, &why), -EPROTO);
		assert_int_equal(changed(type, wrong_version, false, &why), -EPROTONOSUPPORT);
		assert_int_equal(changed(type, wrong_crc, false, &why), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_every_sample_is_accepted_from_its_role_and_refused_from_every_other),
		cmocka_unit_test(test_every_truncation_is_noticed),
		cmocka_unit_test(test_every_flipped_bit_is_noticed),
		cmocka_unit_test(
			test_every_length_at_zero_and_max_and_beyond_is_refused_with_a_reason),
		cmocka_unit_test(test_a_wrong_magic_version_or_checksum_has_its_own_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
