/*-------------------------------------------------------------------------
 *
 * misbehaving_module.c
 *	  What another module may do, at its worst, in the same process.
 *
 * For t/017_remedies.pl, t/025_other_modules.pl and t/046_folded.pl, which
 * build it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"

#include "access/xact.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(misbehaving_take_timeouts);
PG_FUNCTION_INFO_V1(misbehaving_set_version);
PG_FUNCTION_INFO_V1(misbehaving_start_worker);
PG_FUNCTION_INFO_V1(misbehaving_make_context);
PG_FUNCTION_INFO_V1(misbehaving_keep);

void		_PG_init(void);
PGDLLEXPORT void misbehaving_worker_main(Datum argument);

static bool raise_in_log_hook = false;
static bool leave_context = false;
static int	reported = 0;

static emit_log_hook_type previous_emit_log_hook = NULL;

/* An error for each line about a threshold. */
static void
raise_for_threshold(ErrorData *edata)
{
	if (previous_emit_log_hook)
		previous_emit_log_hook(edata);
	if (raise_in_log_hook && edata->elevel == LOG &&
		strncmp(edata->message, "session memory over threshold", 29) == 0)
		ereport(ERROR, (errmsg("the log hook has failed")));
}

/*
 * Called when the parameter is reported to the client, when the session is
 * about to be idle: as if a catch-up had ended in TopMemoryContext.
 */
static const char *
show_reported(void)
{
	if (leave_context)
		MemoryContextSwitchTo(TopMemoryContext);
	return psprintf("%d", reported);
}

static void
ignore_timeout(void)
{
}

/* Takes all timeouts that there are for extensions. */
Datum
misbehaving_take_timeouts(PG_FUNCTION_ARGS)
{
	for (int i = USER_TIMEOUT; i < MAX_TIMEOUTS; i++)
		(void) RegisterTimeout(USER_TIMEOUT, ignore_timeout);
	PG_RETURN_VOID();
}

/*
 * Lets the session take the server for another release; before 17, after which
 * there is nothing to be found out.
 */
Datum
misbehaving_set_version(PG_FUNCTION_ARGS)
{
#if PG_VERSION_NUM < 160000
	struct config_generic **variables = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
	{
		if (strcmp(variables[i]->name, "server_version_num") == 0)
			*((struct config_int *) variables[i])->variable =
				PG_GETARG_INT32(0);
	}
#elif PG_VERSION_NUM < 170000
	*((struct config_int *) find_option("server_version_num", false, false,
										ERROR))->variable = PG_GETARG_INT32(0);
#endif
	PG_RETURN_VOID();
}

/* Resets its peak, and is there until somebody terminates it. */
void
misbehaving_worker_main(Datum argument)
{
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection("postgres", NULL, 0);
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_execute("SET pg_session_memory.session_threshold = 0", false, 0);
	SPI_execute("SELECT pg_session_memory_reset_peak()", false, 0);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Returns the worker's pid. */
Datum
misbehaving_start_worker(PG_FUNCTION_ARGS)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_name, "misbehaving", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "misbehaving", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name,
			GetConfigOption("misbehaving.library", false, false),
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "misbehaving_worker_main", BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle) ||
		WaitForBackgroundWorkerStartup(handle, &pid) != BGWH_STARTED)
		ereport(ERROR, (errmsg("could not start the worker")));
	PG_RETURN_INT32(pid);
}

/* Keeps so many bytes in a context of its own, for the session's life. */
Datum
misbehaving_keep(PG_FUNCTION_ARGS)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "Misbehaving",
							  ALLOCSET_DEFAULT_SIZES);
	int			bytes = PG_GETARG_INT32(0);

	memset(MemoryContextAllocHuge(context, bytes), 1, bytes);
	PG_RETURN_VOID();
}

void
_PG_init(void)
{
	static char *library = NULL;

	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = raise_for_threshold;
	DefineCustomStringVariable("misbehaving.library", "This file.", NULL,
							   &library, "", PGC_USERSET, 0, NULL, NULL,
							   NULL);
	DefineCustomBoolVariable("misbehaving.raise_in_log_hook",
							 "Raises an error for each line about a threshold.",
							 NULL, &raise_in_log_hook, false, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("misbehaving.leave_context",
							 "Leaves TopMemoryContext as the current one.",
							 NULL, &leave_context, false, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("misbehaving.reported",
							"Is reported to the client.", NULL, &reported, 0,
							0, 1000000, PGC_USERSET, GUC_REPORT, NULL, NULL,
							show_reported);
}

/*
 * A context of any name and ident, until the session ends.  PostgreSQL wants
 * constants for names, so that they outlive the context; so does this one.
 */
Datum
misbehaving_make_context(PG_FUNCTION_ARGS)
{
	MemoryContext context;

	context = AllocSetContextCreateInternal(TopMemoryContext,
											MemoryContextStrdup(TopMemoryContext,
																text_to_cstring(PG_GETARG_TEXT_PP(0))),
											ALLOCSET_SMALL_SIZES);
	MemoryContextSetIdentifier(context,
							   MemoryContextStrdup(context,
												   text_to_cstring(PG_GETARG_TEXT_PP(1))));
	PG_RETURN_VOID();
}
