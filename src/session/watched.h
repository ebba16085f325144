/*-------------------------------------------------------------------------
 *
 * watched.h
 *	  What the watcher has seen, in shared memory.
 *
 * One slot a process, by the number of pgsm_my_process_slot, and one struct
 * for the watcher itself.  Only the watcher writes them, by the protocol of
 * change_count.h.  Everybody may read: the view what is seen of running
 * statements, a session what was seen of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_WATCHED_H
#define PGSM_WATCHED_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"

/* A process while it runs a statement.  Bytes of anonymous memory. */
typedef struct WatchedProcess
{
	int			pid;			/* 0: nothing is known */
	TimestampTz backend_start;	/* tells pids apart */
	TimestampTz query_start;	/* tells statements apart */
	int64		statement_bytes;	/* now, beyond what it had before */
	int64		statement_peak_bytes;	/* the most of that */
} WatchedProcess;

/* The watcher itself. */
typedef struct WatcherState
{
	pg_atomic_uint32 pid;		/* 0: it does not run */
	Latch	   *latch;			/* its own, while pid is not 0 */
	TimestampTz run;			/* when this shared memory was made */
	pg_atomic_uint64 reset_requests;	/* to forget the history */
	pg_atomic_uint64 resets_done;
} WatcherState;

/* Shared memory that this takes, in bytes. */
extern Size watched_shmem_size(void);

/* Creates or finds it; under AddinShmemInitLock. */
extern void watched_shmem_startup(void);

/* NULL where the library is not preloaded. */
extern WatcherState *watcher_state(void);

/* For the watcher alone: publishes what it knows of the process in a slot. */
extern void watched_publish(int slot, const WatchedProcess *process);

/*
 * Copies what the watcher knows of the process in this slot, for the statement
 * that began at query_start.  Returns false if it knows nothing of that one.
 */
extern bool watched_read(int slot, int pid, TimestampTz backend_start,
						 TimestampTz query_start, WatchedProcess *process);

#endif							/* PGSM_WATCHED_H */
