/* SPDX-License-Identifier: GPL-2.0 */
#ifndef COST_FAULTS_H
#define COST_FAULTS_H

#include "endpoint.h"

/* What QEMU logs so that the host can count per function */
#define COST_TRACE	"exec,nochain"

/*
 * Count instructions, as values cost_attach, cost_replace, cost_detach,
 * cost_fault, and cost_fault_canary with @extra nops more. If @traced is not 0:
 * so many faults only, and QEMU logs them.
 */
void cost_faults(struct ep *ep, uint32_t extra, int traced);

#endif /* COST_FAULTS_H */
