/*-------------------------------------------------------------------------
 *
 * report_tree.c
 *	  pg_session_memory_report_tree(pids): what an icicle is drawn from.
 *
 * The contexts of many processes as one tree, in which contexts of the same
 * names, from the root down, are one node.  A thousand sessions have some
 * hundred thousand contexts and some hundred nodes: they are added up here,
 * not in SQL, where it would take ten times as long.
 *
 * A process that ends meanwhile, or that the caller may not see, or that
 * cannot be read, is left out: the page is about the others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "reading/context_tally.h"
#include "reading/server_process.h"

PG_FUNCTION_INFO_V1(pg_session_memory_report_tree);

#define TREE_COLUMNS			7

/* What is beyond these is counted with what it hangs from. */
#define MAX_NODES				2000
#define MAX_NODE_LEVELS			24

/* A node on its way into the result. */
typedef struct TreeNode
{
	const TallySum *sum;
	int			parent;			/* index in the tally, -1: none */
	int64		subtree_bytes;
	int			first_child;	/* indexes in the tally, -1: none */
	int			next_sibling;
} TreeNode;

static void
begin_process(void *arg)
{
	context_tally_begin((ContextTally *) arg);
}

/*
 * The sum of a context below another one.  A context that hangs from one of
 * the same name, as those of nested savepoints do, is of the same node.
 */
static int
find_node(ContextTally *tally, int above, ContextCategory category,
		  const char *name)
{
	if (above >= 0)
	{
		if (strcmp(tally->sums[above].name, name) == 0)
			return above;
		if (!context_tally_has(tally, above, category, name, NULL) &&
			(tally->count >= MAX_NODES ||
			 tally->sums[above].level >= MAX_NODE_LEVELS))
			return above;
	}
	return context_tally_find(tally, above, category, name, NULL);
}

static void
add_context(const ContextNode *node, void *arg)
{
	ContextTally *tally = arg;
	int			sum = find_node(tally, context_tally_above(tally, node->level),
								node->category, node->name);

	tally->sums[sum].contexts++;
	tally->sums[sum].bytes += node->total_bytes;
	context_tally_set_level(tally, node->level, sum);
}

/* Parents were found before their children, so their place is known. */
static void
add_process(ContextTally *all, const ContextTally *one)
{
	int		   *place = palloc(one->count * sizeof(int));

	for (int i = 0; i < one->count; i++)
	{
		const TallySum *sum = &one->sums[i];

		place[i] = find_node(all, sum->parent < 0 ? -1 : place[sum->parent],
							 sum->category, sum->name);
		all->sums[place[i]].contexts += sum->contexts;
		all->sums[place[i]].bytes += sum->bytes;
	}
	pfree(place);
}

static void
walk_process(int pid, MemoryReader *reader, ContextTally *one,
			 ContextTally *all)
{
	ContextVisitor visitor = {begin_process, add_context, one, true};
	ServerProcess process;
	ContextWalkResult result;

	if (!server_process_find(pid, &process) || !permission_may_see(&process))
		return;
	if (pid == MyProcPid)
		result = context_walk(memory_reader_self(), &visitor);
	else
		result = context_walk_process(reader, pid, &visitor);
	if (result != WALK_UNREADABLE && server_process_is_alive(&process))
		add_process(all, one);
}

/* Adds a node to its parent's children, the largest first. */
static void
link_node(TreeNode *nodes, int i, int *roots)
{
	int		   *link = nodes[i].parent < 0 ? roots :
	&nodes[nodes[i].parent].first_child;

	while (*link >= 0 &&
		   nodes[*link].subtree_bytes >= nodes[i].subtree_bytes)
		link = &nodes[*link].next_sibling;
	nodes[i].next_sibling = *link;
	*link = i;
}

static void
put_node(ReturnSetInfo *rsinfo, const TreeNode *node, int64 offset)
{
	const TallySum *sum = node->sum;
	Datum		values[TREE_COLUMNS];
	bool		nulls[TREE_COLUMNS] = {false};

	values[0] = PointerGetDatum(text_of_foreign(sum->name, strlen(sum->name)));
	values[1] = CStringGetTextDatum(context_category_name(sum->category));
	values[2] = Int32GetDatum(sum->level);
	values[3] = Int64GetDatum(sum->contexts);
	values[4] = Int64GetDatum(sum->bytes);
	values[5] = Int64GetDatum(node->subtree_bytes);
	values[6] = Int64GetDatum(offset);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A node, and behind it its children, each beginning where the last ended. */
static void
put_nodes(ReturnSetInfo *rsinfo, const TreeNode *nodes, int first,
		  int64 offset)
{
	check_stack_depth();
	for (int i = first; i >= 0; i = nodes[i].next_sibling)
	{
		put_node(rsinfo, &nodes[i], offset);
		put_nodes(rsinfo, nodes, nodes[i].first_child, offset);
		offset += nodes[i].subtree_bytes;
	}
}

static void
put_tree(ReturnSetInfo *rsinfo, const ContextTally *all)
{
	TreeNode   *nodes = palloc(Max(all->count, 1) * sizeof(TreeNode));
	int			roots = -1;

	for (int i = 0; i < all->count; i++)
	{
		nodes[i].sum = &all->sums[i];
		nodes[i].parent = all->sums[i].parent;
		nodes[i].subtree_bytes = all->sums[i].bytes;
		nodes[i].first_child = -1;
		nodes[i].next_sibling = -1;
	}
	/* Children come behind their parents. */
	for (int i = all->count - 1; i >= 0; i--)
	{
		if (nodes[i].parent >= 0)
			nodes[nodes[i].parent].subtree_bytes += nodes[i].subtree_bytes;
	}
	for (int i = 0; i < all->count; i++)
		link_node(nodes, i, &roots);
	put_nodes(rsinfo, nodes, roots, 0);
}

/*
 * pg_session_memory_report_tree(pids int[])
 *
 * A row a node, parents before their children and larger ones before smaller
 * ones: name, category, level (1 at the root), contexts, own bytes, bytes of
 * the node with all below it, and bytes of all that lies before it on its
 * level.  No row of processes that are not there, that the caller may not see
 * or that cannot be read.
 */
Datum
pg_session_memory_report_tree(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ContextTally all;
	ContextTally one;
	MemoryReader *reader;
	Datum	   *pids;
	bool	   *is_null;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, TREE_COLUMNS);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT4OID, sizeof(int32), true,
					  TYPALIGN_INT, &pids, &is_null, &count);
	context_tally_create(&all);
	context_tally_create(&one);
	reader = memory_reader_open(MEMORY_READER_WALK);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_null[i])
			walk_process(DatumGetInt32(pids[i]), reader, &one, &all);
	}
	put_tree(rsinfo, &all);
	return (Datum) 0;
}
