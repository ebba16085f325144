/*-------------------------------------------------------------------------
 *
 * change_count.h
 *	  Shared memory with one writer and readers that take no lock.
 *
 * The protocol is that of PgBackendStatus.  The writer makes the count odd,
 * writes, and makes it even again.  A reader copies what it wants and believes
 * the copy if the count was even before and is the same after.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_CHANGE_COUNT_H
#define PGSM_SESSION_CHANGE_COUNT_H

#include "port/atomics.h"

/*
 * Before and after a write; no error and no interrupt in between.  A writer
 * that was ended there has left an odd count, with which the next one goes on.
 */
static inline void
change_count_begin_write(pg_atomic_uint32 *count)
{
	pg_atomic_write_u32(count, pg_atomic_read_u32(count) | 1);
	pg_write_barrier();
}

static inline void
change_count_end_write(pg_atomic_uint32 *count)
{
	pg_write_barrier();
	pg_atomic_write_u32(count, pg_atomic_read_u32(count) + 1);
}

/* Before a copy is made: what change_count_end_read wants to know. */
static inline uint32
change_count_begin_read(pg_atomic_uint32 *count)
{
	uint32		before = pg_atomic_read_u32(count);

	pg_read_barrier();
	return before;
}

/* After it: whether the copy is one of something whole. */
static inline bool
change_count_end_read(pg_atomic_uint32 *count, uint32 before)
{
	pg_read_barrier();
	return before % 2 == 0 && before == pg_atomic_read_u32(count);
}

#endif							/* PGSM_SESSION_CHANGE_COUNT_H */
