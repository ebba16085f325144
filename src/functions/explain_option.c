/*-------------------------------------------------------------------------
 *
 * explain_option.c
 *	  EXPLAIN (ANALYZE, SESSION_MEMORY).
 *
 * Adds a line, or a group in the other formats, with what the statement took:
 * planner, executor, and the process at its peak.  The executor's contexts are
 * found through the plan's nodes, which are still there when EXPLAIN writes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "functions/explain_option.h"
#include "pg_compat.h"

#ifdef PGSM_HAVE_EXPLAIN_OPTIONS

#include "commands/defrem.h"
#include "commands/explain.h"
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "session/judge.h"
#include "session/statement_memory.h"

/* What hangs on the ExplainState of one EXPLAIN. */
typedef struct ExplainMemory
{
	bool		is_on;
	int64		exec_bytes;		/* of the current plan, -1: not seen yet */
} ExplainMemory;

static int	extension_id;
static explain_per_node_hook_type previous_per_node = NULL;
static explain_per_plan_hook_type previous_per_plan = NULL;

static void
handle_option(ExplainState *es, DefElem *option, ParseState *pstate)
{
	ExplainMemory *memory = GetExplainExtensionState(es, extension_id);

	if (memory == NULL)
	{
		memory = palloc0(sizeof(ExplainMemory));
		memory->exec_bytes = -1;
		SetExplainExtensionState(es, extension_id, memory);
	}
	memory->is_on = defGetBoolean(option);
}

static void
hook_per_node(PlanState *planstate, List *ancestors, const char *relationship,
			  const char *plan_name, ExplainState *es)
{
	ExplainMemory *memory = GetExplainExtensionState(es, extension_id);

	if (previous_per_node)
		previous_per_node(planstate, ancestors, relationship, plan_name, es);
	if (memory != NULL && memory->is_on && memory->exec_bytes < 0)
		memory->exec_bytes =
			MemoryContextMemAllocated(planstate->state->es_query_cxt, true);
}

static void
put_bytes(const char *label, int64 bytes, ExplainState *es)
{
	if (bytes >= 0)
		ExplainPropertyInteger(label, "kB", (bytes + 1023) / 1024, es);
}

static void
hook_per_plan(PlannedStmt *plannedstmt, IntoClause *into, ExplainState *es,
			  const char *queryString, ParamListInfo params,
			  QueryEnvironment *queryEnv)
{
	ExplainMemory *memory = GetExplainExtensionState(es, extension_id);
	int64		plan;
	int64		exec;
	int64		peak;

	if (previous_per_plan)
		previous_per_plan(plannedstmt, into, es, queryString, params,
						  queryEnv);
	if (memory == NULL || !memory->is_on)
		return;

	plan = statement_memory_plan_bytes_now();
	exec = memory->exec_bytes;
	peak = es->analyze ? statement_memory_peak_bytes_now() : -1;
	memory->exec_bytes = -1;

	if (es->format == EXPLAIN_FORMAT_TEXT)
	{
		char		text[PRETTY_BYTES];

		ExplainIndentText(es);
		appendStringInfo(es->str, "Session Memory: planner=%s",
						 pretty_bytes(Max(plan, 0), text));
		if (exec >= 0)
			appendStringInfo(es->str, " executor=%s",
							 pretty_bytes(exec, text));
		if (peak >= 0)
			appendStringInfo(es->str, " peak=%s", pretty_bytes(peak, text));
		appendStringInfoChar(es->str, '\n');
		return;
	}
	ExplainOpenGroup("Session Memory", "Session Memory", true, es);
	put_bytes("Planner", Max(plan, 0), es);
	put_bytes("Executor", exec, es);
	put_bytes("Peak", peak, es);
	ExplainCloseGroup("Session Memory", "Session Memory", true, es);
}

void
explain_option_install(void)
{
	extension_id = GetExplainExtensionId("pg_session_memory");
	pgsm_register_explain_option("session_memory", handle_option);
	previous_per_node = explain_per_node_hook;
	explain_per_node_hook = hook_per_node;
	previous_per_plan = explain_per_plan_hook;
	explain_per_plan_hook = hook_per_plan;
}

#else

void
explain_option_install(void)
{
}

#endif							/* PGSM_HAVE_EXPLAIN_OPTIONS */
