/*-------------------------------------------------------------------------
 *
 * idents.c
 *	  pg_session_memory_idents(pid, max_rows, by_pattern): which statements,
 *	  indexes, functions and cursors the memory belongs to.
 *
 * Names of contexts tell kinds, idents tell the very thing: a statement's
 * text, an index, a cursor's name.  What hangs below a context with an ident
 * and has none of its own, for instance the query tree of a statement or the
 * sort of a cursor, is memory of the same thing and counted with it.
 *
 * Statements and indexes that differ in numbers alone are one row, by their
 * pattern: see ident_pattern.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/ident_pattern.h"
#include "functions/observed_process.h"
#include "functions/tuple_writer.h"
#include "reading/context_tally.h"

PG_FUNCTION_INFO_V1(pg_session_memory_idents);

#define IDENTS_COLUMNS		7

typedef struct IdentsWalk
{
	MemoryReader *reader;
	bool		by_pattern;
	ContextTally idents;		/* by ident or by pattern */
	char	  **examples;		/* the first ident of each sum, by pattern */
	int			examples_size;
	char		ident[IDENT_BYTES];
	char		pattern[IDENT_BYTES];
} IdentsWalk;

static void
begin_idents(void *arg)
{
	IdentsWalk *walk = arg;

	context_tally_begin(&walk->idents);
	/* The last try's are gone with the tally's memory. */
	walk->examples = NULL;
	walk->examples_size = 0;
}

/* Keeps the ident that was met first for its sum. */
static void
keep_example(IdentsWalk *walk, int sum)
{
	ContextTally *idents = &walk->idents;

	if (sum >= walk->examples_size)
	{
		/* The tally has doubled its size: so do we. */
		Size		bytes = idents->size * sizeof(char *);

		walk->examples_size = idents->size;
		if (walk->examples == NULL)
			walk->examples = MemoryContextAlloc(idents->memory, bytes);
		else
			walk->examples = repalloc_huge(walk->examples, bytes);
	}
	walk->examples[sum] = MemoryContextStrdup(idents->memory, walk->ident);
}

static void
add_to_idents(const ContextNode *node, void *arg)
{
	IdentsWalk *walk = arg;
	int			sum = context_tally_above(&walk->idents, node->level);

	if (ident_read(walk->reader, node, walk->ident))
	{
		const char *key = walk->ident;

		if (walk->by_pattern)
		{
			ident_pattern(walk->ident, walk->pattern);
			key = walk->pattern;
		}
		sum = context_tally_find(&walk->idents, -1, node->category,
								 node->name, key);
		if (walk->by_pattern && walk->idents.sums[sum].contexts == 0)
			keep_example(walk, sum);
		walk->idents.sums[sum].contexts++;
	}
	if (sum >= 0)
		walk->idents.sums[sum].bytes += node->total_bytes;
	context_tally_set_level(&walk->idents, node->level, sum);
}

static Datum
text_datum(const char *string)
{
	return PointerGetDatum(text_of_foreign(string, strlen(string)));
}

/*
 * pg_session_memory_idents(pid int, max_rows int, by_pattern boolean)
 *
 * A row for each category, name and pattern of contexts' idents, or for each
 * ident, of most bytes first, at most max_rows.  Pids, permissions and errors
 * as in pg_session_memory_contexts; raises invalid_parameter_value if max_rows
 * is negative.
 */
Datum
pg_session_memory_idents(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	int			max_rows = PG_GETARG_INT32(1);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ObservedProcess observed;
	MemoryContext work;
	MemoryContext caller;

	if (max_rows < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"max_rows\" must not be negative")));
	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, IDENTS_COLUMNS);

	work = AllocSetContextCreate(CurrentMemoryContext,
								 "pg_session_memory idents",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	if (observed_process_open(pid, MEMORY_READER_WALK, &observed))
	{
		IdentsWalk *walk = palloc(sizeof(IdentsWalk));
		ContextVisitor visitor = {begin_idents, add_to_idents, walk};
		ContextWalkResult result;

		walk->reader = observed.reader;
		walk->by_pattern = PG_GETARG_BOOL(2);
		context_tally_create(&walk->idents);
		result = observed_process_walk(&observed, &visitor);
		if (result == WALK_UNREADABLE)
			server_process_warn_unknown(pid);
		else
		{
			const TallySum **sorted = context_tally_sorted(&walk->idents);

			for (int i = 0; i < walk->idents.count && i < max_rows; i++)
			{
				Datum		values[IDENTS_COLUMNS];
				bool		nulls[IDENTS_COLUMNS] = {false};
				const char *pattern = sorted[i]->ident;
				const char *ident = sorted[i]->ident;

				CHECK_FOR_INTERRUPTS();
				if (walk->by_pattern)
					ident = walk->examples[sorted[i] - walk->idents.sums];
				else
				{
					ident_pattern(ident, walk->pattern);
					pattern = walk->pattern;
				}
				values[0] = CStringGetTextDatum(context_category_name(sorted[i]->category));
				values[1] = text_datum(sorted[i]->name);
				values[2] = text_datum(pattern);
				values[3] = text_datum(ident);
				values[4] = Int64GetDatum(sorted[i]->contexts);
				values[5] = Int64GetDatum(sorted[i]->bytes);
				values[6] = BoolGetDatum(result == WALK_APPROXIMATE);
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
									 values, nulls);
			}
		}
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return (Datum) 0;
}
