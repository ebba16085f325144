/*-------------------------------------------------------------------------
 *
 * slab_blocks.c
 *	  Blocks and free chunks of a Slab context, see slab.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reading/block_counting.h"
#include "reading/context_layouts.h"

/* What is read with one call has to fit into what a reader maps. */
StaticAssertDecl(sizeof(SlabLayout) <= MEMORY_READER_MAX_MAP,
				 "a Slab context is too large for the reader");

/*
 * The blocks in one of a slab's lists.  list is the address of its head,
 * least and most how many free chunks a block in it can have.  accounted are
 * the bytes of the slab's blocks that were met so far.
 */
static bool
measure_slab_list(MemoryReader *reader, uintptr_t context,
				  const SlabLayout *slab, uintptr_t list,
				  const dlist_head *head, int least, int most,
				  Size total_bytes, Size *accounted,
				  MemoryContextCounters *counters)
{
	uintptr_t	previous = list;
	uintptr_t	node;

	for (node = (uintptr_t) head->head.next; node != list && node != 0;)
	{
		SlabBlockLayout block;

		if (!read_struct(reader, node - offsetof(SlabBlockLayout, node),
						 &block, sizeof(block)))
			return false;
		if ((uintptr_t) block.node.prev != previous ||
#if PG_VERSION_NUM >= 160000
			block.slab != context ||
#endif
			block.nfree < least || block.nfree > most ||
			slab->blockSize > total_bytes - *accounted)
			return false;
		counters->nblocks++;
		counters->freechunks += block.nfree;
		counters->freespace += (Size) slab->fullChunkSize * block.nfree;
		*accounted += slab->blockSize;
		previous = node;
		node = (uintptr_t) block.node.next;

		if (counters->nblocks % LOOK_FOR_CANCEL_EVERY == 0 &&
			cancel_pending())
			return false;
	}
	return true;
}

/*
 * Whether a slab's parameters agree with each other, so that we can reckon
 * with them without an overflow.
 */
static inline bool
slab_is_plausible(const SlabLayout *slab)
{
	const Size	header = MAXALIGN(sizeof(SlabBlockLayout));

	return slab->chunksPerBlock > 0 && slab->fullChunkSize > 0 &&
		slab->blockSize > header &&
		(Size) slab->chunksPerBlock == (slab->blockSize - header) /
		slab->fullChunkSize;
}

#if PG_VERSION_NUM >= 160000

bool
slab_blocks_measure(MemoryReader *reader, uintptr_t context, Size total_bytes,
					MemoryContextCounters *counters)
{
	SlabLayout	slab;
	Size		accounted;

	if (!read_struct(reader, context, &slab, sizeof(slab)) ||
		!slab_is_plausible(&slab) ||
		slab.blocklist_shift < 0 || slab.blocklist_shift > 30)
		return false;

	/*
	 * Blocks that have become empty and are kept count as space, but neither
	 * as blocks nor as free space: so does the stats method.
	 */
	if (slab.emptyblocks.count > total_bytes / slab.blockSize)
		return false;
	accounted = slab.emptyblocks.count * (Size) slab.blockSize;

	for (int i = 0; i < SLAB_BLOCKLIST_COUNT; i++)
	{
		/* Which list a block is in: see SlabBlocklistIndex. */
		int64		most = ((int64) i) << slab.blocklist_shift;
		int64		least = 0;

		if (i > 0)
			least = (((int64) (i - 1)) << slab.blocklist_shift) + 1;
		if (!measure_slab_list(reader, context, &slab,
							   context + offsetof(SlabLayout, blocklist) +
							   i * sizeof(dlist_head), &slab.blocklist[i],
							   (int) Min(least, slab.chunksPerBlock),
							   (int) Min(most, slab.chunksPerBlock),
							   total_bytes, &accounted, counters))
			return false;
	}

	/* What the context says it has leaves out its own header. */
	counters->totalspace = sizeof(SlabLayout) + accounted;
#ifdef MEMORY_CONTEXT_CHECKING
	counters->totalspace += slab.chunksPerBlock * sizeof(bool);
#endif
	return accounted == total_bytes;
}

#else

bool
slab_blocks_measure(MemoryReader *reader, uintptr_t context, Size total_bytes,
					MemoryContextCounters *counters)
{
	SlabLayout	slab;
	Size		accounted = 0;
	Size		header;
	dlist_head	heads[MEMORY_READER_MAX_MAP / sizeof(dlist_head)];

	if (!read_struct(reader, context, &slab, sizeof(slab)) ||
		!slab_is_plausible(&slab))
		return false;

	header = offsetof(SlabLayout, freelist) +
		sizeof(dlist_head) * ((Size) slab.chunksPerBlock + 1);
#ifdef MEMORY_CONTEXT_CHECKING
	header += slab.chunksPerBlock * sizeof(bool);
#endif
	if (slab.headerSize != header)
		return false;

	/*
	 * One list for each number of free chunks, up to hundreds of thousands:
	 * the rest is empty once all bytes are accounted for.
	 */
	for (int i = 0; i <= slab.chunksPerBlock && accounted < total_bytes; i++)
	{
		uintptr_t	list = context + offsetof(SlabLayout, freelist) +
		i * sizeof(dlist_head);
		int			here = i % lengthof(heads);

		if (here == 0)
		{
			Size		left = (Size) slab.chunksPerBlock + 1 - i;

			if (!read_struct(reader, list, heads, sizeof(dlist_head) *
							 Min(left, lengthof(heads))))
				return false;
			if (cancel_pending())
				return false;
		}
		if (!measure_slab_list(reader, context, &slab, list, &heads[here],
							   i, i, total_bytes, &accounted, counters))
			return false;
	}

	/* What the context says it has leaves out its own header. */
	counters->totalspace = slab.headerSize + accounted;
	return accounted == total_bytes;
}

#endif
