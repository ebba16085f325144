/*-------------------------------------------------------------------------
 *
 * sql_contexts.c
 *	  pg_session_memory_contexts(pid): a row for each memory context.
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
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "context_blocks.h"
#include "context_walk.h"
#include "foreign_text.h"
#include "observed_process.h"
#include "pg_compat.h"
#include "tuple_writer.h"

PG_FUNCTION_INFO_V1(pg_session_memory_contexts);

/* As in PostgreSQL's mcxtfuncs.c: idents are cut to one byte less. */
#define IDENT_DISPLAY_BYTES		1024

/* The columns, in their order: see the SQL script. */
static const Oid column_types[] = {
	TEXTOID,					/* name */
	TEXTOID,					/* ident */
	TEXTOID,					/* type */
	INT4OID,					/* level */
	INT4ARRAYOID,				/* path */
	INT8OID,					/* total_bytes */
	INT8OID,					/* total_nblocks */
	INT8OID,					/* free_bytes */
	INT8OID,					/* free_chunks */
	INT8OID,					/* used_bytes */
	TEXTOID,					/* parent */
	TEXTOID,					/* category */
	INT8OID,					/* subtree_bytes */
	BOOLOID						/* approximate */
};

/* A context that was met, until its row is made: one cache line. */
typedef struct ContextRow
{
	text	   *name;
	text	   *ident;			/* NULL if none */
	int64		total_bytes;
	int64		free_bytes;
	int64		subtree_bytes;	/* its own and those of all below it */
	uint32		nblocks;
	uint32		free_chunks;
	int			parent;			/* index in the array, -1 at the root */
	int			number;			/* the last element of its path */
	int			level;			/* 1 at the root */
	uint8		kind;
	uint8		category;
	bool		counted;		/* the three counters are known */
} ContextRow;

/* The last texts made of names, by the name's address. */
#define NAME_TEXTS				64

typedef struct ContextRows
{
	MemoryContext memory;		/* all that is collected lives here */
	MemoryReader *reader;
	bool		self;
	bool		with_blocks;	/* count blocks and free chunks of others */
	ContextRow *rows;
	int			count;
	int			size;
	int		   *latest;			/* the last row met at each level */
	int			levels;			/* number of elements of latest */
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
	row->level = node->level;
	row->kind = node->kind;
	row->category = node->category;
	row->name = text_of_name(collected, node);
	row->ident = text_of_ident(collected, node);
	row->total_bytes = node->total_bytes;
	row->counted = false;
	if (collected->self)
	{
		MemoryContext context = (MemoryContext) node->address;
		MemoryContextCounters counters = {0};

		context->methods->stats(context, NULL, NULL, &counters, false);
		row->total_bytes = counters.totalspace;
		row->nblocks = counters.nblocks;
		row->free_bytes = counters.freespace;
		row->free_chunks = counters.freechunks;
		row->counted = true;
	}
	else if (collected->with_blocks)
	{
		MemoryContextCounters counters = {0};

		if (context_blocks_measure(collected->reader, node->address,
								   node->kind, node->total_bytes, &counters))
		{
			row->total_bytes = counters.totalspace;
			row->nblocks = counters.nblocks;
			row->free_bytes = counters.freespace;
			row->free_chunks = counters.freechunks;
			row->counted = true;
		}
	}
	row->subtree_bytes = row->total_bytes;
	collected->latest[node->level - 1] = collected->count++;

	MemoryContextSwitchTo(caller);
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
		deepest = Max(deepest, collected->rows[i].level);

	next = MemoryContextAllocZero(collected->memory,
								  (deepest + 2) * sizeof(int));
	order = MemoryContextAllocHuge(collected->memory,
								   collected->count * sizeof(int));
	for (int i = 0; i < collected->count; i++)
		next[collected->rows[i].level + 1]++;
	for (int level = 1; level <= deepest; level++)
		next[level + 1] += next[level];
	for (int i = 0; i < collected->count; i++)
	{
		ContextRow *row = &collected->rows[i];

		order[next[row->level]] = i;
		row->number = ++next[row->level];
	}

	/* Children stand behind their parents: backwards, sums are complete. */
	for (int i = collected->count - 1; i > 0; i--)
	{
		ContextRow *row = &collected->rows[i];

		if (row->parent >= 0)
			collected->rows[row->parent].subtree_bytes += row->subtree_bytes;
	}
	return order;
}

/*
 * The path of a row into the array, which has room for it and may have that
 * of a sibling: then only the last element differs.
 */
static void
fill_path(const ContextRows *collected, const ContextRow *row,
		  bool is_sibling, ArrayType *path)
{
	int32	   *elements = (int32 *) ARR_DATA_PTR(path);

	if (is_sibling)
	{
		elements[row->level - 1] = row->number;
		return;
	}
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

static void
put_rows(ContextRows *collected, bool approximate, ReturnSetInfo *rsinfo)
{
	int		   *order = number_rows(collected);
	text	   *kinds[CONTEXT_KIND_COUNT];
	text	   *categories[CONTEXT_CATEGORY_COUNT];
	TupleWriter writer;
	ArrayType  *path;

	for (int kind = 0; kind < CONTEXT_KIND_COUNT; kind++)
		kinds[kind] = cstring_to_text(context_kind_name(kind));
	for (int category = 0; category < CONTEXT_CATEGORY_COUNT; category++)
		categories[category] = cstring_to_text(context_category_name(category));

	path = palloc(ARR_OVERHEAD_NONULLS(1) +
				  collected->levels * sizeof(int32));
	path->ndim = 1;
	path->dataoffset = 0;
	path->elemtype = INT4OID;
	ARR_LBOUND(path)[0] = 1;

	tuple_writer_init(&writer, rsinfo->setDesc, column_types,
					  lengthof(column_types));
	for (int i = 0; i < collected->count; i++)
	{
		const ContextRow *row = &collected->rows[order[i]];
		text	   *parent = NULL;

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();

		if (row->parent >= 0)
			parent = collected->rows[row->parent].name;
		fill_path(collected, row,
				  i > 0 && row->parent == collected->rows[order[i - 1]].parent,
				  path);
		tuple_writer_begin(&writer, VARSIZE(row->name) +
						   (row->ident ? VARSIZE(row->ident) : 0) +
						   (parent ? VARSIZE(parent) : 0) +
						   VARSIZE(path) + 64);
		tuple_writer_varlena(&writer, row->name);
		if (row->ident)
			tuple_writer_varlena(&writer, row->ident);
		else
			tuple_writer_null(&writer);
		tuple_writer_varlena(&writer, kinds[row->kind]);
		tuple_writer_int4(&writer, row->level);
		tuple_writer_varlena(&writer, (struct varlena *) path);
		tuple_writer_int8(&writer, row->total_bytes);
		if (row->counted)
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
		if (parent)
			tuple_writer_varlena(&writer, parent);
		else
			tuple_writer_null(&writer);
		tuple_writer_varlena(&writer, categories[row->category]);
		tuple_writer_int8(&writer, row->subtree_bytes);
		tuple_writer_bool(&writer, approximate);

		tuplestore_puttuple(rsinfo->setResult, tuple_writer_finish(&writer));
	}
}

/*
 * pg_session_memory_contexts(pid int)
 *
 * A row for each memory context of a server process, the root first, level
 * by level.  For a pid that is none of a server process, or ends while it is
 * read: a WARNING and no rows.  Raises insufficient_privilege for sessions
 * of other roles, and where the operating system refuses to read.
 */
Datum
pg_session_memory_contexts(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ObservedProcess observed;
	ContextRows *collected;
	ContextVisitor visitor = {begin_collecting, collect_context};
	ContextWalkResult result;
	MemoryContext work;
	MemoryContext caller;

	InitMaterializedSRF(fcinfo, 0);

	work = AllocSetContextCreate(CurrentMemoryContext,
								 "pg_session_memory contexts",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	if (observed_process_open(pid, MEMORY_READER_CHUNKS, &observed))
	{
		if (!observed.self)
			context_blocks_check_layouts();
		collected = palloc0(sizeof(ContextRows));
		collected->memory = AllocSetContextCreate(work,
												  "pg_session_memory collected contexts",
												  ALLOCSET_DEFAULT_SIZES);
		collected->self = observed.self;
		collected->with_blocks = !observed.self;
		collected->reader = observed.reader;
		visitor.arg = collected;

		result = observed_process_walk(&observed, &visitor);
		if (result == WALK_UNREADABLE)
			server_process_warn_unknown(pid);
		else
			put_rows(collected, result == WALK_APPROXIMATE, rsinfo);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return (Datum) 0;
}
