/*-------------------------------------------------------------------------
 *
 * process.c
 *	  pg_session_memory_process(pid): the operating system's view.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"

#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"

PG_FUNCTION_INFO_V1(pg_session_memory_process);

#define PROCESS_COLUMNS		9

/*
 * pg_session_memory_process(pid int)
 *
 * One row of bytes, each NULL where the operating system does not tell.  For
 * a pid that is none of a server process: a WARNING and NULL.  Raises
 * insufficient_privilege for sessions of other roles.
 */
Datum
pg_session_memory_process(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	ServerProcess process;
	ProcessMemoryMap map;
	TupleDesc	descriptor;
	Datum		values[PROCESS_COLUMNS];
	bool		nulls[PROCESS_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tuple_writer_require_columns(descriptor, PROCESS_COLUMNS);

	if (!server_process_find(pid, &process))
	{
		server_process_warn_unknown(pid);
		PG_RETURN_NULL();
	}
	permission_require_see(&process);

	process_memory_read_map(pid, &map);
	if (!server_process_is_alive(&process))
	{
		server_process_warn_unknown(pid);
		PG_RETURN_NULL();
	}

	values[0] = Int64GetDatum(map.rss_bytes);
	values[1] = Int64GetDatum(map.pss_bytes);
	values[2] = Int64GetDatum(map.private_bytes);
	values[3] = Int64GetDatum(map.shared_bytes);
	values[4] = Int64GetDatum(map.anon_bytes);
	values[5] = Int64GetDatum(map.swap_bytes);
	values[6] = Int64GetDatum(map.pss_anon_bytes);
	values[7] = Int64GetDatum(map.pss_file_bytes);
	values[8] = Int64GetDatum(map.pss_shmem_bytes);
	for (int i = 0; i < PROCESS_COLUMNS; i++)
		nulls[i] = DatumGetInt64(values[i]) < 0;

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor),
													  values, nulls)));
}
