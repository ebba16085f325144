/*-------------------------------------------------------------------------
 *
 * events.c
 *	  pg_session_memory_events: the last threshold crossings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "session/event_ring.h"

PG_FUNCTION_INFO_V1(pg_session_memory_get_events);
PG_FUNCTION_INFO_V1(pg_session_memory_reset_events);

#define EVENTS_COLUMNS		14

static const char *const kind_names[] = {
	[EVENT_CONTEXT] = "context",
	[EVENT_SESSION] = "session",
	[EVENT_PROCESS] = "process",
	[EVENT_FELL] = "fell",
	[EVENT_TRIMMED] = "trimmed",
	[EVENT_RECYCLED] = "recycled",
	[EVENT_STATEMENT] = "statement",
	[EVENT_RESTARTED] = "restarted",
	[EVENT_LIMITED] = "limited",
	[EVENT_PRESSURE] = "pressure",
	[EVENT_RELIEVED] = "relieved",
	[EVENT_CANCELLED] = "cancelled",
	[EVENT_TERMINATED] = "terminated"
};

static Datum
text_or_null(const char *string, bool *isnull)
{
	*isnull = string[0] == '\0';
	return *isnull ? (Datum) 0 :
		PointerGetDatum(text_of_foreign(string, strlen(string)));
}

/*
 * pg_session_memory_get_events(): a row for each event in the ring, newest
 * first.  Figures and query text of other roles' sessions are NULL without
 * the privileges of pg_read_all_stats.  Raises
 * object_not_in_prerequisite_state where there is no shared memory.
 */
Datum
pg_session_memory_get_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryEvent event;
	int64		first_id;
	int64		next_id;

	module_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, EVENTS_COLUMNS);
	event_ring_range(&first_id, &next_id);

	for (int64 id = next_id - 1; id >= first_id; id--)
	{
		Datum		values[EVENTS_COLUMNS];
		bool		nulls[EVENTS_COLUMNS] = {false};

		CHECK_FOR_INTERRUPTS();

		/* All that are older have been replaced as well. */
		if (!event_ring_read(id, &event))
			break;
		values[0] = Int64GetDatum(event.id);
		values[1] = TimestampTzGetDatum(event.at);
		values[2] = Int32GetDatum(event.pid);
		values[3] = TimestampTzGetDatum(event.backend_start);
		values[4] = text_or_null(NameStr(event.usename), &nulls[4]);
		values[5] = text_or_null(NameStr(event.datname), &nulls[5]);
		values[6] = text_or_null(NameStr(event.application_name), &nulls[6]);
		values[7] = CStringGetTextDatum(kind_names[event.kind]);
		values[8] = text_or_null(event.context, &nulls[8]);
		values[9] = Int64GetDatum(event.bytes);
		nulls[9] = event.bytes < 0;
		values[10] = Int64GetDatum(event.threshold_bytes);
		nulls[10] = event.threshold_bytes < 0;
		values[11] = Int64GetDatum(event.session_bytes);
		nulls[11] = event.session_bytes < 0;
		values[12] = Int64GetDatum(event.query_id);
		nulls[12] = event.query_id == 0;
		values[13] = text_or_null(event.query, &nulls[13]);
		if (!permission_may_see_role(event.userid))
		{
			for (int column = 7; column < EVENTS_COLUMNS; column++)
				nulls[column] = true;
			nulls[3] = true;
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 values, nulls);
	}
	return (Datum) 0;
}

/* pg_session_memory_reset_events(): forgets all events. */
Datum
pg_session_memory_reset_events(PG_FUNCTION_ARGS)
{
	module_require_preloaded();
	event_ring_reset();
	PG_RETURN_VOID();
}
