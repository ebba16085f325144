/*-------------------------------------------------------------------------
 *
 * used_columns.c
 *	  Which columns of a set-returning function a query uses.
 *
 * A function in FROM is simplified before anything else happens to its query,
 * subqueries and views in it are still queries of their own, and what refers
 * to its columns is a Var of this query, at this level or below in a subquery.
 * So the walk looks at every Var of the whole query.  When a view's query is
 * merged into that of its caller, the function has been simplified as the view
 * uses it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parsetree.h"

#include "functions/used_columns.h"

typedef struct UsedColumnsState
{
	Query	   *query;
	Oid			function;
	uint32		all;
	uint32		used;
	int			level;			/* of subqueries below the query */
	int			calls;			/* everywhere in the query */
} UsedColumnsState;

static bool
is_call(Node *node, Oid function)
{
	return node != NULL && IsA(node, FuncExpr) &&
		((FuncExpr *) node)->funcid == function;
}

static bool note_used_columns(Node *node, void *arg);

/* A column of one of the query's own entries in FROM. */
static void
note_column(UsedColumnsState *state, Index varno, AttrNumber column)
{
	RangeTblEntry *entry = rt_fetch(varno, state->query->rtable);
	ListCell   *cell;
	int			before = 0;

	if (entry->rtekind == RTE_JOIN)
	{
		/* Its columns stand for those of the entries that it joins. */
		int			level = state->level;

		if (column <= 0)
			state->used = state->all;
		else
		{
			state->level = 0;
			note_used_columns(list_nth(entry->joinaliasvars, column - 1),
							  state);
			state->level = level;
		}
		return;
	}
	if (entry->rtekind != RTE_FUNCTION)
		return;

	/* ROWS FROM puts the columns of several functions side by side. */
	foreach(cell, entry->functions)
	{
		RangeTblFunction *function = lfirst(cell);

		if (is_call(function->funcexpr, state->function))
		{
			if (column <= 0)
				state->used = state->all;
			else if (column > before && column <= before + function->funccolcount)
				state->used |= ((uint32) 1) << (column - before - 1);
		}
		before += function->funccolcount;
	}
}

static bool
note_used_columns(Node *node, void *arg)
{
	UsedColumnsState *state = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		if ((int) var->varlevelsup == state->level)
			note_column(state, var->varno, var->varattno);
		return false;
	}
	if (IsA(node, Query))
	{
		bool		stopped;

		state->level++;
		stopped = query_tree_walker((Query *) node, note_used_columns, arg,
									QTW_IGNORE_JOINALIASES);
		state->level--;
		return stopped;
	}
	if (is_call(node, state->function))
		state->calls++;
	return expression_tree_walker(node, note_used_columns, arg);
}

uint32
used_columns(PlannerInfo *root, Oid function, int columns)
{
	UsedColumnsState state = {0};
	ListCell   *entry;
	ListCell   *cell;

	Assert(columns < 32);
	state.all = (((uint32) 1) << columns) - 1;
	if (root == NULL || root->parse == NULL)
		return state.all;

	state.query = root->parse;
	state.function = function;
	query_tree_walker(root->parse, note_used_columns, &state,
					  QTW_IGNORE_JOINALIASES);

	/* Calls that are no entry in FROM of this query: not known. */
	foreach(entry, root->parse->rtable)
	{
		foreach(cell, ((RangeTblEntry *) lfirst(entry))->functions)
		{
			if (is_call(((RangeTblFunction *) lfirst(cell))->funcexpr,
						function))
				state.calls--;
		}
	}
	return state.calls == 0 ? state.used : state.all;
}
