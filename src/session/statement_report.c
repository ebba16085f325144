/*-------------------------------------------------------------------------
 *
 * statement_report.c
 *	  Writes log and event of a statement that took more than the threshold.
 *
 * The line has the form of the other thresholds' lines (report.c).  It names
 * the largest groups of the executor's contexts, if these are still there:
 * when the peak alone was too much, or an error ended the statement, they are
 * gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/memnodes.h"

#include "session/event_ring.h"
#include "session/judge.h"
#include "session/statement_report.h"
#include "session/statement_table.h"
#include "session/tell.h"

/* Names that are told apart, and those that the line has. */
#define GROUPS		64
#define LARGEST		3

/* All contexts of one name. */
typedef struct ExecutorGroup
{
	const char *name;
	int64		contexts;
	int64		bytes;
} ExecutorGroup;

static ExecutorGroup groups[GROUPS];

/* The context behind this one in the tree below root, NULL at the end. */
static MemoryContext
next_context(MemoryContext context, MemoryContext root)
{
	if (context->firstchild != NULL)
		return context->firstchild;
	while (context != root && context->nextchild == NULL)
		context = context->parent;
	return context == root ? NULL : context->nextchild;
}

/* Adds up the contexts by name; with more names than fit, some are left out. */
static int
find_groups(MemoryContext root)
{
	int			count = 0;

	for (MemoryContext context = root; context != NULL;
		 context = next_context(context, root))
	{
		int			place = 0;

		while (place < count && groups[place].name != context->name &&
			   strcmp(groups[place].name, context->name) != 0)
			place++;
		if (place == count)
		{
			if (count == GROUPS)
				continue;
			groups[count].name = context->name;
			groups[count].contexts = 0;
			groups[count].bytes = 0;
			count++;
		}
		groups[place].contexts++;
		groups[place].bytes += context->mem_allocated;
	}
	return count;
}

/* The largest of them, as words. */
static void
largest_groups(MemoryContext root, char *text, Size size)
{
	int			count = find_groups(root);
	int			length = 0;

	text[0] = '\0';
	for (int i = 0; i < LARGEST; i++)
	{
		ExecutorGroup *largest = NULL;
		char		bytes[PRETTY_BYTES];

		for (int j = 0; j < count; j++)
		{
			if (groups[j].bytes > 0 &&
				(largest == NULL || groups[j].bytes > largest->bytes))
				largest = &groups[j];
		}
		if (largest == NULL)
			break;
		length += snprintf(text + length, size - length,
						   "%s\"%.*s\" with %s in " INT64_FORMAT,
						   i == 0 ? " Largest: " : ", ", SLOT_NAME_BYTES - 1,
						   largest->name,
						   pretty_bytes(largest->bytes, bytes),
						   largest->contexts);
		largest->bytes = 0;
	}
	if (length > 0)
		snprintf(text + length, size - length, " contexts.");
}

/* What to do, by the largest part. */
static const char *
remedy(const StatementMemory *memory)
{
	int64		own = Max(memory->peak_bytes,
						  memory->plan_bytes + memory->exec_bytes);

	if (memory->worker_bytes > own)
		return "Parallel workers took most of it: each may use work_mem for each sort and hash. Lower max_parallel_workers_per_gather, or for a utility command max_parallel_maintenance_workers.";
	if (memory->peak_bytes > 2 * (Max(memory->plan_bytes, 0) +
								  Max(memory->exec_bytes, 0)))
		return "Most of it is in none of the executor's contexts: variables of functions, sorts inside of aggregates, statements inside of functions, libraries, or maintenance_work_mem of a utility command.";
	if (memory->plan_bytes > memory->exec_bytes)
		return "Planning took most of it: compare with one array instead of a long IN list, and have fewer partitions or joins to plan.";
	return "Lower work_mem or hash_mem_multiplier for it, or have it aggregate less at once; array_agg, string_agg and the like are bounded by no setting but pg_session_memory.process_limit.";
}

static const char *
known_bytes(int64 bytes, char *text)
{
	return bytes < 0 ? "unknown" : pretty_bytes(bytes, text);
}

void
statement_report(const StatementMemory *memory, int64 bytes, int64 threshold,
				 const char *text, int length, MemoryContext executor)
{
	static char largest[LARGEST * (SLOT_NAME_BYTES + 64) + 32];
	static char message[128];
	static char detail[sizeof(largest) + STATEMENT_QUERY_BYTES + 256];
	char		amount[PRETTY_BYTES];
	char		limit[PRETTY_BYTES];
	char		plan[PRETTY_BYTES];
	char		exec[PRETTY_BYTES];
	char		peak[PRETTY_BYTES];
	char		workers[PRETTY_BYTES];
	char		id[48] = "";

	largest[0] = '\0';
	if (executor != NULL)
		largest_groups(executor, largest, sizeof(largest));
	if (memory->queryid != 0)
		snprintf(id, sizeof(id), " (query id " INT64_FORMAT ")",
				 memory->queryid);

	event_ring_add_statement(bytes, threshold, memory->queryid, text, length);
	snprintf(message, sizeof(message),
			 REPORT_FIRST_WORDS ": the statement took %s, pg_session_memory.statement_threshold is %s",
			 pretty_bytes(bytes, amount), pretty_bytes(threshold, limit));
	snprintf(detail, sizeof(detail),
			 "Planner: %s, executor: %s, process at its peak: %s, parallel workers: %s.%s Statement%s: %.*s",
			 known_bytes(memory->plan_bytes, plan),
			 known_bytes(memory->exec_bytes, exec),
			 known_bytes(memory->peak_bytes, peak),
			 known_bytes(memory->worker_bytes, workers),
			 largest, id, length, text);
	tell_line(message, detail, remedy(memory));
}
