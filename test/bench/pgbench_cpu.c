/*
 * pgbench_cpu.c
 *	  Has pgbench tell how much CPU its sessions used.
 *
 * For LD_PRELOAD.  A session's process ends when pgbench closes the
 * connection, and what the kernel has counted for it is gone; so this looks
 * right before that, and when the connection was made.  At the end it writes
 * "backend cpu: N ns" to standard error, the sum over all connections.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <libpq-fe.h>

static atomic_llong total;

/* Nanoseconds of CPU of a process, or -1 if it does not sleep now. */
static long long
read_counter(int pid)
{
	char		path[64];
	char		state;
	long long	ns;
	FILE	   *file;
	int			found = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if ((file = fopen(path, "r")) != NULL)
	{
		found = fscanf(file, "%*d (%*[^)]) %c", &state);
		fclose(file);
	}
	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	if (found == 1 && (file = fopen(path, "r")) != NULL)
	{
		found += fscanf(file, "%lld", &ns);
		fclose(file);
	}
	if (found != 2)
	{
		fprintf(stderr, "could not read %s\n", path);
		exit(1);
	}
	return state == 'S' ? ns : -1;
}

/*
 * The kernel adds up when a process goes to sleep or its time slice ends, and
 * a session's answer is here shortly before it sleeps: wait until it does and
 * its counter rests.
 */
static long long
backend_cpu(PGconn *conn)
{
	const struct timespec pause = {0, 100000};
	long long	before;
	long long	now = -1;

	do
	{
		before = now;
		nanosleep(&pause, NULL);
		now = read_counter(PQbackendPID(conn));
	} while (now < 0 || now != before);
	return now;
}

PGconn *
PQconnectdbParams(const char *const *keywords, const char *const *values,
				  int expand_dbname)
{
	PGconn	   *(*next) (const char *const *, const char *const *, int) =
		dlsym(RTLD_NEXT, "PQconnectdbParams");
	PGconn	   *conn = next(keywords, values, expand_dbname);

	if (PQstatus(conn) == CONNECTION_OK)
		total -= backend_cpu(conn);
	return conn;
}

void
PQfinish(PGconn *conn)
{
	void		(*next) (PGconn *) = dlsym(RTLD_NEXT, "PQfinish");

	if (PQstatus(conn) == CONNECTION_OK)
		total += backend_cpu(conn);
	next(conn);
}

__attribute__((destructor))
static void
tell(void)
{
	fprintf(stderr, "backend cpu: %lld ns\n", (long long) total);
}
