/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* status - what an initiator is told when the library says a negative errno: the one table.
 *
 *   S1  Anything that may succeed when tried again is BUSY: Linux retries it, and neither a timeout
 *       nor a full queue ever becomes an I/O error in an application before it must.
 *   S2  Bad data is a medium error, never a success and never a retry.
 *   S3  An errno that is not in the table is a hardware error, so that nothing is hidden.
 */

#ifndef TCMU_HANDLER_STATUS_H
#define TCMU_HANDLER_STATUS_H

#include <stdbool.h>
#include <stdint.h>

struct status {
	int tcmu;      /* TCMU_STS_*: what the daemon is handed */
	uint8_t key;   /* with TCMU_STS_PASSTHROUGH_ERR: sense key and */
	uint16_t ascq; /* additional sense code and qualifier, which the daemon has no name for */
};

/* @err is 0 or a negative errno of chainblk.h, @is_read what the command did. */
struct status status_from_errno(int err, bool is_read);

#endif
