/*-------------------------------------------------------------------------
 *
 * categories.c
 *	  pg_session_memory_categories(pid): what the memory is, and what to do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#include "functions/category_sums.h"
#include "functions/foreign_text.h"
#include "functions/tuple_writer.h"

PG_FUNCTION_INFO_V1(pg_session_memory_categories);

#define CATEGORIES_COLUMNS		12

/* share has this many decimals. */
#define SHARE_DECIMALS			4
#define SHARE_SCALE				10000

static void
put_category(const CategorySum *sum, const ObservedProcess *observed,
			 int64 all_bytes, bool approximate, ReturnSetInfo *rsinfo)
{
	char		remedy[REMEDY_BYTES];
	Datum		values[CATEGORIES_COLUMNS];
	bool		nulls[CATEGORIES_COLUMNS] = {false};
	double		share = 0;

	if (all_bytes > 0)
		share = (double) sum->total_bytes / all_bytes;

	values[0] = CStringGetTextDatum(sum->name);
	values[1] = Int64GetDatum(sum->contexts);
	nulls[1] = sum->contexts < 0;
	values[2] = Int64GetDatum(sum->total_bytes);
	values[3] = Int64GetDatum(sum->total_bytes - sum->free_bytes);
	nulls[3] = sum->free_bytes < 0;
	values[4] = Int64GetDatum(sum->free_bytes);
	nulls[4] = sum->free_bytes < 0;
	values[5] =
		NumericGetDatum(int64_div_fast_to_numeric((int64) rint(share * SHARE_SCALE),
												  SHARE_DECIMALS));
	if (sum->largest != NULL)
	{
		values[6] = PointerGetDatum(text_of_foreign(sum->largest->name,
													strlen(sum->largest->name)));
		values[7] = Int64GetDatum(sum->largest->contexts);
		values[8] = Int64GetDatum(sum->largest->bytes);
	}
	else
	{
		values[6] = values[7] = values[8] = (Datum) 0;
		nulls[6] = nulls[7] = nulls[8] = true;
	}
	values[9] = CStringGetTextDatum(sum->explanation);
	remedy_text(sum->cause, observed->self ? 0 : observed->process.pid,
				server_process_is_in_transaction(&observed->process), remedy);
	values[10] = CStringGetTextDatum(remedy);
	values[11] = BoolGetDatum(approximate);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * pg_session_memory_categories(pid int)
 *
 * A row for each category that the process has memory of, largest first.
 * For a pid that is none of a server process, or ends while it is read: a
 * WARNING and no rows.  Raises insufficient_privilege for sessions of other
 * roles, and where the operating system refuses to read.
 */
Datum
pg_session_memory_categories(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ObservedProcess observed;
	CategorySum sums[CATEGORY_SUMS];
	MemoryContext work;
	MemoryContext caller;
	int64		all_bytes = 0;
	bool		approximate = false;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, CATEGORIES_COLUMNS);

	work = AllocSetContextCreate(CurrentMemoryContext,
								 "pg_session_memory categories",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	if (observed_process_open(pid, MEMORY_READER_CHUNKS, &observed))
	{
		count = category_sums(&observed, sums, &approximate);
		if (count == 0)
			server_process_warn_unknown(pid);
		for (int i = 0; i < count; i++)
			all_bytes += sums[i].total_bytes;
		for (int i = 0; i < count; i++)
			put_category(&sums[i], &observed, all_bytes, approximate, rsinfo);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return (Datum) 0;
}
