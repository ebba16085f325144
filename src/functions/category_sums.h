/*-------------------------------------------------------------------------
 *
 * category_sums.h
 *	  All memory of a process, by category, also what no context knows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CATEGORY_SUMS_H
#define PGSM_CATEGORY_SUMS_H

#include "functions/observed_process.h"
#include "reading/context_tally.h"
#include "session/remedy.h"

/* A category of contexts, or a part of the process that is in none. */
typedef struct CategorySum
{
	const char *name;
	const char *explanation;	/* see context_category.h */
	MemoryCause cause;			/* which decides the remedy */
	int64		contexts;		/* -1: not made of contexts */
	int64		total_bytes;
	int64		free_bytes;		/* -1: not known */
	const TallySum *largest;	/* contexts of one name, NULL if none */
} CategorySum;

/* The categories of contexts and two parts outside of them. */
#define CATEGORY_SUMS	(CONTEXT_CATEGORY_COUNT + 2)

/*
 * Fills sums, which has CATEGORY_SUMS elements, with what the process has
 * something of, largest first.  Returns how many these are, 0 where the
 * process has ended, and whether they are approximate.  Allocates in the current
 * memory context; raises what observed_process_walk raises.
 */
extern int	category_sums(ObservedProcess *observed, CategorySum *sums,
						  bool *approximate);

#endif							/* PGSM_CATEGORY_SUMS_H */
