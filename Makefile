# pg_session_memory: memory of every session, from SQL
#
#   make && make install     build and install, PG_CONFIG=... chooses a server
#   make installcheck        regression tests on a running server
#   make check               all tests on private servers (test/check.sh)
#   make demo                the product at work on a private server
#   make bench               what it costs, on private servers (test/bench/run.sh)
#   make deb                 packages for Debian, in dist/ (debian/build.sh)
#   make rpm                 a package for PG_CONFIG's server (rpm/build.sh)
#   make dist                what PGXN takes: a zip of the last commit

ifneq ($(filter check demo bench deb rpm dist,$(MAKECMDGOALS)),)

# These need no PostgreSQL to begin with: the scripts install what is missing,
# or say what that is.
.PHONY: check demo bench deb rpm dist
check:
	test/check.sh
demo:
	test/demo.sh
bench:
	test/bench/run.sh
deb:
	debian/build.sh
rpm:
	rpm/build.sh
# Of the same commit the same bytes: git takes the commit's time, in this zone.
dist:
	mkdir -p dist
	version=$$(sed -n 's/^   "version": "\(.*\)",/\1/p' META.json) && \
		TZ=UTC git archive --format=zip --prefix="pg_session_memory-$$version/" \
			--output="dist/pg_session_memory-$$version.zip" HEAD

else

EXTENSION = pg_session_memory
DATA = pg_session_memory--1.0.sql

MODULE_big = pg_session_memory
OBJS = \
	src/functions/bloat.o \
	src/functions/categories.o \
	src/functions/category_sums.o \
	src/functions/client_output.o \
	src/functions/contexts.o \
	src/functions/environment.o \
	src/functions/events.o \
	src/functions/explain_option.o \
	src/functions/folded.o \
	src/functions/foreign_text.o \
	src/functions/history.o \
	src/functions/ident_pattern.o \
	src/functions/idents.o \
	src/functions/observed_process.o \
	src/functions/permission.o \
	src/functions/process.o \
	src/functions/report_text.o \
	src/functions/report_tree.o \
	src/functions/sample.o \
	src/functions/server.o \
	src/functions/sessions.o \
	src/functions/snapshot.o \
	src/functions/statements.o \
	src/functions/status.o \
	src/functions/trim.o \
	src/functions/tuple_writer.o \
	src/functions/used_columns.o \
	src/module.o \
	src/reading/allocset_blocks.o \
	src/reading/bump_blocks.o \
	src/reading/constant_memory.o \
	src/reading/context_blocks.o \
	src/reading/context_category.o \
	src/reading/context_tally.o \
	src/reading/context_walk.o \
	src/reading/generation_blocks.o \
	src/reading/layout_check.o \
	src/reading/malloc_heap.o \
	src/reading/mapped_file.o \
	src/reading/memory_reader.o \
	src/reading/page_map.o \
	src/reading/process_memory.o \
	src/reading/read_permission.o \
	src/reading/server_process.o \
	src/reading/shared_memory.o \
	src/reading/slab_blocks.o \
	src/reading/statement_owners.o \
	src/session/ceiling.o \
	src/session/ceiling_lease.o \
	src/session/error_barrier.o \
	src/session/event_ring.o \
	src/session/high_water_mark.o \
	src/session/hooks.o \
	src/session/identity.o \
	src/session/interrupt.o \
	src/session/judge.o \
	src/session/limit_error.o \
	src/session/limit_languages.o \
	src/session/limit_setting.o \
	src/session/measure.o \
	src/session/process_limit.o \
	src/session/remedy.o \
	src/session/report.o \
	src/session/slot.o \
	src/session/statement_memory.o \
	src/session/statement_report.o \
	src/session/statement_table.o \
	src/session/tell.o \
	src/session/trim.o \
	src/session/watch.o \
	src/session/watched.o \
	src/watcher/environment.o \
	src/watcher/guard.o \
	src/watcher/guard_log.o \
	src/watcher/guarding.o \
	src/watcher/processes.o \
	src/watcher/recorded_sample.o \
	src/watcher/recorder.o \
	src/watcher/server_memory.o \
	src/watcher/watcher.o
PG_CPPFLAGS = -I$(srcdir)/src
PGFILEDESC = "pg_session_memory - memory of every session, from SQL"

REGRESS = contexts columns comments sessions process permissions bad_input trim explain folded report
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

# No bitcode for the JIT compiler: that takes clang, and no function of ours is
# worth inlining.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The symbols of all modules are one name space, and ours have plain names.  Up to
# 15 they would be seen: another module could be given ours in place of its own,
# or we its.
ifeq ($(PORTNAME), linux)
SHLIB_LINK += -Wl,--version-script=$(srcdir)/src/exports.map
endif

$(shlib): $(srcdir)/src/exports.map

$(OBJS): $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)

endif
