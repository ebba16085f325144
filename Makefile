# pg_session_memory: memory of every session, from SQL
#
#   make && make install     build and install, PG_CONFIG=... chooses a server
#   make installcheck        regression tests on a running server
#   make check               all tests on private servers (test/check.sh)
#   make demo                the product at work on a private server
#   make bench               what it costs, on private servers (test/bench/run.sh)

ifneq ($(filter check demo bench,$(MAKECMDGOALS)),)

# These need no PostgreSQL to begin with: the scripts install what is missing.
.PHONY: check demo bench
check:
	test/check.sh
demo:
	test/demo.sh
bench:
	test/bench/run.sh

else

EXTENSION = pg_session_memory
DATA = pg_session_memory--1.0.sql

MODULE_big = pg_session_memory
OBJS = \
	src/category_sums.o \
	src/client_output.o \
	src/context_blocks.o \
	src/context_category.o \
	src/context_tally.o \
	src/context_walk.o \
	src/event_ring.o \
	src/foreign_text.o \
	src/malloc_heap.o \
	src/memory_reader.o \
	src/module.o \
	src/observed_process.o \
	src/process_memory.o \
	src/server_process.o \
	src/session_measure.o \
	src/session_report.o \
	src/session_slot.o \
	src/session_trim.o \
	src/session_watch.o \
	src/sql_bloat.o \
	src/sql_categories.o \
	src/sql_contexts.o \
	src/sql_events.o \
	src/sql_idents.o \
	src/sql_process.o \
	src/sql_sample.o \
	src/sql_sessions.o \
	src/sql_snapshot.o \
	src/sql_status.o \
	src/sql_trim.o \
	src/tuple_writer.o \
	src/used_columns.o
PGFILEDESC = "pg_session_memory - memory of every session, from SQL"

REGRESS = contexts columns sessions process permissions bad_input trim explain
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard $(srcdir)/src/*.h)

endif
