/*-------------------------------------------------------------------------
 *
 * context_tally.h
 *	  Adds up contexts that are the same thing to the one who asks.
 *
 * Tens of thousands of contexts are mostly some dozen things: what they have
 * in common can be their name, their name and ident, or the names of all
 * contexts above them.  A tally keeps a sum for each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CONTEXT_TALLY_H
#define PGSM_CONTEXT_TALLY_H

#include "reading/context_walk.h"

/* The contexts that have all of the first four in common. */
typedef struct TallySum
{
	int			parent;			/* the sum of what is above, -1: none */
	ContextCategory category;
	const char *name;
	const char *ident;			/* NULL: none */
	uint32		hash;
	int			next;			/* the next sum of the same hash bucket */
	int			level;			/* 1 where there is no parent */
	int64		contexts;
	int64		bytes;
} TallySum;

typedef struct ContextTally
{
	MemoryContext memory;		/* its own; nothing else is in it */
	TallySum   *sums;
	int			count;
	int			size;
	int		   *buckets;		/* the first sum of each hash value, -1: none */
	int			bucket_count;	/* a power of 2 */
	int		   *at_level;		/* see context_tally_above */
	int			levels;
} ContextTally;

/*
 * Makes a tally in a context of its own below the current one; it goes with
 * that context.
 */
extern void context_tally_create(ContextTally *tally);

/* Forgets all sums: for a visitor's begin. */
extern void context_tally_begin(ContextTally *tally);

/*
 * The index of the sum of these, a new one of nothing if there is none yet.
 * Copies the strings.  May raise out-of-memory; does not change the shape of
 * the tree of contexts.
 */
extern int	context_tally_find(ContextTally *tally, int parent,
							   ContextCategory category, const char *name,
							   const char *ident);

/* Whether context_tally_find would find a sum instead of making one. */
extern bool context_tally_has(const ContextTally *tally, int parent,
							  ContextCategory category, const char *name,
							  const char *ident);

/*
 * Along the walk: which sum the last context at each level went to.  The
 * first returns what was set for the level above, -1 at the root.
 */
extern int	context_tally_above(const ContextTally *tally, int level);
extern void context_tally_set_level(ContextTally *tally, int level, int sum);

/* All sums, those of most bytes first; allocated in the current context. */
extern const TallySum **context_tally_sorted(const ContextTally *tally);

#endif							/* PGSM_CONTEXT_TALLY_H */
