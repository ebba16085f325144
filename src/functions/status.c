/*-------------------------------------------------------------------------
 *
 * status.c
 *	  Whether the calling session is bloated, for poolers and clients.
 *
 * All of these measure at the moment of the call, without what the calling
 * statement itself uses, and judge by the session's own thresholds.  They
 * work in every session that has the library loaded, however it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "session/event_ring.h"
#include "session/measure.h"
#include "session/report.h"
#include "session/watch.h"

PG_FUNCTION_INFO_V1(pg_session_memory_is_bloated);
PG_FUNCTION_INFO_V1(pg_session_memory_check);
PG_FUNCTION_INFO_V1(pg_session_memory_recycle);
PG_FUNCTION_INFO_V1(pg_session_memory_reset_peak);

/* Too large for the stack of a function that may be called deep down. */
static SessionMeasure measure;

/*
 * Raises configuration_limit_exceeded (53400) with the figures.
 */
static void
raise_excess(int elevel, const MeasureExcess *excess, const char *consequence)
{
	char		amount[PRETTY_BYTES];
	char		limit[PRETTY_BYTES];
	char		total[PRETTY_BYTES];

	pretty_bytes(excess->bytes, amount);
	pretty_bytes(excess->threshold_bytes, limit);
	pretty_bytes(measure.bytes, total);
	ereport(elevel,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 excess->context != NULL ?
			 errmsg(REPORT_FIRST_WORDS ": contexts \"%s\" hold %s, pg_session_memory.context_threshold is %s",
					excess->context, amount, limit) :
			 errmsg(REPORT_FIRST_WORDS ": the %s holds %s, pg_session_memory.%s_threshold is %s",
					excess->kind, amount, excess->kind, limit),
			 errdetail("The session retains %s in " INT64_FORMAT " contexts.%s",
					   total, measure.contexts, consequence),
			 errhint("%s", session_report_remedy(excess->kind,
												 excess->category,
												 excess->bytes,
												 measure.bytes))));
}

/* pg_session_memory_is_bloated(): whether a threshold is exceeded now. */
Datum
pg_session_memory_is_bloated(PG_FUNCTION_ARGS)
{
	MeasureExcess excess;

	session_measure(&measure, true, true);
	PG_RETURN_BOOL(session_measure_excess(&measure, &excess));
}

/* pg_session_memory_check(): an ERROR if so; true if not. */
Datum
pg_session_memory_check(PG_FUNCTION_ARGS)
{
	MeasureExcess excess;

	session_measure(&measure, true, true);
	if (session_measure_excess(&measure, &excess))
		raise_excess(ERROR, &excess, "");
	PG_RETURN_BOOL(true);
}

/* pg_session_memory_recycle(): ends the session if so; true if not. */
Datum
pg_session_memory_recycle(PG_FUNCTION_ARGS)
{
	MeasureExcess excess;

	session_measure(&measure, true, true);
	if (session_measure_excess(&measure, &excess))
	{
		/* A function of an index must not end the session that analyzes it. */
		if (InSecurityRestrictedOperation())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("cannot end the session within security-restricted operation")));
		event_ring_add(EVENT_RECYCLED, excess.context, excess.bytes,
					   excess.threshold_bytes, measure.bytes);
		raise_excess(FATAL, &excess, " It ends so that a fresh one takes its place.");
	}
	PG_RETURN_BOOL(true);
}

/* pg_session_memory_reset_peak(): starts the calling session's peak anew. */
Datum
pg_session_memory_reset_peak(PG_FUNCTION_ARGS)
{
	session_watch_reset_peak();
	PG_RETURN_VOID();
}
