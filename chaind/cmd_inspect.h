/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd_inspect - the two commands that look at a store without its daemon.
 *
 *	main.c -> cmd_inspect.c, cmd_fsck.c -> cmd_source.c (reading), cmd_out.c (JSON or lines)
 *	                                    -> store/inspect.h, store/fsck.h
 *
 * They read their own words, since their exit statuses mean other things than those of the other
 * commands: 0 and 2 say how the store is, 64 wrong usage, 65 that it cannot be read. @argv[0] is
 * the command. Thread: the one that called main(). */

#ifndef CHAIND_CMD_INSPECT_H
#define CHAIND_CMD_INSPECT_H

int cmd_inspect(int argc, char **argv);
int cmd_fsck(int argc, char **argv);

#endif
