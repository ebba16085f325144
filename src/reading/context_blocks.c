/*-------------------------------------------------------------------------
 *
 * context_blocks.c
 *	  Blocks and free chunks of a memory context, read through a reader.
 *
 * How much of a context's memory is free, and in how many blocks it lies,
 * only the context's own kind knows: aset.c, generation.c, slab.c and bump.c
 * keep it in structs that no header shows, and their stats methods follow
 * pointers of the calling process.  For another process the same has to be
 * counted from outside: context_layouts.h mirrors those structs, for every
 * supported version, and a file a kind counts exactly what its stats method
 * counts.
 *
 * The other process goes on working while it is read, so everything that
 * comes from it is data to distrust.  Addresses have to be aligned, and are
 * read by the reader only.  Blocks have to name their context and the block
 * before them, and to lie where they say; free chunks have to be of the size
 * of their list.  Every block and every chunk that is followed uses up a part
 * of the bytes that the context says it has, none of which is smaller than
 * its header, and when these are used up, the counting ends: no list can be
 * followed for ever.  Figures are returned only if the blocks add up to
 * exactly the context's bytes.  What such a test can't notice is a free chunk
 * that came or went while its list was followed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reading/block_counting.h"
#include "reading/context_blocks.h"
#include "reading/context_layouts.h"

/* The kinds that layout_check.c has found right. */
static bool kind_confirmed[CONTEXT_KIND_COUNT];

void
context_blocks_confirm(ContextKind kind)
{
	kind_confirmed[kind] = true;
}

bool
context_blocks_measure_unconfirmed(MemoryReader *reader, uintptr_t address,
								   ContextKind kind, Size total_bytes,
								   MemoryContextCounters *counters)
{
	bool		known = false;

	memset(counters, 0, sizeof(MemoryContextCounters));
	switch (kind)
	{
		case CONTEXT_ALLOCSET:
			known = allocset_blocks_measure(reader, address, total_bytes, counters);
			break;
		case CONTEXT_GENERATION:
			known = generation_blocks_measure(reader, address, total_bytes,
											  counters);
			break;
		case CONTEXT_SLAB:
			known = slab_blocks_measure(reader, address, total_bytes, counters);
			break;
		case CONTEXT_BUMP:
#ifdef PGSM_HAVE_BUMP
			known = bump_blocks_measure(reader, address, total_bytes, counters);
#endif
			break;
	}
	return known && counters->freespace <= counters->totalspace;
}

bool
context_blocks_measure(MemoryReader *reader, uintptr_t address,
					   ContextKind kind, Size total_bytes,
					   MemoryContextCounters *counters)
{
	if (!kind_confirmed[kind])
		return false;
	return context_blocks_measure_unconfirmed(reader, address, kind,
											  total_bytes, counters);
}

void
context_blocks_prefetch(MemoryContext context, ContextKind kind)
{
	const AllocSetLayout *set = (const AllocSetLayout *) context;

	if (kind != CONTEXT_ALLOCSET)
		return;
	memory_prefetch(set->blocks);
	for (int i = 0; i < ALLOCSET_NUM_FREELISTS; i++)
	{
		if (set->freelist[i] != 0)
			memory_prefetch(set->freelist[i]);
	}
}
