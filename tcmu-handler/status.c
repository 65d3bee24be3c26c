/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tcmu-handler/status.h"

#include "tcmu-handler/tcmu.h"

static const struct {
	int err;
	struct status read, write;
} table[] = {
	/* again, please */
	{-EAGAIN, {TCMU_STS_BUSY}, {TCMU_STS_BUSY}},
	{-ETIMEDOUT, {TCMU_STS_BUSY}, {TCMU_STS_BUSY}},
	{-ENOTCONN, {TCMU_STS_BUSY}, {TCMU_STS_BUSY}},
	{-ESHUTDOWN, {TCMU_STS_BUSY}, {TCMU_STS_BUSY}},
	{-ENOMEM, {TCMU_STS_NO_RESOURCE}, {TCMU_STS_NO_RESOURCE}},
	/* the data are gone, or never came to be */
	{-EBADMSG, {TCMU_STS_RD_ERR}, {TCMU_STS_WR_ERR}},
	{-EIO, {TCMU_STS_RD_ERR}, {TCMU_STS_WR_ERR}},
	/* DATA PROTECT, space allocation failed: what thin provisioning says, and Linux stops at */
	{-ENOSPC, {TCMU_STS_HW_ERR}, {TCMU_STS_PASSTHROUGH_ERR, 0x07, 0x2707}},
	/* this gateway may not write now: standby, another path may */
	{-EROFS, {TCMU_STS_FENCED}, {TCMU_STS_FENCED}},
	/* the command is wrong */
	{-EINVAL, {TCMU_STS_INVALID_CDB}, {TCMU_STS_INVALID_CDB}},
	{-ENXIO, {TCMU_STS_RANGE}, {TCMU_STS_RANGE}},
	{-EILSEQ, {TCMU_STS_MISCOMPARE}, {TCMU_STS_MISCOMPARE}},
	/* NOT READY, medium not present: the volume was deleted */
	{-ENOENT,
	 {TCMU_STS_PASSTHROUGH_ERR, 0x02, 0x3a00},
	 {TCMU_STS_PASSTHROUGH_ERR, 0x02, 0x3a00}},
};

struct status status_from_errno(int err, bool is_read)
{
	if (!err)
		return (struct status){TCMU_STS_OK};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].err == err)
			return is_read ? table[i].read : table[i].write;
	return (struct status){TCMU_STS_HW_ERR};
}
