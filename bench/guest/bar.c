// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bar.h"

enum {
	REG_IOVA = 0x08 / 4,
	REG_LEN = 0x10 / 4,
	REG_CMD = 0x14 / 4,
	REG_RESULT = 0x18 / 4,
	REG_FLAGS = 0x1c / 4,
	REG_PA = 0x20 / 4,
	REG_ENTRIES = 0x28 / 4,
	REG_TICKET = 0x40 / 4,
	REG_SELECT = 0x44 / 4,
	REG_STATUS = 0x48 / 4,
	REG_PARKED = 0x4c / 4,
};

struct atctest_cmd bar_cmd(volatile uint32_t *bar, uint32_t cmd, uint64_t iova,
			   uint32_t len)
{
	struct atctest_cmd c = { .cmd = cmd, .iova = iova, .len = len };

	bar[REG_IOVA] = iova;
	bar[REG_IOVA + 1] = iova >> 32;
	bar[REG_LEN] = len;
	bar[REG_CMD] = cmd;
	c.result = bar[REG_RESULT];
	c.flags = bar[REG_FLAGS];
	c.pa = bar[REG_PA] | (uint64_t)bar[REG_PA + 1] << 32;
	c.entries = bar[REG_ENTRIES];
	c.ticket = bar[REG_TICKET];
	return c;
}

uint32_t bar_status(volatile uint32_t *bar, uint32_t ticket)
{
	bar[REG_SELECT] = ticket;
	return bar[REG_STATUS];
}

uint32_t bar_parked(volatile uint32_t *bar)
{
	return bar[REG_PARKED];
}

void bar_fill(volatile uint32_t *bar, uint32_t seed, uint32_t len)
{
	volatile uint8_t *buf = (volatile uint8_t *)bar + BAR_BUF;

	for (uint32_t i = 0; i < len; i++)
		buf[i] = atctest_pattern(seed, i);
}

int vfio_reset(int fd)
{
	int ret;

	for (int i = 0; i < 500; i++) {
		ret = ioctl(fd, VFIO_DEVICE_RESET);
		if (!ret || errno != EAGAIN)
			break;
		usleep(10000);
	}
	return ret;
}
