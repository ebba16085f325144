/*-------------------------------------------------------------------------
 *
 * statement_memory.h
 *	  What a session measures of the statements that it runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_STATEMENT_MEMORY_H
#define PGSM_STATEMENT_MEMORY_H

#include "datatype/timestamp.h"
#include "executor/execdesc.h"

/* What one execution took, in bytes; -1 where it is not known. */
typedef struct StatementMemory
{
	int64		queryid;		/* 0: none */
	int64		plan_bytes;		/* the planner's, of contexts */
	int64		exec_bytes;		/* the executor's, of contexts */
	int64		peak_bytes;		/* what the process had more at its peak */
	int64		worker_bytes;	/* of parallel workers' processes, summed */
	int64		left_bytes;		/* retained more than before; can be below 0 */
	bool		left_is_known;
	bool		peak_is_sampled;	/* as the watcher saw it */
} StatementMemory;

/*
 * Called by the hooks, in this order: of a statement that is not nested the
 * planner, the executor's runs and its end; or of a utility command its begin
 * and its end.  Bytes are what the context that the planner runs in has grown
 * by.  No allocation, no error, but for what a LOG message may raise.
 */
extern void statement_memory_begin_plan(int64 queryid);
extern void statement_memory_end_plan(int64 bytes);
extern void statement_memory_run(int64 queryid);
extern void statement_memory_begin_utility(int64 queryid);
extern void statement_memory_end_utility(const char *text, int location,
										 int length);

/* The planner of a nested statement. */
extern void statement_memory_nested_plan(int64 queryid, int64 bytes);

/* The executor is about to release what it has, of a nested one too. */
extern void statement_memory_end_executor(QueryDesc *queryDesc, int level);

/*
 * A part of a statement that is not nested is over, such as a FETCH: looks at
 * the process's peak.
 */
extern void statement_memory_look(void);

/*
 * A command of the client is over.  left_bytes is what the session retains
 * more than at the end of the command before, where both were measured.
 * Callbacks too.
 */
extern void statement_memory_end_of_command(bool left_is_known,
											int64 left_bytes);

/*
 * A transaction was aborted; of a parallel worker, it is about to end.  Both
 * only note it.
 */
extern void statement_memory_abort(void);
extern void statement_memory_worker_ends(void);

/*
 * The running statement has failed at a limit.  Any context outside of signal
 * handlers: only notes it.
 */
extern void statement_memory_limited(void);

/*
 * The last statement that ended before the one that runs.  Returns false if
 * there was none.
 */
extern bool statement_memory_last(StatementMemory *last);

/*
 * Of the statement that runs now: the planner's bytes as of the last planning
 * at this level, and the process's peak so far; -1 where not known.
 */
extern int64 statement_memory_plan_bytes_now(void);
extern int64 statement_memory_peak_bytes_now(void);

#endif							/* PGSM_STATEMENT_MEMORY_H */
