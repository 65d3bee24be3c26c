/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* config - the configuration string of a backstore, taken apart.
 *
 *	chain/VOLUME@HOST[:PORT][,HOST[:PORT]...]
 *
 * "chain/" is put before what the administrator typed by targetcli; what follows is the volume and
 * the addresses of the configuration service, in the order in which they are tried.
 *
 * Two things on the string's way eat characters: targetcli's library (rtslib) refuses a ':' in it,
 * and the kernel's parser ends the value at a ','. So '/' means the same as ':' before a port, and
 * ';' the same as ',' between addresses:
 *
 *	VOLUME@10.0.0.1/7400;10.0.0.2/7400
 *
 *   C1  What parses is complete: a volume name and at least one address; a port left out is 7400.
 *       An address that begins with '/' is the path of a unix socket.
 *   C2  At most CONFIG_BYTES_MAX bytes after "chain/": the kernel cuts the string at 256 without a
 *       word, and a cut address could be another valid one.
 *   C3  What comes out is in libchainblk's form, with ':' and ','.
 *
 * Pure: no system calls, no memory of its own.
 */

#ifndef TCMU_HANDLER_CONFIG_H
#define TCMU_HANDLER_CONFIG_H

#define CONFIG_PREFIX "chain/"
#define CONFIG_BYTES_MAX 200
#define CONFIG_VOLUME_BYTES_MAX 63
#define CONFIG_REASON_BYTES 200
#define CONFIG_PORT_DEFAULT "7400"
#define CONFIG_ADDRESSES_BYTES (CONFIG_BYTES_MAX * 6 + 1) /* a one-letter host grows by ":7400" */

struct config {
	char volume[CONFIG_VOLUME_BYTES_MAX + 1];
	char addresses[CONFIG_ADDRESSES_BYTES]; /* "host:port[,host:port...]", for libchainblk */
};

/* Returns 0, or -EINVAL with a line for the administrator in @reason; @ret_config is then
 * untouched. */
int config_parse(const char *string, struct config *ret_config, char reason[CONFIG_REASON_BYTES]);

#endif
