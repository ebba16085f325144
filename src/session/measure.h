/*-------------------------------------------------------------------------
 *
 * measure.h
 *	  What the calling session retains: totals, categories, largest groups.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_MEASURE_H
#define PGSM_SESSION_MEASURE_H

#include "reading/context_category.h"

/* All contexts of one name, and what they hold. */
typedef struct ContextGroup
{
	const char *name;			/* NULL: none */
	ContextCategory category;
	int64		contexts;
	int64		bytes;
	int64		free_bytes;		/* of catalog caches only, see measure.c */
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

	/* What follows is looked for with the largest groups, and 0 without. */
	int64		cache_free_bytes;	/* free in the catalog caches */
	int64		malloc_free_bytes;	/* -1: not known */
	bool		of_functions;	/* most cached statements are functions' */
	ContextGroup largest[LARGEST_GROUPS];	/* largest first */
} SessionMeasure;

/*
 * Measures what the calling session retains: all its contexts, but for those
 * that go with what is executed.  These are MessageContext, what belongs to
 * the protocol's unnamed statement and portal, and in_command, in the middle
 * of a statement, the transaction and the running portal.
 *
 * The largest groups are found if with_groups is set or a threshold is passed.
 * process_bytes is found if process_threshold is on, and does not have what is
 * left out either.  Callbacks too; no allocation, no error.  Names are valid
 * for the moment.
 */
extern void session_measure(SessionMeasure *measure, bool in_command,
							bool with_groups);

/*
 * Measures everything that the calling session has, with the largest groups:
 * also what is left out else.  process_bytes is not found.  As for the rest,
 * as session_measure.
 */
extern void session_measure_everything(SessionMeasure *measure);

#endif							/* PGSM_SESSION_MEASURE_H */
