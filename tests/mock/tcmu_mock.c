/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/mock/tcmu_mock.h"

#include <string.h>

struct tcmur_handler *mock_handler;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t completed = PTHREAD_COND_INITIALIZER;

void mock_cmd_init(struct mock_cmd *mc)
{
	memset(mc, 0, sizeof(*mc));
	mc->cmd.lib_cmd = &mc->lib;
	mc->lib.cdb = mc->cdb;
}

int mock_cmd_wait(struct mock_cmd *mc)
{
	pthread_mutex_lock(&lock);
	while (!mc->done)
		pthread_cond_wait(&completed, &lock);
	pthread_mutex_unlock(&lock);
	return mc->status;
}

void tcmur_cmd_complete(struct tcmu_device *dev, void *data, int rc)
{
	struct mock_cmd *mc = data; /* its first member is the tcmur_cmd */

	(void)dev;
	pthread_mutex_lock(&lock);
	mc->done = true;
	mc->status = rc;
	pthread_cond_broadcast(&completed);
	pthread_mutex_unlock(&lock);
}

int tcmur_register_handler(struct tcmur_handler *handler)
{
	mock_handler = handler;
	return 0;
}

void tcmur_dev_set_private(struct tcmu_device *dev, void *priv)
{
	dev->priv = priv;
}

void *tcmur_dev_get_private(struct tcmu_device *dev)
{
	return dev->priv;
}

int tcmur_dev_update_size(struct tcmu_device *dev, uint64_t new_size)
{
	dev->num_lbas = new_size / dev->block_bytes;
	return 0;
}

char *tcmu_dev_get_cfgstring(struct tcmu_device *dev)
{
	return (char *)(uintptr_t)dev->cfgstring;
}

uint64_t tcmu_dev_get_num_lbas(struct tcmu_device *dev)
{
	return dev->num_lbas;
}

uint32_t tcmu_dev_get_block_size(struct tcmu_device *dev)
{
	return dev->block_bytes;
}

uint32_t tcmu_dev_get_max_xfer_len(struct tcmu_device *dev)
{
	return dev->max_xfer_blocks;
}

void tcmu_dev_set_max_xfer_len(struct tcmu_device *dev, uint32_t len)
{
	dev->max_xfer_blocks = len;
}

void tcmu_dev_set_unmap_gran_align(struct tcmu_device *dev, uint32_t len)
{
	dev->unmap_align = len;
}

void tcmu_dev_set_opt_unmap_gran(struct tcmu_device *dev, uint32_t len, bool split)
{
	(void)split;
	dev->unmap_gran = len;
}

void tcmu_dev_set_write_cache_enabled(struct tcmu_device *dev, bool enabled)
{
	dev->write_cache = enabled;
}

void tcmu_dev_set_solid_state_media(struct tcmu_device *dev, bool solid_state)
{
	dev->solid_state = solid_state;
}

size_t tcmu_memcpy_into_iovec(struct iovec *iovec, size_t iov_cnt, void *src, size_t len)
{
	size_t n = iov_cnt && iovec->iov_len < len ? iovec->iov_len : len;

	if (iov_cnt)
		memcpy(iovec->iov_base, src, n);
	return n;
}

int tcmu_sense_set_data(uint8_t *sense_buf, uint8_t key, uint16_t asc_ascq)
{
	sense_buf[2] = key;
	sense_buf[12] = (uint8_t)(asc_ascq >> 8);
	sense_buf[13] = (uint8_t)asc_ascq;
	return TCMU_STS_PASSTHROUGH_ERR;
}

#define LOG_FUNCTION(name, keep)                                                                   \
	void name(struct tcmu_device *dev, const char *funcname, int linenr, const char *fmt, ...) \
	{                                                                                          \
		va_list args;                                                                      \
		(void)funcname;                                                                    \
		(void)linenr;                                                                      \
		if (!(keep) || !dev)                                                               \
			return;                                                                    \
		va_start(args, fmt);                                                               \
		vsnprintf(dev->log + strlen(dev->log), sizeof(dev->log) - strlen(dev->log), fmt,   \
			  args);                                                                   \
		va_end(args);                                                                      \
	}
LOG_FUNCTION(tcmu_err_message, true)
LOG_FUNCTION(tcmu_warn_message, true)
LOG_FUNCTION(tcmu_info_message, false)
LOG_FUNCTION(tcmu_dbg_message, false)
