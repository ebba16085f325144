/*-------------------------------------------------------------------------
 *
 * ceiling_module.c
 *	  Does to ceilings what the watcher does, when a test wants it.
 *
 * For t/062_ceiling.pl and limit-regress.sh, which build it together with the
 * library's own src/session/ceiling.c: it finds the same shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"
#include "session/ceiling.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(ceiling_server);
PG_FUNCTION_INFO_V1(ceiling_once);
PG_FUNCTION_INFO_V1(ceiling_hold);
PG_FUNCTION_INFO_V1(ceiling_jump);
PG_FUNCTION_INFO_V1(ceiling_verdict);

void		_PG_init(void);

/* How often ceilings are set, in microseconds. */
#define TICK	10000

#define GB		(INT64CONST(1024) * 1024 * 1024)

/* What is told of the server, besides the heartbeat. */
static CeilingServer server = {
	.total_bytes = 4 * GB,
	.available_bytes = GB,
	.reserve_bytes = GB / 4,
	.server_limit_bytes = -1
};

static ServerProcess
find_process(int pid)
{
	ServerProcess process;

	if (!server_process_find(pid, &process))
		ereport(ERROR, (errmsg("there is no process %d", pid)));
	return process;
}

static void
renew(int seconds)
{
	server.renewed_at = GetCurrentTimestamp() + seconds * USECS_PER_SEC;
	ceiling_publish_server(&server);
}

static int64
data_bytes_of(int pid)
{
	ProcessMemory memory;

	process_memory_read(pid, &memory);
	return memory.data_bytes;
}

/*
 * (total, available, reserve, server_limit, sessions bigint, largest int,
 * promised bigint)
 */
Datum
ceiling_server(PG_FUNCTION_ARGS)
{
	server.total_bytes = PG_GETARG_INT64(0);
	server.available_bytes = PG_GETARG_INT64(1);
	server.reserve_bytes = PG_GETARG_INT64(2);
	server.server_limit_bytes = PG_GETARG_INT64(3);
	server.sessions_bytes = PG_GETARG_INT64(4);
	server.largest_pid = PG_GETARG_INT32(5);
	server.promised_bytes = PG_GETARG_INT64(6);
	PG_RETURN_VOID();
}

/*
 * (pid int, bytes bigint, seconds int): gives a process this ceiling once; the
 * heartbeat is so many seconds off.  Returns whether the kernel agreed.
 */
Datum
ceiling_once(PG_FUNCTION_ARGS)
{
	ServerProcess process = find_process(PG_GETARG_INT32(0));

	renew(PG_GETARG_INT32(2));
	PG_RETURN_BOOL(ceiling_set(process.slot, process.pid, process.start,
							   PG_GETARG_INT64(1)));
}

/*
 * (pid int, bytes bigint): gives a process and its parallel workers this
 * ceiling until it is cancelled; NULL: always what it has.
 */
Datum
ceiling_hold(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);

	for (;;)
	{
		renew(0);
		for (int slot = 0; slot < MaxBackends; slot++)
		{
			ServerProcess process;

			if (server_process_at(slot, &process) &&
				(process.pid == pid ||
				 server_process_leader(process.pid) == pid))
				ceiling_set(slot, process.pid, process.start,
							PG_ARGISNULL(1) ? data_bytes_of(process.pid) :
							PG_GETARG_INT64(1));
		}
		CHECK_FOR_INTERRUPTS();
		pg_usleep(TICK);
	}
}

/*
 * (bytes bigint): until it is cancelled, gives each process at random so much
 * more than it has, and now and then what it has, or a little more: if that came
 * more often, no statement would get anywhere.
 */
Datum
ceiling_jump(PG_FUNCTION_ARGS)
{
	uint32		random = 1;

	for (;;)
	{
		renew(0);
		for (int slot = 0; slot < MaxBackends; slot++)
		{
			ServerProcess process;
			int64		bytes;

			if (!server_process_at(slot, &process) ||
				process.pid == MyProcPid)
				continue;
			bytes = data_bytes_of(process.pid);
			random = random * 1103515245 + 12345;
			switch ((random >> 16) % 16)
			{
				case 0:
					break;
				case 1:
					bytes += (random >> 8) % (1024 * 1024);
					break;
				default:
					bytes += PG_GETARG_INT64(0);
					break;
			}
			if (bytes >= 0)
				ceiling_set(slot, process.pid, process.start, bytes);
		}
		CHECK_FOR_INTERRUPTS();
		pg_usleep(TICK);
	}
}

/* (pid int, statement_start timestamptz, terminated boolean) */
Datum
ceiling_verdict(PG_FUNCTION_ARGS)
{
	ServerProcess process = find_process(PG_GETARG_INT32(0));

	ceiling_set_verdict(process.slot, process.pid, process.start,
						PG_GETARG_TIMESTAMPTZ(1),
						PG_GETARG_BOOL(2) ? CEILING_TERMINATED :
						CEILING_CANCELLED);
	PG_RETURN_VOID();
}

void
_PG_init(void)
{
	ceiling_shmem_startup();
}
