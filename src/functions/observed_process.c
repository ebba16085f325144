/*-------------------------------------------------------------------------
 *
 * observed_process.c
 *	  A server process whose contexts somebody wants to see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "functions/observed_process.h"
#include "functions/permission.h"

bool
observed_process_open(int pid, MemoryReaderUse use,
					  ObservedProcess *observed)
{
	observed->self = pid == MyProcPid;
	if (!server_process_find(pid, &observed->process))
	{
		if (!observed->self)
		{
			server_process_warn_unknown(pid);
			return false;
		}
		/* In single-user mode nobody is listed. */
		memset(&observed->process, 0, sizeof(ServerProcess));
		observed->process.pid = pid;
		observed->process.start = MyStartTimestamp;
	}
	permission_require_see(&observed->process);

	if (observed->self)
		observed->reader = memory_reader_self();
	else
		observed->reader = memory_reader_open(use);
	return true;
}

/*
 * Raises what a walk that read nothing means: a refusal is an error with a
 * hint, memory in swap a WARNING; returns where the process is just not there
 * any more.
 */
static void
report_refusal(int pid, int error)
{
	if (error == EAGAIN)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("memory contexts of process %d are swapped out", pid),
				 errdetail("They were not read, since that would bring them back into memory.")));
	if (error != EPERM && error != EACCES && error != ENOSYS)
		return;
	errno = error;
	ereport(ERROR,
			(error == ENOSYS ? errcode(ERRCODE_FEATURE_NOT_SUPPORTED) :
			 errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("could not read memory of process %d: %m", pid),
			 errdetail("The operating system refuses process_vm_readv(2) between server processes."),
			 errhint("Add pg_session_memory to shared_preload_libraries, so that sessions permit it to their own server, or set kernel.yama.ptrace_scope to 0. In a container, its seccomp profile must permit process_vm_readv.")));
}

ContextWalkResult
observed_process_walk(ObservedProcess *observed, ContextVisitor *visitor)
{
	ContextWalkResult result;

	visitor->interruptible = true;
	if (observed->self)
		return context_walk(observed->reader, visitor);
	result = context_walk_process(observed->reader, observed->process.pid,
								  visitor);

	/* Else the pid might be another process's since. */
	if (!server_process_is_alive(&observed->process))
		return WALK_UNREADABLE;
	if (result == WALK_UNREADABLE)
		report_refusal(observed->process.pid,
					   memory_reader_errno(observed->reader));
	return result;
}
