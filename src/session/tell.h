/*-------------------------------------------------------------------------
 *
 * tell.h
 *	  Tells the log and the event ring what has crossed a threshold.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_TELL_H
#define PGSM_SESSION_TELL_H

#include "session/judge.h"

/* What was over a threshold and is not any more. */
typedef struct FallenExcess
{
	const char *context;		/* name of the group, NULL for the others */
	int64		bytes;			/* now, -1: not known */
	int64		threshold_bytes;	/* which it was over */
} FallenExcess;

/* What is new in a judgement, compared with what was published before. */
typedef struct SessionNews
{
	int			count;			/* of excesses that are new */
	bool		is_new[EXCESS_COUNT];	/* crossed or doubled, by position in
										 * the judgement */
	int			fallen_count;
	FallenExcess fallen[EXCESS_COUNT];
} SessionNews;

/*
 * Writes one line to the log, with all that is over, if there is anything
 * new; and an event for each new and each fallen excess.  growth_bytes: since
 * before the session's first command.  Callbacks too; no error.
 */
extern void session_tell(const SessionMeasure *measure,
						 const Judgement *judgement, const SessionNews *news,
						 int64 growth_bytes);

/*
 * A line about the calling session in the log, at log_level and with SQLSTATE
 * 53400: what all lines of a threshold have in common.  Callbacks too.
 */
extern void tell_line(const char *message, const char *detail,
					  const char *hint);

/*
 * "Seen after statement (query id ...): ...", the last words of such a line's
 * detail, into text, which it returns.
 */
#define STATEMENT_WORDS_BYTES	(1024 + 80)
extern const char *statement_words(char *text);

#endif							/* PGSM_SESSION_TELL_H */
