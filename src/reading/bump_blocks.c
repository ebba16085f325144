/*-------------------------------------------------------------------------
 *
 * bump_blocks.c
 *	  Blocks of a Bump context, see bump.c: PostgreSQL 17 and later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reading/block_counting.h"
#include "reading/context_layouts.h"

#ifdef PGSM_HAVE_BUMP

bool
bump_blocks_measure(MemoryReader *reader, uintptr_t context, Size total_bytes,
					MemoryContextCounters *counters)
{
	BumpLayout	set;
	const Size	header = MAXALIGN(sizeof(BumpLayout));
	uintptr_t	list = context + offsetof(BumpLayout, blocks);
	uintptr_t	previous = list;
	uintptr_t	address;

	if (!read_struct(reader, context, &set, sizeof(set)) ||
		header > total_bytes)
		return false;

	for (address = (uintptr_t) set.blocks.head.next;
		 address != list && address != 0;)
	{
		BumpBlockLayout block;

		/* The node is the block's first field. */
		if (!read_struct(reader, address, &block, sizeof(block)))
			return false;
		if ((uintptr_t) block.node.prev != previous ||
#ifdef MEMORY_CONTEXT_CHECKING
			block.context != context ||
#endif
			!block_is_plausible(address, MAXALIGN(sizeof(BumpBlockLayout)),
								block.freeptr, block.endptr,
								total_bytes - header - counters->totalspace))
			return false;
		counters->nblocks++;
		counters->totalspace += block.endptr - address;
		counters->freespace += block.endptr - block.freeptr;
		previous = address;
		address = (uintptr_t) block.node.next;

		if (counters->nblocks % LOOK_FOR_CANCEL_EVERY == 0 &&
			cancel_pending())
			return false;
	}

	/* The context's own header is in its bytes, but not in the stats. */
	return header + counters->totalspace == total_bytes;
}

#endif
