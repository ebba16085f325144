/*-------------------------------------------------------------------------
 *
 * environment_test.c
 *	  src/watcher/environment.c by itself, on made-up machines.
 *
 *	environment_test DIRECTORY
 *
 * A healthy machine is made, and its facts are all ok.  Then one thing after
 * the other is made worse, and that fact alone has to say so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "made_up_tree.h"
#include "watcher/environment.h"

static int	checks;
static int	failures;
static EnvironmentServer server;

void
ExceptionalCondition(const char *condition,
#if PG_VERSION_NUM < 160000
					 const char *type,
#endif
					 const char *file, int line)
{
	printf("%s:%d: %s\n", file, line, condition);
	abort();
}

/* A machine, and a server on it, of which nothing is to be said. */
static void
healthy(void)
{
	static int	number;

	begin_tree(++number);
	put("/proc/meminfo",
		"MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\n"
		"SwapFree:        1048576 kB\n");
	put("/proc/self/cgroup", "0::/pg\n");
	put("/proc/self/mountinfo",
		"31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/pg/memory.max", "max\n");
	put("/sys/fs/cgroup/pg/memory.oom.group", "0\n");
	put("/proc/10/oom_score_adj", "-1000\n");
	put("/proc/11/oom_score_adj", "0\n");
	put("/proc/sys/vm/overcommit_memory", "2\n");
	put("/proc/sys/kernel/yama/ptrace_scope", "1\n");
	server = (EnvironmentServer)
	{
		.postmaster_pid = 10,.session_pid = 11,.is_preloaded = true,
			.jit = false,.limit_bytes = 1024 * 1024 * 1024,
			.guard = "on",.reserve_bytes = -1,.server_limit_bytes = -1,
			.moves_limits = true,.max_connections = 100,.sessions = 10,
			.session_bytes = 50 * 1024 * 1024
	};
}

/*
 * The fact called item must have this verdict, a value with these words in it,
 * and advice exactly if it is not ok.  All others must be ok.  verdict -1: the
 * fact must not be there.
 */
static void
expect(const char *item, int verdict, const char *words)
{
	static EnvironmentFact facts[ENVIRONMENT_FACTS];
	int			count = environment_read(root, &server, facts);
	bool		found = false;

	checks++;
	for (int i = 0; i < count; i++)
	{
		EnvironmentFact *fact = &facts[i];
		bool		is_it = item != NULL && strcmp(fact->item, item) == 0;

		found |= is_it;
		if ((is_it ? (int) fact->verdict == verdict &&
			 strstr(fact->value, words) != NULL :
			 fact->verdict == ENVIRONMENT_OK) &&
			(fact->advice != NULL) == (fact->verdict != ENVIRONMENT_OK))
			continue;
		failures++;
		printf("%s made worse: %s is \"%s\", %s: %s\n", item ? item : "nothing",
			   fact->item, fact->value,
			   environment_verdict_name(fact->verdict),
			   fact->advice ? fact->advice : "no advice");
	}
	if (item != NULL && found != (verdict >= 0))
	{
		failures++;
		printf("%s is %s\n", item, found ? "there" : "not there");
	}
}

int
main(int argc, char **argv)
{
	if (argc != 2)
	{
		fprintf(stderr, "usage: environment_test DIRECTORY\n");
		return 2;
	}
	trees = argv[1];

	healthy();
	expect(NULL, ENVIRONMENT_OK, "");
	expect("memory", ENVIRONMENT_OK, "8192 of 16384 MB available, machine");
	expect("max_connections", ENVIRONMENT_OK, "100 x 5 MB = 500 MB");
	expect("memory.oom.group", ENVIRONMENT_OK, "0 (/pg)");

	healthy();
	put("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 1048576 kB\n"
		"SwapFree: 1048576 kB\n");
	expect("memory", ENVIRONMENT_DANGER, "1024 of 16384 MB");

	healthy();
	put("/proc/meminfo", "");
	expect("memory", ENVIRONMENT_NOTE, "");

	healthy();
	put("/sys/fs/cgroup/pg/memory.max", "1073741824\n");
	put("/sys/fs/cgroup/pg/memory.current", "104857600\n");
	put("/proc/sys/vm/overcommit_memory", "2\n");
	expect("vm.overcommit_memory", ENVIRONMENT_NOTE, "2");

	healthy();
	server.session_bytes = (int64) 10 * 50 * 1024 * 1024;
	expect("max_connections", ENVIRONMENT_NOTE, "100 x 50 MB = 5000 MB");
	server.session_bytes = (int64) 10 * 100 * 1024 * 1024;
	expect("max_connections", ENVIRONMENT_DANGER, "100 x 100 MB = 10000 MB");
	server.sessions = 0;
	server.session_bytes = -1;
	expect("max_connections", -1, "");

	healthy();
	put("/sys/fs/cgroup/pg/memory.oom.group", "1\n");
	expect("memory.oom.group", ENVIRONMENT_DANGER, "1 (/pg)");

	/* That of a group above counts as well. */
	healthy();
	put("/proc/self/cgroup", "0::/pod/pg\n");
	put("/sys/fs/cgroup/pod/memory.max", "max\n");
	put("/sys/fs/cgroup/pod/memory.oom.group", "1\n");
	put("/sys/fs/cgroup/pod/pg/memory.max", "max\n");
	put("/sys/fs/cgroup/pod/pg/memory.oom.group", "0\n");
	expect("memory.oom.group", ENVIRONMENT_DANGER, "1 (/pod)");

	healthy();
	put("/proc/10/oom_score_adj", "0\n");
	expect("oom_score_adj of the postmaster", ENVIRONMENT_NOTE, "0");
	put("/proc/11/oom_score_adj", "-500\n");
	expect("oom_score_adj of the postmaster", ENVIRONMENT_DANGER, "0");
	put("/proc/10/oom_score_adj", "-1000\n");
	put("/proc/11/oom_score_adj", "-1000\n");
	expect("oom_score_adj of sessions", ENVIRONMENT_DANGER, "-1000");

	healthy();
	put("/proc/sys/vm/overcommit_memory", "0\n");
	expect("vm.overcommit_memory", ENVIRONMENT_NOTE, "0");
	put("/proc/sys/vm/overcommit_memory", "1\n");
	expect("vm.overcommit_memory", ENVIRONMENT_DANGER, "1");

	healthy();
	put("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n"
		"SwapFree: 0 kB\n");
	expect("swap", ENVIRONMENT_NOTE, "0 MB");

	healthy();
	put("/proc/sys/kernel/yama/ptrace_scope", "3\n");
	expect("kernel.yama.ptrace_scope", ENVIRONMENT_NOTE, "3");

	healthy();
	server.limit_bytes = -1;
	expect("pg_session_memory.process_limit", ENVIRONMENT_OK, "-1");
	server.limit_bytes = 1024 * 1024;
	server.jit = true;
	expect("pg_session_memory.process_limit", ENVIRONMENT_NOTE, "1 MB");

	healthy();
	expect("pg_session_memory.guard", ENVIRONMENT_OK, "on, reserve 819 MB");
	server.guard = "log";
	expect("pg_session_memory.guard", ENVIRONMENT_NOTE, "log, reserve 819 MB");
	server.guard = "off";
	expect("pg_session_memory.guard", ENVIRONMENT_NOTE, "off");

	healthy();
	server.moves_limits = false;
	expect("pg_session_memory.guard", ENVIRONMENT_DANGER, "on");
	server.moves_limits = true;
	server.reserve_bytes = (int64) 9 * 1024 * 1024 * 1024;
	expect("pg_session_memory.guard", ENVIRONMENT_NOTE, "on, reserve 9216 MB");

	healthy();
	server.server_limit_bytes = (int64) 8 * 1024 * 1024 * 1024;
	expect("pg_session_memory.server_limit", ENVIRONMENT_OK, "8192 MB");
	server.server_limit_bytes = (int64) 20 * 1024 * 1024 * 1024;
	expect("pg_session_memory.server_limit", ENVIRONMENT_NOTE, "20480 MB");

	healthy();
	put("/proc/sys/kernel/yama/ptrace_scope", "0\n");
	server.is_preloaded = false;
	expect("shared_preload_libraries", ENVIRONMENT_NOTE, "missing");

	printf("%d checks, %d failures\n", checks, failures);
	return failures > 0;
}
