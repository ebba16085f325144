/*-------------------------------------------------------------------------
 *
 * take.c
 *	  Takes memory at a given rate, for guard.sh.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>

#include "fmgr.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

PG_MODULE_MAGIC;

/* Of a page with which the kernel can give memory faster than by 4 kB. */
#define HUGE_PAGE	((uintptr_t) 2 * 1024 * 1024)

PG_FUNCTION_INFO_V1(take);

/* Asks for memory, in huge pages where the machine has them, and touches it. */
static void
take_step(int64 step)
{
	char	   *memory = MemoryContextAllocHuge(CurrentMemoryContext, step);
	uintptr_t	first = ((uintptr_t) memory + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	uintptr_t	end = ((uintptr_t) memory + step) & ~(HUGE_PAGE - 1);

	if (first < end)
		(void) madvise((void *) first, end - first, MADV_HUGEPAGE);
	memset(memory, 1, step);
}

/*
 * take(total_bytes bigint, step_bytes bigint, bytes_per_second bigint): asks
 * for so much at a time, touches all of it, and waits if it was faster than
 * it should be.  Never looks whether it was cancelled.  Returns the rate that
 * it has reached, in bytes a second.
 */
Datum
take(PG_FUNCTION_ARGS)
{
	int64		total = PG_GETARG_INT64(0);
	int64		step = PG_GETARG_INT64(1);
	int64		rate = PG_GETARG_INT64(2);
	int64		taken = 0;
	instr_time	start;
	instr_time	now;
	double		seconds = 0;

	INSTR_TIME_SET_CURRENT(start);
	while (taken < total)
	{
		double		ahead;

		take_step(step);
		taken += step;
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, start);
		seconds = INSTR_TIME_GET_DOUBLE(now);
		ahead = (double) taken / rate - seconds;
		if (ahead > 0)
			pg_usleep((long) (ahead * 1e6));
	}
	PG_RETURN_INT64((int64) (taken / seconds));
}
