/*-------------------------------------------------------------------------
 *
 * server_process.c
 *	  Finds the processes of this server.
 *
 * The source is the array of PgBackendStatus in shared memory, from which
 * pg_stat_activity comes, but read as it is now: pg_stat_activity keeps one
 * snapshot for a transaction, and in a long one a pid may have been given to
 * another session since.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "pg_compat.h"
#include "reading/server_process.h"

/*
 * Copies what identifies the process in a slot.  Returns false if the slot
 * is not in use.
 */
static bool
read_slot(volatile PgBackendStatus *status, int slot, ServerProcess *process)
{
	for (;;)
	{
		int			before;
		int			after;

		pgstat_begin_read_activity(status, before);
		process->pid = status->st_procpid;
		process->slot = slot;
		process->start = status->st_proc_start_timestamp;
		process->userid = status->st_userid;
		process->databaseid = status->st_databaseid;
		process->type = status->st_backendType;
		process->state = status->st_state;
		process->query_start = status->st_activity_start_timestamp;
		pgstat_end_read_activity(status, after);

		if (pgstat_read_activity_complete(before, after))
			return process->pid > 0;
		CHECK_FOR_INTERRUPTS();
	}
}

bool
server_process_find(int pid, ServerProcess *process)
{
	/* Callers mostly ask in the order of the slots: go on behind the last. */
	static int	last = 0;
	volatile PgBackendStatus *status = pgsm_shared_backend_status();
	int			slots = pgsm_process_slots();

	if (pid <= 0 || status == NULL)
		return false;
	for (int i = 0; i < slots; i++)
	{
		int			slot = (last + i) % slots;

		if (status[slot].st_procpid == pid &&
			read_slot(&status[slot], slot, process) && process->pid == pid)
		{
			last = slot;
			return true;
		}
	}
	return false;
}

bool
server_process_at(int slot, ServerProcess *process)
{
	volatile PgBackendStatus *status = pgsm_shared_backend_status();

	return status != NULL && read_slot(&status[slot], slot, process);
}

void
server_process_application(const ServerProcess *process, NameData *name)
{
	volatile PgBackendStatus *status = pgsm_shared_backend_status();
	bool		same = false;

	for (;;)
	{
		int			before;
		int			after;

		if (status == NULL)
			break;
		pgstat_begin_read_activity(&status[process->slot], before);
		same = status[process->slot].st_procpid == process->pid &&
			status[process->slot].st_proc_start_timestamp == process->start;
		if (same)
			memcpy(name, (char *) status[process->slot].st_appname,
				   NAMEDATALEN);
		pgstat_end_read_activity(&status[process->slot], after);
		if (pgstat_read_activity_complete(before, after))
			break;
		CHECK_FOR_INTERRUPTS();
	}
	if (!same)
		memset(name, 0, NAMEDATALEN);
	NameStr(*name)[NAMEDATALEN - 1] = '\0';
}

const char *
server_process_type_name(int pid, BackendType type)
{
	const char *name = NULL;

	if (type == B_BG_WORKER)
		name = GetBackgroundWorkerTypeByPid(pid);
	return name != NULL ? name : GetBackendTypeDesc(type);
}

int
server_process_leader(int pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);
	PGPROC	   *leader = proc != NULL ? proc->lockGroupLeader : NULL;

	return leader != NULL && leader->pid != pid ? leader->pid : 0;
}

bool
server_process_is_alive(const ServerProcess *process)
{
	volatile PgBackendStatus *status = pgsm_shared_backend_status();
	ServerProcess now;

	return status != NULL &&
		read_slot(&status[process->slot], process->slot, &now) &&
		now.pid == process->pid && now.start == process->start;
}

void
server_process_warn_unknown(int pid)
{
	ereport(WARNING,
			(errmsg("PID %d is not a PostgreSQL server process", pid)));
}
