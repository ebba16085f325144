/*-------------------------------------------------------------------------
 *
 * environment.c
 *	  pg_session_memory_environment(): whether this server survives running
 *	  out of memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __linux__
#include <sys/resource.h>
#endif

#include "fmgr.h"
#include "funcapi.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"

#include "functions/tuple_writer.h"
#include "functions/foreign_text.h"
#include "pg_compat.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"
#include "session/watched.h"
#include "settings.h"
#include "watcher/environment.h"

PG_FUNCTION_INFO_V1(pg_session_memory_environment);

#define ENVIRONMENT_COLUMNS		4

/*
 * Whether one process of the server may set the limits of another one, as the
 * guard does it: tried on the watcher, whose limit nobody moves.
 */
static bool
limits_can_be_moved(void)
{
#ifdef __linux__
	WatcherState *watcher = watcher_state();
	int			pid = watcher == NULL ? 0 :
	(int) pg_atomic_read_u32(&watcher->pid);
	struct rlimit rlimit;

	return pid != 0 && prlimit(pid, RLIMIT_DATA, NULL, &rlimit) == 0 &&
		prlimit(pid, RLIMIT_DATA, &rlimit, NULL) == 0;
#else
	return false;
#endif
}

/* What the server knows of itself. */
static void
describe_server(EnvironmentServer *server)
{
	server->postmaster_pid = PostmasterPid;
	server->session_pid = MyProcPid;
	server->is_preloaded = module_is_preloaded;
	server->jit = jit_enabled;
	server->limit_bytes = setting_process_limit < 0 ? -1 :
		(int64) setting_process_limit * 1024;
	server->guard = GetConfigOption("pg_session_memory.guard", false, false);
	server->reserve_bytes = threshold_bytes(setting_guard_reserve);
	server->server_limit_bytes = threshold_bytes(setting_server_limit);
	server->moves_limits = limits_can_be_moved();
	server->max_connections = MaxConnections;
	server->sessions = 0;
	server->session_bytes = 0;
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		ServerProcess process;
		int64		bytes;

		if (!server_process_at(slot, &process) || process.type != B_BACKEND)
			continue;
		bytes = process_memory_anon_bytes(process.pid);
		if (bytes < 0)
			continue;
		server->sessions++;
		server->session_bytes += bytes;
	}
	if (server->sessions == 0)
		server->session_bytes = -1;
}

/*
 * pg_session_memory_environment(): a row a fact, as of now.  Facts that the
 * operating system does not tell have no row.  Nothing of other sessions but a
 * sum, so for everybody.
 */
Datum
pg_session_memory_environment(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EnvironmentFact *facts = palloc(ENVIRONMENT_FACTS * sizeof(EnvironmentFact));
	EnvironmentServer server;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, ENVIRONMENT_COLUMNS);
	describe_server(&server);
	count = environment_read("", &server, facts);
	for (int i = 0; i < count; i++)
	{
		const EnvironmentFact *fact = &facts[i];
		Datum		values[ENVIRONMENT_COLUMNS];
		bool		nulls[ENVIRONMENT_COLUMNS] = {false};

		values[0] = CStringGetTextDatum(fact->item);
		values[1] = PointerGetDatum(text_of_foreign(fact->value,
													strlen(fact->value)));
		nulls[1] = fact->value[0] == '\0';
		values[2] = CStringGetTextDatum(environment_verdict_name(fact->verdict));
		nulls[3] = fact->advice == NULL;
		if (fact->advice != NULL)
			values[3] = CStringGetTextDatum(fact->advice);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
