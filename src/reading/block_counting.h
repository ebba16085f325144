/*-------------------------------------------------------------------------
 *
 * block_counting.h
 *	  What the counting of each kind of memory context needs, and its results.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_BLOCK_COUNTING_H
#define PGSM_BLOCK_COUNTING_H

#include "miscadmin.h"
#include "nodes/memnodes.h"

#include "pg_compat.h"
#include "reading/memory_reader.h"

/* A long list is left every so often, should the query be cancelled. */
#define LOOK_FOR_CANCEL_EVERY	4096

/*
 * Copies a struct.  False if it can't be read, or can't be where it is said
 * to be.  Copied, because what the reader returns goes with its next call.
 */
static inline bool
read_struct(MemoryReader *reader, uintptr_t address, void *to, Size len)
{
	const void *from;

	if (address == 0 || address % MAXIMUM_ALIGNOF != 0)
		return false;
	from = memory_reader_map(reader, address, len);
	if (from == NULL)
		return false;
	memcpy(to, from, len);
	return true;
}

/*
 * Whether the query is to end.  Who counts on behalf of a query that is
 * cancelled need not finish; raising the error is the caller's business.
 */
static inline bool
cancel_pending(void)
{
	return QueryCancelPending || ProcDiePending;
}

/*
 * Whether [start, end) is part of a context of remaining bytes not yet
 * accounted for, is no smaller than its own header, and has its free space
 * at its end.
 */
static inline bool
block_is_plausible(uintptr_t start, Size header, uintptr_t freeptr,
				   uintptr_t endptr, Size remaining)
{
	return endptr > start && endptr - start <= remaining &&
		freeptr >= start && freeptr - start >= header && freeptr <= endptr;
}

/*
 * One a kind: counts what the stats method counts of the context at this
 * address, which says that it has total_bytes.  counters are zero before.
 * Returns false where the figures are not known.  No allocation.
 */
extern bool allocset_blocks_measure(MemoryReader *reader, uintptr_t context,
									Size total_bytes,
									MemoryContextCounters *counters);
extern bool generation_blocks_measure(MemoryReader *reader, uintptr_t context,
									  Size total_bytes,
									  MemoryContextCounters *counters);
extern bool slab_blocks_measure(MemoryReader *reader, uintptr_t context,
								Size total_bytes,
								MemoryContextCounters *counters);
#ifdef PGSM_HAVE_BUMP
extern bool bump_blocks_measure(MemoryReader *reader, uintptr_t context,
								Size total_bytes,
								MemoryContextCounters *counters);
#endif

#endif							/* PGSM_BLOCK_COUNTING_H */
