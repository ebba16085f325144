/*-------------------------------------------------------------------------
 *
 * memory_reader_test.c
 *	  src/reading/memory_reader.c by itself, without a server: it has to give the bytes
 *	  of the process that it reads, and nothing where nothing is mapped,
 *	  whatever it was asked for before.
 *
 *	memory_reader_test [SEED [ROUNDS]]
 *
 * Two processes have the same pages mapped, with gaps, and different bytes in
 * them.  A round reads some thousand places of one of them, then of the other
 * one, mostly the same ones in the same order: upwards, downwards or anywhere.
 * Now and then calls fail or are cut short at any byte.
 *
 * check.sh compiles it with sanitizers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "miscadmin.h"

#include "other_process.h"
#include "reading/memory_reader.h"

/* Those of the system: there is no server with its own ones. */
#undef fprintf
#undef printf

#define PAGE		4096
#define PAGES		16384
#define PLACES		3000
#define PROCESSES	2

typedef struct Place
{
	size_t		offset;
	size_t		length;
} Place;

static unsigned char *memory;	/* the same addresses in all processes */
static bool mapped[PAGES];
static Place places[PLACES];
static bool reads_fail;			/* some of them */

/* A number below limit */
static size_t
below(size_t limit)
{
	return random() % limit;
}

/* ----------------------------------------------------------------------------
 * What the reader needs of a server
 * ----------------------------------------------------------------------------
 */

pid_t		PostmasterPid;

void *
palloc(Size size)
{
	return malloc(size);
}

void *
palloc0(Size size)
{
	return calloc(1, size);
}

/* ----------------------------------------------------------------------------
 * What the reader needs of the system
 * ----------------------------------------------------------------------------
 */

/* In the place of the C library's */
ssize_t
process_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals,
				 const struct iovec *remote, unsigned long remotes,
				 unsigned long flags)
{
	static const int errors[] = {EPERM, ESRCH, EFAULT};
	ssize_t		copied;
	ssize_t		end = 0;

	if (reads_fail && below(10) == 0)
	{
		errno = errors[below(lengthof(errors))];
		return -1;
	}
	copied = syscall(SYS_process_vm_readv, pid, local, locals, remote, remotes,
					 flags);
	if (!reads_fail || copied <= 0 || below(10) > 0)
		return copied;

	/* Short by some or by most, and what it does not say has not come. */
	copied = below(below(2) == 0 ? copied : Min(copied, 600));
	for (unsigned long i = 0; i < locals; i++)
	{
		for (size_t j = 0; j < local[i].iov_len; j++, end++)
		{
			if (end >= copied)
				((char *) local[i].iov_base)[j] = (char) 0xA5;
		}
	}
	return copied;
}

/* ----------------------------------------------------------------------------
 * The test
 * ----------------------------------------------------------------------------
 */

/* The byte that a process has at a place. */
static unsigned char
byte_of(size_t offset, int process)
{
	return (offset / 8 * 2654435761u + process * 977) >> 13;
}

static void
make_memory(void)
{
	size_t		page = 0;

	memory = mmap(NULL, (size_t) PAGES * PAGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	while (page < PAGES)
	{
		bool		gap = below(6) == 0;
		size_t		length = 1 + below(below(5) == 0 ? 6 : 400);

		for (; length > 0 && page < PAGES; length--, page++)
			mapped[page] = !gap;
	}
	for (page = 0; page < PAGES; page++)
	{
		if (mapped[page] && mprotect(memory + page * PAGE, PAGE,
									 PROT_READ | PROT_WRITE) != 0)
			die("mprotect");
	}
}

/* Gives each page the bytes of a process. */
static void
fill_memory(int process)
{
	for (size_t i = 0; i < (size_t) PAGES * PAGE; i++)
	{
		if (mapped[i / PAGE])
			memory[i] = byte_of(i, process);
	}
}

static void
choose_places(void)
{
	const size_t end = (size_t) PAGES * PAGE - 2 * MEMORY_READER_MAX_MAP;
	enum {UPWARDS, DOWNWARDS, ANYWHERE} order = below(3);
	size_t		at = below(end);

	for (int i = 0; i < PLACES; i++)
	{
		size_t		step = below(6000);

		if (order == ANYWHERE || below(200) == 0)
			at = below(end);
		else
			at = (at + (order == UPWARDS ? step : end - step)) % end;
		places[i].offset = at;
		places[i].length =
			1 + below(below(3) == 0 ? MEMORY_READER_MAX_MAP : 200);
	}
}

/* Returns whether it could be read; ends the program where that is wrong. */
static bool
check_place(MemoryReader *reader, const Place *place, int process)
{
	const unsigned char *bytes;
	char		string[300];
	int			length;
	bool		there = true;

	for (size_t page = place->offset / PAGE;
		 page <= (place->offset + place->length - 1) / PAGE; page++)
		there = there && mapped[page];

	bytes = memory_reader_map(reader, (uintptr_t) memory + place->offset,
							  place->length);
	if (bytes == NULL && (reads_fail ? memory_reader_errno(reader) == 0 :
						  memory_reader_errno(reader) != EFAULT))
	{
		printf("a read fails without the reason\n");
		exit(1);
	}
	if (bytes == NULL && reads_fail)
		return false;
	if ((bytes != NULL) != there)
	{
		printf("%s is %s\n", there ? "what is mapped" : "a gap",
			   there ? "not read" : "read");
		exit(1);
	}
	for (size_t i = 0; there && i < place->length; i++)
	{
		if (bytes[i] != byte_of(place->offset + i, process))
		{
			printf("a wrong byte was read\n");
			exit(1);
		}
	}

	if (below(10) > 0)
		return there;
	length = memory_reader_string(reader, (uintptr_t) memory + place->offset,
								  string, sizeof(string));
	for (int i = 0; i < length; i++)
	{
		if ((unsigned char) string[i] != byte_of(place->offset + i, process))
		{
			printf("a wrong string was read\n");
			exit(1);
		}
	}
	return there;
}

int
main(int argc, char **argv)
{
	int			seed = argc > 1 ? atoi(argv[1]) : 1;
	int			rounds = argc > 2 ? atoi(argv[2]) : 40;
	pid_t		pids[PROCESSES];
	MemoryReader *readers[] = {
		memory_reader_open(MEMORY_READER_WALK),
		memory_reader_open(MEMORY_READER_CHUNKS),
	};
	long		gaps = 0;
	long		there = 0;

	srandom(seed);
	make_memory();
	for (int i = 0; i < PROCESSES; i++)
		pids[i] = start_other(fill_memory, i);

	for (int round = 0; round < rounds; round++)
	{
		MemoryReader *reader = readers[below(2)];

		if (round % 4 == 0)
			choose_places();
		else
		{
			for (int i = 0; i < PLACES / 20; i++)
				places[below(PLACES)] = places[below(PLACES)];
		}
		reads_fail = below(4) == 0;

		for (int look = 0; look < 3; look++)
		{
			int			process = below(PROCESSES);

			memory_reader_attach(reader, pids[process]);
			for (int i = 0; i < PLACES; i++)
			{
				if (below(50) == 0)
					continue;
				if (check_place(reader, &places[i], process))
					there++;
				else if (!reads_fail)
					gaps++;
			}
		}
	}

	/* Nothing is proven by places of one kind only. */
	printf("%ld places read, %ld in gaps\n", there, gaps);
	for (int i = 0; i < PROCESSES; i++)
		end_other(pids[i]);
	return there > 0 && gaps > 0 ? 0 : 1;
}
