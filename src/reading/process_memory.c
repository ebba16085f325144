/*-------------------------------------------------------------------------
 *
 * process_memory.c
 *	  A process's memory as the operating system counts it.
 *
 * Linux tells it in /proc.  The files are read with plain system calls into
 * a buffer on the stack: this also runs where nothing may be allocated and
 * no error may be raised, and a file descriptor lives only while it reads.
 * Where there is no such file, nothing is known.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __linux__
#include <sys/resource.h>
#endif
#include <unistd.h>

#include "miscadmin.h"

#include "close_on_exec.h"
#include "reading/process_memory.h"

/*
 * As much of a file as is looked at at a time.  Lines that are longer have no
 * figure that we want: status has the numbers of all groups in one.
 */
#define PROC_FILE_BYTES		4096

static int
open_proc_file(int pid, const char *name)
{
	char		path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* As read(2), but for a signal in between. */
static int
read_some(int file, char *to, int bytes)
{
	ssize_t		got;

	do
		got = read(file, to, bytes);
	while (got < 0 && errno == EINTR);
	return got;
}

/* A figure in a file, and what stands before it: "\n<name>:". */
typedef struct Figure
{
	const char *label;
	int64		bytes;			/* -1 if it is not there */
} Figure;

/*
 * Finds those of the figures, which are in kB, that are in these lines.
 */
static void
find_figures(const char *lines, Figure *figures, int count)
{
	for (int i = 0; i < count; i++)
	{
		const char *at = strstr(lines, figures[i].label);
		char	   *end;
		int64		kilobytes;

		if (at == NULL || figures[i].bytes >= 0)
			continue;
		at += strlen(figures[i].label);
		kilobytes = strtol(at, &end, 10);
		if (end != at)
			figures[i].bytes = kilobytes * 1024;
	}
}

/*
 * Reads figures of /proc/<pid>/<name>; -1 is what is not there.
 */
static void
read_figures(int pid, const char *name, Figure *figures, int count)
{
	char		text[PROC_FILE_BYTES];
	int			length = 0;
	int			got;
	int			file = open_proc_file(pid, name);

	for (int i = 0; i < count; i++)
		figures[i].bytes = -1;
	if (file < 0)
		return;
	while ((got = read_some(file, text + length,
							sizeof(text) - 1 - length)) > 0)
	{
		char	   *end;

		length += got;
		text[length] = '\0';
		end = strrchr(text, '\n');
		if (end == NULL)
		{
			/* In the middle of a long line, but not without an end of it. */
			if (length == sizeof(text) - 1)
				length = 0;
			continue;
		}

		/* Lines that are whole; the newline is the next one's beginning. */
		*end = '\0';
		find_figures(text, figures, count);
		*end = '\n';
		length -= end - text;
		memmove(text, end, length);
		if (length == sizeof(text) - 1)
			length = 0;
	}
	close(file);
}

bool
process_memory_read(int pid, ProcessMemory *memory)
{
	Figure		figures[] = {{"\nRssAnon:"}, {"\nVmSwap:"}, {"\nVmData:"}};

	read_figures(pid, "status", figures, lengthof(figures));
	memory->anon_bytes = figures[0].bytes;
	memory->swap_bytes = figures[1].bytes;
	memory->data_bytes = figures[2].bytes;
	return memory->anon_bytes >= 0;
}

bool
process_memory_read_pages(int file, ProcessPages *pages)
{
	static long page_bytes = 0;
	char		text[256];
	char	   *at = text;
	int64		counts[6];
	ssize_t		length;

	do
		length = pread(file, text, sizeof(text) - 1, 0);
	while (length < 0 && errno == EINTR);

	/* All, in RAM, of files or shared in RAM, code, nothing, private. */
	if (length <= 0)
		return false;
	text[length] = '\0';
	for (int i = 0; i < lengthof(counts); i++)
	{
		char	   *from = at;

		counts[i] = strtol(from, &at, 10);
		if (at == from)
			return false;
	}
	if (page_bytes == 0)
		page_bytes = sysconf(_SC_PAGESIZE);
	pages->resident_bytes = counts[1] * page_bytes;
	pages->shared_bytes = counts[2] * page_bytes;
	pages->private_bytes = counts[5] * page_bytes;
	return pages->resident_bytes >= pages->shared_bytes;
}

bool
process_memory_read_pages_of(int pid, ProcessPages *pages)
{
	int			file = open_proc_file(pid, "statm");
	bool		known;

	if (file < 0)
		return false;
	known = process_memory_read_pages(file, pages);
	close(file);
	return known;
}

int64
process_memory_anon_bytes(int pid)
{
	ProcessPages pages;

	if (!process_memory_read_pages_of(pid, &pages))
		return -1;
	return pages.resident_bytes - pages.shared_bytes;
}

int64
process_memory_own_bytes(int64 interesting)
{
	int64		anon_bytes;
	ProcessPages pages;
	ProcessMemory memory;

	if (!process_memory_read_pages_of(MyProcPid, &pages))
		return -1;
	anon_bytes = pages.resident_bytes - pages.shared_bytes;

	/* Also with all that it may have in swap it is below. */
	if (Max(anon_bytes, pages.private_bytes) <= interesting ||
		!process_memory_read(MyProcPid, &memory))
		return anon_bytes;
	return memory.anon_bytes + Max(memory.swap_bytes, 0);
}

int64
process_memory_limit(int pid)
{
#ifdef __linux__
	struct rlimit rlimit;

	if (prlimit(pid, RLIMIT_DATA, NULL, &rlimit) == 0 &&
		rlimit.rlim_cur != RLIM_INFINITY)
		return (int64) rlimit.rlim_cur;
#endif
	return -1;
}

/* The sum of two figures, -1 if either is not known. */
static int64
sum(int64 one, int64 other)
{
	return one < 0 || other < 0 ? -1 : one + other;
}

bool
process_memory_read_map(int pid, ProcessMemoryMap *map)
{
	Figure		figures[] = {
		{"\nRss:"}, {"\nPss:"}, {"\nPrivate_Clean:"}, {"\nPrivate_Dirty:"},
		{"\nShared_Clean:"}, {"\nShared_Dirty:"}, {"\nAnonymous:"}, {"\nSwap:"},
		{"\nPss_Anon:"}, {"\nPss_File:"}, {"\nPss_Shmem:"}
	};

	read_figures(pid, "smaps_rollup", figures, lengthof(figures));
	map->rss_bytes = figures[0].bytes;
	map->pss_bytes = figures[1].bytes;
	map->private_bytes = sum(figures[2].bytes, figures[3].bytes);
	map->shared_bytes = sum(figures[4].bytes, figures[5].bytes);
	map->anon_bytes = figures[6].bytes;
	map->swap_bytes = figures[7].bytes;
	map->pss_anon_bytes = figures[8].bytes;
	map->pss_file_bytes = figures[9].bytes;
	map->pss_shmem_bytes = figures[10].bytes;
	return map->rss_bytes >= 0;
}
