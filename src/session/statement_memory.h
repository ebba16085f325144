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

#include "session/high_water_mark.h"
#include "settings.h"

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

/* What it goes through; statement_memory.c has a table. */
typedef enum ExecutionState
{
	EXECUTION_NONE,
	EXECUTION_ENDED,
	EXECUTION_PLANS,
	EXECUTION_RUNS
} ExecutionState;

/* A statement that is not nested. */
typedef struct Execution
{
	ExecutionState state;
	StatementMemory memory;
	StatementMemory told;		/* what the table knows, if it is counted */
	bool		is_of_command;	/* it did something in the current command */
	bool		is_counted;		/* by the table */
	bool		is_reported;	/* by a line in the log */
	bool		is_limited;		/* it has failed at a limit */
} Execution;

/*
 * The current one and the one before it: never NULL.  Changed in here and in
 * statement_memory.c.
 */
extern Execution *statement_memory_current;
extern Execution *statement_memory_previous;

static const StatementMemory statement_memory_nothing = {
	.queryid = 0,
	.plan_bytes = -1,
	.exec_bytes = -1,
	.peak_bytes = -1,
	.worker_bytes = 0,
	.left_bytes = 0
};

static inline void
statement_memory_swap(void)
{
	Execution  *before = statement_memory_current;

	statement_memory_current = statement_memory_previous;
	statement_memory_previous = before;
}

static inline void
statement_memory_start(int64 queryid, ExecutionState state)
{
	Execution  *current = statement_memory_current;

	current->state = state;
	current->memory = statement_memory_nothing;
	current->memory.queryid = queryid;
	current->is_of_command = true;
	current->is_counted = false;
	current->is_reported = false;
	current->is_limited = false;
}

/*
 * Called by the hooks, in this order: of a statement that is not nested the
 * planner, the executor's runs and its end; or of a utility command its begin
 * and its end.  Bytes are what the context that the planner runs in has grown
 * by.  No allocation, no error, but for what a LOG message may raise.
 */
extern void statement_memory_plan_another(int64 queryid);

/* The same behind a statement that has ended: false if it is none. */
static inline bool
statement_memory_plan_next(int64 queryid)
{
	if (unlikely(statement_memory_current->state != EXECUTION_ENDED ||
				 high_water_mark_is_stale ||
				 setting_track_statements == TRACK_STATEMENTS_NONE))
		return false;
	statement_memory_swap();
	statement_memory_start(queryid, EXECUTION_PLANS);
	return true;
}

static inline void
statement_memory_end_plan(int64 bytes)
{
	Execution  *current = statement_memory_current;

	if (current->state == EXECUTION_PLANS)
		current->memory.plan_bytes = Max(current->memory.plan_bytes, 0) + bytes;
}

extern void statement_memory_run_another(int64 queryid);

/* What this command has just planned is run: false if it is another one. */
static inline bool
statement_memory_run_planned(int64 queryid)
{
	Execution  *current = statement_memory_current;

	if (unlikely(current->state != EXECUTION_PLANS ||
				 !current->is_of_command ||
				 current->memory.queryid != queryid))
		return false;
	current->state = EXECUTION_RUNS;
	return true;
}

extern void statement_memory_begin_utility(int64 queryid);
extern void statement_memory_end_utility(const char *text, int location,
										 int length);

/* The planner of a nested statement. */
extern void statement_memory_nested_plan(int64 queryid, int64 bytes);

/* When a statement was last looked at, at its end mostly; 0: never. */
extern TimestampTz statement_memory_looked_at;

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
