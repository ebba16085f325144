/*-------------------------------------------------------------------------
 *
 * hooks.c
 *	  Where the library is called while a command runs: parse analysis,
 *	  planner, executor and utility commands.
 *
 * All hooks of this kind are here, so that a statement pays for one set of
 * them.  They run for every statement of the server: each calls what was
 * hooked before it, does its own work in some dozen instructions, and raises
 * no error, but that session_watch_command may not get its 8 kB.
 *
 * Between the commands of a transaction block no transaction ends, so it is
 * the hooks that tell the watch of each, whichever way it comes: parsed and
 * no more, executed, a part of a portal's rows, a utility command.  A command
 * that gets to no hook, a Bind message or a function call by the protocol, is
 * measured with the next one.
 *
 * A statement that runs inside of another one, in a function, a trigger or a
 * DO block, is nested.  Errors leave the hooks by a long jump.  For nested
 * statements PG_FINALLY puts the level right, since a subtransaction may catch
 * the error and go on.  For the outermost one, which is every statement of a
 * busy server, that would take longer than all the rest; there the end of the
 * command sets the level to 0.
 *
 * Hence several functions for a hook.  The hook itself is what the outermost
 * statement of a simple command passes.  It calls nothing before PostgreSQL's
 * own function that would have it keep its arguments; whatever else there is
 * is in a function other_.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "optimizer/planner.h"
#include "parser/analyze.h"
#include "tcop/utility.h"

#include "pg_compat.h"
#include "session/hooks.h"
#include "session/process_limit.h"
#include "session/statement_memory.h"
#include "session/watch.h"

int			hooks_nesting_level = 0;

static post_parse_analyze_hook_type previous_post_parse_analyze = NULL;
static planner_hook_type previous_planner = NULL;
static ExecutorRun_hook_type previous_ExecutorRun = NULL;
static ExecutorFinish_hook_type previous_ExecutorFinish = NULL;
static ExecutorEnd_hook_type previous_ExecutorEnd = NULL;
static ProcessUtility_hook_type previous_ProcessUtility = NULL;

/* A Parse message may be all that a command consists of. */
static void
hook_post_parse_analyze(ParseState *pstate, Query *query,
						PgsmJumbleState *jstate)
{
	if (previous_post_parse_analyze)
		previous_post_parse_analyze(pstate, query, jstate);
	process_limit_command();
	session_watch_command();
}

static inline PlannedStmt *
call_planner(PGSM_PLANNER_PARAMETERS)
{
	if (previous_planner)
		return previous_planner(PGSM_PLANNER_ARGUMENTS);
	return standard_planner(PGSM_PLANNER_ARGUMENTS);
}

static pg_noinline PlannedStmt *
nested_planner(PGSM_PLANNER_PARAMETERS)
{
	MemoryContext context = CurrentMemoryContext;
	Size		before = context->mem_allocated;
	PlannedStmt *plan;

	hooks_nesting_level++;
	PG_TRY();
	{
		plan = call_planner(PGSM_PLANNER_ARGUMENTS);
	}
	PG_FINALLY();
	{
		hooks_nesting_level--;
	}
	PG_END_TRY();
	statement_memory_nested_plan((int64) parse->queryId,
								 (int64) context->mem_allocated -
								 (int64) before);
	return plan;
}

static inline PlannedStmt *
outermost_planner(PGSM_PLANNER_PARAMETERS)
{
	MemoryContext context = CurrentMemoryContext;
	Size		before = context->mem_allocated;
	PlannedStmt *plan;

	hooks_nesting_level = 1;
	plan = call_planner(PGSM_PLANNER_ARGUMENTS);
	hooks_nesting_level = 0;
	statement_memory_end_plan((int64) context->mem_allocated -
							  (int64) before);
	return plan;
}

static pg_noinline PlannedStmt *
other_planner(PGSM_PLANNER_PARAMETERS)
{
	if (hooks_nesting_level > 0)
		return nested_planner(PGSM_PLANNER_ARGUMENTS);
	statement_memory_plan_another((int64) parse->queryId);
	return outermost_planner(PGSM_PLANNER_ARGUMENTS);
}

static PlannedStmt *
hook_planner(PGSM_PLANNER_PARAMETERS)
{
	if (unlikely(hooks_nesting_level > 0 ||
				 !statement_memory_plan_next((int64) parse->queryId)))
		return other_planner(PGSM_PLANNER_ARGUMENTS);
	return outermost_planner(PGSM_PLANNER_ARGUMENTS);
}

static inline void
call_ExecutorRun(PGSM_EXECUTOR_RUN_PARAMETERS)
{
	if (previous_ExecutorRun)
		previous_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
}

static pg_noinline void
nested_ExecutorRun(PGSM_EXECUTOR_RUN_PARAMETERS)
{
	hooks_nesting_level++;
	PG_TRY();
	{
		call_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		hooks_nesting_level--;
	}
	PG_END_TRY();
}

static inline void
outermost_ExecutorRun(PGSM_EXECUTOR_RUN_PARAMETERS)
{
	hooks_nesting_level = 1;
	call_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
	hooks_nesting_level = 0;
	session_watch_command();
}

static pg_noinline void
other_ExecutorRun(PGSM_EXECUTOR_RUN_PARAMETERS)
{
	if (hooks_nesting_level > 0)
	{
		nested_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
		return;
	}
	process_limit_command();
	statement_memory_run_another((int64) queryDesc->plannedstmt->queryId);
	outermost_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
}

static void
hook_ExecutorRun(PGSM_EXECUTOR_RUN_PARAMETERS)
{
	int64		queryid = (int64) queryDesc->plannedstmt->queryId;

	if (unlikely(hooks_nesting_level > 0 || process_limit_guarded ||
				 !statement_memory_run_planned(queryid)))
		other_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
	else
		outermost_ExecutorRun(PGSM_EXECUTOR_RUN_ARGUMENTS);
}

static inline void
call_ExecutorFinish(QueryDesc *queryDesc)
{
	if (previous_ExecutorFinish)
		previous_ExecutorFinish(queryDesc);
	else
		standard_ExecutorFinish(queryDesc);
}

static pg_noinline void
nested_ExecutorFinish(QueryDesc *queryDesc)
{
	hooks_nesting_level++;
	PG_TRY();
	{
		call_ExecutorFinish(queryDesc);
	}
	PG_FINALLY();
	{
		hooks_nesting_level--;
	}
	PG_END_TRY();
}

/* Triggers run here. */
static void
hook_ExecutorFinish(QueryDesc *queryDesc)
{
	if (hooks_nesting_level > 0)
	{
		nested_ExecutorFinish(queryDesc);
		return;
	}

	hooks_nesting_level = 1;
	call_ExecutorFinish(queryDesc);
	hooks_nesting_level = 0;
}

static void
hook_ExecutorEnd(QueryDesc *queryDesc)
{
	/* Before it: afterwards the memory is gone. */
	statement_memory_end_executor(queryDesc, hooks_nesting_level);

	if (previous_ExecutorEnd)
		previous_ExecutorEnd(queryDesc);
	else
		standard_ExecutorEnd(queryDesc);
}

static inline void
call_ProcessUtility(PlannedStmt *pstmt, const char *queryString,
					bool readOnlyTree, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *queryEnv,
					DestReceiver *dest, QueryCompletion *qc)
{
	if (previous_ProcessUtility)
		previous_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
}

static void
hook_ProcessUtility(PlannedStmt *pstmt, const char *queryString,
					bool readOnlyTree, ProcessUtilityContext context,
					ParamListInfo params, QueryEnvironment *queryEnv,
					DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *utility = pstmt->utilityStmt;

	/* The tree may be gone when the command is over: it can be a COMMIT. */
	bool		is_transaction = IsA(utility, TransactionStmt);
	bool		runs_another = IsA(utility, ExecuteStmt) ||
	IsA(utility, FetchStmt) || IsA(utility, ClosePortalStmt);

	process_limit_command();
	session_watch_command();
	if (is_transaction)
	{
		TransactionStmtKind kind = castNode(TransactionStmt, utility)->kind;

		if (kind == TRANS_STMT_COMMIT_PREPARED ||
			kind == TRANS_STMT_ROLLBACK_PREPARED)
			process_limit_finish_prepared();
	}

	/*
	 * A prepared statement or a cursor is the statement that takes the
	 * memory, and no nested one.
	 */
	if (is_transaction || runs_another)
	{
		call_ProcessUtility(pstmt, queryString, readOnlyTree, context,
							params, queryEnv, dest, qc);
		if (runs_another && hooks_nesting_level == 0)
			statement_memory_look();
		return;
	}

	if (hooks_nesting_level == 0)
	{
		int			location = pstmt->stmt_location;
		int			length = pstmt->stmt_len;

		statement_memory_begin_utility((int64) pstmt->queryId);
		hooks_nesting_level = 1;
		call_ProcessUtility(pstmt, queryString, readOnlyTree, context,
							params, queryEnv, dest, qc);
		hooks_nesting_level = 0;
		statement_memory_end_utility(queryString, location, length);
		return;
	}

	hooks_nesting_level++;
	PG_TRY();
	{
		call_ProcessUtility(pstmt, queryString, readOnlyTree, context,
							params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		hooks_nesting_level--;
	}
	PG_END_TRY();
}

void
hooks_install(void)
{
	previous_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = hook_post_parse_analyze;
	previous_planner = planner_hook;
	planner_hook = hook_planner;
	previous_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = hook_ExecutorRun;
	previous_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = hook_ExecutorFinish;
	previous_ExecutorEnd = ExecutorEnd_hook;
	ExecutorEnd_hook = hook_ExecutorEnd;
	previous_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = hook_ProcessUtility;
}
