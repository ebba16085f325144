/*-------------------------------------------------------------------------
 *
 * server_process.h
 *	  Finds the processes of this server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SERVER_PROCESS_H
#define PGSM_SERVER_PROCESS_H

#include "datatype/timestamp.h"
#include "utils/backend_status.h"

/* What tells one process from another, also after its pid is used again. */
typedef struct ServerProcess
{
	int			pid;
	int			slot;			/* see pgsm_my_process_slot */
	TimestampTz start;			/* backend_start of pg_stat_activity */
	Oid			userid;			/* InvalidOid: no session, or no user yet */
	Oid			databaseid;
	BackendType type;
	BackendState state;
	TimestampTz query_start;	/* of the running statement or the last one */
} ServerProcess;

/* Whether it is idle in a transaction block, as far as it said so. */
static inline bool
server_process_is_in_transaction(const ServerProcess *process)
{
	return process->state == STATE_IDLEINTRANSACTION ||
		process->state == STATE_IDLEINTRANSACTION_ABORTED;
}

/* Whether it is idle, as far as it says so: without track_activities never. */
static inline bool
server_process_is_idle(BackendState state)
{
	return state == STATE_IDLE || state == STATE_IDLEINTRANSACTION ||
		state == STATE_IDLEINTRANSACTION_ABORTED;
}

/* Whether it runs a statement, as far as it said so. */
static inline bool
server_process_runs_statement(BackendState state)
{
	return state == STATE_RUNNING || state == STATE_FASTPATH;
}

/*
 * Finds the process of this server with this pid, out of shared memory as it
 * is now.  Returns false if there is none.  May raise what
 * CHECK_FOR_INTERRUPTS raises; only in backends.
 */
extern bool server_process_find(int pid, ServerProcess *process);

/* The process in a slot; false if there is none. */
extern bool server_process_at(int slot, ServerProcess *process);

/*
 * The application_name of the process, as far as it is still there; else an
 * empty one.
 */
extern void server_process_application(const ServerProcess *process,
									   NameData *name);

/* The type of a process, as pg_stat_activity shows it. */
extern const char *server_process_type_name(int pid, BackendType type);

/*
 * The pid of a parallel worker's leader, 0 for all other processes.  As
 * pg_stat_activity has it: without a lock, so of processes that begin or end
 * it may be wrong.
 */
extern int	server_process_leader(int pid);

/* Whether the process is still there, and none that got its pid later. */
extern bool server_process_is_alive(const ServerProcess *process);

/*
 * Warns, as pg_log_backend_memory_contexts does, that the pid is none of a
 * server process: an error would end a query over many sessions when one of
 * them does.
 */
extern void server_process_warn_unknown(int pid);

#endif							/* PGSM_SERVER_PROCESS_H */
