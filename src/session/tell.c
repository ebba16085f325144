/*-------------------------------------------------------------------------
 *
 * tell.c
 *	  Tells the log and the event ring what has crossed a threshold.
 *
 * The last stop of a measurement.  However many thresholds a session is over,
 * the log gets one line, which names them all; events are one a threshold, so
 * that each can be looked up.
 *
 * Runs in callbacks: static memory, fixed sizes.  A LOG message is put
 * together in ErrorContext, which is there for such moments.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "session/error_barrier.h"
#include "session/event_ring.h"
#include "session/identity.h"
#include "session/tell.h"
#include "settings.h"

typedef struct Line
{
	const char *message;
	const char *detail;
	const char *hint;
} Line;

static void
write_line(void *arg)
{
	const Line *line = arg;

	ereport(setting_log_level,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg_internal("%s", line->message),
			 errdetail_internal("%s", line->detail),
			 errhint("%s", line->hint)));
}

void
tell_line(const char *message, const char *detail, const char *hint)
{
	Line		line = {message, detail, hint};

	(void) session_stop_errors(write_line, &line);
}

const char *
statement_words(char *text)
{
	int64		query_id = session_query_id();
	int			length;

	if (query_id != 0)
		length = snprintf(text, STATEMENT_WORDS_BYTES,
						  "Seen after statement (query id " INT64_FORMAT "): ",
						  query_id);
	else
		length = snprintf(text, STATEMENT_WORDS_BYTES,
						  "Seen after statement: ");
	session_query_text(text + length,
					   Min(EVENT_QUERY_BYTES, STATEMENT_WORDS_BYTES - length));
	return text;
}

/*
 * The log line: what is over, by how much, where it is, and what to do.  Who
 * reads it is somebody else than the session.
 */
static void
log_judgement(const SessionMeasure *measure, const Judgement *judgement,
			  int64 growth_bytes)
{
	static char words[JUDGEMENT_WORDS_BYTES];
	static char message[JUDGEMENT_WORDS_BYTES + 64];
	static char largest[LARGEST_WORDS_BYTES];
	static char statement[STATEMENT_WORDS_BYTES];
	static char detail[LARGEST_WORDS_BYTES + STATEMENT_WORDS_BYTES + 128];
	static char hint[JUDGEMENT_REMEDY_BYTES];
	char		total[PRETTY_BYTES];
	char		growth[PRETTY_BYTES];

	snprintf(message, sizeof(message), REPORT_FIRST_WORDS ": %s",
			 judgement_words(judgement, words));
	snprintf(detail, sizeof(detail),
			 "The session retains %s in " INT64_FORMAT " contexts, %s more than before its first command. Largest: %s contexts. %s",
			 pretty_bytes(measure->bytes, total), measure->contexts,
			 pretty_bytes(Max(growth_bytes, 0), growth),
			 largest_groups_words(measure, largest),
			 statement_words(statement));
	judgement_remedy(judgement, MyProcPid, IsTransactionOrTransactionBlock(),
					 hint);
	tell_line(message, detail, hint);
}

static EventKind
event_kind(ExcessKind kind)
{
	switch (kind)
	{
		case EXCESS_CONTEXT:
			return EVENT_CONTEXT;
		case EXCESS_SESSION:
			return EVENT_SESSION;
		case EXCESS_PROCESS:
			break;
	}
	return EVENT_PROCESS;
}

void
session_tell(const SessionMeasure *measure, const Judgement *judgement,
			 const SessionNews *news, int64 growth_bytes)
{
	for (int i = 0; i < judgement->count; i++)
	{
		const MeasureExcess *excess = &judgement->excesses[i];

		if (news->is_new[i])
			event_ring_add(event_kind(excess->kind), excess->context,
						   excess->bytes, excess->threshold_bytes,
						   measure->bytes);
	}
	if (news->count > 0)
		log_judgement(measure, judgement, growth_bytes);
	for (int i = 0; i < news->fallen_count; i++)
	{
		const FallenExcess *fallen = &news->fallen[i];

		event_ring_add(EVENT_FELL, fallen->context, fallen->bytes,
					   fallen->threshold_bytes, measure->bytes);
	}
}
