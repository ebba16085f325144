/*-------------------------------------------------------------------------
 *
 * measure.c
 *	  What the calling session retains: totals, categories, largest groups.
 *
 * A group is all contexts of one name: 30,000 CachedPlanSource of 4 kB are
 * one thing of 120 MB.  Groups are found by a second walk, which is made only
 * when some threshold is passed, so a healthy session never pays for it.
 *
 * Runs in callbacks: static memory, fixed sizes, no error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"

#include "reading/context_walk.h"
#include "reading/process_memory.h"
#include "session/measure.h"

/* Names that are told apart in one measurement. */
#define GROUP_SLOTS		1024
#define GROUP_PROBES	16

typedef struct GroupSlot
{
	uint32		round;			/* of the measurement that it belongs to */
	uint32		hash;
	ContextGroup group;
} GroupSlot;

static GroupSlot group_slots[GROUP_SLOTS];
static uint32 group_round = 0;

/* What a walk over the own tree adds up. */
typedef struct MeasureWalk
{
	SessionMeasure *measure;
	bool		with_groups;
	GroupSlot  *last_group;
	int			skip_below;		/* deeper levels belong to a skipped subtree */
	uintptr_t	skipped[3];		/* roots of subtrees that are left out */
} MeasureWalk;

int64
threshold_bytes(int setting)
{
	return setting < 0 ? -1 : (int64) setting * 1024;
}

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
	return smallest;
}

static void
add_to_group(MeasureWalk *walk, const ContextNode *node)
{
	/* Contexts of one name mostly come one after the other. */
	if (walk->last_group == NULL ||
		walk->last_group->group.name != node->name)
		walk->last_group = find_group(node);
	if (walk->last_group == NULL)
		return;
	walk->last_group->group.contexts++;
	walk->last_group->group.bytes += node->total_bytes;
}

static void
begin_measure(void *arg)
{
	MeasureWalk *walk = arg;
	int64		process_bytes = walk->measure->process_bytes;

	memset(walk->measure, 0, sizeof(SessionMeasure));
	walk->measure->process_bytes = process_bytes;
	walk->skip_below = 0;
	walk->last_group = NULL;
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
			return;
		walk->skip_below = 0;
	}
	if (node->level <= 3)
	{
		for (int i = 0; i < lengthof(walk->skipped); i++)
		{
			if (node->address == walk->skipped[i])
			{
				walk->skip_below = node->level;
				return;
			}
		}
	}

	walk->measure->contexts++;
	walk->measure->bytes += node->total_bytes;
	walk->measure->category_bytes[node->category] += node->total_bytes;
	if (walk->with_groups)
		add_to_group(walk, node);
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

void
session_measure(SessionMeasure *measure, bool in_command, bool with_groups)
{
	MeasureWalk walk = {.measure = measure};
	ContextVisitor visitor = {begin_measure, add_to_measure, &walk, false};
	int64		context_threshold = threshold_bytes(setting_context_threshold);
	int64		session_threshold = threshold_bytes(setting_session_threshold);
	int64		process_threshold = threshold_bytes(setting_process_threshold);

	measure->process_bytes = -1;
	if (process_threshold >= 0)
	{
		ProcessMemory memory;

		if (process_memory_read(MyProcPid, &memory))
			measure->process_bytes = memory.anon_bytes +
				Max(memory.swap_bytes, 0);
	}

	/* What goes with the statement, or has begun to. */
	walk.skipped[0] = (uintptr_t) MessageContext;
	if (in_command)
	{
		walk.skipped[1] = (uintptr_t) TopTransactionContext;
		if (ActivePortal != NULL)
			walk.skipped[2] = (uintptr_t) ActivePortal->portalContext;
	}

	context_walk(memory_reader_self(), &visitor);
	if (with_groups ||
		(context_threshold >= 0 && measure->bytes > context_threshold) ||
		(session_threshold >= 0 && measure->bytes > session_threshold) ||
		(process_threshold >= 0 &&
		 measure->process_bytes > process_threshold))
	{
		walk.with_groups = true;
		context_walk(memory_reader_self(), &visitor);
		find_largest(measure);
	}
}

bool
session_measure_excess(const SessionMeasure *measure, MeasureExcess *excess)
{
	int64		threshold;

	threshold = threshold_bytes(setting_session_threshold);
	if (threshold >= 0 && measure->bytes > threshold)
	{
		excess->kind = "session";
		excess->context = NULL;
		excess->category = measure->largest[0].category;
		excess->bytes = measure->bytes;
		excess->threshold_bytes = threshold;
		return true;
	}
	threshold = threshold_bytes(setting_context_threshold);
	if (threshold >= 0 && measure->largest[0].bytes > threshold)
	{
		excess->kind = "context";
		excess->context = measure->largest[0].name;
		excess->category = measure->largest[0].category;
		excess->bytes = measure->largest[0].bytes;
		excess->threshold_bytes = threshold;
		return true;
	}
	threshold = threshold_bytes(setting_process_threshold);
	if (threshold >= 0 && measure->process_bytes > threshold)
	{
		excess->kind = "process";
		excess->context = NULL;
		excess->category = CATEGORY_OTHER;
		excess->bytes = measure->process_bytes;
		excess->threshold_bytes = threshold;
		return true;
	}
	return false;
}
