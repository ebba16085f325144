/*-------------------------------------------------------------------------
 *
 * idents.c
 *	  pg_session_memory_idents(pid, max_rows): which statements, indexes,
 *	  functions and cursors the memory belongs to.
 *
 * Names of contexts tell kinds, idents tell the very thing: a statement's
 * text, an index, a cursor's name.  What hangs below a context with an ident
 * and has none of its own, for instance the query tree of a statement or the
 * sort of a cursor, is memory of the same thing and counted with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/observed_process.h"
#include "functions/tuple_writer.h"
#include "reading/context_tally.h"

PG_FUNCTION_INFO_V1(pg_session_memory_idents);

#define IDENTS_COLUMNS		6

/* As many bytes as pg_session_memory_contexts() shows, and a zero. */
#define IDENT_BYTES			1024

typedef struct IdentsWalk
{
	MemoryReader *reader;
	ContextTally idents;
	char		ident[IDENT_BYTES];
} IdentsWalk;

static void
begin_idents(void *arg)
{
	IdentsWalk *walk = arg;

	context_tally_begin(&walk->idents);
}

/* Reads the ident into the walk; false if there is none. */
static bool
read_ident(IdentsWalk *walk, const ContextNode *node)
{
	int			length;

	if (node->ident_address == 0)
		return false;
	length = memory_reader_string(walk->reader, node->ident_address,
								  walk->ident, sizeof(walk->ident));
	if (length == IDENT_BYTES - 1)
	{
		length = pg_mbcliplen(walk->ident, length, length);
		walk->ident[length] = '\0';
	}
	return length > 0;
}

static void
add_to_idents(const ContextNode *node, void *arg)
{
	IdentsWalk *walk = arg;
	int			sum = context_tally_above(&walk->idents, node->level);

	if (read_ident(walk, node))
	{
		sum = context_tally_find(&walk->idents, -1, node->category,
								 node->name, walk->ident);
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
 * pg_session_memory_idents(pid int, max_rows int)
 *
 * A row for each category, name and ident of contexts, of most bytes first,
 * at most max_rows.  Pids, permissions and errors as in
 * pg_session_memory_contexts; raises invalid_parameter_value if max_rows is
 * negative.
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

				values[0] = CStringGetTextDatum(context_category_name(sorted[i]->category));
				values[1] = text_datum(sorted[i]->name);
				values[2] = text_datum(sorted[i]->ident);
				values[3] = Int64GetDatum(sorted[i]->contexts);
				values[4] = Int64GetDatum(sorted[i]->bytes);
				values[5] = BoolGetDatum(result == WALK_APPROXIMATE);
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
									 values, nulls);
			}
		}
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return (Datum) 0;
}
