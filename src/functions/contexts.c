/*-------------------------------------------------------------------------
 *
 * contexts.c
 *	  pg_session_memory_contexts(pid): a row for each memory context.
 *
 * Most columns cost more than a context's place in the tree: free chunks are
 * scattered all over a session's memory, names and idents are texts of their
 * own.  So the planner tells calls in FROM, by their second argument, which
 * columns the query uses.  That saves count(*) and sum(total_bytes) over
 * 60,000 contexts 51 % of the CPU time in the own session, 12 of 24 ms, and
 * 40 % in another one; over 6,000 contexts 49 and 21 %, over those of a fresh
 * session 8 and 13 %.
 *
 * The walk collects the contexts in an array, in the order in which it meets
 * them.  Numbers and rows follow PostgreSQL 18's pg_backend_memory_contexts,
 * which goes level by level: within a level that is the order of the walk,
 * so counting the contexts of each level is enough to number them.
 *
 * For the caller's own session every figure comes from the context's own
 * statistics method.  The array then grows while the tree is walked, but in
 * one context of ours alone, so the tree keeps its shape.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/supportnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/observed_process.h"
#include "functions/tuple_writer.h"
#include "functions/used_columns.h"
#include "pg_compat.h"
#include "reading/context_blocks.h"
#include "reading/context_walk.h"
#include "reading/layout_check.h"

PG_FUNCTION_INFO_V1(pg_session_memory_contexts);
PG_FUNCTION_INFO_V1(pg_session_memory_contexts_support);

/* As in PostgreSQL's mcxtfuncs.c: idents are cut to one byte less. */
#define IDENT_DISPLAY_BYTES		1024

/*
 * A path has the numbers of so many levels, from the root on: a row of ten
 * thousand nested savepoints is no longer than others.
 */
#define PATH_LEVELS				100

/* The columns, in their order: see the SQL script. */
typedef enum ContextColumn
{
	COLUMN_NAME,
	COLUMN_IDENT,
	COLUMN_TYPE,
	COLUMN_LEVEL,
	COLUMN_PATH,
	COLUMN_TOTAL_BYTES,
	COLUMN_TOTAL_NBLOCKS,
	COLUMN_FREE_BYTES,
	COLUMN_FREE_CHUNKS,
	COLUMN_USED_BYTES,
	COLUMN_PARENT,
	COLUMN_CATEGORY,
	COLUMN_SUBTREE_BYTES,
	COLUMN_APPROXIMATE
} ContextColumn;

static const Oid column_types[] = {
	[COLUMN_NAME] = TEXTOID,
	[COLUMN_IDENT] = TEXTOID,
	[COLUMN_TYPE] = TEXTOID,
	[COLUMN_LEVEL] = INT4OID,
	[COLUMN_PATH] = INT4ARRAYOID,
	[COLUMN_TOTAL_BYTES] = INT8OID,
	[COLUMN_TOTAL_NBLOCKS] = INT8OID,
	[COLUMN_FREE_BYTES] = INT8OID,
	[COLUMN_FREE_CHUNKS] = INT8OID,
	[COLUMN_USED_BYTES] = INT8OID,
	[COLUMN_PARENT] = TEXTOID,
	[COLUMN_CATEGORY] = TEXTOID,
	[COLUMN_SUBTREE_BYTES] = INT8OID,
	[COLUMN_APPROXIMATE] = BOOLOID
};

/* Sets of columns: a bit for each. */
#define BIT(column)		(((uint32) 1) << (column))
#define ALL_COLUMNS		(BIT(lengthof(column_types)) - 1)

/* The argument's default: all of them, and the planner may say which ones. */
#define DEFAULT_COLUMNS	(-1)

/* What is counted block by block and chunk by chunk. */
#define COUNTED_COLUMNS	(BIT(COLUMN_TOTAL_NBLOCKS) | \
						 BIT(COLUMN_FREE_BYTES) | \
						 BIT(COLUMN_FREE_CHUNKS) | \
						 BIT(COLUMN_USED_BYTES))

/* A context that was met, until its row is made: one cache line. */
typedef struct ContextRow
{
	text	   *name;			/* both NULL where they are not wanted */
	text	   *ident;			/* NULL if none */
	int64		total_bytes;
	int64		free_bytes;
	int64		subtree_bytes;	/* its own and those of all below it */
	uint32		nblocks;
	uint32		free_chunks;
	int			parent;			/* index in the array, -1 at the root */
	int			number;			/* the last element of its path; below
								 * PATH_LEVELS the index of the row that its
								 * path is of */
	int			level;			/* 1 at the root */
	uint8		kind;
	uint8		category;
	bool		counted;		/* the three counters are known */
} ContextRow;

/* The last texts made of names, by the name's address. */
#define NAME_TEXTS				64

/*
 * How many contexts of the own session are met before the first of them is
 * counted: by then the processor has fetched what that reads.
 */
#define PENDING_CONTEXTS		8

typedef struct ContextRows
{
	MemoryContext memory;		/* all that is collected lives here */
	MemoryReader *reader;
	bool		self;
	uint32		columns;		/* those that are wanted */
	ContextRow *rows;
	int			count;
	int			size;
	int		   *latest;			/* the last row met at each level */
	int			levels;			/* number of elements of latest */
	ContextNode pending[PENDING_CONTEXTS];	/* of the last rows, self only */
	uintptr_t	name_address[NAME_TEXTS];
	text	   *name_text[NAME_TEXTS];
} ContextRows;

/* The text of a name; names at constant addresses repeat and are shared. */
static text *
text_of_name(ContextRows *collected, const ContextNode *node)
{
	int			slot = (node->name_address >> 3) % NAME_TEXTS;

	if ((uintptr_t) node->name != node->name_address)
		return text_of_foreign(node->name, strlen(node->name));
	if (collected->name_address[slot] != node->name_address)
	{
		collected->name_text[slot] = text_of_foreign(node->name,
													 strlen(node->name));
		collected->name_address[slot] = node->name_address;
	}
	return collected->name_text[slot];
}

/* An ident, cut at a character's boundary as PostgreSQL cuts it. */
static text *
text_of_ident(ContextRows *collected, const ContextNode *node)
{
	char		ident[IDENT_DISPLAY_BYTES + 1];
	int			length;

	if (node->ident_address == 0)
		return NULL;
	length = memory_reader_string(collected->reader, node->ident_address,
								  ident, sizeof(ident));
	if (length < 0)
		return NULL;
	if (length >= IDENT_DISPLAY_BYTES)
		length = pg_mbcliplen(ident, length, IDENT_DISPLAY_BYTES - 1);
	if (collected->self)
		return cstring_to_text_with_len(ident, length);
	return text_of_foreign(ident, length);
}

/*
 * The counters of a context, false if they can't be had: then nothing was
 * counted.
 */
static bool
count_context(ContextRows *collected, const ContextNode *node,
			  MemoryContextCounters *counters)
{
	memset(counters, 0, sizeof(*counters));
	if (collected->self)
	{
		MemoryContext context = (MemoryContext) node->address;

		context->methods->stats(context, NULL, NULL, counters, false);
		return true;
	}
	return context_blocks_measure(collected->reader, node->address, node->kind,
								  node->total_bytes, counters);
}

/* What a row says beside the context's place in the tree. */
static void
complete_row(ContextRows *collected, ContextRow *row, const ContextNode *node)
{
	row->ident = NULL;
	if (collected->columns & BIT(COLUMN_IDENT))
		row->ident = text_of_ident(collected, node);

	/*
	 * An AllocSet's bytes are known without counting them.  What the other
	 * kinds know of themselves leaves out or adds their headers.
	 */
	row->counted = false;
	if (collected->columns & COUNTED_COLUMNS || node->kind != CONTEXT_ALLOCSET)
	{
		MemoryContextCounters counters;

		if (count_context(collected, node, &counters))
		{
			row->total_bytes = counters.totalspace;
			row->nblocks = counters.nblocks;
			row->free_bytes = counters.freespace;
			row->free_chunks = counters.freechunks;
			row->counted = true;
		}
	}
	row->subtree_bytes = row->total_bytes;
}

static void
begin_collecting(void *arg)
{
	ContextRows *collected = arg;

	/* A further try: what the last one collected goes all at once. */
	MemoryContextReset(collected->memory);
	collected->count = 0;
	collected->size = 0;
	collected->rows = NULL;
	collected->levels = 0;
	collected->latest = NULL;
	memset(collected->name_address, 0, sizeof(collected->name_address));
}

static void
collect_context(const ContextNode *node, void *arg)
{
	ContextRows *collected = arg;
	MemoryContext caller = MemoryContextSwitchTo(collected->memory);
	ContextRow *row;

	if (collected->count == collected->size)
	{
		collected->size = collected->size == 0 ? 256 : collected->size * 2;
		if (collected->rows == NULL)
			collected->rows = palloc(collected->size * sizeof(ContextRow));
		else
			collected->rows = repalloc_huge(collected->rows,
											collected->size * sizeof(ContextRow));
	}
	if (node->level > collected->levels)
	{
		collected->levels = Max(node->level, collected->levels * 2);
		collected->levels = Max(collected->levels, 32);
		if (collected->latest == NULL)
			collected->latest = palloc(collected->levels * sizeof(int));
		else
			collected->latest = repalloc_huge(collected->latest,
											  collected->levels * sizeof(int));
	}

	row = &collected->rows[collected->count];
	row->parent = node->level > 1 ? collected->latest[node->level - 2] : -1;
	if (node->level > PATH_LEVELS)
		row->number = collected->latest[PATH_LEVELS - 1];
	row->level = node->level;
	row->kind = node->kind;
	row->category = node->category;
	row->name = NULL;
	if (collected->columns & (BIT(COLUMN_NAME) | BIT(COLUMN_PARENT)))
		row->name = text_of_name(collected, node);
	row->total_bytes = node->total_bytes;
	collected->latest[node->level - 1] = collected->count;

	if (collected->self)
	{
		ContextNode *pending;

		pending = &collected->pending[collected->count % PENDING_CONTEXTS];
		if (collected->count >= PENDING_CONTEXTS)
			complete_row(collected, row - PENDING_CONTEXTS, pending);
		*pending = *node;
		if (collected->columns & COUNTED_COLUMNS)
			context_blocks_prefetch((MemoryContext) node->address, node->kind);
		if (collected->columns & BIT(COLUMN_IDENT))
			memory_prefetch(node->ident_address);
	}
	else
		complete_row(collected, row, node);
	collected->count++;

	MemoryContextSwitchTo(caller);
}

/* Completes the rows that are pending when the walk is over. */
static void
end_collecting(ContextRows *collected)
{
	if (!collected->self)
		return;
	for (int i = Max(collected->count - PENDING_CONTEXTS, 0);
		 i < collected->count; i++)
		complete_row(collected, &collected->rows[i],
					 &collected->pending[i % PENDING_CONTEXTS]);
}

/*
 * Numbers the rows level by level, from 1, and adds up the subtrees.
 * Returns the indexes of the rows in the order of their numbers.
 */
static int *
number_rows(ContextRows *collected)
{
	int			deepest = 0;
	int		   *next;
	int		   *order;

	for (int i = 0; i < collected->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		deepest = Max(deepest, collected->rows[i].level);
	}

	next = MemoryContextAllocZero(collected->memory,
								  (deepest + 2) * sizeof(int));
	order = MemoryContextAllocHuge(collected->memory,
								   collected->count * sizeof(int));
	for (int i = 0; i < collected->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		next[collected->rows[i].level + 1]++;
	}
	for (int level = 1; level <= deepest; level++)
		next[level + 1] += next[level];
	for (int i = 0; i < collected->count; i++)
	{
		ContextRow *row = &collected->rows[i];

		CHECK_FOR_INTERRUPTS();
		order[next[row->level]++] = i;
		if (row->level <= PATH_LEVELS)
			row->number = next[row->level];
	}

	/* Children stand behind their parents: backwards, sums are complete. */
	for (int i = collected->count - 1; i > 0; i--)
	{
		ContextRow *row = &collected->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (row->parent >= 0)
			collected->rows[row->parent].subtree_bytes += row->subtree_bytes;
	}
	return order;
}

/*
 * The path of a row into the array, which has room for it and has that of
 * *last, if that is not NULL: of a sibling only the last element differs.
 */
static void
fill_path(const ContextRows *collected, const ContextRow *row,
		  const ContextRow **last, ArrayType *path)
{
	int32	   *elements = (int32 *) ARR_DATA_PTR(path);

	if (row->level > PATH_LEVELS)
		row = &collected->rows[row->number];
	if (row == *last)
		return;
	if (*last != NULL && (*last)->parent == row->parent)
	{
		elements[row->level - 1] = row->number;
		*last = row;
		return;
	}
	*last = row;
	SET_VARSIZE(path, ARR_OVERHEAD_NONULLS(1) + row->level * sizeof(int32));
	ARR_DIMS(path)[0] = row->level;
	for (;;)
	{
		elements[row->level - 1] = row->number;
		if (row->parent < 0)
			break;
		row = &collected->rows[row->parent];
	}
}

/* A text column, NULL where there is none. */
static void
write_text(TupleWriter *writer, const struct varlena *value)
{
	if (value)
		tuple_writer_varlena(writer, value);
	else
		tuple_writer_null(writer);
}

static void
put_rows(ContextRows *collected, bool approximate, ReturnSetInfo *rsinfo)
{
	int		   *order = number_rows(collected);
	uint32		columns = collected->columns;
	text	   *kinds[CONTEXT_KIND_COUNT] = {NULL};
	text	   *categories[CONTEXT_CATEGORY_COUNT] = {NULL};
	const ContextRow *path_of = NULL;
	TupleWriter writer;
	ArrayType  *path;

	for (int kind = 0; kind < CONTEXT_KIND_COUNT; kind++)
	{
		if (columns & BIT(COLUMN_TYPE))
			kinds[kind] = cstring_to_text(context_kind_name(kind));
	}
	for (int category = 0; category < CONTEXT_CATEGORY_COUNT; category++)
	{
		if (columns & BIT(COLUMN_CATEGORY))
			categories[category] =
				cstring_to_text(context_category_name(category));
	}

	path = palloc(ARR_OVERHEAD_NONULLS(1) +
				  Min(collected->levels, PATH_LEVELS) * sizeof(int32));
	path->ndim = 1;
	path->dataoffset = 0;
	path->elemtype = INT4OID;
	ARR_LBOUND(path)[0] = 1;
	SET_VARSIZE(path, ARR_OVERHEAD_NONULLS(1));

	tuple_writer_init(&writer, rsinfo->setDesc, column_types,
					  lengthof(column_types));
	for (int i = 0; i < collected->count; i++)
	{
		const ContextRow *row = &collected->rows[order[i]];
		text	   *name = columns & BIT(COLUMN_NAME) ? row->name : NULL;
		text	   *parent = NULL;
		bool		counted = row->counted && columns & COUNTED_COLUMNS;

		CHECK_FOR_INTERRUPTS();

		if (columns & BIT(COLUMN_PARENT) && row->parent >= 0)
			parent = collected->rows[row->parent].name;
		if (columns & BIT(COLUMN_PATH))
			fill_path(collected, row, &path_of, path);
		tuple_writer_begin(&writer, (name ? VARSIZE(name) : 0) +
						   (row->ident ? VARSIZE(row->ident) : 0) +
						   (parent ? VARSIZE(parent) : 0) +
						   VARSIZE(path) + 64);
		write_text(&writer, name);
		write_text(&writer, row->ident);
		write_text(&writer, kinds[row->kind]);
		tuple_writer_int4(&writer, row->level);
		if (columns & BIT(COLUMN_PATH))
			tuple_writer_varlena(&writer, (struct varlena *) path);
		else
			tuple_writer_null(&writer);
		tuple_writer_int8(&writer, row->total_bytes);
		if (counted)
		{
			tuple_writer_int8(&writer, row->nblocks);
			tuple_writer_int8(&writer, row->free_bytes);
			tuple_writer_int8(&writer, row->free_chunks);
			tuple_writer_int8(&writer, row->total_bytes - row->free_bytes);
		}
		else
		{
			for (int unknown = 0; unknown < 4; unknown++)
				tuple_writer_null(&writer);
		}
		write_text(&writer, parent);
		write_text(&writer, categories[row->category]);
		if (columns & BIT(COLUMN_SUBTREE_BYTES))
			tuple_writer_int8(&writer, row->subtree_bytes);
		else
			tuple_writer_null(&writer);
		tuple_writer_bool(&writer, approximate);

		tuplestore_puttuple(rsinfo->setResult, tuple_writer_finish(&writer));
	}
}

/*
 * Returns the rows of the process.  Columns that are not wanted may be NULL.
 */
static void
return_contexts(FunctionCallInfo fcinfo, int pid, uint32 columns)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ObservedProcess observed;
	ContextRows *collected;
	ContextVisitor visitor = {begin_collecting, collect_context};
	ContextWalkResult result;
	MemoryReaderUse use = MEMORY_READER_WALK;
	MemoryContext work;
	MemoryContext caller;

	InitMaterializedSRF(fcinfo, 0);

	work = AllocSetContextCreate(CurrentMemoryContext,
								 "pg_session_memory contexts",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	if (columns & COUNTED_COLUMNS)
		use = MEMORY_READER_CHUNKS;
	if (observed_process_open(pid, use, &observed))
	{
		if (!observed.self)
			layout_check();
		collected = palloc0(sizeof(ContextRows));
		collected->memory = AllocSetContextCreate(work,
												  "pg_session_memory collected contexts",
												  ALLOCSET_DEFAULT_SIZES);
		collected->self = observed.self;
		collected->columns = columns;
		collected->reader = observed.reader;
		visitor.arg = collected;

		result = observed_process_walk(&observed, &visitor);
		if (result == WALK_UNREADABLE)
			server_process_warn_unknown(pid);
		else
		{
			end_collecting(collected);
			put_rows(collected, result == WALK_APPROXIMATE, rsinfo);
		}
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

/*
 * pg_session_memory_contexts(pid int, columns int)
 *
 * A row for each memory context of a server process, the root first, level
 * by level.  Columns whose bits are not set in columns, 1 for the first, may
 * be NULL; -1 is all of them.  For a pid that is none of a server process, or
 * ends while it is read: a WARNING and no rows.  Raises insufficient_privilege
 * for sessions of other roles, and where the operating system refuses to read.
 */
Datum
pg_session_memory_contexts(PG_FUNCTION_ARGS)
{
	return_contexts(fcinfo, PG_GETARG_INT32(0),
					(uint32) PG_GETARG_INT32(1) & ALL_COLUMNS);
	return (Datum) 0;
}

/*
 * Planner support of pg_session_memory_contexts: where a query does not use
 * all columns, fills in which ones it uses.  Only the second argument changes,
 * and only where it was left at its default; the function stays the one that
 * the query names, whoever may call it and wherever it lies.
 */
Datum
pg_session_memory_contexts_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	SupportRequestSimplify *simplify;
	FuncExpr   *call;
	Const	   *wanted;
	uint32		columns;

	if (!IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(NULL);
	simplify = (SupportRequestSimplify *) request;
	call = simplify->fcall;
	if (list_length(call->args) != 2 || !IsA(lsecond(call->args), Const))
		PG_RETURN_POINTER(NULL);
	wanted = lsecond_node(Const, call->args);
	if (wanted->consttype != INT4OID || wanted->constisnull ||
		DatumGetInt32(wanted->constvalue) != DEFAULT_COLUMNS)
		PG_RETURN_POINTER(NULL);

	columns = used_columns(simplify->root, call->funcid,
						   lengthof(column_types));
	if (columns == ALL_COLUMNS)
		PG_RETURN_POINTER(NULL);

	/* What the request holds is not ours to change. */
	wanted = copyObject(wanted);
	wanted->constvalue = Int32GetDatum((int32) columns);
	wanted->location = -1;
	call = makeFuncExpr(call->funcid, call->funcresulttype,
						list_make2(linitial(call->args), wanted),
						call->funccollid, call->inputcollid,
						call->funcformat);
	call->funcretset = true;
	PG_RETURN_POINTER(call);
}
