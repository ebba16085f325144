/*-------------------------------------------------------------------------
 *
 * tuple_writer.h
 *	  Writes the columns of a tuple one after the other.
 *
 * For functions that return tens of thousands of rows: heap_form_tuple goes
 * through arrays of values, of nulls and of the descriptor's attributes, each
 * of them twice, which takes longer than finding out what a row says.  Here
 * the caller writes each column in its order and by its type, into one buffer
 * that serves for all rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_TUPLE_WRITER_H
#define PGSM_TUPLE_WRITER_H

#include "access/htup_details.h"
#include "access/tupdesc.h"

#include "pg_compat.h"

typedef struct TupleWriter
{
	HeapTupleData tuple;		/* complete after tuple_writer_finish */
	Size		size;			/* of the buffer */
	Size		offset;			/* of the next column's data */
	int			columns;
	int			column;			/* the next one */
} TupleWriter;

/*
 * For functions that fill arrays of so many values themselves.  Raises
 * datatype_mismatch (42804) if the descriptor has another number of columns:
 * more of them would be read from behind the arrays.
 */
extern void tuple_writer_require_columns(TupleDesc descriptor, int columns);

/*
 * Prepares a writer of rows of these types.  Raises datatype_mismatch (42804)
 * if they are not those of the descriptor: then library and SQL script are
 * not of one version.  Allocates in the current memory context.
 */
extern void tuple_writer_init(TupleWriter *writer, TupleDesc descriptor,
							  const Oid *types, int columns);

/*
 * Begins a row, for which variable data of at most this many bytes in all
 * will be written.
 */
extern void tuple_writer_begin(TupleWriter *writer, Size variable_bytes);

/* Ends it.  The tuple is valid until the next one begins. */
extern HeapTuple tuple_writer_finish(TupleWriter *writer);

static inline char *
tuple_writer_next(TupleWriter *writer, Size align, Size length)
{
	HeapTupleHeader header = writer->tuple.t_data;
	Size		aligned = TYPEALIGN(align, writer->offset);
	char	   *to = (char *) header + aligned;

	Assert(writer->column < writer->columns);
	Assert(aligned + length <= writer->size);

	/* What is not written is compared and hashed as well: no garbage. */
	for (Size gap = writer->offset; gap < aligned; gap++)
		((char *) header)[gap] = 0;
	header->t_bits[writer->column >> 3] |= 1 << (writer->column & 7);
	writer->column++;
	writer->offset = aligned + length;
	return to;
}

static inline void
tuple_writer_null(TupleWriter *writer)
{
	Assert(writer->column < writer->columns);
	writer->column++;
}

static inline void
tuple_writer_int4(TupleWriter *writer, int32 value)
{
	*(int32 *) tuple_writer_next(writer, sizeof(int32), sizeof(int32)) = value;
}

static inline void
tuple_writer_int8(TupleWriter *writer, int64 value)
{
	*(int64 *) tuple_writer_next(writer, ALIGNOF_DOUBLE, sizeof(int64)) = value;
}

static inline void
tuple_writer_bool(TupleWriter *writer, bool value)
{
	*tuple_writer_next(writer, 1, 1) = value;
}

/* Text, or an array of integers: anything that aligns to 4 bytes. */
static inline void
tuple_writer_varlena(TupleWriter *writer, const struct varlena *value)
{
	Size		length = VARSIZE(value) - VARHDRSZ;
	char	   *to;

	if (length + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		to = tuple_writer_next(writer, 1, length + VARHDRSZ_SHORT);
		SET_VARSIZE_SHORT(to, length + VARHDRSZ_SHORT);
		memcpy(to + VARHDRSZ_SHORT, VARDATA(value), length);
	}
	else
	{
		to = tuple_writer_next(writer, sizeof(int32), length + VARHDRSZ);
		memcpy(to, value, length + VARHDRSZ);
	}
}

#endif							/* PGSM_TUPLE_WRITER_H */
