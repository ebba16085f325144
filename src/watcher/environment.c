/*-------------------------------------------------------------------------
 *
 * environment.c
 *	  What decides whether this server survives running out of memory.
 *
 * When memory is gone the kernel ends a process.  Which one, and whether that
 * is the server's end, depends on settings of the operating system that nobody
 * looks at before it has happened.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "watcher/environment.h"
#include "watcher/guard.h"
#include "watcher/server_memory.h"

/* Facts while they are collected. */
typedef struct Facts
{
	const char *root;
	EnvironmentFact *facts;
	int			count;
} Facts;

static EnvironmentFact *
add_fact(Facts *facts, const char *item, EnvironmentVerdict verdict,
		 const char *advice)
{
	EnvironmentFact *fact = &facts->facts[facts->count++];

	Assert(facts->count <= ENVIRONMENT_FACTS);
	fact->item = item;
	fact->value[0] = '\0';
	fact->verdict = verdict;
	fact->advice = advice;
	return fact;
}

/* A file with one number.  Returns false if it has none. */
static bool
read_number(const Facts *facts, const char *path, int64 *number)
{
	char		text[64];
	char	   *end;

	if (server_memory_read_file(facts->root, path, text, sizeof(text)) <= 0)
		return false;
	*number = strtoll(text, &end, 10);
	return end != text;
}

/* /proc/PID/name */
static bool
read_process_number(const Facts *facts, int pid, const char *name,
					int64 *number)
{
	char		path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return read_number(facts, path, number);
}

static void
print_megabytes(char *text, int64 bytes)
{
	snprintf(text, ENVIRONMENT_VALUE_BYTES, INT64_FORMAT " MB",
			 bytes / (1024 * 1024));
}

/* Which limit holds, and how much of it is left. */
static void
memory_facts(Facts *facts, const EnvironmentServer *server,
			 const MemorySources *sources, const ServerMemory *memory)
{
	EnvironmentFact *fact;
	const char *name = server_memory_source_name(sources, memory);
	int64		all;

	if (memory->total_bytes < 0)
	{
		(void) add_fact(facts, "memory", ENVIRONMENT_NOTE,
						"/proc/meminfo cannot be read: how much memory there is, and how much is left, is not known, and the guard does nothing.");
		return;
	}
	fact = add_fact(facts, "memory",
					memory->available_bytes < memory->total_bytes / 10 ?
					ENVIRONMENT_DANGER : ENVIRONMENT_OK,
					memory->available_bytes < memory->total_bytes / 10 ?
					"Less than a tenth is left. pg_session_memory shows who holds it." :
					NULL);
	snprintf(fact->value, sizeof(fact->value),
			 INT64_FORMAT " of " INT64_FORMAT " MB available, %s%.100s",
			 memory->available_bytes >> 20, memory->total_bytes >> 20,
			 memory->source < 0 ? "" : "control group ", name);

	/* What would be held if all connections were made and held the same. */
	if (server->session_bytes < 0 || server->sessions == 0)
		return;
	all = server->session_bytes / server->sessions * server->max_connections;
	fact = add_fact(facts, "max_connections", ENVIRONMENT_OK, NULL);
	snprintf(fact->value, sizeof(fact->value),
			 "%d x " INT64_FORMAT " MB = " INT64_FORMAT " MB",
			 server->max_connections,
			 (server->session_bytes / server->sessions) >> 20, all >> 20);
	if (all - server->session_bytes > memory->available_bytes)
	{
		fact->verdict = ENVIRONMENT_DANGER;
		fact->advice = "If all connections were in use and held what sessions hold now on average, memory would not do. Lower max_connections, put a pooler in front, or have sessions give memory back (pg_session_memory.trim_when_idle).";
	}
	else if (all - server->session_bytes > memory->available_bytes / 2)
	{
		fact->verdict = ENVIRONMENT_NOTE;
		fact->advice = "If all connections were in use and held what sessions hold now on average, more than half of the memory that is left would be gone, without any sort or hash table.";
	}
}

/* Whether the OOM killer, once at work in a group, ends all that is in it. */
static void
group_facts(Facts *facts, const MemorySources *sources)
{
	for (int i = 0; i < sources->count; i++)
	{
		char		path[2 * SERVER_MEMORY_PATH];
		int64		together;
		EnvironmentFact *fact;

		if (!sources->groups[i].unified)
			continue;
		snprintf(path, sizeof(path), "%s/memory.oom.group",
				 sources->groups[i].directory);
		if (!read_number(facts, path, &together))
			continue;
		if (together == 0 && i + 1 < sources->count)
			continue;
		fact = add_fact(facts, "memory.oom.group",
						together != 0 ? ENVIRONMENT_DANGER : ENVIRONMENT_OK,
						together != 0 ? "When memory is gone the kernel ends every process of this control group, the postmaster included: the whole container goes. Kubernetes sets this from 1.28 on; singleProcessOOMKill of the kubelet takes it back." :
						NULL);
		snprintf(fact->value, sizeof(fact->value), "%d (%.200s)",
				 (int) together, sources->groups[i].name);
		return;
	}
}

/* Whom the OOM killer spares. */
static void
oom_score_facts(Facts *facts, const EnvironmentServer *server)
{
	int64		postmaster;
	int64		session;
	EnvironmentFact *fact;

	if (!read_process_number(facts, server->postmaster_pid, "oom_score_adj",
							 &postmaster) ||
		!read_process_number(facts, server->session_pid, "oom_score_adj",
							 &session))
		return;
	fact = add_fact(facts, "oom_score_adj of the postmaster",
					ENVIRONMENT_OK, NULL);
	snprintf(fact->value, sizeof(fact->value), INT64_FORMAT, postmaster);
	if (postmaster > session)
	{
		fact->verdict = ENVIRONMENT_DANGER;
		fact->advice = "The kernel would rather end the postmaster, and with it the server, than one session. Set OOMScoreAdjust=-1000 in its systemd unit.";
	}
	else if (postmaster > -900)
	{
		fact->verdict = ENVIRONMENT_NOTE;
		fact->advice = "The kernel may end the postmaster, and with it the server. Set OOMScoreAdjust=-1000 in its systemd unit, and PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj in its environment, so that sessions are not spared as well.";
	}

	fact = add_fact(facts, "oom_score_adj of sessions", ENVIRONMENT_OK, NULL);
	snprintf(fact->value, sizeof(fact->value), INT64_FORMAT, session);
	if (session <= -900)
	{
		fact->verdict = ENVIRONMENT_DANGER;
		fact->advice = "Sessions are spared like the postmaster: when one of them grows, the kernel ends everything else, or finds nothing to end. Set PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj in the environment of the postmaster.";
	}
}

/* How the machine deals with memory that is asked for and not there. */
static void
machine_facts(Facts *facts, const ServerMemory *memory)
{
	int64		number;
	EnvironmentFact *fact;

	if (read_number(facts, "/proc/sys/vm/overcommit_memory", &number))
	{
		fact = add_fact(facts, "vm.overcommit_memory", ENVIRONMENT_OK, NULL);
		snprintf(fact->value, sizeof(fact->value), INT64_FORMAT, number);
		if (number == 1)
		{
			fact->verdict = ENVIRONMENT_DANGER;
			fact->advice = "The kernel promises any amount of memory, so the OOM killer is the only limit. Set it to 2, or to 0 where that can't be.";
		}
		else if (number != 2)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "The kernel promises more memory than there is, so the OOM killer is the limit. With 2 a statement fails with \"out of memory\" instead. In a control group with a limit of its own this does not help: set pg_session_memory.process_limit.";
		}
		else if (memory->source >= 0)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "It counts for the machine; the limit of the control group is reached before. Set pg_session_memory.process_limit.";
		}
	}
	if (memory->swap_bytes >= 0)
	{
		fact = add_fact(facts, "swap", ENVIRONMENT_OK, NULL);
		print_megabytes(fact->value, memory->swap_bytes);
		if (memory->swap_bytes == 0)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "Without swap the OOM killer comes without a warning: memory is there until it is gone.";
		}
	}
}

static void
server_facts(Facts *facts, const EnvironmentServer *server)
{
	int64		scope;
	EnvironmentFact *fact;

	if (read_number(facts, "/proc/sys/kernel/yama/ptrace_scope", &scope))
	{
		fact = add_fact(facts, "kernel.yama.ptrace_scope", ENVIRONMENT_OK,
						NULL);
		snprintf(fact->value, sizeof(fact->value), INT64_FORMAT, scope);
		if (scope >= 2)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "No process may read another one's memory: the view shows what sessions have published of themselves, and the history has no categories of running statements. Set it to 1 or 0.";
		}
		else if (scope == 1 && !server->is_preloaded)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "Sessions can be read only where pg_session_memory is in shared_preload_libraries.";
		}
	}

	fact = add_fact(facts, "shared_preload_libraries",
					server->is_preloaded ? ENVIRONMENT_OK : ENVIRONMENT_NOTE,
					server->is_preloaded ? NULL :
					"Without preloading nothing watches the server, and nobody can tell afterwards what there was. Add pg_session_memory to shared_preload_libraries and restart.");
	strcpy(fact->value, server->is_preloaded ?
		   "pg_session_memory is preloaded" : "pg_session_memory is missing");

	fact = add_fact(facts, "pg_session_memory.process_limit", ENVIRONMENT_OK,
					NULL);
	if (server->limit_bytes < 0)
		strcpy(fact->value, "-1");
	if (server->limit_bytes < 0 && strcmp(server->guard, "on") != 0)
	{
		fact->verdict = ENVIRONMENT_NOTE;
		fact->advice = "One statement can take all memory that there is. A limit makes it fail instead, before the kernel ends a session and PostgreSQL restarts all.";
	}
	else if (server->limit_bytes >= 0)
	{
		print_megabytes(fact->value, server->limit_bytes);
		if (server->jit)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "jit is on: a session that reaches the limit while it compiles is ended, since LLVM can't go on without memory. Set jit = off, or live with that.";
		}
	}
}

/* Whether something keeps the server from running out of memory. */
static void
guard_facts(Facts *facts, const EnvironmentServer *server,
			const ServerMemory *memory)
{
	int64		reserve = server->reserve_bytes;
	bool		is_on = strcmp(server->guard, "on") == 0;
	EnvironmentFact *fact;

	/* Without preloading there is none. */
	if (!server->is_preloaded)
		return;
	fact = add_fact(facts, "pg_session_memory.guard", ENVIRONMENT_OK, NULL);
	if (reserve < 0 && memory->total_bytes >= 0)
		reserve = guard_default_reserve(memory->total_bytes);
	snprintf(fact->value, sizeof(fact->value), "%.10s, reserve "
			 INT64_FORMAT " MB", server->guard, Max(reserve, 0) >> 20);
	if (!is_on)
	{
		fact->verdict = ENVIRONMENT_NOTE;
		fact->advice = strcmp(server->guard, "log") == 0 ?
			"The guard tells the log what it would do, and does nothing. If that is right, set it to on: then statements fail with \"out of memory\" before the kernel ends a session." :
			"Nothing keeps sessions from taking all memory together. Set it to log, and when what that says is right, to on.";
	}
	else if (!server->moves_limits)
	{
		fact->verdict = ENVIRONMENT_DANGER;
		fact->advice = "The operating system does not let one process of the server set the limits of another one, prlimit(2): the guard can only cancel and terminate, which may come too late. Look at what secures the container: seccomp, SELinux, AppArmor.";
	}
	else if (memory->total_bytes >= 0 &&
			 reserve > memory->total_bytes / 2)
	{
		fact->verdict = ENVIRONMENT_NOTE;
		fact->advice = "The reserve is more than half of all memory: sessions can't have that. See pg_session_memory.guard_reserve.";
	}

	fact = add_fact(facts, "pg_session_memory.server_limit", ENVIRONMENT_OK,
					NULL);
	if (server->server_limit_bytes < 0)
		strcpy(fact->value, "-1");
	else
	{
		print_megabytes(fact->value, server->server_limit_bytes);
		if (!is_on)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "It is the guard that keeps it, and pg_session_memory.guard is not on.";
		}
		else if (memory->total_bytes >= 0 &&
				 server->server_limit_bytes > memory->total_bytes)
		{
			fact->verdict = ENVIRONMENT_NOTE;
			fact->advice = "It is more than there is.";
		}
	}
}

int
environment_read(const char *root, const EnvironmentServer *server,
				 EnvironmentFact *facts)
{
	static MemorySources sources;
	ServerMemory memory;
	Facts		collected = {root, facts, 0};

	server_memory_find(&sources, root);
	(void) server_memory_read(&sources, &memory);
	memory_facts(&collected, server, &sources, &memory);
	group_facts(&collected, &sources);
	oom_score_facts(&collected, server);
	machine_facts(&collected, &memory);
	server_facts(&collected, server);
	guard_facts(&collected, server, &memory);
	return collected.count;
}

const char *
environment_verdict_name(EnvironmentVerdict verdict)
{
	switch (verdict)
	{
		case ENVIRONMENT_OK:
			return "ok";
		case ENVIRONMENT_NOTE:
			return "note";
		case ENVIRONMENT_DANGER:
			return "danger";
	}
	return "unknown";
}
