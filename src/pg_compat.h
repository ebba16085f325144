/*-------------------------------------------------------------------------
 *
 * pg_compat.h
 *	  What differs between PostgreSQL 15, 16, 17, 18 and 19.
 *
 * Everything that depends on the server's version is here, except the
 * layouts of context kinds, which context_layouts.h mirrors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_PG_COMPAT_H
#define PGSM_PG_COMPAT_H

#include "access/parallel.h"
#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "parser/analyze.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"				/* in postgres.h before */
#endif

#if PG_VERSION_NUM < 150000
#error pg_session_memory needs PostgreSQL 15 or later
#endif

/*
 * Where processes are started anew instead of forked, TopMemoryContext is not
 * at the same address in each of them, by which the reader finds another
 * process's contexts.  And what the postmaster has set up when it loaded the
 * library is inherited: module_is_preloaded, the pointers into shared memory.
 */
#ifdef EXEC_BACKEND
#error pg_session_memory needs processes that are forked: EXEC_BACKEND is not supported
#endif

/* Bump contexts came with 17. */
#if PG_VERSION_NUM >= 170000
#define PGSM_HAVE_BUMP 1
#endif

/*
 * A number for this process that no other one has at the same time, from 0
 * to pgsm_process_slots() - 1.  Every backend and auxiliary process has one;
 * -1 before the process has got its number.
 */
static inline int
pgsm_my_process_slot(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	if (MyBackendId != InvalidBackendId)
		return MyBackendId - 1;
	if (MyAuxProcType != NotAnAuxProcess)
		return MaxBackends + MyAuxProcType;
	return -1;
#endif
}

static inline int
pgsm_process_slots(void)
{
#if PG_VERSION_NUM >= 170000
	return MaxBackends + NUM_AUXILIARY_PROCS;
#else
	return MaxBackends + NUM_AUXPROCTYPES;
#endif
}

/*
 * The array of PgBackendStatus in shared memory, one element a process slot.
 * PostgreSQL publishes each process's own element only; the array is found
 * from ours.  NULL where that can't be done.
 */
static inline volatile PgBackendStatus *
pgsm_shared_backend_status(void)
{
	int			slot = pgsm_my_process_slot();

	if (MyBEEntry == NULL || slot < 0 || MyBEEntry->st_procpid != MyProcPid)
		return NULL;
	return MyBEEntry - slot;
}

/*
 * Whether this process is a session that reads commands.  A server in
 * single-user mode is one; before 16 it has no type of its own.
 */
static inline bool
pgsm_is_session(void)
{
	if (MyBackendType == B_BACKEND || MyBackendType == B_WAL_SENDER)
		return true;
#if PG_VERSION_NUM >= 160000
	return MyBackendType == B_STANDALONE_BACKEND;
#else
	return MyBackendType == B_INVALID && !IsUnderPostmaster;
#endif
}

/*
 * Sends a process the signal for a sinval catch-up: if it is an idle session
 * outside of a transaction, it runs an empty one.  Returns 0 or -1.
 */
static inline int
pgsm_send_catchup(int pid, int slot)
{
#if PG_VERSION_NUM >= 170000
	return SendProcSignal(pid, PROCSIG_CATCHUP_INTERRUPT, slot);
#else
	return SendProcSignal(pid, PROCSIG_CATCHUP_INTERRUPT,
						  slot < MaxBackends ? slot + 1 : InvalidBackendId);
#endif
}

/*
 * The process slot of this parallel worker's leader; -1 where the leader has
 * gone.
 */
static inline int
pgsm_parallel_leader_slot(void)
{
	PGPROC	   *leader = MyProc != NULL ? MyProc->lockGroupLeader : NULL;

	if (leader == NULL)
		return -1;
#if PG_VERSION_NUM >= 170000
	return GetNumberFromPGProc(leader);
#else
	return leader->backendId - 1;
#endif
}

/*
 * What planner_hook and ExecutorRun_hook are called with, and how they are
 * passed on.
 */
#if PG_VERSION_NUM >= 190000
#define PGSM_PLANNER_PARAMETERS \
	Query *parse, const char *query_string, int cursorOptions, \
	ParamListInfo boundParams, struct ExplainState *es
#define PGSM_PLANNER_ARGUMENTS \
	parse, query_string, cursorOptions, boundParams, es
#else
#define PGSM_PLANNER_PARAMETERS \
	Query *parse, const char *query_string, int cursorOptions, \
	ParamListInfo boundParams
#define PGSM_PLANNER_ARGUMENTS \
	parse, query_string, cursorOptions, boundParams
#endif

#if PG_VERSION_NUM >= 180000
#define PGSM_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define PGSM_EXECUTOR_RUN_ARGUMENTS \
	queryDesc, direction, count
#else
#define PGSM_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *queryDesc, ScanDirection direction, uint64 count, \
	bool execute_once
#define PGSM_EXECUTOR_RUN_ARGUMENTS \
	queryDesc, direction, count, execute_once
#endif

/* Extensions may add options to EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define PGSM_HAVE_EXPLAIN_OPTIONS 1
#endif

/* An option that is on or off. */
#if PG_VERSION_NUM >= 190000
#define pgsm_register_explain_option(name, handler) \
	RegisterExtensionExplainOption(name, handler, \
								   GUCCheckBooleanExplainOption)
#else
#define pgsm_register_explain_option(name, handler) \
	RegisterExtensionExplainOption(name, handler)
#endif

/*
 * A session's state as pg_stat_activity shows it, NULL where it shows none.
 */
static inline const char *
pgsm_state_name(BackendState state)
{
	switch (state)
	{
#if PG_VERSION_NUM >= 180000
		case STATE_STARTING:
			return "starting";
#endif
		case STATE_IDLE:
			return "idle";
		case STATE_RUNNING:
			return "active";
		case STATE_IDLEINTRANSACTION:
			return "idle in transaction";
		case STATE_FASTPATH:
			return "fastpath function call";
		case STATE_IDLEINTRANSACTION_ABORTED:
			return "idle in transaction (aborted)";
		case STATE_DISABLED:
			return "disabled";
		case STATE_UNDEFINED:
			break;
	}
	return NULL;
}

/*
 * Whether this server, which may be an older minor release than the one that
 * the library was built with, goes on in TopMemoryContext after a sinval
 * catch-up.  Needs no transaction.
 */
static inline bool
pgsm_catchup_leaves_context(void)
{
#if PG_VERSION_NUM >= 170000
	return false;
#else
	const char *number = GetConfigOption("server_version_num", true, false);
	int			version = number == NULL ? 0 : atoi(number);

	return version < 150008 || (version >= 160000 && version < 160004);
#endif
}

/*
 * Reads what parallel workers have sent, if there are any, in a context that
 * is made at the first time; its name.
 */
#if PG_VERSION_NUM >= 180000
#define PGSM_PARALLEL_MESSAGE_CONTEXT	"ProcessParallelMessages"
#else
#define PGSM_PARALLEL_MESSAGE_CONTEXT	"HandleParallelMessages"
#endif

static inline void
pgsm_handle_parallel_messages(void)
{
#if PG_VERSION_NUM >= 180000
	ProcessParallelMessages();
#else
	HandleParallelMessages();
#endif
}

/* The type of post_parse_analyze_hook's last parameter. */
#if PG_VERSION_NUM >= 190000
typedef const JumbleState PgsmJumbleState;
#else
typedef JumbleState PgsmJumbleState;
#endif

#endif							/* PGSM_PG_COMPAT_H */
