/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* handler - registration with tcmu-runner, and the life of a device. See device.h. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcmu-handler/config.h"
#include "tcmu-handler/device.h"

#define LAB_ENV "CHAINBLK_INSECURE_LAB"
#define LAB_FILE "/etc/chainblk/insecure-lab"
#define CHECK_OPEN_MS 3000 /* targetcli waits for it */

/* Until there is TLS: the address prefix within which plaintext is allowed off loopback, from the
 * daemon's environment or a file; "" means none. */
static void lab_prefix(char *ret_prefix, size_t size)
{
	const char *env = getenv(LAB_ENV);
	FILE *f;

	ret_prefix[0] = '\0';
	if (env) {
		snprintf(ret_prefix, size, "%s", env);
		return;
	}
	f = fopen(LAB_FILE, "re");
	if (!f)
		return;
	if (!fgets(ret_prefix, (int)size, f))
		ret_prefix[0] = '\0';
	ret_prefix[strcspn(ret_prefix, " \t\r\n")] = '\0';
	fclose(f);
}

static void on_log(void *arg, int level, const char *line)
{
	struct chain_dev *cd = arg;

	if (level <= LOG_ERR)
		tcmu_dev_err(cd->dev, "%s\n", line);
	else if (level == LOG_WARNING)
		tcmu_dev_warn(cd->dev, "%s\n", line);
	else if (level <= LOG_INFO)
		tcmu_dev_info(cd->dev, "%s\n", line);
	else
		tcmu_dev_dbg(cd->dev, "%s\n", line);
}

/* On the library's loop thread. Growing the device writes to configfs, which a removal under way
 * may hold locked: the device's own command thread does that, with the next command. */
static void on_event(void *arg, const struct chainblk_event *ev)
{
	struct chain_dev *cd = arg;

	switch (ev->type) {
	case CHAINBLK_EVENT_RESIZED:
		atomic_store(&cd->resized_bytes, ev->size_bytes);
		break;
	case CHAINBLK_EVENT_DELETED:
		tcmu_dev_err(cd->dev, "the volume was deleted: %s\n", ev->text);
		break;
	case CHAINBLK_EVENT_STALLED:
		tcmu_dev_warn(cd->dev, "stalled: %s\n", ev->text);
		break;
	case CHAINBLK_EVENT_RESUMED:
		tcmu_dev_info(cd->dev, "resumed: %s\n", ev->text);
		break;
	}
}

static uint64_t device_bytes(struct tcmu_device *dev)
{
	return tcmu_dev_get_num_lbas(dev) * tcmu_dev_get_block_size(dev);
}

/* A device that spans the whole volume grows with it; one that was made smaller is left alone. */
static void follow_volume(struct chain_dev *cd)
{
	uint64_t bytes = atomic_exchange(&cd->resized_bytes, 0), had;
	int ret;

	if (!bytes)
		return;
	had = atomic_exchange(&cd->volume_bytes, bytes);
	if (device_bytes(cd->dev) != had || bytes <= had)
		return;
	ret = tcmur_dev_update_size(cd->dev, bytes);
	if (ret)
		tcmu_dev_err(cd->dev,
			     "the volume grew to %" PRIu64 " bytes, the device did not: "
			     "error %d: write the size to the device's attrib/dev_size\n",
			     bytes, ret);
	else
		tcmu_dev_info(cd->dev, "grew with its volume to %" PRIu64 " bytes\n", bytes);
}

static int chain_handle_cmd(struct tcmu_device *dev, struct tcmur_cmd *cmd)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);

	if (atomic_load_explicit(&cd->resized_bytes, memory_order_relaxed))
		follow_volume(cd);
	return scsi_capacity(cd, cmd->lib_cmd);
}

/* D3, and the sector size the volume was made for. */
static int check_geometry(struct tcmu_device *dev, const struct chainblk_info *info,
			  uint32_t block_bytes, uint64_t bytes)
{
	if (block_bytes != info->sector_bytes) {
		tcmu_dev_err(dev,
			     "volume %s has %u-byte sectors, the device %u: create the "
			     "backstore with control=hw_block_size=%u\n",
			     info->name, info->sector_bytes, block_bytes, info->sector_bytes);
		return -EINVAL;
	}
	if (bytes > info->size_bytes) {
		tcmu_dev_err(dev,
			     "%" PRIu64 " bytes are more than volume %s has (%" PRIu64 "): "
			     "ask for less, or grow it with chainctl volume resize\n",
			     bytes, info->name, info->size_bytes);
		return -EINVAL;
	}
	return 0;
}

/* What the daemon's emulation tells initiators about the device. */
static void describe(struct tcmu_device *dev, uint32_t block_bytes)
{
	uint32_t blocks_max = CHAINBLK_IO_BYTES_MAX / block_bytes;
	uint32_t granularity = CHAINBLK_BLOCK_BYTES / block_bytes;

	if (tcmu_dev_get_max_xfer_len(dev) > blocks_max)
		tcmu_dev_set_max_xfer_len(dev, blocks_max);
	tcmu_dev_set_write_cache_enabled(dev, false);
	tcmu_dev_set_solid_state_media(dev, true);
	/* never 0: the daemon divides by it when an initiator sends WRITE SAME with UNMAP, and dies
	 */
	tcmu_dev_set_unmap_gran_align(dev, granularity);
	/* no splitting: the library takes a discard of any length */
	tcmu_dev_set_opt_unmap_gran(dev, granularity, false);
}

static int chain_open(struct tcmu_device *dev, bool reopen)
{
	char err[CHAINBLK_ERR_BYTES] = "", reason[CONFIG_REASON_BYTES], lab[64];
	struct chainblk_options opt = {.event = on_event, .log = on_log};
	uint32_t block_bytes = tcmu_dev_get_block_size(dev);
	struct chainblk_info info;
	struct chain_dev *cd;
	struct config config;
	int ret;

	ret = config_parse(tcmu_dev_get_cfgstring(dev), &config, reason);
	if (ret < 0) {
		tcmu_dev_err(dev, "%s\n", reason);
		return ret;
	}
	cd = calloc(1, sizeof(*cd));
	if (!cd)
		return -ENOMEM;
	cd->dev = dev;
	cd->block_bytes = block_bytes;
	io_init(cd);
	lab_prefix(lab, sizeof(lab));
	opt.cfg = config.addresses;
	opt.volume = config.volume;
	opt.insecure_lab = lab[0] ? lab : NULL;
	opt.arg = cd;
	ret = chainblk_open(&opt, &cd->vol, err);
	if (ret < 0) {
		tcmu_dev_err(dev, "%s\n", err);
		goto out_free;
	}
	chainblk_get_info(cd->vol, &info);
	atomic_store(&cd->volume_bytes, info.size_bytes);
	ret = check_geometry(dev, &info, block_bytes, device_bytes(dev));
	if (ret < 0)
		goto out_close;
	describe(dev, block_bytes);
	tcmur_dev_set_private(dev, cd);
	tcmu_dev_info(dev,
		      "volume %s: %" PRIu64 " of %" PRIu64 " bytes in %u-byte sectors on %u "
		      "chains%s\n",
		      info.name, device_bytes(dev), info.size_bytes, info.sector_bytes, info.lanes,
		      reopen ? ", opened again" : "");
	return 0;

out_close:
	chainblk_close(cd->vol);
out_free:
	pthread_mutex_destroy(&cd->lock);
	free(cd);
	return ret;
}

static void chain_close(struct tcmu_device *dev)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);

	chainblk_close(cd->vol);
	pthread_mutex_destroy(&cd->lock);
	tcmur_dev_set_private(dev, NULL);
	free(cd);
}

static int chain_reconfig(struct tcmu_device *dev, struct tcmulib_cfg_info *cfg)
{
	struct chain_dev *cd = tcmur_dev_get_private(dev);
	struct chainblk_info info;

	switch (cfg->type) {
	case TCMULIB_CFG_DEV_SIZE:
		chainblk_get_info(cd->vol, &info);
		return check_geometry(dev, &info, cd->block_bytes, cfg->data.dev_size);
	case TCMULIB_CFG_WRITE_CACHE:
		if (!cfg->data.write_cache)
			return 0;
		tcmu_dev_err(dev, "there is no volatile write cache to enable\n");
		return -EOPNOTSUPP;
	case TCMULIB_CFG_DEV_CFGSTR:
		tcmu_dev_err(dev, "the volume of a device cannot be changed: remove it and create "
				  "another\n");
		return -EOPNOTSUPP;
	}
	return -EOPNOTSUPP;
}

/* Opens the volume too: an administrator learns here, in targetcli, what would otherwise stand only
 * in the daemon's log. */
static bool chain_check_config(const char *string, char **reason)
{
	char text[CHAINBLK_ERR_BYTES] = "", lab[64];
	struct chainblk *vol = NULL;
	struct config config;

	lab_prefix(lab, sizeof(lab));
	if (!config_parse(string, &config, text)) {
		struct chainblk_options opt = {.cfg = config.addresses,
					       .volume = config.volume,
					       .read_only = true,
					       .open_ms = CHECK_OPEN_MS,
					       .insecure_lab = lab[0] ? lab : NULL};

		if (strchr(string, ','))
			tcmu_warn("%s: the kernel keeps only what is before the first comma: "
				  "separate addresses with ';'\n",
				  string);
		if (!chainblk_open(&opt, &vol, text)) {
			chainblk_close(vol);
			return true;
		}
	}
	*reason = strdup(text);
	return false;
}

static_assert(CONFIG_REASON_BYTES <= CHAINBLK_ERR_BYTES, "one buffer serves both");

static struct tcmur_handler handler = {
	.name = "chainblk volume",
	.subtype = "chain",
	.cfg_desc = "VOLUME@HOST/PORT[;HOST/PORT...]: a chainblk volume and the addresses of its "
		    "configuration service, at most 200 bytes",
	.check_config = chain_check_config,
	.reconfig = chain_reconfig,
	.open = chain_open,
	.close = chain_close,
	.nr_threads = 0, /* we complete asynchronously ourselves */
	.handle_cmd = chain_handle_cmd,
	.read = io_read,
	.write = io_write,
	.flush = io_flush,
	.unmap = io_unmap,
	.writesame = io_write_same,
};

__attribute__((visibility("default"))) int handler_init(void)
{
	return tcmur_register_handler(&handler);
}
