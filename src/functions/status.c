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

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "session/event_ring.h"
#include "session/judge.h"
#include "session/measure.h"
#include "session/watch.h"

PG_FUNCTION_INFO_V1(pg_session_memory_is_bloated);
PG_FUNCTION_INFO_V1(pg_session_memory_check);
PG_FUNCTION_INFO_V1(pg_session_memory_recycle);
PG_FUNCTION_INFO_V1(pg_session_memory_reset_peak);

/* Too large for the stack of a function that may be called deep down. */
static SessionMeasure measure;
static Judgement judgement;

/* Measures and judges; returns whether anything is over its threshold. */
static bool
is_over_threshold(void)
{
	session_measure(&measure, true, false);
	session_judge(&measure, &judgement);
	return judgement.count > 0;
}

/*
 * Raises configuration_limit_exceeded (53400) with the figures, in the words
 * of the log.
 */
static void
raise_judgement(int elevel, const char *consequence)
{
	char		words[JUDGEMENT_WORDS_BYTES];
	char		remedy[JUDGEMENT_REMEDY_BYTES];
	char		total[PRETTY_BYTES];

	ereport(elevel,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg(REPORT_FIRST_WORDS ": %s",
					judgement_words(&judgement, words)),
			 errdetail("The session retains %s in " INT64_FORMAT " contexts.%s",
					   pretty_bytes(measure.bytes, total), measure.contexts,
					   consequence),
			 errhint("%s", judgement_remedy(&judgement, 0,
											IsTransactionBlock(), remedy))));
}

/* pg_session_memory_is_bloated(): whether a threshold is exceeded now. */
Datum
pg_session_memory_is_bloated(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_over_threshold());
}

/* pg_session_memory_check(): an ERROR if so; true if not. */
Datum
pg_session_memory_check(PG_FUNCTION_ARGS)
{
	if (is_over_threshold())
		raise_judgement(ERROR, "");
	PG_RETURN_BOOL(true);
}

/* pg_session_memory_recycle(): ends the session if so; true if not. */
Datum
pg_session_memory_recycle(PG_FUNCTION_ARGS)
{
	const MeasureExcess *excess;

	if (!is_over_threshold())
		PG_RETURN_BOOL(true);

	/* A function of an index must not end the session that analyzes it. */
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot end the session within security-restricted operation")));
	excess = &judgement.excesses[0];
	event_ring_add(EVENT_RECYCLED, excess->context, excess->bytes,
				   excess->threshold_bytes, measure.bytes);
	raise_judgement(FATAL, " It ends so that a fresh one takes its place.");
	PG_RETURN_BOOL(true);		/* not reached */
}

/* pg_session_memory_reset_peak(): starts the calling session's peak anew. */
Datum
pg_session_memory_reset_peak(PG_FUNCTION_ARGS)
{
	session_watch_reset_peak();
	PG_RETURN_VOID();
}
