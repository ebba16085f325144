/*-------------------------------------------------------------------------
 *
 * refused_limits.c
 *	  Refuses a process to set the limits of another one.
 *
 * A library for LD_PRELOAD, which takes the place of prlimit(2): what a
 * container's seccomp filter can do.  SessionMemoryTest.pm builds it.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

extern long syscall(long number, ...);

#define PRLIMIT(name) \
int \
name(int pid, int resource, const void *new_limit, void *old_limit) \
{ \
	if (new_limit != 0 && pid != 0 && pid != getpid()) \
	{ \
		errno = EPERM; \
		return -1; \
	} \
	return syscall(SYS_prlimit64, pid, resource, new_limit, old_limit); \
}

PRLIMIT(prlimit)
PRLIMIT(prlimit64)
