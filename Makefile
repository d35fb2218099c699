# SPDX-License-Identifier: GPL-2.0
# An index of commands; the work is done by bench/atc.py. `make help` lists them.

ATC := python3 bench/atc.py

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test kunit scenarios bench check cover mutants deb litmus sanitize stress shell tree \
	export apply mbox clean

help:           ## this list
	@$(ATC) help

run:            ## main job: the fault on the base and on the patched kernel, side by side
	@$(ATC) run

test:           ## everything that CI runs; ends with "N passed, N failed"
	@$(ATC) test

kunit:          ## the KUnit suites, run by kunit.py under QEMU  [ONLY=suite]
	@$(ATC) kunit

scenarios:      ## the scenarios on both kernels  [ONLY=name]
	@$(ATC) scenarios

bench:          ## the cost table: instructions of an unmap, base against patched
	@$(ATC) bench

check:          ## each patch through the robots of maintainers  [TOPIC=name or name/number]
	@$(ATC) check

cover:          ## which added lines and branches KUnit and the scenarios execute, by patch  [ONLY=kunit,name]
	@$(ATC) cover

mutants:        ## does a test notice each small fault in the added lines?  [ONLY=part of a file's name]
	@$(ATC) mutants

deb:            ## kernel packages for arm64 servers, and a test of them  [CONFIG=debian]
	@$(ATC) deb

litmus:         ## the lock-free pairs of the series in the kernel's memory model (herd7)
	@$(ATC) litmus

sanitize:       ## KUnit and scenarios under KASAN, lockdep, KCSAN ...  [SAN=asan|kcsan ONLY=name]
	@$(ATC) sanitize

stress:         ## everything at once, at random  [MINUTES=5 SEED=n SAN=asan|kcsan]
	@$(ATC) stress

shell:          ## a guest shell in a scenario: SCENARIO=name [KERNEL=base|patched]
	@$(ATC) shell

tree:           ## linux/: a git tree with one commit per patch to hack in
	@$(ATC) tree

export:         ## linux/ back to the patch files in series/
	@$(ATC) export

apply:          ## apply the series to your own git tree, on a new branch: LINUX=dir
	@$(ATC) apply

mbox:           ## mails for `git send-email`: TOPIC=name SIGNOFF="Name <mail>"
	@$(ATC) mbox

clean:          ## remove out/ (the cache outside the checkout stays)
	rm -rf out
