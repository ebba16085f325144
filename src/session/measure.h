/*-------------------------------------------------------------------------
 *
 * measure.h
 *	  What the calling session retains: totals, categories, largest groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_MEASURE_H
#define PGSM_SESSION_MEASURE_H

#include "session/slot.h"

/* All contexts of one name, and what they hold. */
typedef struct ContextGroup
{
	const char *name;			/* NULL: none */
	ContextCategory category;
	int64		contexts;
	int64		bytes;
} ContextGroup;

/* More than are published: one that others have overtaken is not forgotten. */
#define LARGEST_GROUPS	16

/* One measurement of the calling session; bytes. */
typedef struct SessionMeasure
{
	int64		contexts;
	int64		bytes;
	int64		category_bytes[CONTEXT_CATEGORY_COUNT];
	int64		process_bytes;	/* anonymous and swap, -1: not known */
	ContextGroup largest[LARGEST_GROUPS];	/* largest first, if looked for */
} SessionMeasure;

/* What of a measurement is over its threshold. */
typedef struct MeasureExcess
{
	const char *kind;			/* context, session, process */
	const char *context;		/* name of the group, NULL for the others */
	ContextCategory category;
	int64		bytes;
	int64		threshold_bytes;
} MeasureExcess;

/*
 * Measures what the calling session retains.  in_command: in the middle of a
 * statement, whose own memory is left out; else MessageContext alone is.  The
 * largest groups are found if with_groups is set or a threshold is passed.
 * process_bytes is found if process_threshold is on.
 * Callbacks too; no allocation, no error.  Names are valid for the moment.
 */
extern void session_measure(SessionMeasure *measure, bool in_command,
							bool with_groups);

/*
 * A threshold that the measurement is over: session, context or process, in
 * this order.  Returns false if there is none.
 */
extern bool session_measure_excess(const SessionMeasure *measure,
								   MeasureExcess *excess);

/* Bytes of a threshold setting, which is in kB; -1 where it is off. */
extern int64 threshold_bytes(int setting);

#endif							/* PGSM_SESSION_MEASURE_H */
