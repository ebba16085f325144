/*-------------------------------------------------------------------------
 *
 * tuple_writer.c
 *	  Writes the columns of a tuple one after the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "functions/tuple_writer.h"

/* Room for columns of fixed length and for aligning them. */
#define FIXED_BYTES(columns)	(MAXALIGN(SizeofHeapTupleHeader + \
										  BITMAPLEN(columns)) + \
								 (columns) * 2 * sizeof(int64))

static void
refuse_version(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("the library of pg_session_memory and its SQL objects are not of one version"),
			 errhint("Use ALTER EXTENSION pg_session_memory UPDATE, and reconnect where the library was replaced.")));
}

void
tuple_writer_require_columns(TupleDesc descriptor, int columns)
{
	if (descriptor->natts != columns)
		refuse_version();
}

void
tuple_writer_init(TupleWriter *writer, TupleDesc descriptor,
				  const Oid *types, int columns)
{
	tuple_writer_require_columns(descriptor, columns);
	for (int i = 0; i < columns; i++)
	{
		if (TupleDescAttr(descriptor, i)->atttypid != types[i] ||
			TupleDescAttr(descriptor, i)->attisdropped)
			refuse_version();
	}

	memset(writer, 0, sizeof(TupleWriter));
	writer->columns = columns;
	writer->size = FIXED_BYTES(columns) + 1024;
	writer->tuple.t_data = palloc0(writer->size);
	ItemPointerSetInvalid(&writer->tuple.t_self);
	writer->tuple.t_tableOid = InvalidOid;
}

void
tuple_writer_begin(TupleWriter *writer, Size variable_bytes)
{
	HeapTupleHeader header = writer->tuple.t_data;

	if (unlikely(FIXED_BYTES(writer->columns) + variable_bytes > writer->size))
	{
		writer->size = FIXED_BYTES(writer->columns) + 2 * variable_bytes;
		header = repalloc(header, writer->size);
		writer->tuple.t_data = header;
	}

	/* All NULL until it is written. */
	writer->offset = MAXALIGN(SizeofHeapTupleHeader +
							  BITMAPLEN(writer->columns));
	memset(header, 0, writer->offset);
	header->t_hoff = writer->offset;
	header->t_infomask = HEAP_HASNULL | HEAP_HASVARWIDTH;
	HeapTupleHeaderSetNatts(header, writer->columns);
	writer->column = 0;
}

HeapTuple
tuple_writer_finish(TupleWriter *writer)
{
	Assert(writer->column == writer->columns);
	writer->tuple.t_len = writer->offset;
	return &writer->tuple;
}
