/*-------------------------------------------------------------------------
 *
 * sample.c
 *	  pg_session_memory_sample(pid, every, count): a time series.
 *
 * A row is handed over as soon as it is known, and sent to the client before
 * the function waits for the next one: who watches sees what happens while it
 * happens.  That is possible where the executor asks for one row after the
 * other, which it does in a select list; a function in FROM it runs to its
 * end first.
 *
 * Times of rows are the clock's; waits are not, so that a clock that is set
 * back does not make them longer.  The wait ends at once when the query is
 * cancelled, the client has gone as far as PostgreSQL notices, or the server
 * ends.  It does not end with the observed session, whose end the next look
 * finds.
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
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "functions/client_output.h"
#include "functions/observed_process.h"
#include "functions/tuple_writer.h"
#include "monotonic_clock.h"
#include "pg_compat.h"
#include "reading/process_memory.h"

PG_FUNCTION_INFO_V1(pg_session_memory_sample);

#define SAMPLE_COLUMNS		6

/* Longer than that nobody keeps a transaction open for. */
#define MAX_SAMPLES			1000000
#define MIN_EVERY_MS		1
#define MAX_EVERY_MS		86400000

/* Waits are cut to this, for each is to end with the session it watches. */
#define LOOK_EVERY_MS		1000

/* From one row to the next. */
typedef struct SampleState
{
	ObservedProcess observed;
	TupleDesc	descriptor;
	int64		every_ms;
	int			left;			/* rows to come */
	int64		next;			/* when, by the monotonic clock; 0: at once */
} SampleState;

typedef struct SampleTotals
{
	int64		contexts;
	int64		bytes;
} SampleTotals;

static void
begin_sample(void *arg)
{
	memset(arg, 0, sizeof(SampleTotals));
}

static void
add_to_sample(const ContextNode *node, void *arg)
{
	SampleTotals *totals = arg;

	totals->contexts++;
	totals->bytes += node->total_bytes;
}

/*
 * Milliseconds of an interval; raises invalid_parameter_value for one that
 * is too short or too long.  A month is long in any case.
 */
static int64
checked_every(const Interval *every)
{
	double		days = (double) every->month * DAYS_PER_MONTH + every->day;
	double		ms = days * SECS_PER_DAY * 1000.0 + every->time / 1000.0;

	if (ms < MIN_EVERY_MS || ms > MAX_EVERY_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the time between two samples must be from 1 millisecond to 1 day")));
	return (int64) ms;
}

static int
checked_count(int count)
{
	if (count < 1 || count > MAX_SAMPLES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of samples must be from 1 to %d",
						MAX_SAMPLES)));
	return count;
}

/*
 * Waits until the next sample is due.  Returns false as soon as the observed
 * process has ended.
 */
static bool
wait_for_next(SampleState *state)
{
	int64		now = monotonic_microseconds();

	if (state->next == 0)
		state->next = now;

	/* What is complete goes to the client now. */
	if (now < state->next)
		client_output_send();

	while (now < state->next)
	{
		long		wait_ms = (state->next - now + 999) / 1000;

		if (!state->observed.self &&
			!server_process_is_alive(&state->observed.process))
			return false;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(wait_ms, LOOK_EVERY_MS), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		now = monotonic_microseconds();
	}

	/* A time that was missed is not made up for. */
	state->next += state->every_ms * 1000;
	if (state->next < now)
		state->next = now;
	return true;
}

/*
 * One row; 0 if the process has ended.
 */
static Datum
take_sample(SampleState *state)
{
	SampleTotals totals;
	ContextVisitor visitor = {begin_sample, add_to_sample, &totals};
	ContextWalkResult result;
	ProcessMemory memory;
	ServerProcess now;
	TimestampTz at = GetCurrentTimestamp();
	Datum		values[SAMPLE_COLUMNS];
	bool		nulls[SAMPLE_COLUMNS] = {false};
	const char *activity = "active";

	if (!state->observed.self)
	{
		if (!server_process_at(state->observed.process.slot, &now))
			return (Datum) 0;
		activity = pgsm_state_name(now.state);
	}
	result = observed_process_walk(&state->observed, &visitor);
	process_memory_read(state->observed.process.pid, &memory);
	if (result == WALK_UNREADABLE)
		return (Datum) 0;

	values[0] = TimestampTzGetDatum(at);
	nulls[1] = activity == NULL;
	values[1] = activity == NULL ? (Datum) 0 : CStringGetTextDatum(activity);
	values[2] = Int64GetDatum(totals.contexts);
	values[3] = Int64GetDatum(totals.bytes);
	values[4] = Int64GetDatum(memory.anon_bytes);
	nulls[4] = memory.anon_bytes < 0;
	values[5] = BoolGetDatum(result == WALK_APPROXIMATE);
	return HeapTupleGetDatum(heap_form_tuple(state->descriptor, values,
											 nulls));
}

/*
 * pg_session_memory_sample(pid int, every interval, count int)
 *
 * A row now and after each time of every, count in all, fewer if the process
 * ends.  For a pid that is none of a server process: a WARNING and no rows.
 * Raises insufficient_privilege for sessions of other roles, and where the
 * operating system refuses to read; invalid_parameter_value for times and
 * numbers out of range.
 */
Datum
pg_session_memory_sample(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	SampleState *state;
	Datum		row = (Datum) 0;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext caller;
		int64		every_ms = checked_every(PG_GETARG_INTERVAL_P(1));
		int			count = checked_count(PG_GETARG_INT32(2));

		call = SRF_FIRSTCALL_INIT();
		caller = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		state = palloc0(sizeof(SampleState));
		if (get_call_result_type(fcinfo, NULL,
								 &state->descriptor) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		tuple_writer_require_columns(state->descriptor, SAMPLE_COLUMNS);
		state->descriptor = BlessTupleDesc(state->descriptor);
		state->every_ms = every_ms;
		if (observed_process_open(PG_GETARG_INT32(0), MEMORY_READER_WALK,
								  &state->observed))
			state->left = count;
		call->user_fctx = state;
		MemoryContextSwitchTo(caller);
	}

	call = SRF_PERCALL_SETUP();
	state = call->user_fctx;
	if (state->left > 0 && wait_for_next(state))
		row = take_sample(state);
	if (row == (Datum) 0)
		SRF_RETURN_DONE(call);
	state->left--;
	SRF_RETURN_NEXT(call, row);
}
