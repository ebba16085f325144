/*-------------------------------------------------------------------------
 *
 * trim.c
 *	  pg_session_memory_trim: the own session, and another one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "reading/server_process.h"
#include "session/slot.h"
#include "session/trim.h"

PG_FUNCTION_INFO_V1(pg_session_memory_trim);
PG_FUNCTION_INFO_V1(pg_session_memory_trim_other);

#define TRIM_COLUMNS		8

/* How often a waiting caller looks whether it was done, in milliseconds. */
#define TRIM_POLL_MS		10

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
	TrimResult	result;
	TupleDesc	descriptor;
	Datum		values[TRIM_COLUMNS];
	bool		nulls[TRIM_COLUMNS] = {false};

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tuple_writer_require_columns(descriptor, TRIM_COLUMNS);
	descriptor = BlessTupleDesc(descriptor);

	session_trim(PG_GETARG_BOOL(0), &result);

	values[0] = Int64GetDatum(result.context_bytes_before);
	values[1] = Int64GetDatum(result.context_bytes_after);
	values[2] = Int64GetDatum(result.anon_bytes_before);
	nulls[2] = result.anon_bytes_before < 0;
	values[3] = Int64GetDatum(result.anon_bytes_after);
	nulls[3] = result.anon_bytes_after < 0;
	values[4] = Int64GetDatum(result.released_bytes);
	nulls[4] = nulls[2] || nulls[3];
	values[5] = BoolGetDatum(result.caches_dropped);
	values[6] = BoolGetDatum(result.heap_trimmed);
	values[7] = Float8GetDatum(result.duration_ms);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(descriptor, values,
													  nulls)));
}

/*
 * Waits until the session has answered the request, has ended, or the time
 * is over.
 */
static bool
wait_for_answer(const ServerProcess *process, uint64 request, int64 timeout)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  timeout);

	for (;;)
	{
		SlotData	data;
		long		wait_ms = TRIM_POLL_MS;
		TimestampTz now;

		CHECK_FOR_INTERRUPTS();
		if (!session_slot_read(process->slot, process->pid, process->start,
							   &data))
		{
			server_process_warn_unknown(process->pid);
			return false;
		}
		if (data.trims_done >= request)
			return true;
		now = GetCurrentTimestamp();
		if (now >= end)
			break;
		wait_ms = Min(wait_ms, (end - now) / 1000 + 1);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 wait_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}

	ereport(WARNING,
			(errmsg("session with PID %d did not trim its memory within %lld milliseconds",
					process->pid, (long long) timeout),
			 errdetail("It will do so as soon as it is idle and outside of a transaction.")));
	return false;
}

/*
 * pg_session_memory_trim(pid integer, timeout bigint)
 *
 * Asks a session to trim itself.  With timeout 0 returns true when it was
 * asked; else waits up to timeout milliseconds and returns whether it was
 * done.  For a pid that is none of a session: a WARNING and false.
 */
Datum
pg_session_memory_trim_other(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	int64		timeout = PG_GETARG_INT64(1);
	ServerProcess process;
	SlotData	data;
	uint64		request;

	if (timeout < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"timeout\" must not be negative")));

	if (!server_process_find(pid, &process))
	{
		server_process_warn_unknown(pid);
		PG_RETURN_BOOL(false);
	}
	if (pid == MyProcPid)
	{
		TrimResult	result;

		session_trim(true, &result);
		PG_RETURN_BOOL(true);
	}
	permission_require_signal(&process);
	module_require_preloaded();
	if (!session_slot_read(process.slot, process.pid, process.start, &data))
	{
		ereport(WARNING,
				(errmsg("PID %d is not a session that can trim its memory",
						pid),
				 errdetail("Only client backends and walsenders have sessions.")));
		PG_RETURN_BOOL(false);
	}

	request = session_trim_request(process.slot, pid);
	if (timeout == 0)
		PG_RETURN_BOOL(true);
	/* A session may stay away for long, but not for ages: no overflow. */
	PG_RETURN_BOOL(wait_for_answer(&process, request,
								   Min(timeout, INT64CONST(1000) * 86400 * 365)));
}
