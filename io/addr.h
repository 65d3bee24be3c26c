/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* addr - inside of tcp: addresses as people write them, and which of them plaintext may use (T4).
 * No state, any thread. */

#ifndef IO_ADDR_H
#define IO_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "io/reactor.h"

#define PEER_BYTES (ADDR_BYTES + 8u)

struct addr {
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un un;
	};
};

/* "host:port" or "unix:/path". -EINVAL or -EADDRNOTAVAIL (host not found) with @err. */
MUST_CHECK int addr_parse(const char *text, struct addr *ret_a, char err[IO_ERR_BYTES]);
void addr_text(const struct addr *a, char ret_text[PEER_BYTES]);
/* May plaintext use it? @listening: any address may be listened on in a laboratory, because the
 * peers are checked one by one. */
bool addr_plaintext_ok(const struct addr *a, const char *insecure_lab, bool listening);
/* The one line that says why not. */
void addr_plaintext_error(const struct addr *a, char err[IO_ERR_BYTES]);

#endif
