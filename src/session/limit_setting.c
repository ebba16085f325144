/*-------------------------------------------------------------------------
 *
 * limit_setting.c
 *	  What is said to who sets process_limit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access/parallel.h"
#include "jit/jit.h"
#include "miscadmin.h"

#include "reading/process_memory.h"
#include "session/judge.h"
#include "session/limit_setting.h"
#include "settings.h"

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/*
 * Whether the kernel keeps to RLIMIT_DATA for all private memory, and not
 * just for what sbrk(2) gives: tried, since versions do not tell.
 */
static bool
limit_is_enforced(void)
{
	struct rlimit rlimit;
	struct rlimit small;
	sigset_t	all;
	sigset_t	before;
	void	   *memory;

	if (getrlimit(RLIMIT_DATA, &rlimit) != 0)
		return false;
	small = rlimit;
	small.rlim_cur = CEILING_SMALLEST;

	/* A signal's handler must not find that limit. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	memory = MAP_FAILED;
	if (setrlimit(RLIMIT_DATA, &small) == 0)
	{
		memory = mmap(NULL, 16 * CEILING_SMALLEST, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		setrlimit(RLIMIT_DATA, &rlimit);
	}
	else
		small.rlim_cur = rlimit.rlim_cur;
	sigprocmask(SIG_SETMASK, &before, NULL);

	if (memory != MAP_FAILED)
		munmap(memory, 16 * CEILING_SMALLEST);
	return memory == MAP_FAILED && small.rlim_cur == CEILING_SMALLEST;
}

bool
limit_setting_check(int *kilobytes, void **extra, GucSource source)
{
	struct rlimit rlimit;
	ProcessMemory memory;
	char		bytes[PRETTY_BYTES];

	/*
	 * Who sets it hears of it: a session, by SET or ALTER ROLE, or the log,
	 * when the server starts or its value has changed with a reload.
	 */
	if (*kilobytes < 0 || IsParallelWorker() ||
		!(source == PGC_S_SESSION || source == PGC_S_TEST ||
		  (source <= PGC_S_GLOBAL && PostmasterPid == MyProcPid &&
		   *kilobytes != setting_process_limit)))
		return true;

	if (!limit_is_enforced())
		ereport(WARNING,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pg_session_memory.process_limit has no effect here"),
				 errdetail("This operating system does not limit all private memory by RLIMIT_DATA. Linux does, from 4.7 on.")));
	else if (getrlimit(RLIMIT_DATA, &rlimit) == 0 &&
			 rlimit.rlim_max != RLIM_INFINITY &&
			 rlimit.rlim_max < (rlim_t) limit_setting_bytes(*kilobytes))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("pg_session_memory.process_limit is above the hard limit of the operating system"),
				 errdetail("The hard limit is %s, and that is what counts.",
						   pretty_bytes(rlimit.rlim_max, bytes)),
				 errhint("Raise it where the server is started: ulimit -d, or LimitDATA of its systemd unit.")));

	if (source == PGC_S_SESSION)
	{
		process_memory_read(MyProcPid, &memory);
		if (memory.data_bytes > limit_setting_bytes(*kilobytes))
			ereport(NOTICE,
					(errmsg("the process holds %s already, more than pg_session_memory.process_limit",
							pretty_bytes(memory.data_bytes, bytes)),
					 errdetail("It keeps what it has, and can get no more.")));
	}
	return true;
}

void
limit_setting_warn_jit(void)
{
	char		path[MAXPGPATH];

	if ((setting_process_limit < 0 && setting_guard != GUARD_ON) ||
		!jit_enabled)
		return;
	snprintf(path, sizeof(path), "%s/%s%s", pkglib_path, jit_provider,
			 DLSUFFIX);
	if (access(path, R_OK) != 0)
		return;
	ereport(WARNING,
			(setting_process_limit >= 0 ?
			 errmsg("pg_session_memory.process_limit is set and jit is on") :
			 errmsg("pg_session_memory.guard is on and jit is on"),
			 errdetail("A session that reaches its limit while it compiles an expression ends, since LLVM cannot do without memory."),
			 errhint("Set jit to off, for the server or for the roles that are limited.")));
}
