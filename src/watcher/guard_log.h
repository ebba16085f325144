/*-------------------------------------------------------------------------
 *
 * guard_log.h
 *	  What the guard writes to the log, and to the event ring.
 *
 * All of it allocates in the current memory context.  server is how the server
 * stands now; now is the watcher's clock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_GUARD_LOG_H
#define PGSM_GUARD_LOG_H

#include "session/ceiling.h"
#include "watcher/guard.h"
#include "watcher/processes.h"

/* Memory gets short, and is short no more; told together or not at all. */
extern void guard_log_pressure(const CeilingServer *server, uint64 now);
extern void guard_log_relieved(const CeilingServer *server, uint64 now);

/* A statement was cancelled, or a session terminated. */
extern void guard_log_action(const CeilingServer *server,
							 GuardActionKind kind,
							 const RecordedSession *session);

/*
 * The guard is at log: what it would have done to the process in a slot, once
 * in each pressure; or that it would have refused it memory.
 */
extern void guard_log_would_act(const CeilingServer *server,
								GuardActionKind kind, int slot);
extern void guard_log_would_refuse(const CeilingServer *server, int slot,
								   int64 ceiling_bytes, uint64 now);

/*
 * The kernel does not let us limit other processes: once, since it will not
 * change its mind.
 */
extern void guard_log_failure(int pid);

/* The guard is switched off, or to another way of working. */
extern void guard_log_forget(void);

#endif							/* PGSM_GUARD_LOG_H */
