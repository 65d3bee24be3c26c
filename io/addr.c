/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "io/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/tcp.h"

#define LOOPBACK_NET 127u

static int parse_unix(const char *path, struct addr *ret_a, char err[IO_ERR_BYTES])
{
	size_t len = strlen(path);

	if (path[0] != '/' || len >= ADDR_BYTES || len >= sizeof(ret_a->un.sun_path)) {
		snprintf(err, IO_ERR_BYTES,
			 "address unix:%.80s: the path must be absolute and at most "
			 "%u characters",
			 path, ADDR_BYTES - 6);
		return -EINVAL;
	}
	memset(ret_a, 0, sizeof(*ret_a));
	ret_a->un.sun_family = AF_UNIX;
	memcpy(ret_a->un.sun_path, path, len + 1);
	ret_a->len = (socklen_t)sizeof(ret_a->un);
	return 0;
}

static int look_up(const char *host, struct in_addr *ret_in, char err[IO_ERR_BYTES])
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
	struct sockaddr_in in;
	int res;

	if (inet_pton(AF_INET, host, ret_in) == 1)
		return 0;
	res = getaddrinfo(host, NULL, &hints, &found);
	if (res != 0 || !found) {
		snprintf(err, IO_ERR_BYTES,
			 "address %.80s: no such host (%s): write an IPv4 address", host,
			 res ? gai_strerror(res) : "no address");
		return -EADDRNOTAVAIL;
	}
	memcpy(&in, found->ai_addr, sizeof(in));
	*ret_in = in.sin_addr;
	freeaddrinfo(found);
	return 0;
}

int addr_parse(const char *text, struct addr *ret_a, char err[IO_ERR_BYTES])
{
	const char *colon = strrchr(text, ':');
	char host[ADDR_BYTES], *end;
	unsigned long port;
	struct in_addr in;
	int res;

	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret_a, err);
	if (!colon || colon == text || (size_t)(colon - text) >= sizeof(host) || !colon[1])
		goto bad;
	port = strtoul(colon + 1, &end, 10);
	if (*end || port > 65535 || colon[1] == '-' || colon[1] == '+')
		goto bad;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	res = look_up(host, &in, err);
	if (res < 0)
		return res;
	memset(ret_a, 0, sizeof(*ret_a));
	ret_a->in.sin_family = AF_INET;
	ret_a->in.sin_port = htons((uint16_t)port);
	ret_a->in.sin_addr = in;
	ret_a->len = (socklen_t)sizeof(ret_a->in);
	return 0;
bad:
	snprintf(err, IO_ERR_BYTES, "address '%.80s': write host:port or unix:/path", text);
	return -EINVAL;
}

void addr_text(const struct addr *a, char ret_text[PEER_BYTES])
{
	char host[INET_ADDRSTRLEN];

	if (a->any.sa_family == AF_UNIX) {
		snprintf(ret_text, PEER_BYTES, "unix:%.63s", a->un.sun_path);
		return;
	}
	if (!inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host)))
		snprintf(host, sizeof(host), "?");
	snprintf(ret_text, PEER_BYTES, "%s:%u", host, (unsigned)ntohs(a->in.sin_port));
}

bool addr_plaintext_ok(const struct addr *a, const char *insecure_lab, bool listening)
{
	char text[PEER_BYTES];
	bool lab = insecure_lab && insecure_lab[0];

	if (a->any.sa_family == AF_UNIX)
		return true;
	if (a->any.sa_family != AF_INET)
		return false;
	if (ntohl(a->in.sin_addr.s_addr) >> 24 == LOOPBACK_NET)
		return true;
	if (lab && listening && a->in.sin_addr.s_addr == htonl(INADDR_ANY))
		return true;
	addr_text(a, text);
	return lab && strncmp(text, insecure_lab, strlen(insecure_lab)) == 0;
}

void addr_plaintext_error(const struct addr *a, char err[IO_ERR_BYTES])
{
	char text[PEER_BYTES];

	addr_text(a, text);
	snprintf(err, IO_ERR_BYTES,
		 "address %s: refused, the protocol is not encrypted yet and this is "
		 "neither loopback nor a unix socket: in an isolated laboratory open it with "
		 "--insecure-lab=PREFIX",
		 text);
}

int tcp_parse_addrs(const char *list, char ret_addrs[SERVER_ADDRS_MAX][ADDR_BYTES],
		    char err[IO_ERR_BYTES])
{
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES] = {{0}};
	unsigned n = 0;

	for (const char *at = list;; n++) {
		size_t len = strcspn(at, ",");
		struct addr a;
		int res;

		if (n == SERVER_ADDRS_MAX || len >= ADDR_BYTES) {
			snprintf(err, IO_ERR_BYTES,
				 "addresses '%.80s': at most %u, of at most %u "
				 "characters each",
				 list, SERVER_ADDRS_MAX, ADDR_BYTES - 1);
			return -EINVAL;
		}
		memcpy(addrs[n], at, len);
		addrs[n][len] = '\0';
		res = addr_parse(addrs[n], &a, err);
		if (res < 0)
			return res;
		if (!at[len])
			break;
		at += len + 1;
	}
	memcpy(ret_addrs, addrs, sizeof(addrs));
	return 0;
}
