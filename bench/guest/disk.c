// SPDX-License-Identifier: GPL-2.0
/*
 * A real driver: an NVMe disk whose ATC falls silent while it is written to and
 * read. Each block has a pattern of its own that changes with each write; what
 * comes back has to be the last one that was written, before, during and after.
 * Or it falls silent once more than the kernel resets a function for: then its
 * driver gives it up, and has to let go of it, so that a person can reset it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "endpoint.h"
#include "host.h"

#define DISK		"/dev/nvme0n1"
#define QOM		"/machine/peripheral/disk0"
#define TIMELINE	"/objects/tl0"
#define THREADS		2
/*
 * One CPU for the I/O, and CPU 0 has the disk's interrupts. A third one takes
 * the SMMU's error interrupt: without it the base comes to a halt, which would
 * prove less.
 */
#define WORK_CPU	1
#define GERROR_CPU	2
#define BLOCK		8192
#define BLOCKS		64	/* of each thread */
#define BUFFERS		16	/* pages come and go, and so do their mappings */
#define WARM_UP		64	/* requests of each thread before the silence */
#define AFTER		128	/* and from when it is over */
#define INCIDENTS	6	/* the kernel recovers a function five times an hour */

static struct ep disk;
static volatile bool stop;
static bool to_the_end;		/* requests fail in the end, and that is no surprise */

struct thread {
	int number;
	pthread_t id;
	uint64_t state;
	uint8_t *buffers;
	uint32_t written[BLOCKS];	/* which write each block is from */
	bool unsure[BLOCKS];		/* that write has failed */
	uint64_t done, bytes_wrong, errors;
};

static struct thread threads[THREADS];

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fill(uint64_t *buffer, const struct thread *t, int block)
{
	for (unsigned int i = 0; i < BLOCK / 8; i++)
		buffer[i] = (uint64_t)t->written[block] << 32 |
			    (t->number * BLOCKS + block) << 12 | i;
}

static off_t where(const struct thread *t, int block)
{
	return (off_t)(t->number * BLOCKS + block) * BLOCK;
}

static void write_block(struct thread *t, int fd, int block)
{
	uint8_t *buffer = t->buffers + next(&t->state) % BUFFERS * BLOCK;

	t->written[block]++;
	fill((uint64_t *)buffer, t, block);
	t->unsure[block] = pwrite(fd, buffer, BLOCK, where(t, block)) != BLOCK;
	t->errors += t->unsure[block];
	t->done++;
}

static void read_block(struct thread *t, int fd, int block)
{
	uint8_t *buffer = t->buffers + next(&t->state) % BUFFERS * BLOCK;
	static __thread uint64_t wanted[BLOCK / 8];

	memset(buffer, 0xee, BLOCK);
	if (pread(fd, buffer, BLOCK, where(t, block)) != BLOCK) {
		t->errors++;
	} else if (!t->unsure[block]) {
		fill(wanted, t, block);
		for (int i = 0; i < BLOCK; i++)
			t->bytes_wrong += buffer[i] != ((uint8_t *)wanted)[i];
	}
	t->done++;
}

static void *work(void *arg)
{
	cpu_set_t where_to = {};
	struct thread *t = arg;
	int fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);

	CPU_SET(WORK_CPU, &where_to);
	if (fd < 0 || sched_setaffinity(0, sizeof(where_to), &where_to))
		fatal("%s: %s", DISK, strerror(errno));
	while (!stop && !(to_the_end && t->errors)) {
		int block = next(&t->state) % BLOCKS;

		write_block(t, fd, block);
		read_block(t, fd, block);
	}
	/* Everything once more, by another way than the last time */
	for (int block = 0; block < BLOCKS && !(to_the_end && t->errors); block++)
		if (t->written[block])
			read_block(t, fd, block);
	close(fd);
	return NULL;
}

static uint64_t sum(size_t field)
{
	uint64_t total = 0;

	for (int i = 0; i < THREADS; i++)
		total += *(uint64_t *)((char *)&threads[i] + field);
	return total;
}

#define SUM(field) ((unsigned long long)sum(offsetof(struct thread, field)))

/* So many requests more of each thread, or until the damage is done */
static bool requests(uint64_t more, int wait_s)
{
	uint64_t begin[THREADS];
	bool done = false;

	for (int i = 0; i < THREADS; i++)
		begin[i] = threads[i].done;
	for (int n = 0; n < wait_s * 50 && !done; n++) {
		usleep(20000);
		if (SUM(bytes_wrong))
			return false;
		done = true;
		for (int i = 0; i < THREADS; i++)
			done = done && *(volatile uint64_t *)&threads[i].done >=
				       begin[i] + more;
	}
	return done;
}

static bool find_disk(void)
{
	char bdf[32];
	unsigned int domain, bus, dev, fn;

	for (int i = 0; i < 500 && access(DISK, F_OK); i++)
		usleep(20000);
	if (!read_file("/sys/class/nvme/nvme0/address", bdf, sizeof(bdf)) ||
	    sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		return false;
	snprintf(disk.bdf, sizeof(disk.bdf), "%.15s", bdf);
	disk.sid = bus << 8 | dev << 3 | fn;
	host_line("@function {\"index\":0,\"bdf\":\"%s\",\"sid\":%u,\"broken\":true}",
		  disk.bdf, disk.sid);
	return !access(DISK, F_OK);
}

static bool start(void)
{
	for (int i = 0; i < THREADS; i++) {
		struct thread *t = &threads[i];

		t->number = i;
		t->state = i + 1;
		t->errors = 0;
		t->buffers = mmap(NULL, BUFFERS * BLOCK, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
				  -1, 0);
		if (t->buffers == MAP_FAILED ||
		    pthread_create(&t->id, NULL, work, t))
			return false;
	}
	return requests(WARM_UP, 60);
}

static bool back(void)
{
	char state[32];

	if (ep_read_sysfs(&disk, "quarantine/state", state, sizeof(state)))
		host_value("state", "\"%s\"", state);
	return ep_ats_enabled(&disk) && qom_get(QOM, "ats-enabled");
}

static void end(void)
{
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i].id, NULL);
}

static bool has_driver(void)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", disk.bdf);
	return !access(path, F_OK);
}

/* From here on the timeline has each access, and some from before the silence */
static void begin_silence(void)
{
	uint64_t landed;

	qom_set(TIMELINE, "verbose", "true");
	landed = qom_get(QOM, "stat-translated-writes-landed");
	for (int i = 0; i < 500 &&
	     qom_get(QOM, "stat-translated-writes-landed") == landed; i++)
		usleep(1000);
	host_mark("silence");
}

/* How often it falls silent and comes back */
static int recoveries(void)
{
	for (int n = 0; n < INCIDENTS; n++) {
		qom_set(QOM, "atc-fault", "\"silent\"");
		for (int i = 0; i < 500 && ep_incidents(&disk) <= n; i++)
			usleep(20000);
		for (int i = 0; i < 500 && !ep_ats_enabled(&disk); i++)
			usleep(20000);
		if (ep_incidents(&disk) != n + 1 || !ep_ats_enabled(&disk) ||
		    !requests(WARM_UP, 30))
			return n;
	}
	return INCIDENTS;
}

static int give_up(void)
{
	char state[32] = "";
	uint64_t errors;

	to_the_end = true;
	ktap_plan(4);
	ktap_point(find_disk() && start(), "there is a disk, and it is used");
	errors = qom_get("@smmu", "stat-cerror-atc-inv");
	begin_silence();
	host_value("recoveries", "%d", recoveries());
	host_value("incidents", "%d", ep_incidents(&disk));
	ep_read_sysfs(&disk, "quarantine/state", state, sizeof(state));
	host_value("state_given_up", "\"%s\"", state);
	host_value("cmdq_errors", "%llu", (unsigned long long)
		   qom_get("@smmu", "stat-cerror-atc-inv") - errors);
	qom_set(TIMELINE, "verbose", "false");
	qom_set(QOM, "atc-fault", "\"none\"");
	ktap_point(true, "it falls silent, again and again");

	/*
	 * Requests are still under way. None of this may wait for a reset that
	 * the kernel does not do any more.
	 */
	ep_sysfs(&disk, "driver/unbind", disk.bdf);
	host_value_bool("unbound", !has_driver());
	stop = true;
	end();
	host_value("io_errors", "%llu", SUM(errors));
	host_value_bool("reset", ep_sysfs(&disk, "reset", "1") == 0);
	host_mark("recovered");
	if (write_file("/sys/bus/pci/drivers/nvme/bind", disk.bdf))
		ktap_diag("bind: %s", strerror(errno));
	host_value_bool("bound", has_driver());
	ktap_point(true, "unbind, reset, bind");

	stop = false;
	host_value_bool("io_goes_on", find_disk() && start() && requests(AFTER, 90));
	host_value_bool("recovered", ep_ats_enabled(&disk) && qom_get(QOM, "ats-enabled"));
	stop = true;
	end();
	host_value("io_errors_after", "%llu", SUM(errors));
	host_value("bytes_wrong", "%llu", SUM(bytes_wrong));
	ktap_point(true, "the disk is used again");
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t errors, landed;
	bool ats, ok;

	if (argc > 2 || (argc == 2 && strcmp(argv[1], "give-up"))) {
		printf("usage: %s [give-up]\nAn NVMe disk falls silent while it is in use, "
		       "once or until it is given up.\n", argv[0]);
		return strcmp(argv[1], "--help") ? 2 : 0;
	}
	if (!host_open(HOST_FD)) {
		perror(HOST_PORT);
		return 1;
	}
	if (argc == 2)
		return give_up();
	ktap_plan(4);
	ktap_point(find_disk(), "there is a disk");
	ok = gerror_to_cpu(GERROR_CPU) && start();
	ats = ep_ats_enabled(&disk) && qom_get(QOM, "ats-enabled");
	landed = qom_get(QOM, "stat-translated-writes-landed");
	ktap_point(ok && ats && landed && qom_get(QOM, "stat-inv-answered"),
		   "it is written and read, with ATS");

	errors = qom_get("@smmu", "stat-cerror-atc-inv");
	begin_silence();
	qom_set(QOM, "atc-fault", "\"silent\"");
	/* Until it is quarantined and back, or for some time without all that */
	for (int i = 0; i < 500 && !ep_incidents(&disk); i++)
		usleep(20000);
	for (int i = 0; i < 500 && ep_incidents(&disk) && !ep_ats_enabled(&disk); i++)
		usleep(20000);
	host_value_bool("io_goes_on", requests(AFTER, 90));
	ktap_point(true, "it falls silent, and the I/O goes on");

	host_value("incidents", "%d", ep_incidents(&disk));
	host_value_bool("recovered", back());
	host_value("cmdq_errors", "%llu", (unsigned long long)
		   qom_get("@smmu", "stat-cerror-atc-inv") - errors);
	host_mark("recovered");
	qom_set(TIMELINE, "verbose", "false");
	/* On a kernel that does not reset it, or this would take long */
	qom_set(QOM, "atc-fault", "\"none\"");
	stop = true;
	end();
	host_value("io_requests", "%llu", SUM(done));
	host_value("io_errors", "%llu", SUM(errors));
	host_value("bytes_wrong", "%llu", SUM(bytes_wrong));
	ktap_point(true, "everything is read once more");
	return 0;
}
