/*-------------------------------------------------------------------------
 *
 * measure.c
 *	  What the calling session retains: totals, categories, largest groups.
 *
 * A group is all contexts of one name: 30,000 CachedPlanSource of 4 kB are
 * one thing of 120 MB.  Groups are found by a second walk, which is made only
 * when some threshold is passed, so a healthy session never pays for it.  The
 * same walk finds out what decides about the remedy: how much of the catalog
 * caches is free, and whose the cached statements are.
 *
 * Runs in callbacks: static memory, fixed sizes, no error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/portal.h"

#include "reading/context_walk.h"
#include "reading/malloc_heap.h"
#include "reading/process_memory.h"
#include "reading/statement_owners.h"
#include "session/measure.h"
#include "settings.h"

/* Names that are told apart in one measurement. */
#define GROUP_SLOTS		1024
#define GROUP_PROBES	16

/*
 * Catalog caches are asked how much of them is free from this size on: one
 * that is emptied leaves a large CacheMemoryContext, and the small contexts
 * below it, which are thousands, go with what they are for.
 */
#define ASKED_FOR_FREE	(64 * 1024)

typedef struct GroupSlot
{
	uint32		round;			/* of the measurement that it belongs to */
	uint32		hash;
	ContextGroup group;
} GroupSlot;

static GroupSlot group_slots[GROUP_SLOTS];
static uint32 group_round = 0;

/* As many subtrees can be left out of a measurement. */
#define LEFT_OUT		12

/* What a walk over the own tree adds up. */
typedef struct MeasureWalk
{
	SessionMeasure *measure;
	bool		with_groups;
	GroupSlot  *last_group;
	StatementOwners owners;
	int			skip_below;		/* deeper levels belong to a skipped subtree */
	int			left_out_count;
	uintptr_t	left_out[LEFT_OUT]; /* roots of subtrees that are skipped */
	int64		left_out_bytes; /* which these hold */
	uintptr_t	unnamed_statement;	/* context of its source, 0: none seen */
} MeasureWalk;

/*
 * The group of a name, a new one if there is none yet.  With more names than
 * the table holds, a small group makes room for a larger context.
 */
static GroupSlot *
find_group(const ContextNode *node)
{
	uint32		hash = 2166136261U;
	GroupSlot  *smallest = NULL;

	for (const char *c = node->name; *c; c++)
		hash = (hash ^ (unsigned char) *c) * 16777619U;

	for (int probe = 0; probe < GROUP_PROBES; probe++)
	{
		GroupSlot  *slot = &group_slots[(hash + probe) % GROUP_SLOTS];

		if (slot->round != group_round)
		{
			smallest = slot;
			break;
		}
		if (slot->hash == hash && strcmp(slot->group.name, node->name) == 0)
			return slot;
		if (smallest == NULL || slot->group.bytes < smallest->group.bytes)
			smallest = slot;
	}

	if (smallest->round == group_round &&
		smallest->group.bytes >= (int64) node->total_bytes)
		return NULL;
	smallest->round = group_round;
	smallest->hash = hash;
	smallest->group.name = node->name;
	smallest->group.category = node->category;
	smallest->group.contexts = 0;
	smallest->group.bytes = 0;
	smallest->group.free_bytes = 0;
	return smallest;
}

/* What is free in a context of catalog caches, 0 in one that is not asked. */
static int64
cache_free_bytes(const ContextNode *node)
{
	MemoryContext context = (MemoryContext) node->address;
	MemoryContextCounters counters = {0};

	if (node->category != CATEGORY_CATALOG_CACHE ||
		node->total_bytes < ASKED_FOR_FREE)
		return 0;
	context->methods->stats(context, NULL, NULL, &counters, false);
	return counters.freespace;
}

static void
add_to_group(MeasureWalk *walk, const ContextNode *node)
{
	int64		free_bytes = cache_free_bytes(node);

	walk->measure->cache_free_bytes += free_bytes;
	statement_owners_visit(&walk->owners, node);

	/* Contexts of one name mostly come one after the other. */
	if (walk->last_group == NULL ||
		walk->last_group->group.name != node->name)
		walk->last_group = find_group(node);
	if (walk->last_group == NULL)
		return;
	walk->last_group->group.contexts++;
	walk->last_group->group.bytes += node->total_bytes;
	walk->last_group->group.free_bytes += free_bytes;
}

static void
begin_measure(void *arg)
{
	MeasureWalk *walk = arg;

	memset(walk->measure, 0, sizeof(SessionMeasure));
	walk->skip_below = 0;
	walk->left_out_bytes = 0;
	walk->unnamed_statement = 0;
	walk->last_group = NULL;
	statement_owners_begin(&walk->owners);
	if (walk->with_groups)
		group_round++;
}

static void
add_to_measure(const ContextNode *node, void *arg)
{
	MeasureWalk *walk = arg;

	if (walk->skip_below > 0)
	{
		if (node->level > walk->skip_below)
		{
			walk->left_out_bytes += node->total_bytes;
			return;
		}
		walk->skip_below = 0;
	}
	if (node->level <= 3)
	{
		for (int i = 0; i < walk->left_out_count; i++)
		{
			if (node->address == walk->left_out[i])
			{
				walk->skip_below = node->level;
				walk->left_out_bytes += node->total_bytes;
				return;
			}
		}
	}

	/* Its query tree has a name of its own, see leave_out_unnamed_statement. */
	if (node->level == 4 && node->name[0] == 'u' &&
		strcmp(node->name, "unnamed prepared statement") == 0)
		walk->unnamed_statement = node->parent;

	walk->measure->contexts++;
	walk->measure->bytes += node->total_bytes;
	walk->measure->category_bytes[node->category] += node->total_bytes;
	if (walk->with_groups)
		add_to_group(walk, node);
}

static void
leave_out(MeasureWalk *walk, MemoryContext context)
{
	Assert(walk->left_out_count < LEFT_OUT);
	if (context != NULL)
		walk->left_out[walk->left_out_count++] = (uintptr_t) context;
}

/*
 * A portal that is executed or will not be named again: its contexts, with
 * parameters and the executor below, and a plan that was made for it alone.  A
 * generic plan is the statement's too, and stays.
 */
static void
leave_out_portal(MeasureWalk *walk, Portal portal)
{
	if (portal == NULL)
		return;
	leave_out(walk, portal->portalContext);
	leave_out(walk, portal->holdContext);
	if (portal->cplan != NULL && portal->cplan->refcount == 1)
		leave_out(walk, portal->cplan->context);
}

/*
 * The CachedPlanSource that has this context, NULL if there is none.
 * CreateCachedPlan allocates it first of all, so it lies in the context's
 * first block, and it has pointers that no other bytes have.
 */
static CachedPlanSource *
source_of_context(MemoryContext context)
{
	for (Size at = MAXALIGN(sizeof(MemoryContextData));
		 at + sizeof(CachedPlanSource) <= ALLOCSET_SMALL_INITSIZE;
		 at += MAXIMUM_ALIGNOF)
	{
		CachedPlanSource *source;

		source = (CachedPlanSource *) ((char *) context + at);
		if (source->magic == CACHEDPLANSOURCE_MAGIC &&
			source->context == context &&
			source->query_string == context->ident)
			return source;
	}
	return NULL;
}

static int
count_contexts(MemoryContext context)
{
	int			count = 1;

	for (MemoryContext child = context->firstchild; child != NULL;
		 child = child->nextchild)
		count += count_contexts(child);
	return count;
}

/* Takes a part of the cached plans out of a measurement that has it. */
static void
take_out(MeasureWalk *walk, MemoryContext context)
{
	SessionMeasure *measure = walk->measure;
	int64		bytes = MemoryContextMemAllocated(context, true);

	measure->contexts -= count_contexts(context);
	measure->bytes -= bytes;
	measure->category_bytes[CATEGORY_CACHED_PLANS] -= bytes;
	walk->left_out_bytes += bytes;
	leave_out(walk, context);
}

/*
 * The protocol's unnamed statement.  PostgreSQL keeps it, with its text, its
 * query tree and a generic plan, beside prepared statements, until the next
 * Parse or simple query: so the text of one large INSERT is there while the
 * session is idle, and is gone with its next command.  Nothing public tells
 * which one it is, but exec_parse_message gives the context of its query tree
 * a name that no prepared statement's has.  (One that was analyzed anew,
 * because a table has changed since its Parse, has not, and is retained.)
 */
static void
leave_out_unnamed_statement(MeasureWalk *walk)
{
	MemoryContext context = (MemoryContext) walk->unnamed_statement;
	CachedPlanSource *source = source_of_context(context);

	take_out(walk, context);
	if (source != NULL && source->gplan != NULL &&
		source->gplan->context->parent == context->parent)
		take_out(walk, source->gplan->context);
}

static void
find_largest(SessionMeasure *measure)
{
	for (int i = 0; i < GROUP_SLOTS; i++)
	{
		ContextGroup *group = &group_slots[i].group;
		int			place = LARGEST_GROUPS;

		if (group_slots[i].round != group_round)
			continue;
		while (place > 0 && group->bytes > measure->largest[place - 1].bytes)
			place--;
		if (place == LARGEST_GROUPS)
			continue;
		memmove(&measure->largest[place + 1], &measure->largest[place],
				(LARGEST_GROUPS - 1 - place) * sizeof(ContextGroup));
		measure->largest[place] = *group;
	}
}

/* After a walk with groups. */
static void
end_groups(MeasureWalk *walk)
{
	find_largest(walk->measure);
	statement_owners_end(&walk->owners);
	walk->measure->of_functions =
		walk->owners.function_bytes > walk->owners.prepared_bytes;
}

void
session_measure(SessionMeasure *measure, bool in_command, bool with_groups)
{
	MeasureWalk walk = {.measure = measure};
	ContextVisitor visitor = {begin_measure, add_to_measure, &walk, false};
	int64		context_threshold = threshold_bytes(setting_context_threshold);
	int64		session_threshold = threshold_bytes(setting_session_threshold);
	int64		process_threshold = threshold_bytes(setting_process_threshold);
	int64		process_bytes = -1;
	bool		process_is_over = false;

	/*
	 * What goes with the statement, or has begun to.  PostmasterContext is
	 * there until a connection is complete.
	 */
	leave_out(&walk, MessageContext);
	leave_out(&walk, PostmasterContext);
	leave_out_portal(&walk, GetPortalByName(""));
	if (in_command)
	{
		leave_out(&walk, TopTransactionContext);
		leave_out_portal(&walk, ActivePortal);
	}

	context_walk(memory_reader_self(), &visitor);
	if (walk.unnamed_statement != 0)
		leave_out_unnamed_statement(&walk);

	if (process_threshold >= 0)
	{
		process_bytes = process_memory_own_bytes(process_threshold);
		if (process_bytes >= 0)
			process_bytes = Max(process_bytes - walk.left_out_bytes, 0);
		process_is_over = process_bytes > process_threshold;
	}
	if (with_groups || process_is_over ||
		(context_threshold >= 0 && measure->bytes > context_threshold) ||
		(session_threshold >= 0 && measure->bytes > session_threshold))
	{
		/* What was only found by the first walk is skipped by this one. */
		walk.with_groups = true;
		context_walk(memory_reader_self(), &visitor);
		end_groups(&walk);
		measure->malloc_free_bytes =
			process_is_over ? malloc_heap_free_bytes() : -1;
	}
	measure->process_bytes = process_bytes;
}

void
session_measure_everything(SessionMeasure *measure)
{
	MeasureWalk walk = {.measure = measure,.with_groups = true};
	ContextVisitor visitor = {begin_measure, add_to_measure, &walk, false};

	context_walk(memory_reader_self(), &visitor);
	end_groups(&walk);
	measure->malloc_free_bytes = -1;
	measure->process_bytes = -1;
}
