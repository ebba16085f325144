/*-------------------------------------------------------------------------
 *
 * sessions.c
 *	  What the view pg_session_memory says of one process.
 *
 * The view joins pg_stat_activity, which tells who a process is and what it
 * does, with this function, which measures it.  So a condition on the
 * session, a pid or a state, is applied before anything is measured.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "functions/category_columns.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "reading/context_walk.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"
#include "session/ceiling.h"
#include "session/slot.h"
#include "session/watched.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(pg_session_memory_measure);

#define MEASURE_COLUMNS		31

/* Kept from one process of a query to the next; goes with the query. */
typedef struct MeasureState
{
	MemoryReader *reader;
	TupleDesc	descriptor;
} MeasureState;

typedef struct ContextTotals
{
	int64		contexts;
	int64		bytes;
	int64		category_bytes[CONTEXT_CATEGORY_COUNT];
} ContextTotals;

/* A row while its columns are filled; they are NULL before. */
typedef struct MeasureRow
{
	Datum	   *values;
	bool	   *nulls;
	int			column;			/* the next one */
} MeasureRow;

static void
begin_totals(void *arg)
{
	memset(arg, 0, sizeof(ContextTotals));
}

static void
add_to_totals(const ContextNode *node, void *arg)
{
	ContextTotals *totals = arg;

	totals->contexts++;
	totals->bytes += node->total_bytes;
	totals->category_bytes[node->category] += node->total_bytes;
}

static void
put_datum(MeasureRow *row, Datum value)
{
	row->values[row->column] = value;
	row->nulls[row->column] = false;
	row->column++;
}

/* An amount, NULL where it is negative: not known. */
static void
put_bytes(MeasureRow *row, int64 bytes)
{
	row->values[row->column] = Int64GetDatum(bytes);
	row->nulls[row->column] = bytes < 0;
	row->column++;
}

/*
 * The session's own limit, and its ceiling: the kernel has the smaller one of
 * them.
 */
static void
put_limits(MeasureRow *row, const ServerProcess *process)
{
	CeilingOwner owner;
	int64		ceiling = ceiling_of(process->slot, process->pid,
									 process->start);

	if (ceiling >= 0 &&
		ceiling_read_owner(process->slot, process->pid, process->start,
						   &owner))
		put_bytes(row, owner.own_limit_bytes);
	else
		put_bytes(row, process_memory_limit(process->pid));
	put_bytes(row, ceiling);
}

static MeasureState *
measure_state(FunctionCallInfo fcinfo)
{
	MeasureState *state = fcinfo->flinfo->fn_extra;
	MemoryContext caller;

	if (state != NULL)
		return state;
	caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	state = palloc0(sizeof(MeasureState));
	if (get_call_result_type(fcinfo, NULL,
							 &state->descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tuple_writer_require_columns(state->descriptor, MEASURE_COLUMNS);
	state->descriptor = BlessTupleDesc(state->descriptor);
	state->reader = memory_reader_open(MEMORY_READER_WALK);
	MemoryContextSwitchTo(caller);
	fcinfo->flinfo->fn_extra = state;
	return state;
}

/*
 * Anonymous memory of a session and of the parallel workers that it has now;
 * -1 if it has none.
 */
static int64
parallel_bytes(const ServerProcess *leader, int64 own_bytes)
{
	int64		bytes = 0;

	if (leader->type != B_BACKEND ||
		!server_process_runs_statement(leader->state))
		return -1;
	for (int slot = 0; slot < MaxBackends; slot++)
	{
		ServerProcess worker;

		if (server_process_at(slot, &worker) && worker.type == B_BG_WORKER &&
			server_process_leader(worker.pid) == leader->pid)
			bytes += Max(process_memory_anon_bytes(worker.pid), 0);
	}
	return bytes == 0 || own_bytes < 0 ? -1 : own_bytes + bytes;
}

/*
 * pg_session_memory_measure(pid int, backend_start timestamptz)
 *
 * One row of figures.  backend_start, where it is not NULL, must be the
 * process's own: so a pid that was given to another session is not taken for
 * the one that the caller knows.  NULL for a process that is not there, or
 * that the caller may not see.
 */
Datum
pg_session_memory_measure(PG_FUNCTION_ARGS)
{
	MeasureState *state;
	ServerProcess process;
	ContextTotals totals;
	ContextVisitor visitor = {begin_totals, add_to_totals, &totals, true};
	ContextWalkResult result;
	ProcessMemory memory;
	Datum		values[MEASURE_COLUMNS];
	bool		nulls[MEASURE_COLUMNS];
	MeasureRow	row = {values, nulls, 0};
	SlotData	slot;
	WatchedProcess watched;
	bool		has_slot;
	const char *source;

	if (PG_ARGISNULL(0) ||
		!server_process_find(PG_GETARG_INT32(0), &process) ||
		(!PG_ARGISNULL(1) && process.start != PG_GETARG_TIMESTAMPTZ(1)) ||
		!permission_may_see(&process))
		PG_RETURN_NULL();

	state = measure_state(fcinfo);
	if (process.pid == MyProcPid)
		result = context_walk(memory_reader_self(), &visitor);
	else if (setting_live_reads)
		result = context_walk_process(state->reader, process.pid, &visitor);
	else
		result = WALK_UNREADABLE;
	process_memory_read(process.pid, &memory);
	has_slot = session_slot_read(process.slot, process.pid, process.start,
								 &slot);
	if (!server_process_is_alive(&process))
		PG_RETURN_NULL();

	if (result != WALK_UNREADABLE)
		source = "live";
	else if (has_slot && slot.measured_at != 0)
	{
		source = "published";
		totals.contexts = slot.contexts;
		totals.bytes = slot.retained_bytes;
		memcpy(totals.category_bytes, slot.category_bytes,
			   sizeof(totals.category_bytes));
	}
	else
		source = NULL;

	memset(nulls, true, sizeof(nulls));
	if (source != NULL)
	{
		put_bytes(&row, totals.contexts);
		put_bytes(&row, totals.bytes);
		for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
			put_bytes(&row, totals.category_bytes[category_columns[i]]);
	}
	else
		row.column += 2 + CONTEXT_CATEGORY_COUNT;

	put_bytes(&row, memory.anon_bytes);
	put_bytes(&row, memory.swap_bytes);
	put_bytes(&row, source == NULL || memory.anon_bytes < 0 ? -1 :
			  Max(memory.anon_bytes + Max(memory.swap_bytes, 0) -
				  totals.bytes, 0));
	put_limits(&row, &process);

	if (has_slot && slot.measured_at != 0)
	{
		put_bytes(&row, slot.retained_bytes);
		put_bytes(&row, slot.baseline_bytes);
		put_datum(&row, Int64GetDatum(slot.retained_bytes -
									  slot.baseline_bytes));
		put_bytes(&row, slot.peak_bytes);
		put_datum(&row, TimestampTzGetDatum(slot.measured_at));
		put_datum(&row, CStringGetTextDatum(slot.status == SESSION_BLOATED ?
											"bloated" : "ok"));
	}
	else
		row.column += 6;
	if (has_slot && slot.last_trim_at != 0)
	{
		put_datum(&row, TimestampTzGetDatum(slot.last_trim_at));
		put_bytes(&row, slot.trimmed_bytes);
	}
	else
		row.column += 2;

	if (process.pid != MyProcPid &&
		server_process_runs_statement(process.state) &&
		watched_read(process.slot, process.pid, process.start,
					 process.query_start, &watched))
	{
		/* A statement may have given back what it did not take. */
		put_bytes(&row, Max(watched.statement_bytes, 0));
		put_bytes(&row, watched.statement_peak_bytes);
	}
	else
	{
		put_bytes(&row, has_slot ? slot.statement_bytes : -1);
		put_bytes(&row, has_slot ? slot.statement_peak_bytes : -1);
	}
	put_bytes(&row, parallel_bytes(&process, memory.anon_bytes));

	put_datum(&row, CStringGetTextDatum(source ? source : "unavailable"));
	if (result != WALK_UNREADABLE)
		put_datum(&row, BoolGetDatum(result == WALK_APPROXIMATE));
	else
		row.column++;
	if (has_slot && slot.peak_at != 0)
		put_datum(&row, TimestampTzGetDatum(slot.peak_at));
	else
		row.column++;
	Assert(row.column == MEASURE_COLUMNS);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(state->descriptor,
													  values, nulls)));
}
