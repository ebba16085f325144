/*-------------------------------------------------------------------------
 *
 * ceiling_lease.h
 *	  A statement that runs for long sees to it that its ceiling is renewed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CEILING_LEASE_H
#define PGSM_CEILING_LEASE_H

#include "utils/timeout.h"

/* One of the process that replays WAL, and free in others; see watch.c. */
#define LEASE_TIMEOUT	STANDBY_TIMEOUT

/* Once for each process that can have a ceiling; no error. */
extern void ceiling_lease_init(void);

/* Of the function below: it does not run yet. */
extern void ceiling_lease_begin(void);

/*
 * A command begins in such a process: from here on its ceiling is lifted as
 * soon as it was not renewed for too long, until the session is idle.
 * PostgreSQL clears all timeouts after an error, so its word counts.  Ordinary
 * code; no error, except FATAL where the kernel has no timer.
 */
static inline void
ceiling_lease_await(void)
{
	if (unlikely(!get_timeout_active(LEASE_TIMEOUT)))
		ceiling_lease_begin();
}

#endif							/* PGSM_CEILING_LEASE_H */
