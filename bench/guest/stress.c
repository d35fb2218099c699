// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once: threads that map and unmap, make functions fall silent,
 * reset them, bind and unbind their drivers, take them through VFIO, unplug them,
 * remove and find them again, at random.
 *
 * Each thread has a stream of decisions of its own, which follows from the seed
 * and from nothing else; when they meet is up to the machine. In the end all
 * functions have to work again.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"
#include "endpoint.h"
#include "host.h"

#define MAX_FUNCTIONS	8
#define MAX_FILES	(2 * MAX_FUNCTIONS)
#define LEN		64
#define SLOTS		8	/* of each thread that maps */
#define DIGEST_OF	3	/* decisions */
#define WRITE_HIT	(ATC_CMD_WRITE | ATC_CMD_HIT_ONLY)

#define DEVICES		"/sys/bus/pci/devices/"
#define IOVA		0x40000000ULL
#define PAGE		0x10000
#define MOMENT		20000	/* us */
#define PATIENCE	3000	/* moments, for hotplug on a machine that is busy */
#define PROGRESS	60	/* seconds from one line about it to the next */

static struct {
	char bdf[16];
	int port;		/* it has to itself, or -1: not to be unplugged */
} functions[MAX_FUNCTIONS];
static int nr_functions;

/*
 * What the PCI core does not take itself: a bus on which functions are found
 * while its slot is switched off or on, which pciehp takes for a slot that is
 * off, so that every reset of a function without power takes minutes; or while
 * all of it is reset, which unlocks in the end what it has not locked.
 */
static pthread_mutex_t busy[MAX_FUNCTIONS];

static pthread_mutex_t *bus_of(int fn)
{
	for (int first = 0; first < fn; first++)
		if (!strncmp(functions[first].bdf, functions[fn].bdf,
			     strlen("0000:00")))
			return &busy[first];
	return &busy[fn];
}

static volatile bool stop;
static uint64_t hotplug_from;	/* ns */

static struct {
	uint64_t landed, refused, translated;
	uint64_t silences, resets, binds, claims, unplugs, rescans;
} count;

#define ADD(counter) __atomic_fetch_add(&count.counter, 1, __ATOMIC_RELAXED)

/* Decisions */

struct thread {
	const char *name;
	void (*once)(struct thread *t, uint64_t decision);
	int pause_ms;		/* at most, between two decisions */
	int number;
	pthread_t id;
	uint64_t state, decisions, first[DIGEST_OF];
};

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* A number below @n out of a decision; each call uses up some of it. */
static unsigned int below(uint64_t *decision, unsigned int n)
{
	unsigned int value = *decision % n;

	*decision /= n;
	return value;
}

/* sysfs, where anything may be gone by now */

static int device_file(int fn, const char *attribute, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES "%.15s/%s", functions[fn].bdf,
		 attribute);
	return write_file(path, text);
}

static bool present(int fn)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES "%.15s/config", functions[fn].bdf);
	return !access(path, F_OK);
}

static bool has_driver(int fn)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES "%.15s/driver", functions[fn].bdf);
	return !access(path, F_OK);
}

/* Map and unmap */

static void count_shot(const struct atctest_cmd *c)
{
	if (!(c->flags & ATC_WAS_TRANSLATED))
		return;
	if (c->result == ATC_OK)
		ADD(landed);
	else if (c->result == ATC_REFUSED)
		ADD(refused);
}

static void map_unmap(int fd, int slot, unsigned int pages)
{
	struct atctest_slot s = { .slot = slot, .pages = 1 << pages };
	struct atctest_cmd c = { .cmd = ATC_CMD_WRITE, .len = LEN };
	struct atctest_unmap u = {
		.slot = slot, .flags = ATCTEST_UNMAP_FIRE, .fire_fd = -1,
		.irq_fd = -1, .fire = { .cmd = WRITE_HIT, .len = LEN },
	};

	/* Left behind by an earlier one */
	ioctl(fd, ATCTEST_FREE, &s);
	if (ioctl(fd, ATCTEST_MAP, &s))
		return;
	c.iova = s.iova;
	if (!ioctl(fd, ATCTEST_CMD, &c) && c.result == ATC_OK &&
	    c.flags & ATC_WAS_TRANSLATED)
		ADD(translated);
	if (!ioctl(fd, ATCTEST_UNMAP, &u))
		count_shot(&u.fire);
	ioctl(fd, ATCTEST_FREE, &s);
}

static void map_once(struct thread *t, uint64_t d)
{
	unsigned int slot = below(&d, SLOTS), pages = below(&d, 4);
	char path[32];
	int fd;

	/* A function that came back may have a number that is free by now. */
	for (unsigned int n = 0, file = below(&d, 2 * nr_functions); n < 2; n++) {
		snprintf(path, sizeof(path), "/dev/atctest%u",
			 (file + n * nr_functions) % (2 * nr_functions));
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			break;
	}
	if (fd < 0)
		return;
	map_unmap(fd, t->number * SLOTS + slot, pages);
	close(fd);
}

/* Silence */

static const char *set_fault(int fn, const char *property, const char *json)
{
	return host_qmp("{\"execute\":\"qom-set\",\"arguments\":{\"path\":"
			"\"/machine/peripheral/ep%d\",\"property\":\"%s\","
			"\"value\":%s}}", fn, property, json);
}

static void silence_once(struct thread *t, uint64_t d)
{
	static const char *const faults[][2] = {
		{ "atc-fault", "\"silent\"" }, { "atc-fault", "\"silent\"" },
		{ "atc-fault", "\"silent\"" }, { "atc-fault", "\"late\"" },
		{ "atc-silent-next", "1" }, { "atc-silent-next", "2" },
	};
	unsigned int fault = below(&d, 6), fn = below(&d, nr_functions);

	(void)t;
	if (!set_fault(fn, faults[fault][0], faults[fault][1]))
		ADD(silences);
}

/* Resets */

static bool reset_below(int fn)
{
	char path[96], bridge[32];
	struct ep ep;
	bool done;

	memcpy(ep.bdf, functions[fn].bdf, sizeof(ep.bdf));
	if (!ep_bridge(&ep, bridge, sizeof(bridge)))
		return false;
	snprintf(path, sizeof(path), DEVICES "%.15s/reset_subordinate", bridge);
	if (pthread_mutex_trylock(bus_of(fn)))
		return false;
	done = !write_file(path, "1");
	pthread_mutex_unlock(bus_of(fn));
	return done;
}

static bool quarantined(int fn)
{
	char path[128], state[32];

	snprintf(path, sizeof(path), DEVICES "%.15s/quarantine/state",
		 functions[fn].bdf);
	return read_file(path, state, sizeof(state)) && strcmp(state, "none");
}

static void reset_once(struct thread *t, uint64_t d)
{
	unsigned int how = below(&d, 8), fn = below(&d, nr_functions);
	bool done;

	(void)t;
	/* Whoever needs it most; all the same a healthy one now and then */
	for (int i = 0; i < nr_functions && how > 2 && !quarantined(fn); i++)
		fn = (fn + 1) % nr_functions;
	if (how == 0)
		done = reset_below(fn);
	else
		done = !device_file(fn, "reset", "1");
	if (done)
		ADD(resets);
}

/* Drivers and domains */

static void probe_driver(int fn)
{
	device_file(fn, "driver_override", "\n");
	write_file("/sys/bus/pci/drivers_probe", functions[fn].bdf);
}

struct vfio_files {
	int container, group, device;
};

static bool vfio_open(int fn, struct vfio_files *v)
{
	char path[128], link[128];
	ssize_t len;

	v->container = v->group = v->device = -1;
	snprintf(path, sizeof(path), DEVICES "%.15s/iommu_group", functions[fn].bdf);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return false;
	link[len] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	v->group = open(path, O_RDWR | O_CLOEXEC);
	v->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (v->group < 0 || v->container < 0 ||
	    ioctl(v->group, VFIO_GROUP_SET_CONTAINER, &v->container) ||
	    ioctl(v->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return false;
	v->device = ioctl(v->group, VFIO_GROUP_GET_DEVICE_FD,
			  functions[fn].bdf);
	return v->device >= 0;
}

static void vfio_use(struct vfio_files *v, int times)
{
	struct vfio_region_info bar = {
		.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX
	};
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX
	};
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .iova = IOVA, .size = PAGE,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
	};
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = IOVA, .size = PAGE,
	};
	volatile uint32_t *regs;
	uint16_t command = 0x0006;
	struct atctest_cmd c;
	void *page;

	if (ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
	    ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pwrite(v->device, &command, 2, config.offset + 0x04) != 2)
		return;
	regs = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    v->device, bar.offset);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	map.vaddr = (uintptr_t)page;
	while (regs != MAP_FAILED && page != MAP_FAILED && times--) {
		if (ioctl(v->container, VFIO_IOMMU_MAP_DMA, &map))
			break;
		bar_cmd(regs, ATC_CMD_WRITE, IOVA, LEN);
		if (ioctl(v->container, VFIO_IOMMU_UNMAP_DMA, &unmap))
			break;
		c = bar_cmd(regs, WRITE_HIT, IOVA, LEN);
		count_shot(&c);
	}
	if (page != MAP_FAILED)
		munmap(page, PAGE);
	if (regs != MAP_FAILED)
		munmap((void *)regs, BAR_SIZE);
}

static void claim(int fn, int times)
{
	struct vfio_files v;

	device_file(fn, "driver_override", "vfio-pci");
	write_file("/sys/bus/pci/drivers_probe", functions[fn].bdf);
	if (vfio_open(fn, &v)) {
		vfio_use(&v, times);
		ADD(claims);
	}
	close(v.device);
	close(v.group);
	close(v.container);
	device_file(fn, "driver/unbind", functions[fn].bdf);
}

static void bind_once(struct thread *t, uint64_t d)
{
	unsigned int fn = below(&d, nr_functions), what = below(&d, 4);
	unsigned int times = below(&d, 20);

	(void)t;
	/* Without its driver first, as its user had it */
	if (device_file(fn, "driver/unbind", functions[fn].bdf) && has_driver(fn))
		return;
	if (what < 2) {
		claim(fn, times);
	} else if (what == 2) {
		/* Not to DMA-FQ, where a stale write may land for a while */
		device_file(fn, "iommu_group/type", "identity");
		device_file(fn, "iommu_group/type", "DMA");
	}
	probe_driver(fn);
	ADD(binds);
}

/* Hotplug */

static int slot_power(int fn, const char *value)
{
	struct dirent *entry;
	int err = ENOENT;
	DIR *slots = opendir("/sys/bus/pci/slots");

	while (slots && (entry = readdir(slots))) {
		char path[320], address[32];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/bus/pci/slots/%s/address",
			 entry->d_name);
		read_file(path, address, sizeof(address));
		if (strlen(address) < 10 ||
		    strncmp(address, functions[fn].bdf, strlen(address)))
			continue;
		snprintf(path, sizeof(path), "/sys/bus/pci/slots/%s/power",
			 entry->d_name);
		err = write_file(path, value);
		break;
	}
	if (slots)
		closedir(slots);
	return err;
}

/* Another one like it is plugged; it may take its predecessor a while to go. */
static bool plug(int fn)
{
	const char *no = "";

	/* Another thread may have found it again before its slot had no power. */
	for (int i = 0; i < PATIENCE && no && !present(fn); i++) {
		no = host_qmp("{\"execute\":\"device_add\",\"arguments\":{"
			      "\"driver\":\"atc-endpoint\",\"id\":\"ep%d\","
			      "\"bus\":\"rp%d\",\"addr\":\"0.0\"}}", fn,
			      functions[fn].port);
		if (no)
			usleep(MOMENT);
	}
	for (int i = 0; i < PATIENCE && !present(fn); i++) {
		/* Whoever pulled it may have left the slot without power. */
		if (i % 50 == 49)
			slot_power(fn, "1");
		usleep(MOMENT);
	}
	/*
	 * It is there before device_add() is done with it, which wants the lock of
	 * the device inside of pciehp's reset_lock: a reset of the slot has them
	 * the other way round. Its driver comes last.
	 */
	for (int i = 0; i < 500 && present(fn) && !has_driver(fn); i++)
		usleep(MOMENT);
	return present(fn);
}

static void unplug_once(struct thread *t, uint64_t d)
{
	unsigned int fn = below(&d, nr_functions), button = below(&d, 8);
	bool taken = false, gone;

	(void)t;
	/*
	 * Lockdep reports a cycle in pciehp, which has nothing to do with IOMMUs,
	 * as soon as something is plugged, and nothing after that: for a third of
	 * the time it can do its work.
	 */
	while (!stop && now_ns() < hotplug_from)
		usleep(100000);
	for (int i = 0; i < nr_functions &&
	     (functions[fn].port < 0 || !present(fn)); i++)
		fn = (fn + 1) % nr_functions;
	if (functions[fn].port < 0 || pthread_mutex_trylock(bus_of(fn)))
		return;
	/* Either is refused while the slot is about to be switched on or off. */
	for (int i = 0; i < PATIENCE && !taken; i++) {
		taken = button ? !slot_power(fn, "0") :
			!host_qmp("{\"execute\":\"device_del\",\"arguments\":"
				  "{\"id\":\"ep%u\"}}", fn);
		usleep(MOMENT);
	}
	for (int i = 0; i < PATIENCE && present(fn); i++)
		usleep(MOMENT);
	gone = !present(fn);
	if (gone && plug(fn))
		ADD(unplugs);
	pthread_mutex_unlock(bus_of(fn));
}

static void rescan_once(struct thread *t, uint64_t d)
{
	unsigned int fn = below(&d, nr_functions);
	char path[64];
	bool removed;

	(void)t;
	if (pthread_mutex_trylock(bus_of(fn)))
		return;
	removed = !device_file(fn, "remove", "1");
	/*
	 * Of its bus only: a rescan of everything gives all bridges their bus
	 * numbers anew on this machine, and for a moment none at all, which takes
	 * the StreamIDs away from functions that are at work.
	 */
	snprintf(path, sizeof(path), "/sys/class/pci_bus/%.7s/rescan",
		 functions[fn].bdf);
	write_file(path, "1");
	pthread_mutex_unlock(bus_of(fn));
	if (removed)
		ADD(rescans);
}

static struct thread threads[] = {
	{ .name = "map 0", .once = map_once, .pause_ms = 4 },
	{ .name = "map 1", .once = map_once, .pause_ms = 4 },
	{ .name = "silence", .once = silence_once, .pause_ms = 300 },
	{ .name = "reset 0", .once = reset_once, .pause_ms = 250 },
	{ .name = "reset 1", .once = reset_once, .pause_ms = 250 },
	{ .name = "bind", .once = bind_once, .pause_ms = 800 },
	{ .name = "unplug", .once = unplug_once, .pause_ms = 500 },
	{ .name = "rescan", .once = rescan_once, .pause_ms = 6000 },
};

#define NR_THREADS ((int)(sizeof(threads) / sizeof(threads[0])))

static void *run(void *arg)
{
	struct thread *t = arg;

	while (!stop) {
		uint64_t d = next(&t->state), whole = d;

		if (t->decisions < DIGEST_OF)
			t->first[t->decisions] = d;
		t->decisions++;
		usleep(1000 * below(&d, t->pause_ms + 1));
		t->once(t, whole);
	}
	return NULL;
}

/* Where the stream of thread @number begins: far apart, also for close seeds */
static uint64_t stream(uint64_t seed, int number)
{
	for (int n = 0; n <= number; n++)
		seed = next(&seed) + n;
	return seed;
}

/* The first decisions of all threads; have they taken these and no others? */
static bool replays(uint64_t seed, uint64_t *digest)
{
	bool same = true;

	*digest = 0;
	for (int i = 0; i < NR_THREADS; i++) {
		uint64_t state = stream(seed, i);

		for (unsigned int n = 0; n < DIGEST_OF; n++) {
			uint64_t d = next(&state);

			*digest = (*digest ^ d) * 0x100000001b3;
			same = same && (n >= threads[i].decisions ||
					threads[i].first[n] == d);
		}
	}
	return same;
}

/* The end: everything is there, healthy, and has its driver. */

static bool heal(int fn)
{
	if (functions[fn].port >= 0 && !present(fn) && !plug(fn)) {
		ktap_diag("%s does not come back", functions[fn].bdf);
		return false;
	}
	if (set_fault(fn, "atc-fault", "\"none\"") ||
	    set_fault(fn, "atc-silent-next", "0"))
		return false;
	device_file(fn, "driver/unbind", functions[fn].bdf);
	return true;
}

static int find_file(int fn)
{
	for (int i = 0; i < MAX_FILES; i++) {
		struct ep ep;
		bool same;

		if (!ep_exists(i))
			continue;
		ep_open(&ep, i);
		same = !strcmp(ep.bdf, functions[fn].bdf);
		ep_close(&ep);
		if (same)
			return i;
	}
	return -1;
}

static void show_config(int fn)
{
	char path[128], resource[80];
	uint32_t words[7] = {};
	int fd;

	snprintf(path, sizeof(path), DEVICES "%.15s/config", functions[fn].bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, words, sizeof(words), 0) < 0)
		ktap_diag("%s: no config space", path);
	close(fd);
	snprintf(path, sizeof(path), DEVICES "%.15s/resource", functions[fn].bdf);
	read_file(path, resource, sizeof(resource));
	ktap_diag("%s: ID %08x, COMMAND %08x, BAR 0 %08x, should be %s",
		  functions[fn].bdf, words[0], words[1], words[4], resource);
}

/* What is wrong with it, or NULL */
static const char *works(int fn)
{
	struct atctest_cmd c;
	struct atctest_slot s;
	bool ats;
	struct ep ep;
	int index = find_file(fn);

	if (index < 0) {
		int err = write_file("/sys/bus/pci/drivers/atctest/bind",
				     functions[fn].bdf);
		int eh = write_file("/sys/bus/pci/drivers/atctest-eh/bind",
				    functions[fn].bdf);

		ktap_diag("%s: bind to atctest: %s, to atctest-eh: %s",
			  functions[fn].bdf, strerror(err), strerror(eh));
		show_config(fn);
		return "it has no driver";
	}
	ep_open(&ep, index);
	ats = ep_ats_enabled(&ep);
	ep_free(&ep, 0);
	s = ep_map(&ep, 0);
	ep_fill(&ep, ATCTEST_SLOT_BUF, 1, LEN);
	c = ep_cmd(&ep, ATC_CMD_WRITE, s.iova, LEN);
	if (c.result == ATC_OK && ep_check(&ep, 0, 1, LEN))
		c.result = ATC_BAD;
	ep_unmap(&ep, 0, 0, NULL, NULL);
	ep_free(&ep, 0);
	ep_close(&ep);
	if (!ats)
		return "ATS is off";
	if (c.result != ATC_OK || !(c.flags & ATC_WAS_TRANSLATED)) {
		ktap_diag("%s: result %#x flags %#x", functions[fn].bdf, c.result,
			  c.flags);
		return "no translated DMA";
	}
	return NULL;
}

static bool all_heal(void)
{
	bool ok = true;

	write_file("/sys/bus/pci/rescan", "1");
	for (int fn = 0; fn < nr_functions; fn++)
		ok = heal(fn) && ok;
	for (int fn = 0; fn < nr_functions; fn++) {
		int err = device_file(fn, "reset", "1");

		if (err)
			ktap_diag("%s: reset: %s", functions[fn].bdf, strerror(err));
		ok = ok && !err;
	}
	for (int fn = 0; fn < nr_functions; fn++) {
		device_file(fn, "iommu_group/type", "DMA");
		probe_driver(fn);
	}
	return ok;
}

static bool all_work(void)
{
	bool ok = true;

	for (int fn = 0; fn < nr_functions; fn++) {
		const char *wrong = works(fn);

		if (wrong)
			ktap_diag("%s: %s", functions[fn].bdf, wrong);
		ok = ok && !wrong;
	}
	return ok;
}

/*
 * A port whose slot is empty would go to sleep. What wakes it has pciehp look for
 * a card first, and see the button that came with it afterwards: that takes the
 * new function away again five seconds later, perhaps at the very end.
 */
static void keep_awake(struct ep *ep)
{
	char path[96], bridge[32];
	int err;

	if (!ep_bridge(ep, bridge, sizeof(bridge)))
		fatal("%s: no port above it", ep->bdf);
	snprintf(path, sizeof(path), DEVICES "%.15s/power/control", bridge);
	err = write_file(path, "on");
	if (err)
		fatal("%s: %s", path, strerror(err));
}

static void setup(int ports)
{
	struct ep ep;

	for (; nr_functions < MAX_FUNCTIONS && ep_exists(nr_functions);
	     nr_functions++) {
		ep_open(&ep, nr_functions);
		strcpy(functions[nr_functions].bdf, ep.bdf);
		functions[nr_functions].port = nr_functions < ports ?
					       nr_functions : -1;
		if (nr_functions < ports)
			keep_awake(&ep);
		ep_close(&ep);
	}
	if (nr_functions < 2 || nr_functions < ports)
		fatal("%d functions found", nr_functions);
}

static _Noreturn void usage(int status)
{
	printf("usage: stress [--seed N] [--seconds N] [--ports N]\n"
	       "Map, unmap, silence, reset, bind, claim, unplug, rescan at random.\n\n"
	       "  --seed N     of the threads' decisions (default 1)\n"
	       "  --seconds N  how long (default 30)\n"
	       "  --ports N    the first N functions have a port each, and can be\n"
	       "               unplugged (default 3)\n");
	exit(status);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "ports", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	uint64_t seed = 1, digest, end;
	int c, seconds = 30, ports = 3;
	bool healed;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h' || c == '?')
			usage(c == 'h' ? 0 : 2);
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		if (c == 't')
			seconds = atoi(optarg);
		if (c == 'p')
			ports = atoi(optarg);
	}
	if (!host_open(HOST_FD)) {
		perror(HOST_PORT);
		return 1;
	}
	setup(ports);
	ktap_plan(4);
	ktap_diag("seed %llu", (unsigned long long)seed);
	ktap_point(all_work(), "all functions work");
	host_mark("silence");
	end = now_ns() + seconds * 1000000000ULL;
	hotplug_from = end - seconds * 700000000ULL;
	for (int i = 0; i < MAX_FUNCTIONS; i++)
		pthread_mutex_init(&busy[i], NULL);
	for (int i = 0; i < NR_THREADS; i++) {
		threads[i].number = i;
		threads[i].state = stream(seed, i);
		if (pthread_create(&threads[i].id, NULL, run, &threads[i]))
			fatal("no threads");
	}
	for (int gone = 1; now_ns() < end; gone++) {
		sleep(1);
		if (gone % PROGRESS)
			continue;
		ktap_diag("%d of %d s: %llu silences, %llu resets, %llu unplugs",
			  gone, seconds, (unsigned long long)count.silences,
			  (unsigned long long)count.resets,
			  (unsigned long long)count.unplugs);
	}
	stop = true;
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		ktap_diag("%s: %llu decisions", threads[i].name,
			  (unsigned long long)threads[i].decisions);
	}
	ktap_point(replays(seed, &digest), "the decisions are those of the seed");
	healed = all_heal();
	ktap_point(healed, "all functions are there and can be reset");
	ktap_point(all_work(), "all functions work again");
	host_mark("recovered");

	host_value("seed", "%llu", (unsigned long long)seed);
	host_value("digest", "\"%016llx\"", (unsigned long long)digest);
	host_value("stale_writes_landed", "%llu", (unsigned long long)count.landed);
	host_value("stale_writes_refused", "%llu", (unsigned long long)count.refused);
	host_value("translated_accesses", "%llu",
		   (unsigned long long)count.translated);
	host_value("silences", "%llu", (unsigned long long)count.silences);
	host_value("resets", "%llu", (unsigned long long)count.resets);
	host_value("binds", "%llu", (unsigned long long)count.binds);
	host_value("claims", "%llu", (unsigned long long)count.claims);
	host_value("unplugs", "%llu", (unsigned long long)count.unplugs);
	host_value("rescans", "%llu", (unsigned long long)count.rescans);
	host_value("cmdq_errors", "%llu", (unsigned long long)
		   qom_get("@smmu", "stat-cerror-atc-inv"));
	return healed ? 0 : 1;
}
