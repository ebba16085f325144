/*-------------------------------------------------------------------------
 *
 * statements.c
 *	  pg_session_memory_statements: what statements took.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "session/statement_memory.h"
#include "session/statement_table.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(pg_session_memory_get_statements);
PG_FUNCTION_INFO_V1(pg_session_memory_reset_statements);
PG_FUNCTION_INFO_V1(pg_session_memory_last_statement);

#define STATEMENTS_COLUMNS		18
#define LAST_STATEMENT_COLUMNS	6

/* Rows that are copied at a time. */
#define ROWS_AT_A_TIME			64

/* The largest and the mean of a figure, NULL where it was never known. */
static void
put_figure(const StatementFigure *figure, Datum *values, bool *nulls)
{
	nulls[0] = nulls[1] = figure->count == 0;
	if (figure->count == 0)
		return;
	values[0] = Int64GetDatum(figure->max);
	values[1] = Int64GetDatum(figure->sum / figure->count);
}

static void
put_row(const StatementRow *row, ReturnSetInfo *rsinfo)
{
	const StatementCounters *counters = &row->counters;
	bool		may_see = permission_may_see_role(row->key.userid);
	Datum		values[STATEMENTS_COLUMNS];
	bool		nulls[STATEMENTS_COLUMNS] = {false};

	values[0] = ObjectIdGetDatum(row->key.userid);
	values[1] = ObjectIdGetDatum(row->key.dbid);
	values[2] = BoolGetDatum(row->key.toplevel);
	values[3] = Int64GetDatum(row->key.queryid);
	nulls[3] = row->key.queryid == 0 || !may_see;
	values[4] = Int64GetDatum(counters->calls);
	put_figure(&counters->plan, &values[5], &nulls[5]);
	put_figure(&counters->exec, &values[7], &nulls[7]);
	put_figure(&counters->peak, &values[9], &nulls[9]);
	values[11] = Int64GetDatum(counters->max_worker_bytes);
	values[12] = Int64GetDatum(counters->left_bytes);
	values[13] = Int64GetDatum(counters->max_left_bytes);
	values[14] = Int64GetDatum(counters->limited);
	values[15] = TimestampTzGetDatum(counters->max_at);
	nulls[16] = counters->query[0] == '\0' || !may_see;

	/* Another database's encoding can be another one. */
	if (!nulls[16])
		values[16] = PointerGetDatum(text_of_foreign(counters->query,
													 strlen(counters->query)));
	values[17] = Int64GetDatum(counters->sampled);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * pg_session_memory_get_statements(): a row for each statement in the table.
 * Query id and text of other roles' statements are NULL without the privileges
 * of pg_read_all_stats.  Raises object_not_in_prerequisite_state where there
 * is no shared memory.
 */
Datum
pg_session_memory_get_statements(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	StatementRow *rows;
	int			next = 0;
	int			count;

	module_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, STATEMENTS_COLUMNS);

	rows = palloc(ROWS_AT_A_TIME * sizeof(StatementRow));
	while ((count = statement_table_read(&next, rows, ROWS_AT_A_TIME)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
			put_row(&rows[i], rsinfo);
	}
	pfree(rows);
	return (Datum) 0;
}

/* pg_session_memory_reset_statements(): forgets all of them. */
Datum
pg_session_memory_reset_statements(PG_FUNCTION_ARGS)
{
	module_require_preloaded();
	statement_table_reset();
	PG_RETURN_VOID();
}

/*
 * pg_session_memory_last_statement(): what the last statement of the calling
 * session took that ended before the one that calls.  NULL if there was none.
 */
Datum
pg_session_memory_last_statement(PG_FUNCTION_ARGS)
{
	StatementMemory last;
	TupleDesc	descriptor;
	Datum		values[LAST_STATEMENT_COLUMNS];
	bool		nulls[LAST_STATEMENT_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	tuple_writer_require_columns(descriptor, LAST_STATEMENT_COLUMNS);
	if (!statement_memory_last(&last))
		PG_RETURN_NULL();

	values[0] = Int64GetDatum(last.queryid);
	nulls[0] = last.queryid == 0;
	values[1] = Int64GetDatum(last.plan_bytes);
	nulls[1] = last.plan_bytes < 0;
	values[2] = Int64GetDatum(last.exec_bytes);
	nulls[2] = last.exec_bytes < 0;
	values[3] = Int64GetDatum(last.peak_bytes);
	nulls[3] = last.peak_bytes < 0;
	values[4] = Int64GetDatum(last.worker_bytes);
	nulls[4] = false;
	values[5] = Int64GetDatum(last.left_bytes);
	nulls[5] = !last.left_is_known;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor),
													  values, nulls)));
}
