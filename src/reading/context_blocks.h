/*-------------------------------------------------------------------------
 *
 * context_blocks.h
 *	  Blocks and free chunks of a memory context, read through a reader.
 *
 * The layouts of the context kinds are private to PostgreSQL.  They are
 * mirrored, a version each, and none of them is believed before it has agreed
 * with PostgreSQL's own statistics in this process: see layout_check.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CONTEXT_BLOCKS_H
#define PGSM_CONTEXT_BLOCKS_H

#include "nodes/memnodes.h"

#include "reading/context_walk.h"

/*
 * Counts blocks, free chunks and free bytes of the context at address.
 * total_bytes is what the context says it has allocated; counters that do not
 * agree with it are not returned.  Returns false where the figures are not
 * known: the kind's layout was not confirmed, something could not be read or
 * changed while it was.  No allocation, no error.
 */
extern bool context_blocks_measure(MemoryReader *reader, uintptr_t address,
								   ContextKind kind, Size total_bytes,
								   MemoryContextCounters *counters);

/* The same for a kind that need not be confirmed yet. */
extern bool context_blocks_measure_unconfirmed(MemoryReader *reader,
											   uintptr_t address,
											   ContextKind kind,
											   Size total_bytes,
											   MemoryContextCounters *counters);

/* The kind's layout is right: contexts of it are measured from now on. */
extern void context_blocks_confirm(ContextKind kind);

/*
 * Has the processor fetch what the stats method of a context of this process
 * will read.  Only a hint, which a layout that is wrong makes useless.
 */
extern void context_blocks_prefetch(MemoryContext context, ContextKind kind);

#endif							/* PGSM_CONTEXT_BLOCKS_H */
