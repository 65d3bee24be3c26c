/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* tcmu_mock - tcmu-runner's part for tests of the plugin: one device, its attributes, and a wait
 * for the completion of a command. Its functions are those of libtcmu and of the daemon's binary.
 */

#ifndef TCMU_MOCK_H
#define TCMU_MOCK_H

#include "tcmu-handler/tcmu.h"

struct tcmu_device {
	const char *cfgstring;
	uint64_t num_lbas;
	uint32_t block_bytes, max_xfer_blocks, unmap_align, unmap_gran;
	bool write_cache, solid_state;
	void *priv;
	char log[4096]; /* everything at LOG_WARNING and worse */
};

/* The handler that handler_init() registered. */
extern struct tcmur_handler *mock_handler;

/* A command as the daemon hands it to callouts. */
struct mock_cmd {
	struct tcmur_cmd cmd;
	struct tcmulib_cmd lib;
	uint8_t cdb[16];
	bool done;
	int status;
};

void mock_cmd_init(struct mock_cmd *mc);

/* Waits for tcmur_cmd_complete() and returns its status. */
int mock_cmd_wait(struct mock_cmd *mc);

#endif
