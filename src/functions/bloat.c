/*-------------------------------------------------------------------------
 *
 * bloat.c
 *	  What the view pg_session_memory_bloat shows: who is over a threshold.
 *
 * The source is what sessions have published of themselves: each one judges
 * by its own thresholds, which may differ by role and database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "pg_compat.h"
#include "reading/server_process.h"
#include "session/report.h"
#include "session/slot.h"

PG_FUNCTION_INFO_V1(pg_session_memory_get_bloat);

#define BLOAT_COLUMNS		8

static void
put_excess(ReturnSetInfo *rsinfo, const SlotData *data, const char *kind,
		   const char *context, ContextCategory category,
		   const SlotExcess *excess)
{
	Datum		values[BLOAT_COLUMNS];
	bool		nulls[BLOAT_COLUMNS] = {false};

	if (excess->since == 0)
		return;
	values[0] = Int32GetDatum(data->pid);
	values[1] = TimestampTzGetDatum(data->start);
	values[2] = CStringGetTextDatum(kind);
	nulls[3] = context == NULL;
	values[3] = context == NULL ? (Datum) 0 :
		PointerGetDatum(text_of_foreign(context, strlen(context)));
	values[4] = Int64GetDatum(excess->bytes);
	values[5] = Int64GetDatum(excess->threshold_bytes);
	values[6] = TimestampTzGetDatum(excess->since);
	values[7] = CStringGetTextDatum(session_report_remedy(kind, category,
														  excess->bytes,
														  data->retained_bytes));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The category that holds most of what the session retains. */
static ContextCategory
largest_category(const SlotData *data)
{
	ContextCategory largest = CATEGORY_OTHER;

	for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
	{
		if (data->category_bytes[i] > data->category_bytes[largest])
			largest = (ContextCategory) i;
	}
	return largest;
}

/*
 * pg_session_memory_get_bloat(): a row for each threshold that a session was
 * over when it last measured itself; only sessions that the caller may see.
 * Raises object_not_in_prerequisite_state where there is no shared memory.
 */
Datum
pg_session_memory_get_bloat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	module_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, BLOAT_COLUMNS);

	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		ServerProcess process;
		SlotData	data;
		ContextCategory category;

		if (!server_process_at(slot, &process) ||
			!permission_may_see(&process) ||
			!session_slot_read(slot, process.pid, process.start, &data))
			continue;
		category = largest_category(&data);
		put_excess(rsinfo, &data, "session", NULL, category, &data.session);
		put_excess(rsinfo, &data, "process", NULL, category, &data.process);
		for (int i = 0; i < SLOT_GROUPS; i++)
			put_excess(rsinfo, &data, "context", data.groups[i].name,
					   (ContextCategory) data.groups[i].category,
					   &data.groups[i].excess);
	}
	return (Datum) 0;
}
