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

#include "functions/foreign_text.h"
#include "functions/tuple_writer.h"
#include "pg_compat.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"
#include "watcher/server_memory.h"

PG_FUNCTION_INFO_V1(pg_session_memory_get_server);

#define SERVER_COLUMNS		8

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
	nulls[6] = memory.available_bytes < 0;
	values[7] = Int64GetDatum(((PGShmemHeader *) UsedShmemSegAddr)->totalsize);
	nulls[7] = UsedShmemSegAddr == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(descriptor, values,
													  nulls)));
}
