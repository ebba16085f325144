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
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "pg_compat.h"
#include "reading/server_process.h"
#include "session/judge.h"
#include "session/slot.h"

PG_FUNCTION_INFO_V1(pg_session_memory_get_bloat);

#define BLOAT_COLUMNS		8

static void
put_excess(ReturnSetInfo *rsinfo, const ServerProcess *process,
		   ExcessKind kind, const char *context, const SlotExcess *excess)
{
	Datum		values[BLOAT_COLUMNS];
	bool		nulls[BLOAT_COLUMNS] = {false};
	char		remedy[REMEDY_BYTES];

	if (excess->since == 0)
		return;
	values[0] = Int32GetDatum(process->pid);
	values[1] = TimestampTzGetDatum(process->start);
	values[2] = CStringGetTextDatum(excess_kind_name(kind));
	nulls[3] = context == NULL;
	values[3] = context == NULL ? (Datum) 0 :
		PointerGetDatum(text_of_foreign(context, strlen(context)));
	values[4] = Int64GetDatum(excess->bytes);
	values[5] = Int64GetDatum(excess->threshold_bytes);
	values[6] = TimestampTzGetDatum(excess->since);
	remedy_text(excess->cause, process->pid == MyProcPid ? 0 : process->pid,
				server_process_is_in_transaction(process), remedy);
	values[7] = CStringGetTextDatum(remedy);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
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

		if (!server_process_at(slot, &process) ||
			!permission_may_see(&process) ||
			!session_slot_read(slot, process.pid, process.start, &data))
			continue;
		put_excess(rsinfo, &process, EXCESS_SESSION, NULL, &data.session);
		put_excess(rsinfo, &process, EXCESS_PROCESS, NULL, &data.process);
		for (int i = 0; i < SLOT_GROUPS; i++)
			put_excess(rsinfo, &process, EXCESS_CONTEXT, data.groups[i].name,
					   &data.groups[i].excess);
	}
	return (Datum) 0;
}
