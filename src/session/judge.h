/*-------------------------------------------------------------------------
 *
 * judge.h
 *	  What of a measurement is over its threshold, in bytes and in words.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_JUDGE_H
#define PGSM_SESSION_JUDGE_H

#include "session/measure.h"
#include "session/remedy.h"

typedef enum ExcessKind
{
	EXCESS_CONTEXT,				/* contexts of one name */
	EXCESS_SESSION,				/* all retained contexts */
	EXCESS_PROCESS				/* the process */
} ExcessKind;

/* Something that is over its threshold. */
typedef struct MeasureExcess
{
	ExcessKind	kind;
	const char *context;		/* name of the group, NULL for the others */
	MemoryCause cause;
	int64		bytes;
	int64		threshold_bytes;
} MeasureExcess;

/* All groups that a measurement has, the session and the process. */
#define EXCESS_COUNT	(LARGEST_GROUPS + 2)

/* All that is over; nothing is where count is 0. */
typedef struct Judgement
{
	int			count;
	MeasureExcess excesses[EXCESS_COUNT];
} Judgement;

/*
 * Judges a measurement by the session's thresholds: groups, largest first,
 * then the session, then the process.  As this and all functions here:
 * callbacks too; no allocation, no error.
 */
extern void session_judge(const SessionMeasure *measure, Judgement *judgement);

/* The name of a kind as SQL and the log show it. */
extern const char *excess_kind_name(ExcessKind kind);

/* The first words of the log line and of check()'s error: fixed. */
#define REPORT_FIRST_WORDS	"session memory over threshold"

/*
 * What is over and by how much, all of it but for groups behind the largest
 * four; into text, which it returns.
 */
#define JUDGEMENT_WORDS_BYTES	1024
extern const char *judgement_words(const Judgement *judgement, char *text);

/*
 * The remedies for what judgement_words tells, each once; as remedy_text.
 */
#define JUDGEMENT_REMEDY_BYTES	(4 * REMEDY_BYTES)
extern const char *judgement_remedy(const Judgement *judgement, int pid,
									bool in_transaction, char *text);

/*
 * The three largest groups, as words, into text, which it returns: empty for
 * a measurement without groups.
 */
#define LARGEST_WORDS_BYTES		512
extern const char *largest_groups_words(const SessionMeasure *measure,
										char *text);

/* A size as a person reads it, "64 MB", into text; returns text. */
#define PRETTY_BYTES	24
extern const char *pretty_bytes(int64 bytes, char *text);

#endif							/* PGSM_SESSION_JUDGE_H */
