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
#include "pg_compat.h"
#include "server_process.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(pg_session_memory_contexts);

/* As in PostgreSQL's mcxtfuncs.c: idents are cut to one byte less. */
#define IDENT_DISPLAY_BYTES		1024

#define CONTEXTS_COLUMNS		14

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
 * The path of a row into the array, which has room for it.
 */
static void
fill_path(const ContextRows *collected, const ContextRow *row,
		  ArrayType *path)
{
	int32	   *elements = (int32 *) ARR_DATA_PTR(path);

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
	Datum		kinds[CONTEXT_KIND_COUNT];
	Datum		categories[CONTEXT_CATEGORY_COUNT];
	ArrayType  *path;

	for (int kind = 0; kind < CONTEXT_KIND_COUNT; kind++)
		kinds[kind] = CStringGetTextDatum(context_kind_name(kind));
	for (int category = 0; category < CONTEXT_CATEGORY_COUNT; category++)
		categories[category] =
			CStringGetTextDatum(context_category_name(category));

	path = palloc(ARR_OVERHEAD_NONULLS(1) +
				  collected->levels * sizeof(int32));
	path->ndim = 1;
	path->dataoffset = 0;
	path->elemtype = INT4OID;
	ARR_LBOUND(path)[0] = 1;

	for (int i = 0; i < collected->count; i++)
	{
		const ContextRow *row = &collected->rows[order[i]];
		Datum		values[CONTEXTS_COLUMNS];
		bool		nulls[CONTEXTS_COLUMNS] = {false};
		int			column = 0;

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();

		fill_path(collected, row, path);
		values[column++] = PointerGetDatum(row->name);
		nulls[column] = row->ident == NULL;
		values[column++] = PointerGetDatum(row->ident);
		values[column++] = kinds[row->kind];
		values[column++] = Int32GetDatum(row->level);
		values[column++] = PointerGetDatum(path);
		values[column++] = Int64GetDatum(row->total_bytes);
		nulls[column] = !row->counted;
		values[column++] = Int64GetDatum(row->nblocks);
		nulls[column] = !row->counted;
		values[column++] = Int64GetDatum(row->free_bytes);
		nulls[column] = !row->counted;
		values[column++] = Int64GetDatum(row->free_chunks);
		nulls[column] = !row->counted;
		values[column++] = Int64GetDatum(row->total_bytes - row->free_bytes);
		nulls[column] = row->parent < 0;
		values[column++] = row->parent < 0 ? (Datum) 0 :
			PointerGetDatum(collected->rows[row->parent].name);
		values[column++] = categories[row->category];
		values[column++] = Int64GetDatum(row->subtree_bytes);
		values[column++] = BoolGetDatum(approximate);
		Assert(column == CONTEXTS_COLUMNS);

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
							 values, nulls);
	}
}

/*
 * Raises what a walk that read nothing means: a refusal is an error with a
 * hint; returns where the process is just not there any more.
 */
static void
report_unreadable(int pid, int error)
{
	if (error != EPERM && error != EACCES && error != ENOSYS)
		return;
	errno = error;
	ereport(ERROR,
			(error == ENOSYS ? errcode(ERRCODE_FEATURE_NOT_SUPPORTED) :
			 errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("could not read memory of process %d: %m", pid),
			 errdetail("The operating system refuses process_vm_readv(2) between server processes."),
			 errhint("Add pg_session_memory to shared_preload_libraries, so that sessions permit it to their own server, or set kernel.yama.ptrace_scope to 0. In a container, its seccomp profile must permit process_vm_readv.")));
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
	ServerProcess process;
	ContextRows *collected;
	ContextVisitor visitor;
	ContextWalkResult result;
	MemoryContext work;
	MemoryContext caller;
	bool		self = pid == MyProcPid;

	InitMaterializedSRF(fcinfo, 0);

	if (!self)
	{
		if (!server_process_find(pid, &process))
		{
			server_process_warn_unknown(pid);
			return (Datum) 0;
		}
		server_process_require_see(&process);
		context_blocks_check_layouts();
	}

	work = AllocSetContextCreate(CurrentMemoryContext,
								 "pg_session_memory contexts",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	collected = palloc0(sizeof(ContextRows));
	collected->memory = AllocSetContextCreate(work,
											  "pg_session_memory collected contexts",
											  ALLOCSET_DEFAULT_SIZES);
	collected->self = self;
	collected->with_blocks = !self;
	if (self)
		collected->reader = memory_reader_self();
	else
	{
		collected->reader = memory_reader_open(MEMORY_READER_CHUNKS);
		memory_reader_attach(collected->reader, pid);
	}
	visitor.begin = begin_collecting;
	visitor.visit = collect_context;
	visitor.arg = collected;
	visitor.interruptible = !self;

	result = context_walk(collected->reader, &visitor);

	if (result == WALK_UNREADABLE || (!self && !server_process_is_alive(&process)))
	{
		report_unreadable(pid, memory_reader_errno(collected->reader));
		server_process_warn_unknown(pid);
	}
	else
		put_rows(collected, result == WALK_APPROXIMATE, rsinfo);

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return (Datum) 0;
}
