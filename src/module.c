/*-------------------------------------------------------------------------
 *
 * module.c
 *	  Entry point of pg_session_memory: settings, hooks, shared memory.
 *
 * Loaded by shared_preload_libraries, sessions watch themselves and publish
 * what they find in shared memory.  Loaded by session_preload_libraries or
 * LOAD, or by the first call of one of its functions, a session watches
 * itself from then on, and what is in shared memory is not there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "functions/explain_option.h"
#include "session/ceiling.h"
#include "session/event_ring.h"
#include "session/hooks.h"
#include "session/limit_setting.h"
#include "session/process_limit.h"
#include "session/slot.h"
#include "session/statement_table.h"
#include "session/watch.h"
#include "session/watched.h"
#include "settings.h"
#include "watcher/watcher.h"

PG_MODULE_MAGIC;

bool		setting_track = true;
int			setting_context_threshold = 64 * 1024;
int			setting_session_threshold = 256 * 1024;
int			setting_process_threshold = 256 * 1024;
int			setting_process_limit = -1;
int			setting_log_level = LOG;
double		setting_max_overhead = 1.0;
int			setting_idle_delay = 1000;
bool		setting_trim_when_idle = false;
int			setting_trim_threshold = 8 * 1024;
int			setting_max_events = 1024;
bool		setting_live_reads = true;
int			setting_statement_threshold = -1;
int			setting_track_statements = TRACK_STATEMENTS_TOP;
int			setting_statement_floor = 1024;
int			setting_max_statements = 1000;
int			setting_watch_interval = 1000;
int			setting_record_interval = 10 * 1000;
int			setting_record_size = 16 * 1024;
int			setting_guard = GUARD_LOG;
double		setting_guard_weight = 1.0;
int			setting_guard_reserve = -1;
int			setting_guard_patience = 2000;
int			setting_server_limit = -1;
int			setting_status = SESSION_OK;

bool		module_is_preloaded = false;

static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

void		_PG_init(void);
static void define_settings(void);
static void request_shared_memory(void);
static void start_shared_memory(void);

static const struct config_enum_entry status_options[] = {
	{"ok", SESSION_OK, false},
	{"bloated", SESSION_BLOATED, false},
	{NULL, 0, false}
};

static const struct config_enum_entry track_statements_options[] = {
	{"none", TRACK_STATEMENTS_NONE, false},
	{"top", TRACK_STATEMENTS_TOP, false},
	{"all", TRACK_STATEMENTS_ALL, false},
	{NULL, 0, false}
};

static const struct config_enum_entry guard_options[] = {
	{"off", GUARD_OFF, false},
	{"log", GUARD_LOG, false},
	{"on", GUARD_ON, false},
	{NULL, 0, false}
};

/* As for PostgreSQL's own settings of this kind, but nothing that ends. */
static const struct config_enum_entry log_level_options[] = {
	{"debug5", DEBUG5, false},
	{"debug4", DEBUG4, false},
	{"debug3", DEBUG3, false},
	{"debug2", DEBUG2, false},
	{"debug1", DEBUG1, false},
	{"debug", DEBUG2, true},
	{"info", INFO, false},
	{"notice", NOTICE, false},
	{"warning", WARNING, false},
	{"log", LOG, false},
	{NULL, 0, false}
};

void
_PG_init(void)
{
	module_is_preloaded = process_shared_preload_libraries_in_progress;

	define_settings();
	RegisterXactCallback(session_watch_transaction, NULL);
	RegisterSubXactCallback(session_watch_subtransaction, NULL);
	hooks_install();
	explain_option_install();
	process_limit_init();

	if (module_is_preloaded)
	{
		previous_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = request_shared_memory;
		previous_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = start_shared_memory;
		watcher_register();
	}
}

static void
request_shared_memory(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();

	RequestAddinShmemSpace(session_slot_shmem_size());
	RequestAddinShmemSpace(event_ring_shmem_size());
	RequestAddinShmemSpace(watched_shmem_size());
	RequestAddinShmemSpace(ceiling_shmem_size());
	RequestNamedLWLockTranche(EVENT_RING_TRANCHE, 1);
	RequestAddinShmemSpace(statement_table_shmem_size());
	RequestNamedLWLockTranche(STATEMENT_TABLE_TRANCHE, 1);
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	session_slot_shmem_startup();
	event_ring_shmem_startup();
	statement_table_shmem_startup();
	watched_shmem_startup();
	ceiling_shmem_startup();
	LWLockRelease(AddinShmemInitLock);

	limit_setting_warn_jit();
}

void
module_require_preloaded(void)
{
	if (!module_is_preloaded)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_session_memory must be loaded via \"shared_preload_libraries\""),
				 errdetail("What sessions publish of themselves is kept in shared memory, which is set up when the server starts."),
				 errhint("Add pg_session_memory to shared_preload_libraries and restart the server.")));
}

static void
threshold_changed(int value, void *extra)
{
	session_watch_settings_changed();
}

static void
track_changed(bool value, void *extra)
{
	session_watch_settings_changed();
}

static void
define_settings(void)
{
	DefineCustomBoolVariable("pg_session_memory.track",
							 "Measures what a session retains at the end of its commands.",
							 "Thresholds are judged, and the session's figures published, only where this is on.",
							 &setting_track,
							 true,
							 PGC_SUSET, 0,
							 NULL, track_changed, NULL);

	DefineCustomIntVariable("pg_session_memory.context_threshold",
							"Reports a session whose memory contexts of one name hold more than this.",
							"All contexts of one name are summed. 0 reports every session, -1 none.",
							&setting_context_threshold,
							64 * 1024, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, threshold_changed, NULL);

	DefineCustomIntVariable("pg_session_memory.session_threshold",
							"Reports a session whose memory contexts hold more than this.",
							"0 reports every session, -1 none.",
							&setting_session_threshold,
							256 * 1024, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, threshold_changed, NULL);

	DefineCustomIntVariable("pg_session_memory.process_threshold",
							"Reports a session whose process holds more anonymous memory and swap than this.",
							"Finds memory that no memory context knows, so it is as large as session_threshold by default. 0 reports every session, -1 none, and then /proc is not read.",
							&setting_process_threshold,
							256 * 1024, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, threshold_changed, NULL);

	DefineCustomIntVariable("pg_session_memory.process_limit",
							"Sets the most private memory that a session's process may have.",
							"A statement that asks for more fails with \"out of memory\". Each parallel worker has a limit of its own. -1 sets none.",
							&setting_process_limit,
							-1, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB,
							limit_setting_check, process_limit_assign, NULL);

	DefineCustomEnumVariable("pg_session_memory.log_level",
							 "Sets the message level of threshold crossings.",
							 "Levels that client_min_messages lets through reach the client, too.",
							 &setting_log_level,
							 LOG, log_level_options,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomRealVariable("pg_session_memory.max_overhead",
							 "Sets the share of a session's time that measuring may take, in per cent.",
							 "After a measurement that took d, the next one waits at least d * 100 / max_overhead. 100 measures after every command.",
							 &setting_max_overhead,
							 1.0, 0.01, 100.0,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.idle_delay",
							"Sets how long a session must be idle before it looks at its memory once more.",
							"It does so if its last command was not measured, and trims itself if trim_when_idle is on.",
							&setting_idle_delay,
							1000, 10, 24 * 60 * 60 * 1000,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_session_memory.trim_when_idle",
							 "Makes a session give memory back once it has been idle for idle_delay.",
							 "It does so once, and not again before it has worked.",
							 &setting_trim_when_idle,
							 false,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.trim_threshold",
							"Sets how much memory outside of contexts an idle session keeps before it trims itself.",
							"A session that has worked mostly has more than the smallest value.",
							&setting_trim_threshold,
							8 * 1024, 64, INT_MAX,
							PGC_USERSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_session_memory.live_reads",
							 "Reads other sessions' memory for the view pg_session_memory.",
							 "Where this is off, the view shows what sessions published.",
							 &setting_live_reads,
							 true,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);

	/*
	 * A setting that needs a restart can't be made after the start; without
	 * shared memory this one has no effect anyway.
	 */
	DefineCustomIntVariable("pg_session_memory.max_events",
							"Sets how many threshold crossings are kept in shared memory.",
							"0 keeps none. Needs the library in shared_preload_libraries.",
							&setting_max_events,
							1024, 0, 10000000,
							module_is_preloaded ? PGC_POSTMASTER : PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.statement_threshold",
							"Reports a statement that took more memory than this.",
							"What its planner and executor had in contexts, or its process at its peak, and its parallel workers. 0 reports every statement, -1 none.",
							&setting_statement_threshold,
							-1, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomEnumVariable("pg_session_memory.track_statements",
							 "Measures what statements take.",
							 "top: those that clients send; all: also those inside of functions; none.",
							 &setting_track_statements,
							 TRACK_STATEMENTS_TOP, track_statements_options,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.statement_floor",
							"Sets how much memory an execution must take to be counted in pg_session_memory_statements.",
							"0 counts every execution.",
							&setting_statement_floor,
							1024, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	/* As max_events. */
	DefineCustomIntVariable("pg_session_memory.max_statements",
							"Sets how many statements pg_session_memory_statements can have.",
							"0 keeps none. Needs the library in shared_preload_libraries.",
							&setting_max_statements,
							1000, 0, 1000000,
							module_is_preloaded ? PGC_POSTMASTER : PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.watch_interval",
							"Sets how often the watcher looks at running statements.",
							"0 leaves them alone; then what a statement takes is known when it is over.",
							&setting_watch_interval,
							1000, 0, 24 * 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.record_interval",
							"Sets how often the watcher adds a sample to the history of the server's memory.",
							"It adds more when memory gets short. 0 keeps no history.",
							&setting_record_interval,
							10 * 1000, 0, 24 * 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.record_size",
							"Sets the size of the file with the history of the server's memory.",
							"The oldest samples make room for new ones.",
							&setting_record_size,
							16 * 1024, 256, 1024 * 1024,
							module_is_preloaded ? PGC_POSTMASTER : PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomEnumVariable("pg_session_memory.guard",
							 "Keeps the server from running out of memory.",
							 "on: when memory is short, sessions that hold much get no more; log: what would be refused is logged; off. Needs the library in shared_preload_libraries.",
							 &setting_guard,
							 GUARD_LOG, guard_options,
							 PGC_SIGHUP, 0,
							 NULL, process_limit_assign_guard, NULL);

	DefineCustomRealVariable("pg_session_memory.guard_weight",
							 "Sets how much more than others a session may have when memory is short.",
							 "With 2 it may hold twice as much before it gets no more. 0 exempts it from the guard.",
							 &setting_guard_weight,
							 1.0, 0.0, 1000.0,
							 PGC_SUSET, 0,
							 NULL, process_limit_assign_weight, NULL);

	DefineCustomIntVariable("pg_session_memory.guard_reserve",
							"Sets how much of the server's memory the guard keeps free.",
							"-1 keeps 5 per cent of what there is, but at least 128 MB or an eighth, and at most 4 GB.",
							&setting_guard_reserve,
							-1, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.guard_patience",
							"Sets how long memory must be short before the guard cancels a statement.",
							"As long after that, it cancels or terminates the next one.",
							&setting_guard_patience,
							2000, 0, 24 * 60 * 60 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_session_memory.server_limit",
							"Sets how much memory all sessions and background workers together may have.",
							"The guard keeps it as it keeps the server's memory. -1 sets none.",
							&setting_server_limit,
							-1, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);

	/* The server sets it, and reports it to the client when it changes. */
	DefineCustomEnumVariable("pg_session_memory.status",
							 "Shows whether the session is over one of its memory thresholds.",
							 "Reported to the client with the response to the command that changed it.",
							 &setting_status,
							 SESSION_OK, status_options,
							 PGC_INTERNAL, GUC_REPORT | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							 NULL, NULL, NULL);

	MarkGUCPrefixReserved("pg_session_memory");
}
