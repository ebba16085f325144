/*-------------------------------------------------------------------------
 *
 * allocset_blocks.c
 *	  Blocks and free chunks of an AllocSet context, see aset.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reading/block_counting.h"
#include "reading/context_layouts.h"

/* What is read with one call has to fit into what a reader maps. */
StaticAssertDecl(sizeof(AllocSetLayout) + sizeof(AllocBlockLayout) +
				 MAXIMUM_ALIGNOF <= MEMORY_READER_MAX_MAP,
				 "an AllocSet context is too large for the reader");

/*
 * The free chunks of an AllocSet, one list a size.  Adds what it finds to
 * counters, whose totalspace is final.
 */
static bool
measure_free_lists(MemoryReader *reader, const AllocSetLayout *set,
				   MemoryContextCounters *counters)
{
	Size		remaining = counters->totalspace - counters->freespace;
	Size		followed = 0;

	for (int i = 0; i < ALLOCSET_NUM_FREELISTS; i++)
	{
		Size		size = ((Size) 1) << (i + ALLOC_MINBITS);
		uintptr_t	address = set->freelist[i];

		while (address != 0)
		{
			FreeChunkLayout chunk;

			if (!read_struct(reader, address, &chunk, sizeof(chunk)))
				return false;
#if PG_VERSION_NUM >= 160000
			if ((chunk.header.hdrmask & CHUNK_LIST_MASK) != CHUNK_OF_LIST(i))
				return false;
#else
			if (chunk.size != size)
				return false;
#endif
			if (size + ALLOC_CHUNKHDRSZ > remaining)
				return false;
			remaining -= size + ALLOC_CHUNKHDRSZ;
			counters->freechunks++;
			counters->freespace += size + ALLOC_CHUNKHDRSZ;
			address = chunk.next;

			if (++followed % LOOK_FOR_CANCEL_EVERY == 0 && cancel_pending())
				return false;
		}
	}
	return true;
}

bool
allocset_blocks_measure(MemoryReader *reader, uintptr_t context, Size total_bytes,
						MemoryContextCounters *counters)
{
	const Size	header = MAXALIGN(sizeof(AllocSetLayout));
	char		first[MAXALIGN(sizeof(AllocSetLayout)) +
					  sizeof(AllocBlockLayout)];
	AllocSetLayout set;
	AllocBlockLayout keeper;
	uintptr_t	address;
	uintptr_t	previous = 0;

	/*
	 * The first block of a context, most often its only one, follows it
	 * immediately, so it is read along with it.
	 */
	if (!read_struct(reader, context, first, sizeof(first)) ||
		header > total_bytes)
		return false;
	memcpy(&set, first, sizeof(set));
	memcpy(&keeper, first + header, sizeof(keeper));
	counters->totalspace = header;

	for (address = set.blocks; address != 0;)
	{
		AllocBlockLayout other;
		const AllocBlockLayout *block = &other;

		if (address == context + header)
			block = &keeper;
		else if (!read_struct(reader, address, &other, sizeof(other)))
			return false;

		if (block->aset != context || block->prev != previous ||
			!block_is_plausible(address, MAXALIGN(sizeof(AllocBlockLayout)),
								block->freeptr, block->endptr,
								total_bytes - counters->totalspace))
			return false;
		counters->nblocks++;
		counters->totalspace += block->endptr - address;
		counters->freespace += block->endptr - block->freeptr;
		previous = address;
		address = block->next;

		if (counters->nblocks % LOOK_FOR_CANCEL_EVERY == 0 &&
			cancel_pending())
			return false;
	}

	return counters->totalspace == total_bytes &&
		measure_free_lists(reader, &set, counters);
}
