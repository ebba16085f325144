/*-------------------------------------------------------------------------
 *
 * guarding.h
 *	  The guard at work: what it is told, and what it has decided, done.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_GUARDING_H
#define PGSM_GUARDING_H

#include "watcher/processes.h"
#include "watcher/server_memory.h"

/*
 * Makes room for all processes, in TopMemoryContext, and lifts what a watcher
 * before this one may have left behind.  Out of memory: ERROR.
 */
extern void guarding_create(void);

/*
 * One tick: looks at all processes, whose sums it fills in, moves ceilings, and
 * does at most one thing more.  Returns after how many microseconds it wants to
 * be called again; 0, with nothing done, where the guard is off or the
 * operating system does not tell how much memory there is.  now is the watcher's
 * clock.  Allocates in the current memory context, for log lines alone.
 */
extern uint64 guarding_tick(const ServerMemory *memory, uint64 now,
							ProcessSums *sums);

/* The name of a GuardState, as SQL shows it; NULL for what is none. */
extern const char *guarding_state_name(int state);

/* Lifts all ceilings.  At the watcher's end, too; no error. */
extern void guarding_stop(void);

#endif							/* PGSM_GUARDING_H */
