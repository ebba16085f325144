/*-------------------------------------------------------------------------
 *
 * other_process.h
 *	  A process to read from outside, for the C programs of the tests and
 *	  benchmarks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_OTHER_PROCESS_H
#define PGSM_OTHER_PROCESS_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

/*
 * Starts a process, with what this one has in its memory, that calls
 * fill(argument) and then rests; returns when it does.  It ends with this one.
 */
static pid_t
start_other(void (*fill) (int argument), int argument)
{
	int			ready[2];
	char		byte = 0;
	pid_t		pid;

	if (pipe(ready) != 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fill(argument);
		if (write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("read");
	close(ready[0]);
	return pid;
}

static void
end_other(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#endif							/* PGSM_OTHER_PROCESS_H */
