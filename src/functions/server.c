/*-------------------------------------------------------------------------
 *
 * server.c
 *	  pg_session_memory_server: how much memory the server has and can have.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "storage/pg_shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "functions/foreign_text.h"
#include "functions/tuple_writer.h"
#include "pg_compat.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"
#include "reading/shared_memory.h"
#include "session/ceiling.h"
#include "settings.h"
#include "watcher/guard.h"
#include "watcher/guarding.h"
#include "watcher/server_memory.h"

PG_FUNCTION_INFO_V1(pg_session_memory_get_server);

#define SERVER_COLUMNS		13

/* What is left untold for so long, in ms, is not so any more. */
#define GUARD_IS_LATE		5000

/* Columns of the guard, from this one on. */
static void
put_guard(int column, const ServerMemory *memory, Datum *values, bool *nulls)
{
	CeilingServer server = {0};
	bool		known = ceiling_read_server(&server);
	const char *state = NULL;
	int64		reserve = threshold_bytes(setting_guard_reserve);

	if (reserve < 0 && memory->total_bytes >= 0)
		reserve = guard_default_reserve(memory->total_bytes);
	values[column] = CStringGetTextDatum(GetConfigOption("pg_session_memory.guard",
														 false, false));
	if (known && server.renewed_at != 0 &&
		!TimestampDifferenceExceeds(server.renewed_at, GetCurrentTimestamp(),
									GUARD_IS_LATE))
		state = guarding_state_name(server.state);
	nulls[column + 1] = state == NULL;
	if (state != NULL)
		values[column + 1] = CStringGetTextDatum(state);
	values[column + 2] = Int64GetDatum(reserve);
	nulls[column + 2] = reserve < 0;
	values[column + 3] = TimestampTzGetDatum(server.last_action_at);
	nulls[column + 3] = server.last_action_at == 0;
}

/*
 * pg_session_memory_get_server(): one row, as of now.  Bytes are NULL where
 * the operating system does not tell.  Sums, so for everybody.
 */
Datum
pg_session_memory_get_server(PG_FUNCTION_ARGS)
{
	MemorySources *sources = palloc(sizeof(MemorySources));
	ServerMemory memory;
	TupleDesc	descriptor;
	Datum		values[SERVER_COLUMNS];
	bool		nulls[SERVER_COLUMNS] = {false};
	const char *source;
	int64		anon_bytes = 0;
	int			sessions = 0;
	int			active = 0;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tuple_writer_require_columns(descriptor, SERVER_COLUMNS);
	descriptor = BlessTupleDesc(descriptor);

	server_memory_find(sources, "");
	(void) server_memory_read(sources, &memory);
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		ServerProcess process;
		int64		bytes;

		if (!server_process_at(slot, &process))
			continue;
		bytes = process_memory_anon_bytes(process.pid);
		anon_bytes += Max(bytes, 0);
		if (process.type == B_BACKEND)
		{
			sessions++;
			if (server_process_runs_statement(process.state))
				active++;
		}
	}

	source = server_memory_source_name(sources, &memory);
	values[0] = Int64GetDatum(memory.total_bytes);
	nulls[0] = memory.total_bytes < 0;
	values[1] = Int64GetDatum(memory.available_bytes);
	nulls[1] = memory.available_bytes < 0;
	values[2] = Int64GetDatum(memory.swap_bytes);
	nulls[2] = memory.swap_bytes < 0;
	values[3] = PointerGetDatum(text_of_foreign(source, strlen(source)));
	values[4] = Int32GetDatum(sessions);
	values[5] = Int32GetDatum(active);
	values[6] = Int64GetDatum(anon_bytes);
	nulls[6] = anon_bytes == 0; /* each process has some */
	values[7] = Int64GetDatum(((PGShmemHeader *) UsedShmemSegAddr)->totalsize);
	nulls[7] = UsedShmemSegAddr == NULL;
	values[8] = Int64GetDatum(shared_memory_untouched());
	put_guard(9, &memory, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(descriptor, values,
													  nulls)));
}
