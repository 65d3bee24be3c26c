/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* tcp - framed connections over TCP and unix stream sockets: env's connect, attach, send, close.
 *
 *	received bytes -> wire_hdr_check -> frame (meta), buf (data) -> wire_frame_check -> owner
 *	env->send -> queue -> one sendmsg of many frames per turn
 *
 *   T1  nothing is allocated for a frame before its header was checked; payload that finds no
 *       buffer is read and thrown away (FRAME_DROPPED_DATA)
 *   T2  a frame reaches the owner only if the peer's role may send it; the role is what the peer
 *       said in CONNECT or CONNECTED and never changes
 *   T3  while the frame pool is nearly empty nothing is received: TCP holds the peers back
 *   T4  plaintext only to and from loopback and unix sockets, or the laboratory's address prefix
 *
 * Receiving is multishot into a ring of buffers shared by all connections where the kernel can,
 * else (or with CHAINBLK_IO_PLAIN=1 in the environment) one receive at a time into the connection's
 * own buffer. Payloads of 64 KiB and more are received straight into their buf.
 *
 * An address is "host:port" (IPv4; a host name is looked up once, blocking) or "unix:/path".
 * Thread: the reactor's. */

#ifndef IO_TCP_H
#define IO_TCP_H

#include "io/reactor.h"
#include "lib/frame.h"

struct tcp_config {
	struct frame_source *src; /* where received frames come from */
	uint32_t conns_max;       /* 0: NODE_CONNS_MAX */
	const char *insecure_lab; /* NULL, or an address prefix such as "10.0.2." (T4); kept by
				     reference */
};

/* Give @r a network. Once per reactor, before the core connects or listens. */
MUST_CHECK int tcp_open(struct reactor *r, const struct tcp_config *cfg, char err[IO_ERR_BYTES]);

/* What tcp_open() takes for so many connections (0: the default). */
size_t tcp_bytes(uint32_t conns_max);

/* Listen on @addr; port 0 picks a free one. accepted() must env->attach() or env->close() @c before
 * it returns. A stale unix socket nobody listens on is replaced. Several calls: several listeners.
 */
MUST_CHECK int tcp_listen(struct reactor *r, const char *addr,
			  void (*accepted)(void *arg, struct env_conn *c), void *arg,
			  char err[IO_ERR_BYTES]);
/* The port really bound by the last tcp_listen() (0 for a unix socket). */
unsigned tcp_port(const struct reactor *r);
/* Accept nothing more; connections stay. */
void tcp_stop_listening(struct reactor *r);
/* Close everything. Called by reactor_close(). */
void tcp_close(struct reactor *r);

/* "10.0.2.15:40112" or "unix", for logs; valid while the connection is. */
const char *tcp_peer(const struct env_conn *c);

/* Split "a,b,c" into @ret_addrs; unused are empty. 0, or -EINVAL (bad address, too many) with @err.
 */
MUST_CHECK int tcp_parse_addrs(const char *list, char ret_addrs[SERVER_ADDRS_MAX][ADDR_BYTES],
			       char err[IO_ERR_BYTES]);

#endif
