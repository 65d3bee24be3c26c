/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/size.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at *@text, which moves behind them. */
static int digits(const char **text, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!is_digit(**text))
		return -EINVAL;
	for (; is_digit(**text); (*text)++) {
		unsigned d = (unsigned)(**text - '0');

		if (v > (max - d) / 10)
			return -ERANGE;
		v = v * 10 + d;
	}
	*ret = v;
	return 0;
}

int opt_u64(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t v;
	int rc = digits(&text, UINT64_MAX, &v);

	if (rc < 0)
		return rc;
	if (*text != '\0')
		return -EINVAL;
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

/* 0 for no unit, 10 for K ... 40 for T; *@text moves behind it. -1: not a unit. */
static int unit_shift(const char **text)
{
	static const char letters[] = "KMGT";
	char c = **text;
	const char *at;

	if (c == '\0')
		return 0;
	if (c >= 'a' && c <= 'z')
		c = (char)(c - 'a' + 'A');
	at = strchr(letters, c);
	if (!at || c == '\0')
		return -1;
	(*text)++;
	if (strcmp(*text, "iB") == 0)
		*text += 2;
	else if (strcmp(*text, "B") == 0)
		*text += 1;
	return 10 * (int)(at - letters + 1);
}

int size_parse(const char *text, uint64_t *ret)
{
	uint64_t whole, part = 0, scale = 1;
	int rc = digits(&text, INT64_MAX, &whole), shift;

	if (rc < 0)
		return rc;
	if (*text == '.') {
		const char *start = ++text;

		rc = digits(&text, INT64_MAX, &part);
		if (rc < 0 || text - start > 6)
			return -EINVAL;
		for (; start < text; start++)
			scale *= 10;
	}
	shift = unit_shift(&text);
	if (shift < 0 || *text != '\0')
		return -EINVAL;
	if (whole > ((uint64_t)INT64_MAX >> shift))
		return -ERANGE;
	if (((part << shift) % scale) != 0) /* part < 10^6 and shift <= 40: no overflow */
		return -EINVAL;
	whole <<= shift;
	part = (part << shift) / scale;
	if (part > (uint64_t)INT64_MAX - whole)
		return -ERANGE;
	*ret = whole + part;
	return 0;
}

void size_format(uint64_t bytes, char out[SIZE_TEXT_BYTES])
{
	static const char letters[] = "KMGTPE";
	uint64_t tenths;
	int i = -1, shift = 0;

	while (i < 5 && (bytes >> shift) >= 1024) {
		shift += 10;
		i++;
	}
	if (i < 0) {
		snprintf(out, SIZE_TEXT_BYTES, "%u", (unsigned)bytes);
		return;
	}
	/* Rounded to the nearest tenth; what rounds up to 1024 is one of the next unit. */
	tenths = (bytes >> shift) * 10 +
		 ((((bytes & ((1ull << shift) - 1)) >> (shift - 10)) * 10 + 512) >> 10);
	if (tenths >= 10240 && i < 5) {
		tenths = 10;
		i++;
	}
	if (tenths % 10 == 0)
		snprintf(out, SIZE_TEXT_BYTES, "%u%c", (unsigned)(tenths / 10), letters[i]);
	else
		snprintf(out, SIZE_TEXT_BYTES, "%u.%u%c", (unsigned)(tenths / 10),
			 (unsigned)(tenths % 10), letters[i]);
}

bool addr_is_valid(const char *addr)
{
	size_t len = strlen(addr);
	const char *colon = strrchr(addr, ':');
	uint64_t port;

	if (len >= ADDR_BYTES)
		return false;
	for (const char *c = addr; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~' || *c == ',')
			return false;
	if (strncmp(addr, "unix:", 5) == 0)
		return addr[5] == '/' && addr[6] != '\0';
	return colon && colon != addr && strchr(addr, '/') == NULL &&
	       opt_u64(colon + 1, 65535, &port) == 0 && port > 0;
}

int addr_list_parse(const char *list, char ret[SERVER_ADDRS_MAX][ADDR_BYTES], uint32_t *ret_n)
{
	char addrs[SERVER_ADDRS_MAX][ADDR_BYTES] = {{0}};
	uint32_t n = 0;

	for (;;) {
		const char *end = strchrnul(list, ',');
		size_t len = (size_t)(end - list);

		if (n == SERVER_ADDRS_MAX)
			return -E2BIG;
		if (len == 0 || len >= ADDR_BYTES)
			return -EINVAL;
		memcpy(addrs[n], list, len);
		if (!addr_is_valid(addrs[n]))
			return -EINVAL;
		n++;
		if (*end == '\0')
			break;
		list = end + 1;
	}
	memcpy(ret, addrs, sizeof(addrs));
	*ret_n = n;
	return 0;
}
