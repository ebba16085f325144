/*-------------------------------------------------------------------------
 *
 * monotonic_clock.h
 *	  A clock that nobody sets, for all that waits.
 *
 * A timestamp tells people when something was.  What is to happen after a
 * while must not be worked out from timestamps: when the clock is set back by
 * an hour, it would happen an hour late.
 *
 * PostgreSQL's instr_time is this clock on most systems, but not always in
 * PostgreSQL 19, where its absolute values change with timing_clock_source.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_MONOTONIC_CLOCK_H
#define PGSM_MONOTONIC_CLOCK_H

#include <time.h>

/*
 * Microseconds since some moment before the server's start.  Any context,
 * signal handlers too; no error.
 */
static inline int64
monotonic_microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif							/* PGSM_MONOTONIC_CLOCK_H */
