/*-------------------------------------------------------------------------
 *
 * history.c
 *	  pg_session_memory_history and _history_sessions: what the recorder has.
 *
 * The file is read as it is, also while the watcher writes it: a record that
 * is being overwritten is not valid at that moment, and is left out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "functions/category_columns.h"
#include "functions/foreign_text.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "session/watched.h"
#include "settings.h"
#include "watcher/recorder.h"
#include "watcher/watcher.h"

PG_FUNCTION_INFO_V1(pg_session_memory_get_history);
PG_FUNCTION_INFO_V1(pg_session_memory_get_history_sessions);
PG_FUNCTION_INFO_V1(pg_session_memory_reset_history);

#define HISTORY_COLUMNS		(11 + CONTEXT_CATEGORY_COUNT)
#define SESSIONS_COLUMNS	(16 + CONTEXT_CATEGORY_COUNT)

/* A row while its columns are filled. */
typedef struct HistoryRow
{
	ReturnSetInfo *rsinfo;
	Datum		values[Max(HISTORY_COLUMNS, SESSIONS_COLUMNS)];
	bool		nulls[Max(HISTORY_COLUMNS, SESSIONS_COLUMNS)];
	int			column;			/* the next one */
} HistoryRow;

static void
put_datum(HistoryRow *row, Datum value, bool isnull)
{
	row->values[row->column] = value;
	row->nulls[row->column] = isnull;
	row->column++;
}

/* An amount that is -1 where it is not known. */
static void
put_bytes(HistoryRow *row, int64 bytes, bool permitted)
{
	put_datum(row, Int64GetDatum(bytes), bytes < 0 || !permitted);
}

/* A text that is empty where there is none. */
static void
put_text(HistoryRow *row, const char *text, bool permitted)
{
	if (text[0] == '\0' || !permitted)
		put_datum(row, (Datum) 0, true);
	else
		put_datum(row, PointerGetDatum(text_of_foreign(text, strlen(text))),
				  false);
}

static void
put_categories(HistoryRow *row, const int64 *category_bytes, bool permitted)
{
	for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
		put_bytes(row, category_bytes[category_columns[i]], permitted);
}

static void
end_row(HistoryRow *row, int columns)
{
	Assert(row->column == columns);
	tuplestore_putvalues(row->rsinfo->setResult, row->rsinfo->setDesc,
						 row->values, row->nulls);
	row->column = 0;
}

static void
put_sample(HistoryRow *row, const RecordedSample *sample)
{
	const RecordedSession *largest = &sample->largest[0];
	bool		permitted = sample->count > 0 &&
	permission_may_see_role(largest->userid);

	put_datum(row, TimestampTzGetDatum(sample->at), false);
	put_text(row, recorder_reason_name(sample->reason), true);
	put_bytes(row, sample->available_bytes, true);
	put_bytes(row, sample->total_bytes, true);
	put_bytes(row, sample->anon_bytes, true);
	put_datum(row, Int32GetDatum(sample->sessions), false);
	put_datum(row, Int32GetDatum(sample->active), false);
	put_datum(row, Int32GetDatum(largest->pid), !permitted);
	put_bytes(row, largest->anon_bytes, permitted);
	put_categories(row, sample->category_bytes, true);
	put_bytes(row, sample->oom_kills, true);
	put_datum(row, BoolGetDatum(sample->run != watcher_state()->run), false);
	end_row(row, HISTORY_COLUMNS);
}

static void
put_session(HistoryRow *row, const RecordedSample *sample,
			const RecordedSession *session)
{
	bool		permitted = permission_may_see_role(session->userid);

	put_datum(row, TimestampTzGetDatum(sample->at), false);
	put_datum(row, Int32GetDatum(session->pid), false);
	put_datum(row, TimestampTzGetDatum(session->backend_start), !permitted);
	put_text(row, session->backend_type, true);
	put_text(row, session->usename, true);
	put_text(row, session->datname, true);
	put_text(row, session->application_name, true);
	put_text(row, session->state, permitted);
	put_datum(row, Int64GetDatum(session->query_id),
			  session->query_id == 0 || !permitted);
	if (permitted)
		put_text(row, session->query, true);
	else
		put_text(row, "<insufficient privilege>", true);
	put_bytes(row, session->anon_bytes, permitted);
	put_bytes(row, session->context_bytes, permitted);
	put_categories(row, session->category_bytes, permitted);
	put_text(row, session->largest_context, permitted);
	put_bytes(row, session->largest_context_bytes, permitted);
	put_datum(row, Int32GetDatum(session->leader_pid),
			  session->leader_pid == 0);
	put_datum(row, BoolGetDatum(sample->run != watcher_state()->run), false);
	end_row(row, SESSIONS_COLUMNS);
}

/*
 * Rows for all samples of the file, latest first.
 */
static void
put_history(FunctionCallInfo fcinfo, bool of_sessions)
{
	HistoryRow	row = {(ReturnSetInfo *) fcinfo->resultinfo};
	RecordedSample *sample;
	RecordPlace *places;
	int			file;
	int			count;

	module_require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(row.rsinfo->setDesc, of_sessions ?
								 SESSIONS_COLUMNS : HISTORY_COLUMNS);

	file = OpenTransientFile(RECORDER_PATH, O_RDONLY | PG_BINARY);
	if (file < 0 && errno == ENOENT)
		return;
	count = file < 0 ? -1 : recorder_find(file, &places);
	if (count < 0)
	{
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not read the history of session memory in \"%s\": %m",
						RECORDER_PATH)));
		return;
	}
	sample = palloc(sizeof(RecordedSample));
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!recorder_read(file, &places[i], sample))
			continue;
		if (!of_sessions)
			put_sample(&row, sample);
		else
		{
			for (int j = 0; j < sample->count; j++)
				put_session(&row, sample, &sample->largest[j]);
		}
	}
	CloseTransientFile(file);
}

/*
 * pg_session_memory_get_history(): a row for each sample.  Who is largest, and
 * how large, is NULL for who may not see that session.  Raises
 * object_not_in_prerequisite_state where the library is not preloaded.
 */
Datum
pg_session_memory_get_history(PG_FUNCTION_ARGS)
{
	put_history(fcinfo, false);
	return (Datum) 0;
}

/*
 * pg_session_memory_get_history_sessions(): a row for each session of each
 * sample.  Figures and statements of other roles' sessions are not shown
 * without the privileges of pg_read_all_stats.
 */
Datum
pg_session_memory_get_history_sessions(PG_FUNCTION_ARGS)
{
	put_history(fcinfo, true);
	return (Datum) 0;
}

/* pg_session_memory_reset_history(): forgets all samples. */
Datum
pg_session_memory_reset_history(PG_FUNCTION_ARGS)
{
	module_require_preloaded();
	watcher_reset_history();
	PG_RETURN_VOID();
}
