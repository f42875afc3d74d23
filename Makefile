# SPDX-License-Identifier: BSD-2-Clause
# srplay: one entry for everything. `make help` lists the targets.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
SOMAJOR := 0

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share/srplay
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=

# Nothing but BUILD is ever written to.
BUILD ?= build
CC := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
HOSTCC ?= $(CC)
HOSTCFLAGS ?= $(CFLAGS)
AR := $(if $(filter default undefined,$(origin AR)),ar,$(AR))
OPT ?= -O2 -g
SANITIZE ?=
PYTHON ?= python3
VENV := build/venv
# Where pip finds the CPU build of PyTorch, when its own configuration does not say (passed as --extra-index-url).
TORCH_INDEX ?=

ifeq ($(V),1)
Q :=
say := @:
else
Q := @
say = @printf '  %-7s %s\n'
endif

RUNTIME_PC := jansson libsodium libzstd
PLAYER_PC := libavformat libavcodec libswscale libswresample libavutil libcurl sdl2 SDL2_ttf fontconfig
pc = $(shell pkg-config $(1) $(2) 2>/dev/null)

# Instruction sets that have row kernels, and how to compile those (codegen/srcc writes them).
TARGET := $(shell $(CC) -dumpmachine)
knows = $(shell $(CC) $(1) -E -x c /dev/null >/dev/null 2>&1 && echo $(2))
ISAS := scalar
ifneq ($(filter x86_64-%,$(TARGET)),)
ISAS += avx2 $(call knows,-mavxvnni,avxvnni) avx512 avx512vl avx512bf16
# All of it written by hand.
AMX := $(call knows,-mamx-tile -mamx-int8 -mamx-bf16,amx)
endif
ifneq ($(filter aarch64-%,$(TARGET)),)
ISAS += neon dotprod
endif
# Passes of gcc that keep loaded values or addresses over rounds of a loop, or load all values before
# the first product: there is no register for them beside the sums. (The vectoriser brings predictive
# commoning with it.)
ROWS_GCC := -fno-tree-vectorize -fno-tree-pre -fno-ivopts -fno-schedule-insns
ROWS_CFLAGS := $(call knows,-Werror $(ROWS_GCC),$(ROWS_GCC))
FLAGS_avx2 := -mavx2 -mfma
FLAGS_avxvnni := $(FLAGS_avx2) -mavxvnni
FLAGS_avx512 := $(FLAGS_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
FLAGS_avx512vl := $(FLAGS_avx512)
FLAGS_avx512bf16 := $(FLAGS_avx512) -mavx512bf16
# Tuned for what has it: general registers are then not kept in vector registers (4 % of the time).
FLAGS_amx := $(FLAGS_avx512bf16) -mamx-tile -mamx-int8 -mamx-bf16 -mtune=icelake-server
FLAGS_dotprod := -march=armv8.2-a+dotprod

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
XNNPACK := $(if $(wildcard /usr/include/xnnpack.h $(XNNPACK_PREFIX)/include/xnnpack.h),1,0)
# A shared one is loaded when it is asked for; one in a prefix of its own, or an archive, is linked.
XNNPACK_SONAME := $(if $(filter 1,$(XNNPACK)),$(if $(XNNPACK_PREFIX),,$(shell \
    readelf -d $$($(CC) -print-file-name=libXNNPACK.so) 2>/dev/null | sed -n 's/.*soname: \[\(.*\)\]/\1/p')))
XNNPACK_LIBS := $(if $(filter 1,$(XNNPACK)),$(if $(XNNPACK_SONAME),,-lXNNPACK -lpthreadpool -lcpuinfo))
CPPFLAGS_ALL := -D_GNU_SOURCE -DSRP_HAVE_XNNPACK=$(XNNPACK) \
    $(if $(XNNPACK_SONAME),-DSRP_XNNPACK_SONAME='"$(XNNPACK_SONAME)"') -DSRP_DATADIR='"$(DATADIR)"' \
    $(patsubst %,-DSRPI_ROWS_%,$(ISAS) $(AMX)) -Iruntime/include $(if $(XNNPACK_PREFIX),-I$(XNNPACK_PREFIX)/include) $(CPPFLAGS)
CFLAGS_ALL := -std=c11 $(OPT) $(WARN) -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=off -pthread \
    $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer) $(CFLAGS)
LDFLAGS_ALL := -pthread -Wl,--as-needed $(if $(SANITIZE),-fsanitize=$(SANITIZE)) \
    $(if $(XNNPACK_PREFIX),-L$(XNNPACK_PREFIX)/lib) $(LDFLAGS)
RUNTIME_LIBS = $(call pc,--libs,$(RUNTIME_PC)) $(XNNPACK_LIBS) -lm
PLAYER_LIBS = $(call pc,--libs,$(PLAYER_PC))

PROGRAMS := srplay srbench srbench-media srinfo
RUNTIME_SRC := $(sort $(wildcard runtime/*/*.c))
PLAYER_SRC := $(sort $(filter-out $(PROGRAMS:%=player/%.c),$(wildcard player/*.c)))
TEST_SRC := $(sort $(wildcard test/*/test_*.c))
TEST_AID_SRC := $(sort $(wildcard test/*/aid_*.c))

obj = $(1:%.c=$(BUILD)/obj/%.o)
ROWS_OBJ := $(ISAS:%=$(BUILD)/obj/gen/rows_%.o)
RUNTIME_OBJ := $(call obj,$(RUNTIME_SRC)) $(ROWS_OBJ)
GRAPHS := $(sort $(wildcard models/*.json))
PLAYER_OBJ := $(call obj,$(PLAYER_SRC))
PROGRAM_BIN := $(PROGRAMS:%=$(BUILD)/%)
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_AID_BIN := $(TEST_AID_SRC:%.c=$(BUILD)/%)
LIBS := $(BUILD)/libsrp.a $(BUILD)/libsrp.so

## all: build libsrp, srplay, srbench, srinfo and the srpack command (needs `make deps` once)
.PHONY: all
all: $(LIBS) $(PROGRAM_BIN) $(BUILD)/srpack $(BUILD)/demo-scene

# ---- set-up -------------------------------------------------------------------------------------

## deps: install the Debian packages that building and playing need
.PHONY: deps deps-dev
deps:
	$(Q)scripts/setup.sh player

## deps-dev: deps, plus what the packer and the tests need (a Python venv in build/venv too)
deps-dev:
	$(Q)scripts/setup.sh player dev
	$(Q)$(MAKE) --no-print-directory $(VENV)/.ready

$(VENV)/.ready: scripts/requirements.txt
	@echo "installing into $(VENV): $$(grep -v '^#' $< | tr '\n' ' ')"
	$(Q)test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(Q)$(VENV)/bin/pip install --quiet --disable-pip-version-check \
	    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r $<
	$(Q)touch $@

# ---- libraries and programs ---------------------------------------------------------------------

# The generator runs on this machine, whatever CC builds for.
SRCC_SRC := $(sort $(wildcard codegen/*.c)) $(addprefix runtime/model/,error.c graph.c json.c)
$(BUILD)/srcc: $(SRCC_SRC) $(wildcard codegen/*.h runtime/model/*.h) $(addprefix runtime/kernels/,row.h row_few.h row_sets.h)
	$(say) HOSTCC $@
	@mkdir -p $(@D)
	$(Q)$(HOSTCC) -D_GNU_SOURCE -Iruntime/include -Iruntime -std=c11 -O1 -g $(WARN) $(HOSTCFLAGS) \
	    $(SRCC_SRC) $(call pc,--cflags --libs,jansson) -o $@

$(BUILD)/gen/rows_%.c: $(BUILD)/srcc $(GRAPHS)
	$(say) GEN $@
	@mkdir -p $(@D)
	$(Q)$< --isa $* $(GRAPHS:%=--graph %) -o $@

# Large, so neither with debugging information nor with sanitizers: guard pages test them.
.SECONDARY: $(ISAS:%=$(BUILD)/gen/rows_%.c)
$(BUILD)/obj/gen/rows_%.o: $(BUILD)/gen/rows_%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Iruntime $(filter-out -g -fsanitize=%,$(CFLAGS_ALL)) $(FLAGS_$*) \
	    $(ROWS_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/obj/runtime/%.o: runtime/%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Iruntime $(call pc,--cflags,$(RUNTIME_PC)) $(CFLAGS_ALL) $(ISA) \
	    -MMD -MP -c $< -o $@

# Plain loops over rows, for the compiler to vectorise.
$(addprefix $(BUILD)/obj/runtime/,kernels/rowops.o kernels/activation.o kernels/row_reference.o \
    exec/picture.o exec/pipe.o): ISA := -O3
# The files whose intrinsics need more than the compiler's default.
ifneq ($(filter x86_64%,$(TARGET)),)
of_kernels = $(patsubst %,$(BUILD)/obj/runtime/kernels/%.o,$(1))
$(call of_kernels,winograd_f32_avx2 winograd_f32_wide_avx2 winograd_q8_avx2 row_depthwise_avx2 \
    row_depthwise_avx2u8): ISA := $(FLAGS_avx2)
$(call of_kernels,winograd_f32_avx512): ISA := -mavx512f -mfma
$(call of_kernels,winograd_q8_avx512 winograd_q8_overlap512 row_few_avx512): ISA := $(FLAGS_avx512)
$(call of_kernels,winograd_q8_avxvnni row_few_avxvnni): ISA := $(if $(filter avxvnni,$(ISAS)),$(FLAGS_avxvnni))
$(call of_kernels,row_amx): ISA := $(if $(AMX),$(FLAGS_amx))
endif

$(BUILD)/obj/%.o: %.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Iplayer $(call pc,--cflags,$(PLAYER_PC) $(RUNTIME_PC)) $(CFLAGS_ALL) \
	    -MMD -MP -c $< -o $@

# Tests may look inside the runtime.
$(BUILD)/obj/test/%.o: test/%.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Iplayer -Iruntime -Itest -UNDEBUG \
	    $(call pc,--cflags,$(PLAYER_PC) $(RUNTIME_PC)) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# An archive is made anew when its list of members changes, so that a removed source leaves it.
$(BUILD)/libsrp.a: $(RUNTIME_OBJ)
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libplayer.a: $(PLAYER_OBJ)
	$(say) AR $@
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libsrp.so: $(RUNTIME_OBJ)
	$(say) LINK $@
	$(Q)$(CC) -shared -Wl,-soname,libsrp.so.$(SOMAJOR) $(LDFLAGS_ALL) $^ $(RUNTIME_LIBS) -o $@

$(PROGRAM_BIN): $(BUILD)/%: $(BUILD)/obj/player/%.o $(BUILD)/libplayer.a $(BUILD)/libsrp.a
	$(say) LINK $@
	$(Q)$(CC) $(LDFLAGS_ALL) $^ $(PLAYER_LIBS) $(RUNTIME_LIBS) -o $@

$(BUILD)/test/%: $(BUILD)/obj/test/%.o $(BUILD)/libplayer.a $(BUILD)/libsrp.a
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) $^ -lcmocka $(PLAYER_LIBS) $(RUNTIME_LIBS) -o $@

$(BUILD)/srpack: scripts/srpack.in
	$(say) GEN $@
	@mkdir -p $(@D)
	$(Q)sed -e 's|@SCRIPTS@|$$here/../scripts|' -e 's|@PYTHON@|$$here/venv/bin/python|' $< > $@
	$(Q)chmod +x $@

$(BUILD)/demo-scene: models/demo-recipe/scene.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -O3 $(WARN) -fno-math-errno -ffp-contract=off $< -lm -o $@

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- demo, models -------------------------------------------------------------------------------

## demo: install, build, and play the demo package
.PHONY: demo
demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)scripts/demo.sh $(BUILD)

## demo-package: render the demo's scene and pack models/demo anew (slow)
.PHONY: demo-package
demo-package: deps-dev
	$(Q)$(MAKE) --no-print-directory all
	$(Q)models/demo-recipe/make.sh $(BUILD)

## models: write models/*.json anew from scripts/srpack/models.py
.PHONY: models
models: deps-dev
	$(Q)PYTHONPATH=scripts $(VENV)/bin/python -m srpack.models --write

## general-models: train models/general anew (about two hours on 2 cores)
.PHONY: general-models
general-models: deps-dev
	$(Q)$(MAKE) --no-print-directory all
	$(Q)PYTHONPATH=scripts $(VENV)/bin/python -m srpack.general

# ---- tests --------------------------------------------------------------------------------------

.PHONY: c-tests
c-tests: $(LIBS) $(TEST_BIN) $(TEST_AID_BIN)

## test: install what is needed, build, run every test (C and Python)
.PHONY: test
test: deps-dev
	$(Q)$(MAKE) --no-print-directory all c-tests $(AARCH64_ROOT)/.ready
	$(Q)SRP_BUILD=$(BUILD) $(VENV)/bin/python test/run.py $(TESTS)

## check: build and run the C tests alone
.PHONY: check
check: c-tests
	$(Q)for t in $(TEST_BIN); do CMOCKA_MESSAGE_OUTPUT=STDOUT $$t || exit 1; done

# Programs that check a processor, statically linked, for qemu-user or a board: the row kernels alone,
# and the whole library with the networks of models/.
ROWS_CHECK_SRC := test/kernel/aid_rows.c $(addprefix runtime/kernels/,row.c row_pack.c row_reference.c) \
    $(wildcard runtime/kernels/row_amx.c runtime/kernels/row_few_*.c runtime/kernels/row_depthwise*.c \
        runtime/kernels/winograd*.c)
$(BUILD)/rows-check: $(call obj,$(ROWS_CHECK_SRC)) $(ROWS_OBJ)
	$(say) LINK $@
	$(Q)$(CC) -static $(LDFLAGS_ALL) $^ -lm -o $@

$(BUILD)/whole-check: $(BUILD)/obj/test/golden/aid_whole.o $(BUILD)/libsrp.a
	$(say) LINK $@
	$(Q)$(CC) -static $(LDFLAGS_ALL) $^ $(RUNTIME_LIBS) -o $@

# What libsrp needs, of the other architecture. Like the venvs it is not cleaned away.
AARCH64_ROOT := build/aarch64-root
AARCH64_BUILD := build/aarch64
$(AARCH64_ROOT)/.ready: scripts/sysroot.sh
	$(Q)scripts/sysroot.sh arm64 $(@D) libjansson-dev libsodium-dev libzstd-dev
	$(Q)touch $@

.PHONY: aarch64-build
aarch64-build: $(AARCH64_ROOT)/.ready
	$(Q)$(MAKE) --no-print-directory CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar HOSTCC=$(HOSTCC) \
	    BUILD=$(AARCH64_BUILD) XNNPACK=0 RUNTIME_PC= PLAYER_PC= \
	    CPPFLAGS='-I$(AARCH64_ROOT)/usr/include $(CPPFLAGS)' \
	    LDFLAGS='-L$(AARCH64_ROOT)/usr/lib/aarch64-linux-gnu $(LDFLAGS)' \
	    RUNTIME_LIBS='-ljansson -lsodium -lzstd -lm' \
	    $(AARCH64_BUILD)/rows-check $(AARCH64_BUILD)/whole-check

## aarch64: cross-build libsrp; row kernels and whole networks under qemu-user, hashes as on x86
.PHONY: aarch64
aarch64: aarch64-build
	$(Q)qemu-aarch64 -cpu neoverse-n1 $(AARCH64_BUILD)/rows-check check
	$(Q)qemu-aarch64 -cpu cortex-a72 $(AARCH64_BUILD)/rows-check check
	$(Q)qemu-aarch64 -cpu neoverse-n1 -U SRP_CPU $(AARCH64_BUILD)/whole-check check models
	$(Q)qemu-aarch64 -cpu neoverse-n1 -E SRP_CPU=scalar $(AARCH64_BUILD)/whole-check check models
	$(Q)qemu-aarch64 -cpu cortex-a72 -U SRP_CPU $(AARCH64_BUILD)/whole-check check models

## regen-check: write the row kernels again and compare
.PHONY: regen-check
regen-check: $(ISAS:%=$(BUILD)/gen/rows_%.c)
	$(Q)for isa in $(ISAS); do \
	    $(BUILD)/srcc --isa $$isa $(GRAPHS:%=--graph %) -o $(BUILD)/gen/again.c && \
	    cmp $(BUILD)/gen/again.c $(BUILD)/gen/rows_$$isa.c || exit 1; \
	done; rm $(BUILD)/gen/again.c; echo "regen-check: the same"

## asan, tsan: the C tests under AddressSanitizer + UBSan, ThreadSanitizer
.PHONY: asan tsan
asan:
	$(Q)$(MAKE) --no-print-directory BUILD=build/asan SANITIZE=address,undefined OPT='-O1 -g' check
tsan:
	$(Q)$(MAKE) --no-print-directory BUILD=build/tsan SANITIZE=thread OPT='-O1 -g' check

## lint: compile all with gcc and clang, libsrp for AArch64, stop at any warning; check sizes of files
.PHONY: lint
lint:
	$(Q)$(MAKE) --no-print-directory CC=gcc BUILD=build/gcc CFLAGS=-Werror all c-tests
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=build/clang CFLAGS=-Werror all c-tests
	$(Q)$(MAKE) --no-print-directory AARCH64_BUILD=build/aarch64-gcc CFLAGS=-Werror aarch64-build
	$(Q)scripts/lint.sh

## bench: srplay and other engines side by side, peaks, the demo package; options by BENCH="--quick"
.PHONY: bench
bench: deps-dev
	$(Q)-scripts/setup.sh bench
	$(Q)$(MAKE) --no-print-directory all $(BENCH_VENV)/.ready
	$(Q)-$(MAKE) --no-print-directory -k $(BENCH_BIN)
	$(Q)PYTHONPATH=scripts $(BENCH_VENV)/bin/python -m bench $(BUILD) $(BENCH)

BENCH ?=
BENCH_VENV := build/bench-venv
BENCH_BIN := $(BUILD)/bench/onednn $(BUILD)/bench/xnnpack
BENCH_AID := scripts/bench/harness.c scripts/bench/harness.h
# gcc: its OpenMP is the one that Debian's oneDNN is built with.
BENCH_CC = gcc -std=c11 -O2 -g $(WARN) -D_GNU_SOURCE $(LDFLAGS)

# The engines' own venv, which sees the packages of the first one. What cannot be installed or built is
# reported as missing in the tables.
$(BENCH_VENV)/.ready: scripts/bench/requirements.txt $(VENV)/.ready
	@echo "installing into $(BENCH_VENV): $$(grep -v '^#' $< | tr '\n' ' ')"
	$(Q)test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(Q)packages='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	    $(VENV)/bin/python -c "$$packages" > "$$($(BENCH_VENV)/bin/python -c "$$packages")/venv.pth"
	$(Q)grep -v '^#' $< | while read -r package; do \
	    $(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check "$$package" \
	    || echo "$$package cannot be installed: it will be missing"; done
	$(Q)touch $@

$(BUILD)/bench/onednn: scripts/bench/onednn.c $(BENCH_AID)
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(BENCH_CC) -fopenmp $(filter %.c,$^) -ldnnl -lm -o $@

$(BUILD)/bench/xnnpack: scripts/bench/xnnpack.c $(BENCH_AID)
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(BENCH_CC) -DXNNPACK_VERSION='"$(shell dpkg-query -W -f '$${Version}' libxnnpack-dev 2>/dev/null)"' \
	    -pthread $(filter %.c,$^) -lXNNPACK -lpthreadpool -lcpuinfo -lm -o $@

# ---- install ------------------------------------------------------------------------------------

## install: programs, library, headers, pkg-config file, models, man pages (DESTDIR, PREFIX)
.PHONY: install uninstall
install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/srp \
	    $(DESTDIR)$(DATADIR)/models/general $(DESTDIR)$(DATADIR)/scripts/srpack $(DESTDIR)$(MANDIR)/man1
	install -m 755 $(PROGRAM_BIN) $(DESTDIR)$(BINDIR)
	sed -e 's|@SCRIPTS@|$(DATADIR)/scripts|' -e 's|@PYTHON@|python3|' scripts/srpack.in \
	    > $(DESTDIR)$(BINDIR)/srpack
	chmod 755 $(DESTDIR)$(BINDIR)/srpack
	install -m 644 $(BUILD)/libsrp.a $(DESTDIR)$(LIBDIR)
	install -m 755 $(BUILD)/libsrp.so $(DESTDIR)$(LIBDIR)/libsrp.so.$(VERSION)
	ln -sf libsrp.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libsrp.so.$(SOMAJOR)
	ln -sf libsrp.so.$(SOMAJOR) $(DESTDIR)$(LIBDIR)/libsrp.so
	install -m 644 runtime/include/srp/*.h $(DESTDIR)$(INCLUDEDIR)/srp
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' -e 's|@REQUIRES@|$(RUNTIME_PC)|' \
	    -e 's|@LIBS@|$(XNNPACK_LIBS) -lm|' \
	    runtime/srp.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/srp.pc
	install -m 644 models/*.json $(DESTDIR)$(DATADIR)/models
	install -m 644 models/general/*.safetensors $(DESTDIR)$(DATADIR)/models/general
	install -m 644 scripts/srpack/*.py $(DESTDIR)$(DATADIR)/scripts/srpack
	install -m 644 docs/man/*.1 $(DESTDIR)$(MANDIR)/man1

## uninstall: remove what install wrote
uninstall:
	rm -f $(PROGRAMS:%=$(DESTDIR)$(BINDIR)/%) $(DESTDIR)$(BINDIR)/srpack
	rm -f $(DESTDIR)$(LIBDIR)/libsrp.* $(DESTDIR)$(LIBDIR)/pkgconfig/srp.pc
	rm -rf $(DESTDIR)$(INCLUDEDIR)/srp $(DESTDIR)$(DATADIR)
	rm -f $(patsubst docs/man/%,$(DESTDIR)$(MANDIR)/man1/%,$(wildcard docs/man/*.1))

## clean: remove what was built (not the venvs, nor build/aarch64-root)
.PHONY: clean distclean
clean:
	find build -mindepth 1 -maxdepth 1 ! -name venv ! -name bench-venv ! -name general ! -name aarch64-root -exec rm -rf {} + 2>/dev/null || :

## distclean: remove build/ altogether
distclean:
	rm -rf build

## help: this list
.PHONY: help
help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST)) | sort | awk -F': ' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo "  variables: CC, OPT, CFLAGS, BUILD, V=1, PREFIX, DESTDIR, TORCH_INDEX, TESTS, BENCH"
