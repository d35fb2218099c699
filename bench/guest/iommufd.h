/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of iommufd and of VFIO's device files as the guest's programs use,
 * for build machines whose headers are older than these interfaces. The layouts
 * are the kernel's (include/uapi/linux/iommufd.h, vfio.h).
 */
#ifndef IOMMUFD_H
#define IOMMUFD_H

#include <stdbool.h>
#include <stdint.h>

enum {
	IOMMUFD_DESTROY = 0x80,
	IOMMUFD_IOAS_ALLOC = 0x81,
	IOMMUFD_IOAS_MAP = 0x85,
	IOMMUFD_IOAS_UNMAP = 0x86,
	IOMMUFD_HWPT_ALLOC = 0x89,
	IOMMUFD_HWPT_INVALIDATE = 0x8d,
	IOMMUFD_FAULT_ALLOC = 0x8e,
	IOMMUFD_VIOMMU_ALLOC = 0x90,
	IOMMUFD_VDEVICE_ALLOC = 0x91,
};

#define HWPT_NEST_PARENT	1
#define HWPT_FAULT_ID_VALID	4
#define HWPT_DATA_ARM_SMMUV3	2
#define VIOMMU_ARM_SMMUV3	1
#define INVALIDATE_ARM_SMMUV3	1

#define RESPONSE_SUCCESS	0
#define RESPONSE_INVALID	1

/* What is read from a fault queue, and what is written to it */
struct pgfault {
	uint32_t flags, dev_id, pasid, grpid, perm, reserved;
	uint64_t addr;
	uint32_t length, cookie;
};

struct page_response {
	uint32_t cookie, code;
};

/* A function in the hands of this process: a VFIO device file, and iommufd */
struct owner {
	int iommufd, device;
	uint32_t id;		/* of the device in the iommufd */
	volatile uint32_t *bar;
	uint64_t config;	/* offset of its configuration space */
};

/* All return 0 or an id on failure, with errno and a line that says so. */
struct ep;
/* Give the function to vfio-pci; @ep is closed */
bool owner_give(struct ep *ep);
/* Open its device file, and bind it to the iommufd of @first if not NULL */
bool owner_open(struct owner *o, struct ep *ep, const struct owner *first);
void owner_close(struct owner *o);
/* Bus mastering and memory space, after every reset */
bool owner_enable(struct owner *o);
bool owner_reset(struct owner *o);
/* An IOAS or a HWPT; a device that has one changes to @pt at once */
bool owner_attach(struct owner *o, uint32_t pt);
bool owner_detach(struct owner *o);

uint32_t ioas_alloc(struct owner *o);
bool ioas_map(struct owner *o, uint32_t ioas, uint64_t iova, void *va,
	      uint64_t len);
bool ioas_unmap(struct owner *o, uint32_t ioas, uint64_t iova, uint64_t len);
/* A HWPT on an IOAS, or on a vIOMMU with the two words of an STE */
uint32_t hwpt_alloc(struct owner *o, uint32_t pt, uint32_t flags,
		    uint32_t fault, const uint64_t ste[2]);
/* A fault queue; its file is in @fd, and does not block */
uint32_t fault_alloc(struct owner *o, int *fd);
uint32_t viommu_alloc(struct owner *o, uint32_t parent);
uint32_t vdevice_alloc(struct owner *o, uint32_t viommu, uint64_t vsid);
/*
 * A guest's invalidation commands of 16 bytes each; errno, with the number of
 * those that were handled in @num
 */
int viommu_invalidate(struct owner *o, uint32_t viommu, const void *cmds,
		      uint32_t *num);
bool id_destroy(struct owner *o, uint32_t id);

#endif /* IOMMUFD_H */
