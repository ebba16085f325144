/*-------------------------------------------------------------------------
 *
 * context_blocks.h
 *	  Blocks and free chunks of a memory context, read through a reader.
 *
 * The layouts of the context kinds are private to PostgreSQL.  This file's
 * implementation mirrors them, a version each, and believes none of them
 * before it has agreed with PostgreSQL's own statistics in this process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CONTEXT_BLOCKS_H
#define PGSM_CONTEXT_BLOCKS_H

#include "nodes/memnodes.h"

#include "reading/context_walk.h"

/*
 * Checks the mirrored layouts against the stats methods, once in a process:
 * over all of its own contexts and over a small one of each kind made for the
 * check.  A kind that disagrees is not measured from then on, and one WARNING
 * says so.  Allocates; may raise out-of-memory; call it from a function, not
 * from a callback.
 */
extern void context_blocks_check_layouts(void);

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

/*
 * Has the processor fetch what the stats method of a context of this process
 * will read.  Only a hint, which a layout that is wrong makes useless.
 */
extern void context_blocks_prefetch(MemoryContext context, ContextKind kind);

#endif							/* PGSM_CONTEXT_BLOCKS_H */
