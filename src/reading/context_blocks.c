/*-------------------------------------------------------------------------
 *
 * context_blocks.c
 *	  Blocks and free chunks of a memory context, read through a reader.
 *
 * How much of a context's memory is free, and in how many blocks it lies,
 * only the context's own kind knows: aset.c, generation.c, slab.c and bump.c
 * keep it in structs that no header shows, and their stats methods follow
 * pointers of the calling process.  For another process the same has to be
 * counted from outside, so this file mirrors those structs, for every
 * supported version, and counts exactly what each stats method counts.
 *
 * A mirror that is wrong would show wrong numbers, or follow what is not a
 * pointer.  So no mirror is believed by itself.  Before the first use in a
 * process, context_blocks_check_layouts() makes a small context of each kind,
 * with several blocks, free chunks and blocks that were emptied, and compares
 * what we count with what the stats method says: for these contexts and for
 * all the others that the process has.  It counts through a reader that reads
 * this very process the way it would read another one, by system calls, for
 * which a wrong address is an error and not a crash.  A kind that agrees
 * everywhere is confirmed; one that differs anywhere is not measured in this
 * process, and one WARNING says so.  Where such reads are not possible at
 * all, other processes cannot be read either: then no kind is confirmed, and
 * nothing needs to be said.
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

#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 160000
#include "utils/memutils_memorychunk.h"
#endif

#include "pg_compat.h"
#include "reading/context_blocks.h"

/*
 * The layouts.  Pointers into the other process are uintptr_t here, for they
 * are never to be followed directly; list nodes keep their type for its
 * layout's sake.  Names of fields are PostgreSQL's.
 */

/* The type of the sizes among a context's parameters. */
#if PG_VERSION_NUM >= 170000
typedef uint32 ParameterSize;
#else
typedef Size ParameterSize;
#endif

/* aset.c: free chunks of list k have 1 << (k + ALLOC_MINBITS) bytes. */
#define ALLOC_MINBITS			3
#define ALLOCSET_NUM_FREELISTS	11

typedef struct AllocSetLayout
{
	MemoryContextData header;
#ifdef PGSM_WRONG_LAYOUT
	uintptr_t	not_there;		/* a test build: the check must notice it */
#endif
	uintptr_t	blocks;
	uintptr_t	freelist[ALLOCSET_NUM_FREELISTS];
	ParameterSize initBlockSize;
	ParameterSize maxBlockSize;
	ParameterSize nextBlockSize;
	ParameterSize allocChunkLimit;
#if PG_VERSION_NUM < 170000
	uintptr_t	keeper;
#endif
	int			freeListIndex;
} AllocSetLayout;

typedef struct AllocBlockLayout
{
	uintptr_t	aset;
	uintptr_t	prev;
	uintptr_t	next;
	uintptr_t	freeptr;
	uintptr_t	endptr;
} AllocBlockLayout;

/*
 * A free chunk: its header and, in the header (15) or behind it (16 and
 * later), the link to the next one.  On a 32-bit machine that aligns to 8
 * bytes, 15 built with assertions pads the header; the check refutes us there.
 */
typedef struct FreeChunkLayout
{
#if PG_VERSION_NUM >= 160000
	MemoryChunk header;
#else
	Size		size;
#ifdef MEMORY_CONTEXT_CHECKING
	Size		requested_size;
#endif
#endif
	uintptr_t	next;
} FreeChunkLayout;

#if PG_VERSION_NUM >= 160000

#define ALLOC_CHUNKHDRSZ		sizeof(MemoryChunk)

/*
 * The part of a chunk's hdrmask that is the same for all free chunks of a
 * list: the context kind, that it is not "external", and the list's number.
 */
#define CHUNK_LIST_BIT			(MEMORY_CONTEXT_METHODID_BITS + 1)
#define CHUNK_LIST_MASK			\
	(((MEMORYCHUNK_MAX_VALUE + 1) << CHUNK_LIST_BIT) - 1)
#define CHUNK_OF_LIST(list)		\
	(((uint64) (list) << CHUNK_LIST_BIT) | MCTX_ASET_ID)

#else

#define ALLOC_CHUNKHDRSZ		sizeof(FreeChunkLayout)

#endif

/* generation.c */
typedef struct GenerationLayout
{
	MemoryContextData header;
	ParameterSize initBlockSize;
	ParameterSize maxBlockSize;
	ParameterSize nextBlockSize;
	ParameterSize allocChunkLimit;
	uintptr_t	block;
	uintptr_t	freeblock;
#if PG_VERSION_NUM < 170000
	uintptr_t	keeper;
#endif
	dlist_head	blocks;
} GenerationLayout;

typedef struct GenerationBlockLayout
{
	dlist_node	node;
#if PG_VERSION_NUM >= 160000
	uintptr_t	context;
#endif
	Size		blksize;
	int			nchunks;
	int			nfree;
	uintptr_t	freeptr;
	uintptr_t	endptr;
} GenerationBlockLayout;

/* slab.c, written anew for PostgreSQL 16 */
#if PG_VERSION_NUM >= 160000

#define SLAB_BLOCKLIST_COUNT	3

typedef struct SlabLayout
{
	MemoryContextData header;
	ParameterSize chunkSize;
	ParameterSize fullChunkSize;
	ParameterSize blockSize;
	int32		chunksPerBlock;
	int32		curBlocklistIndex;
#ifdef MEMORY_CONTEXT_CHECKING
	uintptr_t	isChunkFree;
#endif
	int32		blocklist_shift;
	dclist_head emptyblocks;
	dlist_head	blocklist[SLAB_BLOCKLIST_COUNT];
} SlabLayout;

typedef struct SlabBlockLayout
{
	uintptr_t	slab;
	int32		nfree;
	int32		nunused;
	uintptr_t	freehead;
	uintptr_t	unused;
	dlist_node	node;
} SlabBlockLayout;

#else

typedef struct SlabLayout
{
	MemoryContextData header;
	Size		chunkSize;
	Size		fullChunkSize;
	Size		blockSize;
	Size		headerSize;
	int			chunksPerBlock;
	int			minFreeChunks;
	int			nblocks;
#ifdef MEMORY_CONTEXT_CHECKING
	uintptr_t	freechunks;
#endif
	dlist_head	freelist[FLEXIBLE_ARRAY_MEMBER];
} SlabLayout;

typedef struct SlabBlockLayout
{
	dlist_node	node;
	int			nfree;
	int			firstFreeChunk;
} SlabBlockLayout;

#endif

/* bump.c */
#ifdef PGSM_HAVE_BUMP

typedef struct BumpLayout
{
	MemoryContextData header;
	ParameterSize initBlockSize;
	ParameterSize maxBlockSize;
	ParameterSize nextBlockSize;
	ParameterSize allocChunkLimit;
	dlist_head	blocks;
} BumpLayout;

typedef struct BumpBlockLayout
{
	dlist_node	node;
#ifdef MEMORY_CONTEXT_CHECKING
	uintptr_t	context;
#endif
	uintptr_t	freeptr;
	uintptr_t	endptr;
} BumpBlockLayout;

#endif

/* Every layout has to fit into what a reader maps at a time. */
StaticAssertDecl(sizeof(AllocSetLayout) + sizeof(AllocBlockLayout) +
				 MAXIMUM_ALIGNOF <= MEMORY_READER_MAX_MAP,
				 "an AllocSet context is too large for the reader");
StaticAssertDecl(sizeof(SlabLayout) <= MEMORY_READER_MAX_MAP,
				 "a Slab context is too large for the reader");

/* A long list is left every so often, should the query be cancelled. */
#define LOOK_FOR_CANCEL_EVERY	4096

/* The kinds that context_blocks_check_layouts has found right. */
static bool kind_confirmed[CONTEXT_KIND_COUNT];

/* How a check of the layouts ended. */
typedef enum LayoutCheckResult
{
	LAYOUTS_COMPARED,			/* all contexts were compared */
	LAYOUTS_UNREADABLE,			/* this process cannot be read as another */
	LAYOUTS_CHANGED,			/* memory came, went or was swapped out */
	LAYOUTS_INTERRUPTED			/* the query was cancelled meanwhile */
} LayoutCheckResult;

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

static bool
measure_allocset(MemoryReader *reader, uintptr_t context, Size total_bytes,
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

static bool
measure_generation(MemoryReader *reader, uintptr_t context, Size total_bytes,
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

static bool
measure_slab(MemoryReader *reader, uintptr_t context, Size total_bytes,
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

static bool
measure_slab(MemoryReader *reader, uintptr_t context, Size total_bytes,
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

#ifdef PGSM_HAVE_BUMP

static bool
measure_bump(MemoryReader *reader, uintptr_t context, Size total_bytes,
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

/*
 * context_blocks_measure for a kind that need not be confirmed yet.
 */
static bool
measure_unconfirmed(MemoryReader *reader, uintptr_t address,
					ContextKind kind, Size total_bytes,
					MemoryContextCounters *counters)
{
	bool		known = false;

	memset(counters, 0, sizeof(MemoryContextCounters));
	switch (kind)
	{
		case CONTEXT_ALLOCSET:
			known = measure_allocset(reader, address, total_bytes, counters);
			break;
		case CONTEXT_GENERATION:
			known = measure_generation(reader, address, total_bytes,
									   counters);
			break;
		case CONTEXT_SLAB:
			known = measure_slab(reader, address, total_bytes, counters);
			break;
		case CONTEXT_BUMP:
#ifdef PGSM_HAVE_BUMP
			known = measure_bump(reader, address, total_bytes, counters);
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
	return measure_unconfirmed(reader, address, kind, total_bytes, counters);
}

/* How many chunks a sample of a kind gets, and how many sizes these have. */
#define SAMPLE_CHUNKS		60
#define SAMPLE_SIZES		12

/* Slab chunks: at most 12 a block, so 5 blocks or more. */
#define SAMPLE_SLAB_BLOCK	1024
#define SAMPLE_SLAB_CHUNK	72
#define SAMPLE_SLAB_CHUNKS	56

/*
 * Fills a context with chunks of each size that AllocSet has a list for, and
 * of one that gets a block of its own, and frees 2 in 5 of them, if its kind
 * can.  The first chunks go all, so that whole blocks become free, too.
 */
static void
fill_sample(MemoryContext context, bool can_free)
{
	void	   *chunks[SAMPLE_CHUNKS];

	for (int i = 0; i < SAMPLE_CHUNKS; i++)
		chunks[i] = MemoryContextAlloc(context,
									   ((Size) 8) << (i % SAMPLE_SIZES));
	for (int i = 0; can_free && i < SAMPLE_CHUNKS; i++)
	{
		if (i < SAMPLE_SIZES + 2 || i % 5 < 2)
			pfree(chunks[i]);
	}
}

/*
 * Makes a context of each kind below parent, such that every field that we
 * mirror matters.  Some 200 kB; they go with the parent.
 */
static void
make_samples(MemoryContext parent)
{
	MemoryContext context;
	void	   *chunks[SAMPLE_SLAB_CHUNKS];

	context = AllocSetContextCreate(parent, "pg_session_memory sample",
									ALLOCSET_START_SMALL_SIZES);
	fill_sample(context, true);

	context = GenerationContextCreate(parent, "pg_session_memory sample",
									  ALLOCSET_START_SMALL_SIZES);
	fill_sample(context, true);

#ifdef PGSM_HAVE_BUMP
	context = BumpContextCreate(parent, "pg_session_memory sample",
								ALLOCSET_START_SMALL_SIZES);
	fill_sample(context, false);
#endif

	/* Blocks that are full, nearly full, nearly empty and empty. */
	context = SlabContextCreate(parent, "pg_session_memory sample",
								SAMPLE_SLAB_BLOCK, SAMPLE_SLAB_CHUNK);
	for (int i = 0; i < SAMPLE_SLAB_CHUNKS; i++)
		chunks[i] = MemoryContextAlloc(context, SAMPLE_SLAB_CHUNK);
	for (int i = 0; i < SAMPLE_SLAB_CHUNKS; i++)
	{
		if (i < SAMPLE_SLAB_CHUNKS / 2 || i == SAMPLE_SLAB_CHUNKS - 8)
			pfree(chunks[i]);
	}
	/* One without a block: its lists are all empty. */
	SlabContextCreate(parent, "pg_session_memory sample",
					  SLAB_DEFAULT_BLOCK_SIZE, SAMPLE_SLAB_CHUNK);
}

/*
 * The kind of one of our own contexts, -1 if we know none.
 */
static int
kind_of_own_context(MemoryContext context)
{
	switch (nodeTag(context))
	{
		case T_AllocSetContext:
			return CONTEXT_ALLOCSET;
		case T_GenerationContext:
			return CONTEXT_GENERATION;
		case T_SlabContext:
			return CONTEXT_SLAB;
#ifdef PGSM_HAVE_BUMP
		case T_BumpContext:
			return CONTEXT_BUMP;
#endif
		default:
			return -1;
	}
}

/*
 * The context that follows in the tree of all: down, along, or up and along.
 * NULL at the end.
 */
static MemoryContext
next_own_context(MemoryContext context)
{
	if (context->firstchild != NULL)
		return context->firstchild;
	while (context != NULL && context->nextchild == NULL)
		context = context->parent;
	return context == NULL ? NULL : context->nextchild;
}

/*
 * What the stats methods say of all contexts of this process together.  Ends
 * early, with less, if the query is cancelled.
 */
static void
sum_own_contexts(MemoryContextCounters *totals)
{
	memset(totals, 0, sizeof(MemoryContextCounters));
	for (MemoryContext context = TopMemoryContext;
		 context != NULL && !cancel_pending();
		 context = next_own_context(context))
		context->methods->stats(context, NULL, NULL, totals, false);
}

/*
 * Compares all of this process's contexts, kind by kind.
 *
 * Nothing may allocate between the first read and the last, for the reader
 * keeps what it has read, and the stats method sees what is there now.  So a
 * cancel request ends the comparison instead of being processed here; and
 * where the contexts are not as they were before, nothing has been compared.
 */
static LayoutCheckResult
compare_layouts(MemoryReader *reader, bool *compared, bool *refuted)
{
	MemoryContextCounters before;
	MemoryContextCounters after;

	sum_own_contexts(&before);
	memory_reader_attach(reader, MyProcPid);
	if (memory_reader_map(reader, (uintptr_t) TopMemoryContext,
						  sizeof(MemoryContextData)) == NULL)
		return LAYOUTS_UNREADABLE;

	for (MemoryContext context = TopMemoryContext; context != NULL;
		 context = next_own_context(context))
	{
		int			kind = kind_of_own_context(context);

		if (kind >= 0 && !refuted[kind])
		{
			MemoryContextCounters told;
			MemoryContextCounters counted;

			memset(&told, 0, sizeof(told));
			context->methods->stats(context, NULL, NULL, &told, false);

			compared[kind] = true;
			if (!measure_unconfirmed(reader, (uintptr_t) context,
									 (ContextKind) kind,
									 context->mem_allocated, &counted) ||
				counted.nblocks != told.nblocks ||
				counted.freechunks != told.freechunks ||
				counted.totalspace != told.totalspace ||
				counted.freespace != told.freespace)
			{
				if (memory_reader_errno(reader) == EAGAIN)
					return LAYOUTS_CHANGED;
				refuted[kind] = true;
			}

			/* A count that ends early for this reason proves nothing. */
			if (cancel_pending())
				return LAYOUTS_INTERRUPTED;
		}
	}

	sum_own_contexts(&after);
	if (cancel_pending())
		return LAYOUTS_INTERRUPTED;
	Assert(memcmp(&before, &after, sizeof(before)) == 0);
	if (memcmp(&before, &after, sizeof(before)) != 0)
		return LAYOUTS_CHANGED;
	return LAYOUTS_COMPARED;
}

void
context_blocks_check_layouts(void)
{
	static bool checked = false;
	bool		compared[CONTEXT_KIND_COUNT] = {false};
	bool		refuted[CONTEXT_KIND_COUNT] = {false};
	LayoutCheckResult result;
	MemoryContext scratch;
	MemoryContext old_context;
	MemoryReader *reader;
	char		kinds[64] = "";

	if (checked)
		return;

	scratch = AllocSetContextCreate(CurrentMemoryContext,
									"pg_session_memory layout check",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(scratch);
	reader = memory_reader_open(MEMORY_READER_CHUNKS);
	make_samples(scratch);
	MemoryContextSwitchTo(old_context);
	PG_TRY();
	{
		result = compare_layouts(reader, compared, refuted);
	}
	PG_FINALLY();
	{
		memory_reader_detach(reader);
		MemoryContextDelete(scratch);
	}
	PG_END_TRY();

	if (result == LAYOUTS_INTERRUPTED)
	{
		/* Where interrupts are held off, the next call tries again. */
		CHECK_FOR_INTERRUPTS();
		return;
	}
	if (result == LAYOUTS_CHANGED)
		return;					/* so does it then */
	checked = true;
	if (result == LAYOUTS_UNREADABLE)
		return;

	for (int kind = 0; kind < CONTEXT_KIND_COUNT; kind++)
	{
		kind_confirmed[kind] = compared[kind] && !refuted[kind];
		if (refuted[kind])
		{
			if (kinds[0] != '\0')
				strlcat(kinds, ", ", sizeof(kinds));
			strlcat(kinds, context_kind_name((ContextKind) kind),
					sizeof(kinds));
		}
	}
	if (kinds[0] != '\0')
		ereport(WARNING,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("memory contexts of these kinds are not laid out as pg_session_memory expects: %s",
						kinds),
				 errdetail("Their numbers of blocks and their free bytes are not known in this session.  The extension was built for PostgreSQL %s, the server is %s.",
						   PG_VERSION,
						   GetConfigOption("server_version", false, false)),
				 errhint("Build the extension with the headers of this server.")));
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
