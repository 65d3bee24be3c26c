/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tcmu-handler/config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FORM "want VOLUME@HOST/PORT[;HOST/PORT...]"

/* Not ctype.h: the daemon's locale is none of the string's business. */
static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

static bool all_name_chars(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_name_char(s[i]))
			return false;
	return n > 0;
}

static bool is_port(const char *s, size_t n)
{
	unsigned value = 0;

	if (!n || n > 5)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		value = value * 10 + (unsigned)(s[i] - '0');
	}
	return value >= 1 && value <= 65535;
}

/* Appends one address in libchainblk's form. @n is its length in the string. */
static int add_address(struct config *config, const char *s, size_t n,
		       char reason[CONFIG_REASON_BYTES])
{
	size_t host_n = 0, used = strlen(config->addresses);
	char *out = config->addresses + used;
	size_t room = sizeof(config->addresses) - used;
	const char *port = CONFIG_PORT_DEFAULT;
	size_t port_n = strlen(port);

	if (n > 6 && !memcmp(s, "unix:/", 6)) {
		snprintf(out, room, "%.*s", (int)n, s);
		return 0;
	}
	if (n > 1 && s[0] == '/') {
		snprintf(out, room, "unix:%.*s", (int)n, s);
		return 0;
	}
	while (host_n < n && s[host_n] != ':' && s[host_n] != '/')
		host_n++;
	if (!n) {
		snprintf(reason, CONFIG_REASON_BYTES, "an address is empty: " FORM);
		return -EINVAL;
	}
	if (!all_name_chars(s, host_n)) {
		snprintf(reason, CONFIG_REASON_BYTES,
			 "address '%.*s': the host is not a name or an IPv4 address", (int)n, s);
		return -EINVAL;
	}
	if (host_n < n) {
		port = s + host_n + 1;
		port_n = n - host_n - 1;
	}
	if (!is_port(port, port_n)) {
		snprintf(reason, CONFIG_REASON_BYTES, "address '%.*s': the port is not 1 to 65535",
			 (int)n, s);
		return -EINVAL;
	}
	snprintf(out, room, "%.*s:%.*s", (int)host_n, s, (int)port_n, port);
	return 0;
}

int config_parse(const char *string, struct config *ret_config, char reason[CONFIG_REASON_BYTES])
{
	const char *volume = string + strlen(CONFIG_PREFIX), *at;
	struct config config = {0};

	if (strncmp(string, CONFIG_PREFIX, strlen(CONFIG_PREFIX))) {
		snprintf(reason, CONFIG_REASON_BYTES, "does not begin with " CONFIG_PREFIX);
		return -EINVAL;
	}
	if (strlen(volume) > CONFIG_BYTES_MAX) {
		snprintf(reason, CONFIG_REASON_BYTES,
			 "%zu bytes long, the kernel keeps at most %d: give fewer addresses",
			 strlen(volume), CONFIG_BYTES_MAX);
		return -EINVAL;
	}
	at = strchr(volume, '@');
	if (!at) {
		snprintf(reason, CONFIG_REASON_BYTES, "no '@' in '%.60s': " FORM, volume);
		return -EINVAL;
	}
	if (at - volume > CONFIG_VOLUME_BYTES_MAX) {
		snprintf(reason, CONFIG_REASON_BYTES, "the volume's name is longer than %d bytes",
			 CONFIG_VOLUME_BYTES_MAX);
		return -EINVAL;
	}
	if (!all_name_chars(volume, (size_t)(at - volume))) {
		snprintf(reason, CONFIG_REASON_BYTES,
			 "the volume's name '%.*s' is not letters, digits, '.', '_' and '-'",
			 (int)(at - volume), volume);
		return -EINVAL;
	}
	memcpy(config.volume, volume, (size_t)(at - volume));

	for (const char *s = at + 1;;) {
		size_t n = strcspn(s, ",;");

		if (add_address(&config, s, n, reason) < 0)
			return -EINVAL;
		if (!s[n])
			break;
		strncat(config.addresses, ",",
			sizeof(config.addresses) - strlen(config.addresses) - 1);
		s += n + 1;
	}
	*ret_config = config;
	return 0;
}
