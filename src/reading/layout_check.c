/*-------------------------------------------------------------------------
 *
 * layout_check.c
 *	  Whether memory contexts are laid out as we think.
 *
 * A mirror that is wrong would show wrong numbers, or follow what is not a
 * pointer.  So no mirror is believed by itself.  Before the first use in a
 * process, layout_check() makes a small context of each kind, with several
 * blocks, free chunks and blocks that were emptied, and compares what we count
 * with what the stats method says: for these contexts and for all the others
 * that the process has.  It counts through a reader that reads
 * this very process the way it would read another one, by system calls, for
 * which a wrong address is an error and not a crash.  A kind that agrees
 * everywhere is confirmed; one that differs anywhere is not measured in this
 * process, and one WARNING says so.  Where such reads are not possible at
 * all, other processes cannot be read either: then no kind is confirmed, and
 * nothing needs to be said.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "reading/block_counting.h"
#include "reading/context_blocks.h"
#include "reading/layout_check.h"

/* How a check of the layouts ended. */
typedef enum LayoutCheckResult
{
	LAYOUTS_COMPARED,			/* all contexts were compared */
	LAYOUTS_UNREADABLE,			/* this process cannot be read as another */
	LAYOUTS_CHANGED,			/* memory came, went or was swapped out */
	LAYOUTS_INTERRUPTED			/* the query was cancelled meanwhile */
} LayoutCheckResult;

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
		int			kind = context_kind_of_tag(nodeTag(context));

		if (kind >= 0 && !refuted[kind])
		{
			MemoryContextCounters told;
			MemoryContextCounters counted;

			memset(&told, 0, sizeof(told));
			context->methods->stats(context, NULL, NULL, &told, false);

			compared[kind] = true;
			if (!context_blocks_measure_unconfirmed(reader,
													(uintptr_t) context,
													(ContextKind) kind,
													context->mem_allocated,
													&counted) ||
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
layout_check(void)
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
		if (compared[kind] && !refuted[kind])
			context_blocks_confirm((ContextKind) kind);
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
