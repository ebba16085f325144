/*
 * limits.c
 *	  What this machine takes for the steps that a look consists of.
 *
 * A look at another session is system calls that copy its memory, and cache
 * misses and copies of its pages; a session that comes back from a trim has
 * page faults.  No code can do these faster, so they say how far a figure is
 * from what can be reached.  Each step is done many times in a row, and what
 * is printed, as JSON, is nanoseconds of CPU of one.
 *
 * Other memory means memory of another process, in places 64 kB and more
 * apart, that is in no cache.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../other_process.h"

/* More than any cache has. */
#define MEMORY		((size_t) 512 << 20)
#define PAGE		4096
#define LINE		64

static double
cpu_ns(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
		die("clock_gettime");
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* In pages of 4 kB, which PostgreSQL's sessions have. */
static char *
new_memory(void)
{
	char	   *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
							  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	madvise(memory, MEMORY, MADV_NOHUGEPAGE);
	return memory;
}

/* A number below limit; every caller gets the same sequence. */
static size_t
next_random(uint64_t *state, size_t limit)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (*state >> 33) % limit;
}

static double
empty_call(void)
{
	const int	times = 1000000;
	double		began = cpu_ns();

	for (int i = 0; i < times; i++)
		syscall(SYS_getppid);
	return (cpu_ns() - began) / times;
}

static double
read_other(pid_t pid, char *memory, size_t bytes)
{
	const int	times = 10000;
	static char here[128 << 10];
	uint64_t	random = 1;
	double		began;

	memset(here, 1, sizeof(here));
	began = cpu_ns();
	for (int i = 0; i < times; i++)
	{
		size_t		place = next_random(&random, (MEMORY >> 16) - 1);
		struct iovec local = {here, bytes};
		struct iovec remote = {memory + (place << 16), bytes};

		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) !=
			(ssize_t) bytes)
			die("process_vm_readv");
	}
	return (cpu_ns() - began) / times;
}

/*
 * The same number of bytes of each of many pages that follow each other, with
 * one call: of one page.
 */
static double
read_pages(pid_t pid, char *memory, size_t bytes)
{
	enum {pages = 64};
	const int	times = 2000;
	static char here[pages * PAGE];
	struct iovec local[pages];
	struct iovec remote[pages];
	double		began;

	memset(here, 1, sizeof(here));
	began = cpu_ns();
	for (size_t i = 0; i < times; i++)
	{
		for (size_t page = 0; page < pages; page++)
		{
			local[page].iov_base = here + page * PAGE;
			remote[page].iov_base = memory + (i * pages + page) * PAGE;
			local[page].iov_len = remote[page].iov_len = bytes;
		}
		if (process_vm_readv(pid, local, pages, remote, pages, 0) !=
			(ssize_t) (bytes * pages))
			die("process_vm_readv");
	}
	return (cpu_ns() - began) / times / pages;
}

/* One page to a place that stays in the cache, as a reader's cache does. */
static double
copy_page(char *memory)
{
	static char here[PAGE];
	uint64_t	random = 1;
	const int	times = 100000;
	double		began = cpu_ns();

	for (int i = 0; i < times; i++)
	{
		memcpy(here, memory + next_random(&random, MEMORY / PAGE) * PAGE,
			   PAGE);
		/* So that no copy is left out. */
		__asm__ volatile("" : : "r" (here) : "memory");
	}
	return (cpu_ns() - began) / times;
}

/*
 * Each line holds the place of the next one, in an order that no prefetcher
 * guesses: a walk over a list of contexts is like that.
 */
static double
cache_miss(char *memory)
{
	const int	times = 2000000;
	size_t		lines = MEMORY / LINE;
	size_t		at = 0;
	uint64_t	random = 7;
	double		began;

	/* Sattolo's shuffle: all lines are one cycle. */
	for (size_t i = 0; i < lines; i++)
		*(size_t *) (memory + i * LINE) = i;
	for (size_t i = lines - 1; i > 0; i--)
	{
		size_t	   *one = (size_t *) (memory + i * LINE);
		size_t	   *other = (size_t *) (memory +
										next_random(&random, i) * LINE);
		size_t		kept = *one;

		*one = *other;
		*other = kept;
	}
	began = cpu_ns();
	for (int i = 0; i < times; i++)
		at = *(size_t *) (memory + at * LINE);
	__asm__ volatile("" : : "r" (at));
	return (cpu_ns() - began) / times;
}

/*
 * A file in /proc of the other process: what opening, reading all of it and
 * closing it takes.
 */
static double
read_file(pid_t pid, const char *name)
{
	const int	times = 10000;
	static char here[PAGE];
	char		path[64];
	double		began = cpu_ns();

	snprintf(path, sizeof(path), "/proc/%d/%s", (int) pid, name);
	for (int i = 0; i < times; i++)
	{
		int			file = open(path, O_RDONLY);
		ssize_t		length;

		if (file < 0)
			die(path);
		while ((length = read(file, here, sizeof(here) - 1)) > 0)
			;
		if (length < 0)
			die(path);
		close(file);
	}
	return (cpu_ns() - began) / times;
}

/* Which of 64 pages that follow each other are there. */
static double
ask_pages(pid_t pid, char *memory)
{
	enum {pages = 64};
	const int	times = 10000;
	uint64_t	here[pages];
	uint64_t	random = 3;
	char		path[64];
	int			file;
	double		began;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int) pid);
	file = open(path, O_RDONLY);
	if (file < 0)
		die(path);
	began = cpu_ns();
	for (int i = 0; i < times; i++)
	{
		uintptr_t	place = (uintptr_t) memory +
			next_random(&random, MEMORY / PAGE - pages) * PAGE;

		if (pread(file, here, sizeof(here), place / PAGE * sizeof(here[0])) !=
			sizeof(here))
			die(path);
	}
	began = (cpu_ns() - began) / times;
	close(file);
	return began;
}

static double
page_fault(void)
{
	char	   *memory = new_memory();
	const int	times = 50000;
	double		began = cpu_ns();

	for (int i = 0; i < times; i++)
		memory[(size_t) i * PAGE] = 1;
	began = (cpu_ns() - began) / times;
	munmap(memory, MEMORY);
	return began;
}

/* What start_other has the other process do, and then we do ourselves */
static char *to_fill;

static void
fill_memory(int byte)
{
	memset(to_fill, byte, MEMORY);
}

int
main(void)
{
	static const int sizes[] = {64, 4096, 16384, 131072};
	char	   *memory = new_memory();
	pid_t		other;

	to_fill = memory;
	other = start_other(fill_memory, 1);

	printf("{\"empty system call\": %.1f", empty_call());
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		if (sizes[i] < 1024)
			printf(",\n \"process_vm_readv of %d bytes\": %.1f", sizes[i],
				   read_other(other, memory, sizes[i]));
		else
			printf(",\n \"process_vm_readv of %d kB\": %.1f", sizes[i] >> 10,
				   read_other(other, memory, sizes[i]));
	}
	printf(",\n \"64 bytes of one of 64 pages that a call reads\": %.1f",
		   read_pages(other, memory, 64));
	printf(",\n \"one of 64 pages that a call reads\": %.1f",
		   read_pages(other, memory, PAGE));
	printf(",\n \"64 pages in /proc/PID/pagemap\": %.1f",
		   ask_pages(other, memory));
	printf(",\n \"/proc/PID/status\": %.1f", read_file(other, "status"));
	end_other(other);

	fill_memory(1);
	printf(",\n \"copy of 4 kB that are in no cache\": %.1f",
		   copy_page(memory));
	printf(",\n \"cache miss\": %.1f", cache_miss(memory));
	printf(",\n \"page fault\": %.1f}\n", page_fault());
	return 0;
}
