/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "chaind/cmd_share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/size.h"

#define PORT_MAX 65535u
#define CPU_MAX 1023u

struct slices share_disk(uint64_t disk_bytes, uint32_t n)
{
	struct slices s = {.n = n, .each_bytes = disk_bytes};

	CHECK(n >= 1);
	CHECK(n <= REACTORS_MAX);
	if (n > 1)
		s.each_bytes = disk_bytes / n / PAGE_BYTES * PAGE_BYTES;
	return s;
}

int share_name(const char *name, uint32_t i, uint32_t n, char ret[SERVER_NAME_BYTES],
	       char err[SHARE_ERR_BYTES])
{
	int len = n == 1 ? snprintf(ret, SERVER_NAME_BYTES, "%s", name)
			 : snprintf(ret, SERVER_NAME_BYTES, "%s.%u", name, i);

	if (len < (int)SERVER_NAME_BYTES)
		return 0;
	snprintf(err, SHARE_ERR_BYTES,
		 "--name %s: too long: the name of each reactor, %s.%u, may have %u characters",
		 name, name, i, SERVER_NAME_BYTES - 1);
	return -EINVAL;
}

static int share_addr(char addr[ADDR_BYTES], uint32_t i, char err[SHARE_ERR_BYTES])
{
	char *colon = strrchr(addr, ':');
	char given[ADDR_BYTES];
	uint64_t port;
	int len;

	memcpy(given, addr, sizeof(given));
	if (strncmp(given, "unix:", 5) == 0) {
		len = snprintf(addr, ADDR_BYTES, "%s.%u", given, i);
	} else {
		CHECK(colon != NULL); /* it was parsed */
		if (opt_u64(colon + 1, PORT_MAX, &port) < 0 || (port != 0 && port + i > PORT_MAX)) {
			snprintf(err, SHARE_ERR_BYTES,
				 "address %s: reactor %u has no port left: begin with a lower one",
				 given, i);
			return -ERANGE;
		}
		len = snprintf(addr, ADDR_BYTES, "%.*s:%u", (int)(colon - addr), given,
			       port == 0 ? 0 : (unsigned)port + i);
	}
	if (len < (int)ADDR_BYTES)
		return 0;
	snprintf(err, SHARE_ERR_BYTES, "address %s: too long with .%u behind it", given, i);
	return -ERANGE;
}

int share_addrs(char addrs[SERVER_ADDRS_MAX][ADDR_BYTES], uint32_t i, uint32_t n,
		char err[SHARE_ERR_BYTES])
{
	for (uint32_t k = 0; n > 1 && k < SERVER_ADDRS_MAX && addrs[k][0] != '\0'; k++) {
		int rc = share_addr(addrs[k], i, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* One "N" or "N-M" of a list; *at moves behind it. */
static bool take_range(const char **at, uint32_t *ret_from, uint32_t *ret_to)
{
	char *end;
	unsigned long from, to;

	if (**at < '0' || **at > '9')
		return false;
	from = to = strtoul(*at, &end, 10);
	if (*end == '-') {
		*at = end + 1;
		if (**at < '0' || **at > '9')
			return false;
		to = strtoul(*at, &end, 10);
	}
	if (from > to || to > CPU_MAX || (*end != '\0' && *end != ','))
		return false;
	*at = *end == ',' ? end + 1 : end;
	*ret_from = (uint32_t)from;
	*ret_to = (uint32_t)to;
	return *end == '\0' || **at != '\0';
}

int share_cpus(const char *list, uint32_t n, uint32_t ret[REACTORS_MAX], char err[SHARE_ERR_BYTES])
{
	uint32_t cpus[REACTORS_MAX], count = 0;

	for (const char *at = list; *at != '\0' || at == list;) {
		uint32_t from, to;

		if (!take_range(&at, &from, &to)) {
			snprintf(err, SHARE_ERR_BYTES,
				 "--pin %s: not a list of processors: write 2,3 or 0-3", list);
			return -EINVAL;
		}
		for (; from <= to; from++, count++)
			if (count < REACTORS_MAX)
				cpus[count] = from;
	}
	if (count != n) {
		snprintf(err, SHARE_ERR_BYTES,
			 "--pin %s: %u processors for %u reactors: name one for each", list, count,
			 n);
		return -EINVAL;
	}
	memcpy(ret, cpus, n * sizeof(cpus[0]));
	return 0;
}
