/*-------------------------------------------------------------------------
 *
 * trim.c
 *	  pg_session_memory_trim: the own session, and another one.
 *
 * The other one trims itself and publishes in its slot what that gave; who
 * waits for it returns the same row as the session itself would have got.
 * Whatever keeps one session from being trimmed is said in its row: a
 * statement over a whole pool goes on with the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "monotonic_clock.h"
#include "session/slot.h"
#include "session/trim.h"

PG_FUNCTION_INFO_V1(pg_session_memory_trim);
PG_FUNCTION_INFO_V1(pg_session_memory_trim_other);

/* Columns of the own trim; that of another session has the outcome before. */
#define TRIM_COLUMNS		8

/* How often a waiting caller looks whether it was done, in milliseconds. */
#define TRIM_POLL_MS		10

/* What has become of the wish to trim another session. */
typedef enum TrimOutcome
{
	TRIM_DONE,
	TRIM_ASKED,					/* not waited for */
	TRIM_IN_TRANSACTION,		/* asked, but idle in a transaction */
	TRIM_ACTIVE,				/* asked, but running a statement */
	TRIM_NO_ANSWER,				/* asked and idle, but silent */
	TRIM_NOT_PERMITTED,
	TRIM_NO_SESSION,			/* a process that cannot trim itself */
	TRIM_NOT_FOUND
} TrimOutcome;

static const char *const outcome_names[] = {
	[TRIM_DONE] = "trimmed",
	[TRIM_ASKED] = "asked",
	[TRIM_IN_TRANSACTION] = "in transaction",
	[TRIM_ACTIVE] = "active",
	[TRIM_NO_ANSWER] = "no answer",
	[TRIM_NOT_PERMITTED] = "not permitted",
	[TRIM_NO_SESSION] = "no session",
	[TRIM_NOT_FOUND] = "not found"
};

/* Fills the columns of the own trim. */
static void
put_result(const TrimResult *result, Datum *values, bool *nulls)
{
	values[0] = Int64GetDatum(result->context_bytes_before);
	values[1] = Int64GetDatum(result->context_bytes_after);
	values[2] = Int64GetDatum(result->anon_bytes_before);
	nulls[2] = result->anon_bytes_before < 0;
	values[3] = Int64GetDatum(result->anon_bytes_after);
	nulls[3] = result->anon_bytes_after < 0;
	values[4] = Int64GetDatum(result->released_bytes);
	nulls[4] = nulls[2] || nulls[3];
	values[5] = BoolGetDatum(result->caches_dropped);
	values[6] = BoolGetDatum(result->heap_trimmed);
	values[7] = Float8GetDatum(result->duration_ms);
}

static TupleDesc
result_descriptor(FunctionCallInfo fcinfo, int columns)
{
	TupleDesc	descriptor;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tuple_writer_require_columns(descriptor, columns);
	return BlessTupleDesc(descriptor);
}

/*
 * pg_session_memory_trim(caches boolean)
 *
 * Trims the calling session and returns one row: bytes before and after, and
 * what was done.  anon_bytes and released_bytes are NULL where the operating
 * system does not tell.
 */
Datum
pg_session_memory_trim(PG_FUNCTION_ARGS)
{
	TupleDesc	descriptor = result_descriptor(fcinfo, TRIM_COLUMNS);
	TrimResult	result;
	Datum		values[TRIM_COLUMNS];
	bool		nulls[TRIM_COLUMNS] = {false};

	session_trim(PG_GETARG_BOOL(0), &result);
	put_result(&result, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(descriptor, values,
													  nulls)));
}

/*
 * Why a session that was asked has not answered yet: the outcome, and in
 * detail when it will.
 */
static TrimOutcome
reason_to_wait(const ServerProcess *process, bool waited, const char **detail)
{
	ServerProcess now = *process;

	(void) server_process_at(process->slot, &now);
	switch (now.state)
	{
		case STATE_IDLEINTRANSACTION:
		case STATE_IDLEINTRANSACTION_ABORTED:
			*detail = "It is idle in a transaction and will do so when that ends.";
			return TRIM_IN_TRANSACTION;
		case STATE_RUNNING:
		case STATE_FASTPATH:
			*detail = "It is running a statement and will do so as soon as it is idle and outside of a transaction.";
			return TRIM_ACTIVE;
		default:
			*detail = "It will do so as soon as it is idle and outside of a transaction.";
			return waited ? TRIM_NO_ANSWER : TRIM_ASKED;
	}
}

/*
 * Waits until the session has answered the request, has ended, or the time
 * is over.  Returns the outcome; result is what the trim gave where that is
 * TRIM_DONE.
 */
static TrimOutcome
wait_for_answer(const ServerProcess *process, uint64 request, int64 timeout,
				TrimResult *result)
{
	int64		end = monotonic_microseconds() + timeout * 1000;
	TrimOutcome outcome;
	const char *detail;

	for (;;)
	{
		SlotData	data;
		long		wait_ms = TRIM_POLL_MS;
		int64		now;

		CHECK_FOR_INTERRUPTS();
		if (!session_slot_read(process->slot, process->pid, process->start,
							   &data))
		{
			server_process_warn_unknown(process->pid);
			return TRIM_NOT_FOUND;
		}
		if (data.trims_done >= request)
		{
			*result = data.trim_result;
			return TRIM_DONE;
		}
		now = monotonic_microseconds();
		if (now >= end)
			break;
		wait_ms = Min(wait_ms, (end - now) / 1000 + 1);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}

	outcome = reason_to_wait(process, true, &detail);
	ereport(WARNING,
			(errmsg("session with PID %d did not trim its memory within %lld milliseconds",
					process->pid, (long long) timeout),
			 errdetail_internal("%s", detail)));
	return outcome;
}

/*
 * Whether the process is one that can be asked; if not, a WARNING says why.
 */
static bool
can_trim(const ServerProcess *process)
{
	SlotData	data;

	if (!session_slot_read(process->slot, process->pid, process->start,
						   &data))
	{
		ereport(WARNING,
				(errmsg("PID %d is not a session that can trim its memory",
						process->pid),
				 errdetail("Only client backends and walsenders have sessions.")));
		return false;
	}

	/* Without a database there are no transactions, and no catalog caches. */
	if (!OidIsValid(process->databaseid))
	{
		ereport(WARNING,
				(errmsg("PID %d is not a session that can trim its memory",
						process->pid),
				 errdetail("A walsender for physical replication runs no transactions.")));
		return false;
	}
	return true;
}

/*
 * Asks a session to trim itself and waits for it.  Returns the outcome, and
 * the result where that is TRIM_DONE; may_see tells whether the caller may
 * know it, for who may cancel a session's queries need not.
 */
static TrimOutcome
trim_other(int pid, int64 timeout, TrimResult *result, bool *may_see)
{
	ServerProcess process;
	const char *detail;
	uint64		request;

	if (!server_process_find(pid, &process))
	{
		server_process_warn_unknown(pid);
		return TRIM_NOT_FOUND;
	}
	if (pid == MyProcPid)
	{
		*may_see = true;
		session_trim(true, result);
		return TRIM_DONE;
	}
	*may_see = permission_may_see(&process);
	if (!permission_warn_trim(&process))
		return TRIM_NOT_PERMITTED;
	module_require_preloaded();
	if (!can_trim(&process))
		return TRIM_NO_SESSION;

	request = session_trim_request(process.slot, pid);
	if (timeout == 0)
		return reason_to_wait(&process, false, &detail);
	/* A session may stay away for long, but not for ages: no overflow. */
	return wait_for_answer(&process, request,
						   Min(timeout, INT64CONST(1000) * 86400 * 365),
						   result);
}

/*
 * pg_session_memory_trim(pid integer, timeout bigint)
 *
 * Asks a session to trim itself, waits for it up to timeout milliseconds, and
 * returns one row: the outcome, and the columns of the own trim, which are
 * NULL unless it was trimmed and the caller may see the session's memory.
 * What keeps it from being trimmed, the caller's rights included, is no error
 * but a WARNING, and where it was not waited for not even that.
 */
Datum
pg_session_memory_trim_other(PG_FUNCTION_ARGS)
{
	int64		timeout = PG_GETARG_INT64(1);
	TupleDesc	descriptor = result_descriptor(fcinfo, 1 + TRIM_COLUMNS);
	TrimResult	result;
	TrimOutcome outcome;
	bool		may_see = false;
	Datum		values[1 + TRIM_COLUMNS];
	bool		nulls[1 + TRIM_COLUMNS];

	if (timeout < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"timeout\" must not be negative")));

	outcome = trim_other(PG_GETARG_INT32(0), timeout, &result, &may_see);
	may_see = may_see && outcome == TRIM_DONE;
	values[0] = CStringGetTextDatum(outcome_names[outcome]);
	memset(nulls, !may_see, sizeof(nulls));
	nulls[0] = false;
	if (may_see)
		put_result(&result, values + 1, nulls + 1);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(descriptor, values,
													  nulls)));
}
