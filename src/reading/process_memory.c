/*-------------------------------------------------------------------------
 *
 * process_memory.c
 *	  A process's memory as the operating system counts it.
 *
 * Linux tells it in /proc.  The files are read with plain system calls into
 * a buffer on the stack: this also runs where nothing may be allocated and
 * no error may be raised, and a file descriptor lives only while it reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"

#include "reading/process_memory.h"

/* Both files have some 1,500 bytes; lines behind these are not ours. */
#define PROC_FILE_BYTES		4096

/*
 * Reads /proc/<pid>/<name> into text, which has PROC_FILE_BYTES.
 */
static bool
read_proc_file(int pid, const char *name, char *text)
{
	char		path[64];
	int			length = 0;
	int			file;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	while (length < PROC_FILE_BYTES - 1)
	{
		ssize_t		got = read(file, text + length,
							   PROC_FILE_BYTES - 1 - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		length += got;
	}
	close(file);
	text[length] = '\0';
	return length > 0;
}

/*
 * The figure behind "\n<label>:", which is in kB, as bytes; -1 if none.
 */
static int64
figure(const char *text, const char *label)
{
	const char *line = strstr(text, label);
	char	   *end;
	int64		kilobytes;

	if (line == NULL)
		return -1;
	line += strlen(label);
	kilobytes = strtol(line, &end, 10);
	return end == line ? -1 : kilobytes * 1024;
}

bool
process_memory_read(int pid, ProcessMemory *memory)
{
	char		text[PROC_FILE_BYTES];

	memory->anon_bytes = -1;
	memory->swap_bytes = -1;
	if (!read_proc_file(pid, "status", text))
		return false;
	memory->anon_bytes = figure(text, "\nRssAnon:");
	memory->swap_bytes = figure(text, "\nVmSwap:");
	return memory->anon_bytes >= 0;
}

/*
 * Out of /proc/<pid>/statm, in bytes: anonymous memory in RAM, and all private
 * memory that can be written to, wherever it is.  Returns false where there
 * is none.
 */
static bool
read_statm(int pid, int64 *anon_bytes, int64 *private_bytes)
{
	static long page_bytes = 0;
	char		text[PROC_FILE_BYTES];
	char	   *at = text;
	int64		pages[6];

	/* All, in RAM, of files or shared in RAM, code, nothing, private. */
	if (!read_proc_file(pid, "statm", text))
		return false;
	for (int i = 0; i < lengthof(pages); i++)
	{
		char	   *from = at;

		pages[i] = strtol(from, &at, 10);
		if (at == from)
			return false;
	}
	if (pages[1] < pages[2])
		return false;
	if (page_bytes == 0)
		page_bytes = sysconf(_SC_PAGESIZE);
	*anon_bytes = (pages[1] - pages[2]) * page_bytes;
	*private_bytes = pages[5] * page_bytes;
	return true;
}

int64
process_memory_anon_bytes(int pid)
{
	int64		anon_bytes;
	int64		private_bytes;

	if (!read_statm(pid, &anon_bytes, &private_bytes))
		return -1;
	return anon_bytes;
}

int64
process_memory_own_bytes(int64 interesting)
{
	int64		anon_bytes;
	int64		private_bytes;
	ProcessMemory memory;

	if (!read_statm(MyProcPid, &anon_bytes, &private_bytes))
		return -1;

	/* Also with all that it may have in swap it is below. */
	if (Max(anon_bytes, private_bytes) <= interesting ||
		!process_memory_read(MyProcPid, &memory))
		return anon_bytes;
	return memory.anon_bytes + Max(memory.swap_bytes, 0);
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
	char		text[PROC_FILE_BYTES];

	if (!read_proc_file(pid, "smaps_rollup", text))
		text[0] = '\0';
	map->rss_bytes = figure(text, "\nRss:");
	map->pss_bytes = figure(text, "\nPss:");
	map->private_bytes = sum(figure(text, "\nPrivate_Clean:"),
							 figure(text, "\nPrivate_Dirty:"));
	map->shared_bytes = sum(figure(text, "\nShared_Clean:"),
							figure(text, "\nShared_Dirty:"));
	map->anon_bytes = figure(text, "\nAnonymous:");
	map->swap_bytes = figure(text, "\nSwap:");
	map->pss_anon_bytes = figure(text, "\nPss_Anon:");
	map->pss_file_bytes = figure(text, "\nPss_File:");
	map->pss_shmem_bytes = figure(text, "\nPss_Shmem:");
	return map->rss_bytes >= 0;
}
