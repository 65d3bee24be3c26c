/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "tcmu-handler/status.h"
#include "tcmu-handler/tcmu.h"

/* Every errno that chainblk.h lists. */
static const int known[] = {
	-EINVAL,    -ENOSPC, -ENXIO,  -EBADMSG, -EAGAIN,   -EROFS,
	-ETIMEDOUT, -EIO,    -EILSEQ, -ENOENT,  -ENOTCONN, -ESHUTDOWN,
};

static void test_status_success_is_success(void **state)
{
	(void)state;
	assert_int_equal(status_from_errno(0, true).tcmu, TCMU_STS_OK);
	assert_int_equal(status_from_errno(0, false).tcmu, TCMU_STS_OK);
}

static void test_status_no_error_looks_like_success_or_unhandled(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		assert_true(status_from_errno(known[i], true).tcmu > TCMU_STS_OK);
		assert_true(status_from_errno(known[i], false).tcmu > TCMU_STS_OK);
	}
}

static void test_status_what_may_succeed_later_is_busy(void **state)
{
	(void)state;
	assert_int_equal(status_from_errno(-EAGAIN, false).tcmu, TCMU_STS_BUSY);
	assert_int_equal(status_from_errno(-ETIMEDOUT, true).tcmu, TCMU_STS_BUSY);
	assert_int_equal(status_from_errno(-ENOTCONN, true).tcmu, TCMU_STS_BUSY);
}

static void test_status_bad_data_is_a_medium_error(void **state)
{
	(void)state;
	assert_int_equal(status_from_errno(-EBADMSG, true).tcmu, TCMU_STS_RD_ERR);
	assert_int_equal(status_from_errno(-EBADMSG, false).tcmu, TCMU_STS_WR_ERR);
}

static void test_status_no_space_says_space_allocation_failed(void **state)
{
	struct status st = status_from_errno(-ENOSPC, false);

	(void)state;
	assert_int_equal(st.tcmu, TCMU_STS_PASSTHROUGH_ERR);
	assert_int_equal(st.key, 0x07);
	assert_int_equal(st.ascq, 0x2707);
}

static void test_status_an_unknown_errno_is_a_hardware_error(void **state)
{
	(void)state;
	assert_int_equal(status_from_errno(-ENOTTY, true).tcmu, TCMU_STS_HW_ERR);
	assert_int_equal(status_from_errno(1, false).tcmu, TCMU_STS_HW_ERR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status_success_is_success),
		cmocka_unit_test(test_status_no_error_looks_like_success_or_unhandled),
		cmocka_unit_test(test_status_what_may_succeed_later_is_busy),
		cmocka_unit_test(test_status_bad_data_is_a_medium_error),
		cmocka_unit_test(test_status_no_space_says_space_allocation_failed),
		cmocka_unit_test(test_status_an_unknown_errno_is_a_hardware_error),
	};

	return cmocka_run_group_tests_name("handler_status", tests, NULL, NULL);
}
