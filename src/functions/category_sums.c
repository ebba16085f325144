/*-------------------------------------------------------------------------
 *
 * category_sums.c
 *	  All memory of a process, by category, also what no context knows.
 *
 * The operating system counts more than the contexts have.  The rest is what
 * the process has freed and malloc keeps, which only the process itself can
 * find out, and what was never in a context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "functions/category_sums.h"
#include "reading/context_blocks.h"
#include "reading/layout_check.h"
#include "reading/malloc_heap.h"
#include "reading/process_memory.h"
#include "reading/statement_owners.h"

typedef struct SumsWalk
{
	ObservedProcess *observed;
	CategorySum *sums;			/* by category */
	bool		counted[CONTEXT_CATEGORY_COUNT];	/* free bytes of all are
													 * known */
	StatementOwners owners;
	ContextTally names;
} SumsWalk;

static const CategorySum malloc_free = {
	.name = "malloc, free",
	.explanation =
	"Memory that the session has freed and that the process keeps for its "
	"next use, instead of giving it back to the operating system: left by a "
	"large plan, or by statements, cursors and caches that are gone. It is "
	"in no memory context. Only what lies at the end of the heap is given "
	"back by itself, so one small piece that is still in use there keeps all "
	"below it. DISCARD ALL does not change that.",
	.cause = CAUSE_MALLOC_FREE
};

static const CategorySum outside_contexts = {
	.name = "outside contexts",
	.explanation =
	"What the process has beyond all memory contexts: variables of the "
	"server and of libraries, and what libraries allocate for themselves: "
	"the JIT compiler, interpreters of Python, Perl and Tcl, connections of "
	"dblink and postgres_fdw with the results that wait in them, encryption, "
	"collations. Some megabytes are normal. Of another session it includes "
	"what malloc keeps free, which only that session itself can tell apart."
};

static void
begin_sums(void *arg)
{
	SumsWalk   *walk = arg;

	memset(walk->sums, 0, CATEGORY_SUMS * sizeof(CategorySum));
	for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
		walk->counted[i] = true;
	statement_owners_begin(&walk->owners);
	context_tally_begin(&walk->names);
}

static void
add_to_sums(const ContextNode *node, void *arg)
{
	SumsWalk   *walk = arg;
	CategorySum *category = &walk->sums[node->category];
	MemoryContextCounters counters = {0};
	int64		bytes = node->total_bytes;
	int			name;

	if (walk->observed->self)
	{
		MemoryContext context = (MemoryContext) node->address;

		context->methods->stats(context, NULL, NULL, &counters, false);
		bytes = counters.totalspace;
	}
	else if (context_blocks_measure(walk->observed->reader, node->address,
									node->kind, node->total_bytes, &counters))
		bytes = counters.totalspace;
	else
		walk->counted[node->category] = false;

	category->contexts++;
	category->total_bytes += bytes;
	category->free_bytes += counters.freespace;

	statement_owners_visit(&walk->owners, node);
	name = context_tally_find(&walk->names, -1, node->category, node->name,
							  NULL);
	walk->names.sums[name].contexts++;
	walk->names.sums[name].bytes += bytes;
}

/*
 * Adds what no context knows behind the categories; returns how many parts.
 */
static int
add_outside(const ObservedProcess *observed, int64 context_bytes,
			CategorySum *sums)
{
	ProcessMemory memory;
	int64		rest;
	int			count = 0;

	if (!process_memory_read(observed->process.pid, &memory))
		return 0;
	rest = memory.anon_bytes + Max(memory.swap_bytes, 0) - context_bytes;
	rest = Max(rest, 0);

	if (observed->self)
	{
		int64		free_bytes = malloc_heap_free_bytes();

		if (free_bytes >= 0)
		{
			/* Contexts can have pages that were never written to. */
			free_bytes = Min(free_bytes, rest);
			sums[count] = malloc_free;
			sums[count].total_bytes = free_bytes;
			sums[count].free_bytes = free_bytes;
			sums[count].contexts = -1;
			rest -= free_bytes;
			count++;
		}
	}
	sums[count] = outside_contexts;
	sums[count].cause = observed->self ?
		CAUSE_OUTSIDE_CONTEXTS : CAUSE_OUTSIDE_OR_FREE;
	sums[count].total_bytes = rest;
	sums[count].free_bytes = -1;
	sums[count].contexts = -1;
	return count + 1;
}

static int
compare_bytes(const void *a, const void *b)
{
	const CategorySum *one = a;
	const CategorySum *other = b;

	if (one->total_bytes != other->total_bytes)
		return one->total_bytes > other->total_bytes ? -1 : 1;
	return strcmp(one->name, other->name);
}

int
category_sums(ObservedProcess *observed, CategorySum *sums,
			  bool *approximate)
{
	SumsWalk	walk = {.observed = observed,.sums = sums};
	ContextVisitor visitor = {begin_sums, add_to_sums, &walk};
	ContextWalkResult result;
	const TallySum **names;
	int64		context_bytes = 0;
	int			count = 0;

	context_tally_create(&walk.names);
	if (!observed->self)
		layout_check();
	result = observed_process_walk(observed, &visitor);
	if (result == WALK_UNREADABLE)
		return 0;
	*approximate = result == WALK_APPROXIMATE;

	statement_owners_end(&walk.owners);

	/* The largest are at the beginning: the first of a category it is. */
	names = context_tally_sorted(&walk.names);
	for (int i = 0; i < walk.names.count; i++)
	{
		CategorySum *category = &sums[names[i]->category];

		if (category->largest == NULL)
			category->largest = names[i];
	}

	for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
	{
		if (sums[i].contexts == 0)
			continue;
		context_bytes += sums[i].total_bytes;
		sums[count] = sums[i];
		sums[count].name = context_category_name((ContextCategory) i);
		sums[count].explanation =
			context_category_explanation((ContextCategory) i);
		if (!walk.counted[i])
			sums[count].free_bytes = -1;
		sums[count].cause =
			memory_cause((ContextCategory) i, sums[count].total_bytes,
						 sums[count].free_bytes,
						 walk.owners.function_bytes >
						 walk.owners.prepared_bytes);
		count++;
	}
	count += add_outside(observed, context_bytes, &sums[count]);
	qsort(sums, count, sizeof(CategorySum), compare_bytes);
	return count;
}
