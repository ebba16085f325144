/*-------------------------------------------------------------------------
 *
 * generation_blocks.c
 *	  Blocks and free chunks of a Generation context, see generation.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reading/block_counting.h"
#include "reading/context_layouts.h"

bool
generation_blocks_measure(MemoryReader *reader, uintptr_t context, Size total_bytes,
						  MemoryContextCounters *counters)
{
	GenerationLayout set;
	Size		accounted = 0;
	uintptr_t	list = context + offsetof(GenerationLayout, blocks);
	uintptr_t	previous = list;
	uintptr_t	address;

	if (!read_struct(reader, context, &set, sizeof(set)))
		return false;

	for (address = (uintptr_t) set.blocks.head.next;
		 address != list && address != 0;)
	{
		GenerationBlockLayout block;

		/* The node is the block's first field. */
		if (!read_struct(reader, address, &block, sizeof(block)))
			return false;
		if ((uintptr_t) block.node.prev != previous ||
#if PG_VERSION_NUM >= 160000
			block.context != context ||
#endif
			!block_is_plausible(address,
								MAXALIGN(sizeof(GenerationBlockLayout)),
								block.freeptr, block.endptr,
								total_bytes - accounted) ||
			block.blksize != block.endptr - address ||
			block.nfree < 0 || block.nfree > block.nchunks ||
			(Size) block.nchunks > block.blksize / MAXIMUM_ALIGNOF)
			return false;
		counters->nblocks++;
		counters->freechunks += block.nfree;
		counters->freespace += block.endptr - block.freeptr;
		accounted += block.blksize;
		previous = address;
		address = (uintptr_t) block.node.next;

		if (counters->nblocks % LOOK_FOR_CANCEL_EVERY == 0 &&
			cancel_pending())
			return false;
	}

	/* What the context says it has leaves out its own header. */
	counters->totalspace = MAXALIGN(sizeof(GenerationLayout)) + accounted;
	return accounted == total_bytes;
}
