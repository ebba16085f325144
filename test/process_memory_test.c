/*-------------------------------------------------------------------------
 *
 * process_memory_test.c
 *	  src/reading/process_memory.c by itself, without a server: figures have
 *	  to be found in a file of /proc however long its lines are.
 *
 *	process_memory_test
 *
 * The file is one of the test's own: only root could have a process with as
 * many groups.  Reads of it are cut short at any byte.
 *
 * check.sh compiles it with sanitizers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the system gives, as this test has it */
static int	open_made(const char *name, int flags);
static ssize_t read_made(int file, void *to, size_t size);

#define open open_made
#define read read_made
#include "../src/reading/process_memory.c"
#undef open
#undef read

int			MyProcPid;

static char made[1000000];
static size_t made_read;		/* so much of it */

static int
open_made(const char *name, int flags)
{
	made_read = 0;
	return open("/dev/null", flags);
}

static ssize_t
read_made(int file, void *to, size_t size)
{
	size_t		left = strlen(made) - made_read;

	if (random() % 3 == 0)
	{
		errno = EINTR;
		return -1;
	}
	if (size > left)
		size = left;
	if (size > 0 && random() % 2 == 0)
		size = 1 + random() % size;
	memcpy(to, made + made_read, size);
	made_read += size;
	return size;
}

/* A file as Linux 6.1 writes it, of a process that is in so many groups */
static void
make_status(int groups)
{
	char	   *at = made;

	at += sprintf(at, "Name:\tpostgres\nPid:\t4711\nGroups:\t");
	for (int i = 0; i < groups; i++)
		at += sprintf(at, "%d ", 100000 + i);
	at += sprintf(at, "\nVmPeak:\t  227636 kB\nVmRSS:\t   16004 kB\n"
				  "RssAnon:\t    1234 kB\nRssFile:\t   12000 kB\n"
				  "VmSwap:\t      56 kB\nThreads:\t1\nCpus_allowed_list:\t0-1\n");
}

int
main(int argc, char **argv)
{
	ProcessMemory memory;
	ProcessMemoryMap map;
	int			checked = 0;

	srandom(1);
	for (int groups = 0; groups < 65536; groups += 1 + groups / 7)
	{
		make_status(groups);
		for (int try = 0; try < 20; try++, checked++)
		{
			if (process_memory_read(4711, &memory) &&
				memory.anon_bytes == 1234 * 1024 &&
				memory.swap_bytes == 56 * 1024)
				continue;
			printf("%d groups: anon_bytes %lld, swap_bytes %lld\n", groups,
				   (long long) memory.anon_bytes,
				   (long long) memory.swap_bytes);
			return 1;
		}
	}

	/* What is not there is not found, and nothing that only looks like it. */
	strcpy(made, "Name:\tRssAnon:\nTotalVmSwap:\t7 kB\nRssAnon:\tmuch\n");
	if (process_memory_read(4711, &memory) || memory.anon_bytes != -1 ||
		memory.swap_bytes != -1 || process_memory_read_map(4711, &map))
	{
		printf("figures were found where there are none\n");
		return 1;
	}
	printf("%d files of up to %zu bytes\n", checked, sizeof(made));
	return 0;
}
