/*-------------------------------------------------------------------------
 *
 * statement_table.h
 *	  What statements took, by query id, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_STATEMENT_TABLE_H
#define PGSM_STATEMENT_TABLE_H

#include "datatype/timestamp.h"

/* Texts are cut to this. */
#define STATEMENT_QUERY_BYTES	1024

typedef struct StatementKey
{
	Oid			userid;
	Oid			dbid;
	int64		queryid;		/* 0: all that have none */
	bool		toplevel;
} StatementKey;

/* A largest figure and a mean; count is 0 where it was never known. */
typedef struct StatementFigure
{
	int64		max;
	int64		sum;
	int64		count;
} StatementFigure;

/* What is kept of a statement; bytes. */
typedef struct StatementCounters
{
	int64		calls;			/* executions that were counted */
	StatementFigure plan;
	StatementFigure exec;
	StatementFigure peak;
	int64		max_worker_bytes;
	int64		left_bytes;		/* all together */
	int64		max_left_bytes;
	int64		limited;		/* executions that failed at a limit */
	int64		sampled;		/* executions whose peak the watcher saw */
	int64		max_bytes;		/* what the largest execution took */
	TimestampTz max_at;			/* when that was */
	char		query[STATEMENT_QUERY_BYTES];	/* its text */
} StatementCounters;

/* What is new of one execution; bytes, -1: nothing new. */
typedef struct StatementNews
{
	bool		is_call;		/* the first that is told of this execution */
	bool		limited;
	bool		sampled;		/* the peak is as the watcher saw it */
	int64		plan_bytes;
	int64		exec_bytes;
	int64		peak_bytes;
	bool		peak_again;		/* one was told already: no part of the mean */
	int64		worker_bytes;
	int64		left_bytes;		/* 0: nothing */
	int64		took_bytes;		/* of the whole execution, so far */
	TimestampTz at;
	const char *query;			/* text and its length; NULL: not known */
	int			query_length;
} StatementNews;

/* One row of what statement_table_read returns. */
typedef struct StatementRow
{
	StatementKey key;
	StatementCounters counters;
} StatementRow;

/* Shared memory that the table takes, in bytes. */
extern Size statement_table_shmem_size(void);

/* Creates or finds it; under AddinShmemInitLock. */
extern void statement_table_shmem_startup(void);

/* The LWLock tranche's name, for the request at server start. */
#define STATEMENT_TABLE_TRANCHE	"pg_session_memory_statements"

/*
 * Adds news of an execution to the statement's entry, which is made if there
 * is none; nothing where there is no table.  Callbacks too; no error.
 */
extern void statement_table_add(const StatementKey *key,
								const StatementNews *news);

/*
 * Copies rows from position *next on, at most count, and moves *next behind
 * them.  Returns how many; 0 at the end.  The lock is held for that long only,
 * so rows that go meanwhile may be missing.
 */
extern int	statement_table_read(int *next, StatementRow *rows, int count);

/* Forgets all entries. */
extern void statement_table_reset(void);

/*
 * Parallel workers' bytes: each adds its own to its leader's, by the number
 * of the leader's process slot; the leader takes what has come together.
 * Before the first time it forgets what workers of a session before this one
 * in its slot had left.
 */
extern void statement_table_add_worker(int leader_slot, int64 bytes);
extern void statement_table_forget_workers(void);

extern pg_atomic_uint64 *statement_table_my_workers;

static inline int64
statement_table_take_workers(void)
{
	if (likely(pg_atomic_read_u64(statement_table_my_workers) == 0))
		return 0;
	return (int64) pg_atomic_exchange_u64(statement_table_my_workers, 0);
}

/*
 * Anonymous memory that a process has from its birth: what the postmaster had
 * when the server started, in bytes.
 */
extern int64 statement_table_birth_bytes(void);

#endif							/* PGSM_STATEMENT_TABLE_H */
