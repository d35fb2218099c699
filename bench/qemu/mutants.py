#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutants of the QEMU model of stalls and PASIDs: does the self-test catch them?

Each mutant is a small fault in the model.  All of them are built into one QEMU,
which ATC_MUTANT=N tells to have fault N; the self-test has to fail with each of
them, and to pass without.  The sources in the cache are used and put back.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from lib import build, paths, series, ui  # noqa: E402

SMMU, ATC, ENDPOINT = "hw/arm/smmuv3.c", "hw/pci/pci_atc.c", "hw/misc/atc-endpoint.c"
TESTS = ("stall*", "pasid*")
SWITCH = """static inline bool atc_mutant(int n)
{
    static int which = -1;

    if (which < 0) {
        which = atoi(getenv("ATC_MUTANT") ?: "0");
    }
    return which == n;
}
"""

# file, what is wrong, the text that is replaced, and by what: MUT is the switch
MUTANTS = [
    (SMMU, "forced: CD.S = 0 is accepted",
     "    case SMMU_STALL_MODEL_FORCED:\n        return stall;",
     "    case SMMU_STALL_MODEL_FORCED:\n        return stall || MUT;"),
    (SMMU, "none: CD.S = 1 is accepted",
     "    case SMMU_STALL_MODEL_NONE:\n        return !stall;",
     "    case SMMU_STALL_MODEL_NONE:\n        return !stall || MUT;"),
    (SMMU, "S1STALLD is accepted with forced",
     "if (STE_S1STALLD(ste) && s->stalls.model",
     "if (!MUT && STE_S1STALLD(ste) && s->stalls.model"),
    (SMMU, "S1STALLD does not forbid CD.S",
     "(CD_S(cd) && cfg->s1stalld)",
     "(!MUT && CD_S(cd) && cfg->s1stalld)"),
    (SMMU, "S2S is not looked at for stage 2 faults",
     "return event->u.f_walk_eabt.s2 ? cfg->s2cfg.stall : cfg->stall;",
     "return event->u.f_walk_eabt.s2 && !MUT ? cfg->s2cfg.stall : cfg->stall;"),
    (SMMU, "permission faults do not stall",
     "    case SMMU_EVT_F_PERMISSION:\n        return event->u",
     "    case SMMU_EVT_F_PERMISSION:\n"
     "        if (MUT && event->type == SMMU_EVT_F_PERMISSION) { return false; }\n"
     "        return event->u"),
    (SMMU, "STAGs are given twice",
     "        while (smmuv3_stag_in_use(s, stalls->next_stag)) {",
     "        if (MUT) { stalls->next_stag = 0; }\n"
     "        while (!MUT && smmuv3_stag_in_use(s, stalls->next_stag)) {"),
    (SMMU, "Stall bit missing",
     "st->event.u.f_walk_eabt.stall = true;",
     "st->event.u.f_walk_eabt.stall = !MUT;"),
    (SMMU, "STALL_MAX is not kept",
     "if (stalls->nr_reported >= stalls->max ||",
     "if ((!MUT && stalls->nr_reported >= stalls->max) ||"),
    (SMMU, "a full queue loses the event",
     "            smmuv3_q_full(&s->eventq)) {\n            return;",
     "            (!MUT && smmuv3_q_full(&s->eventq))) {\n            return;"),
    (SMMU, "no report when the queue has room again",
     "        s->eventq.cons = data;\n        smmuv3_stalls_report(s);",
     "        s->eventq.cons = data;\n        if (!MUT) { smmuv3_stalls_report(s); }"),
    (SMMU, "no report when the queue is enabled",
     "        /* in case the event queue has been enabled */\n        smmuv3_stalls_report(s);",
     "        if (!MUT) { smmuv3_stalls_report(s); }"),
    (SMMU, "CMD_RESUME ignores the StreamID",
     "        if (st->reported && st->event.sid == sid &&",
     "        if (st->reported && (st->event.sid == sid || MUT) &&"),
    (SMMU, "CMD_RESUME ignores the STAG",
     "            st->event.u.f_walk_eabt.stag == stag) {\n            break;",
     "            (st->event.u.f_walk_eabt.stag == stag || MUT)) {\n            break;"),
    (SMMU, "abort is taken for a retry",
     "        stalls->stat_aborted++;\n        smmuv3_stall_resume(s, st, PCI_STALL_ABORT);",
     "        stalls->stat_aborted++;\n"
     "        smmuv3_stall_resume(s, st, MUT ? PCI_STALL_RETRY : PCI_STALL_ABORT);"),
    (SMMU, "CMD_STALL_TERM ends all streams",
     "if (all || st->event.sid == sid) {",
     "if (all || st->event.sid == sid || MUT) {"),
    (SMMU, "SMMUEN = 0 ends nothing",
     "        if (smmu_enabled(s) && !FIELD_EX32(data, CR0, SMMU_ENABLE)) {",
     "        if (!MUT && smmu_enabled(s) && !FIELD_EX32(data, CR0, SMMU_ENABLE)) {"),
    (SMMU, "a freed place among STALL_MAX is not used",
     "    /* A place among the STALL_MAX may be free */\n    smmuv3_stalls_report(s);",
     "    if (!MUT) { smmuv3_stalls_report(s); }"),
    (SMMU, "CMD_RESUME is legal without stalls",
     "if (s->stalls.model == SMMU_STALL_MODEL_NONE || CMD_SSEC(&cmd)) {",
     "if (!MUT && (s->stalls.model == SMMU_STALL_MODEL_NONE || CMD_SSEC(&cmd))) {"),
    (SMMU, "S1CDMAX is not checked against the PASID",
     "!STE_S1CDMAX(&ste) || ssid >> STE_S1CDMAX(&ste) ||",
     "!STE_S1CDMAX(&ste) || (!MUT && ssid >> STE_S1CDMAX(&ste)) ||"),
    (SMMU, "PASID 0 with S1DSS = 2",
     "(!ssid && STE_S1DSS(&ste) == STE_S1DSS_SSID0)) {",
     "(!MUT && !ssid && STE_S1DSS(&ste) == STE_S1DSS_SSID0)) {"),
    (SMMU, "S1DSS = 0 is ignored",
     "                cfg->s1dss_terminate = true;",
     "                cfg->s1dss_terminate = !MUT;\n                if (MUT) { break; }"),
    (SMMU, "L1 descriptor's valid bit",
     '        if (!L1CD_VALID(&l1)) {',
     '        if (!MUT && !L1CD_VALID(&l1)) {'),
    (SMMU, "leaves of 4 KiB taken for 64 KiB",
     "int leaf_bits = STE_S1FMT(ste) == STE_S1FMT_4K ? 6 : 10;",
     "int leaf_bits = STE_S1FMT(ste) == STE_S1FMT_4K && !MUT ? 6 : 10;"),
    (SMMU, "SSV missing in events",
     "        EVT_SET_SSV(&evt, info->type != SMMU_EVT_C_BAD_SUBSTREAMID);",
     "        EVT_SET_SSV(&evt, !MUT && info->type != SMMU_EVT_C_BAD_SUBSTREAMID);"),
    (SMMU, "CFGI_CD flushes nothing",
     "    g_hash_table_remove(s->ssid_configs, &key);\n    if (!ssid)",
     "    if (!MUT) { g_hash_table_remove(s->ssid_configs, &key); }\n    if (!ssid)"),
    (SMMU, "CFGI_CD flushes all",
     "            if (s->ssidsize && type == SMMU_CMD_CFGI_CD) {",
     "            if (!MUT && s->ssidsize && type == SMMU_CMD_CFGI_CD) {"),
    (SMMU, "CFGI_STE leaves the SubstreamIDs",
     "    return sid >= range->start && sid <= range->end;",
     "    return !MUT && sid >= range->start && sid <= range->end;"),
    (SMMU, "EATS is not checked for a PASID",
     "    if ((*cfg)->eats != STE_EATS_FULL) {",
     "    if ((*cfg)->eats != STE_EATS_FULL && !(MUT && ssid != PCI_NO_PASID)) {"),
    (ATC, "the ATC ignores the PASID",
     "        if (e->tlb.pasid == pasid &&",
     "        if ((e->tlb.pasid == pasid || MUT) &&"),
    (ATC, "an invalidation ignores the PASID",
     "        if (pasid != PCI_NO_PASID &&\n",
     "        if (!MUT && pasid != PCI_NO_PASID &&\n"),
    (ATC, "an invalidation without a PASID spares PASIDs",
     "        if (e->tlb.iova <= last &&",
     "        if (MUT && pasid == PCI_NO_PASID && e->tlb.pasid != pasid) { continue; }\n"
     "        if (e->tlb.iova <= last &&"),
    (ATC, "a global invalidation is not",
     "            (global ? e->tlb.pasid",
     "            (global && !MUT ? e->tlb.pasid"),
    (ATC, "a reset leaves PASIDs enabled",
     "    if (dev->exp.pasid_cap) {\n        pci_set_word",
     "    if (dev->exp.pasid_cap && !MUT) {\n        pci_set_word"),
    (ENDPOINT, "an access is repeated after a reset",
     "            a->ep = NULL;\n        } else {",
     "            if (!MUT) { a->ep = NULL; }\n        } else {"),
    (ENDPOINT, "a dead function goes on",
     "if (action == PCI_STALL_RETRY && !atc_ep_offline(a->ep)) {",
     "if (action == PCI_STALL_RETRY && (MUT || !atc_ep_offline(a->ep))) {"),
    (ENDPOINT, "the data of the last command are written",
     "    if (write) {\n        memcpy(a->data, ep->buf, a->len);",
     "    if (write) {\n        memcpy(a->data, ep->buf, MUT ? 0 : a->len);"),
    (ENDPOINT, "a read's data do not arrive",
     '    if (a && !a->write && a->result == RESULT_OK) {',
     '    if (a && !MUT && !a->write && a->result == RESULT_OK) {'),
    (ENDPOINT, "the PASID of the last command is used",
     "    a->pasid = ep->pasid;",
     "    a->pasid = MUT ? PCI_NO_PASID : ep->pasid;"),
]


def seed(source):
    """Put all mutants into the sources."""
    texts = {name: (source / name).read_text(encoding="utf-8")
             for name in (SMMU, ATC, ENDPOINT)}
    for number, (name, what, old, new) in enumerate(MUTANTS, 1):
        if texts[name].count(old) != 1:
            raise ui.Stop(f"mutant {number} ({what}): its text is {texts[name].count(old)} "
                          f"times in {name}")
        texts[name] = texts[name].replace(old, new.replace("MUT", f"atc_mutant({number})"))
    for name, text in texts.items():
        (source / name).write_text(re.sub(r'(#include "qemu/osdep.h"\n)', rf"\1{SWITCH}", text,
                                          count=1), encoding="utf-8")


def build_mutants():
    """A QEMU with all mutants; its path."""
    build.qemu()
    target = paths.OUT / "mutants/qemu-system-aarch64"
    target.parent.mkdir(parents=True, exist_ok=True)
    with paths.locked("qemu"):
        build._qemu_source()
        try:
            seed(build.QEMU_SRC)
            ui.run("build the mutants", ["ninja", "-j", paths.jobs(), "qemu-system-aarch64"],
                   paths.LOGS / "mutants.log", cwd=build.QEMU_BUILD, env=build.ccache_env())
            shutil.copy2(build.QEMU_BUILD / "qemu-system-aarch64", target)
        finally:
            series.git("checkout", "-q", "-f", "HEAD", repo=build.QEMU_SRC)
    return target


def failing(emulator, number):
    """The tests that fail with this mutant."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("selftest.py")), "--qemu", str(emulator),
         *TESTS], env=dict(os.environ, ATC_MUTANT=str(number)), capture_output=True, text=True,
        check=False)
    if not re.search(r"^# \d+ passed", done.stdout, re.M):
        raise ui.Stop(f"the self-test did not end: {done.stdout[-200:]}{done.stderr[-200:]}")
    return re.findall(r"^not ok \d+ (\S+)", done.stdout, re.M)


def main():
    """Run them all; a survivor is a failure."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the mutants and exit")
    args = parser.parse_args()
    if args.list:
        for number, (name, what, _, _) in enumerate(MUTANTS, 1):
            print(f"{number:3} {name:24} {what}")
        return 0
    emulator = build_mutants()
    bad = []
    if failing(emulator, 0):
        bad.append("the self-test fails without a mutant")
    for number, (name, what, _, _) in enumerate(MUTANTS, 1):
        tests = failing(emulator, number)
        print(f"{number:3} {what}: {', '.join(tests) or 'SURVIVED'}", flush=True)
        if not tests:
            bad.append(f"mutant {number} survived: {what} ({name})")
    for text in bad:
        print(f"FAIL  {text}")
    print(f"{len(MUTANTS) - len(bad)} caught, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ui.Stop as stop:
        sys.exit(f"error: {stop}")
