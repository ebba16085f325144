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
static ssize_t pread_made(int file, void *to, size_t size, off_t offset);

#define open open_made
#define read read_made
#define pread pread_made
#include "../src/reading/process_memory.c"
#undef open
#undef read
#undef pread

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

/* A file as short as statm comes in one piece, or a signal comes first. */
static ssize_t
pread_made(int file, void *to, size_t size, off_t offset)
{
	size_t		left = strlen(made) - offset;

	if (random() % 3 == 0)
	{
		errno = EINTR;
		return -1;
	}
	memcpy(to, made + offset, left < size ? left : size);
	return left < size ? left : size;
}

/* Whether statm with this text has these bytes, in pages. */
static bool
pages_are(const char *text, long resident, long shared, long private)
{
	const long	page = sysconf(_SC_PAGESIZE);
	ProcessPages pages;

	strcpy(made, text);
	return process_memory_read_pages(0, &pages) &&
		pages.resident_bytes == resident * page &&
		pages.shared_bytes == shared * page &&
		pages.private_bytes == private * page &&
		process_memory_anon_bytes(4711) == (resident - shared) * page;
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

	if (!pages_are("56803 9876 5432 1900 0 1234 0\n", 9876, 5432, 1234) ||
		!pages_are("9000000000 8000000000 0 1 0 7000000000 0\n", 8000000000, 0,
				   7000000000) ||
		pages_are("", 0, 0, 0) || pages_are("1 1 1 1 0\n", 1, 1, 0) ||
		pages_are("one 1 1 1 0 1 0\n", 1, 1, 1))
	{
		printf("statm is not read as it is: %s\n", made);
		return 1;
	}
	printf("%d files of up to %zu bytes\n", checked, sizeof(made));
	return 0;
}
