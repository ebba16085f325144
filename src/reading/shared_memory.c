/*-------------------------------------------------------------------------
 *
 * shared_memory.c
 *	  Shared memory: what nobody has touched yet, and what a statement has made.
 *
 * A server that has just started with shared buffers of 8 GB has nothing in
 * them.  For the kernel those 8 GB are free until they are touched, for us
 * they are promised.
 *
 * mincore(2) tells of each page of a shared mapping whether it is there,
 * whoever has touched it.  To ask for every page would take a tenth of a
 * second, so some hundred are looked at, at equal distances: buffers are taken
 * in the order of their numbers, so what was touched is in long runs.  A page
 * that was touched stays so, and is not looked at again; what has gone to swap
 * since is left out.
 *
 * What parallel workers share, a hash table for one, is in segments of their
 * own, which the kernel counts for no process.  Their sizes are in the list of
 * each process's mappings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "storage/proc.h"

#include "close_on_exec.h"
#include "reading/shared_memory.h"

/* Pages that are looked at. */
#define SAMPLES		512

/* The mapping that the server's processes share. */
typedef struct MainMemory
{
	bool		looked_for;
	uintptr_t	start;
	int64		bytes;			/* 0: none, or of huge pages */
	int			untouched;		/* samples that were not there */
	bool		touched[SAMPLES];
} MainMemory;

static MainMemory main_memory;

#ifdef __linux__

/* A mapping of a process: "rw-s" and the like, and its name. */
typedef struct Mapping
{
	uintptr_t	start;
	uintptr_t	end;
	char		permissions[5];
	const char *name;			/* begins with spaces; may be empty */
} Mapping;

/* Called for each mapping, until it returns false. */
typedef bool (*MappingVisitor) (const Mapping *mapping, void *arg);

/* "start-end permissions offset device inode name", numbers in hexadecimal. */
static bool
parse_mapping(const char *line, Mapping *mapping)
{
	char	   *end;

	mapping->start = strtoul(line, &end, 16);
	if (*end != '-')
		return false;
	mapping->end = strtoul(end + 1, &end, 16);
	if (*end != ' ' || strlen(end) < 6 || mapping->end < mapping->start)
		return false;
	memcpy(mapping->permissions, end + 1, 4);
	mapping->permissions[4] = '\0';
	mapping->name = end + 6;
	for (int fields = 0; fields < 3; fields++)
	{
		mapping->name += strspn(mapping->name, " ");
		mapping->name += strcspn(mapping->name, " ");
	}
	return true;
}

static void
visit_mappings(const char *path, MappingVisitor visitor, void *arg)
{
	char		text[4096];
	int			kept = 0;
	bool		more = true;
	int			file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return;
	while (more)
	{
		ssize_t		got = read(file, text + kept, sizeof(text) - 1 - kept);
		char	   *line = text;
		char	   *end;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		kept += (int) got;
		text[kept] = '\0';
		while (more && (end = strchr(line, '\n')) != NULL)
		{
			Mapping		mapping;

			*end = '\0';
			if (parse_mapping(line, &mapping))
				more = visitor(&mapping, arg);
			line = end + 1;
		}
		kept = (int) (text + kept - line);
		if (kept == sizeof(text) - 1)
			kept = 0;			/* longer than any that is ours */
		memmove(text, line, kept);
	}
	close(file);
}

/* Main shared memory is where PostgreSQL has put the processes' array. */
static bool
look_for_main(const Mapping *mapping, void *arg)
{
	uintptr_t	address = (uintptr_t) ProcGlobal;

	if (address < mapping->start || address >= mapping->end)
		return true;

	/* Of huge pages it is "/anon_hugepage (deleted)". */
	if (strcmp(mapping->permissions, "rw-s") == 0 &&
		strstr(mapping->name, "huge") == NULL)
	{
		main_memory.start = mapping->start;
		main_memory.bytes = (int64) (mapping->end - mapping->start);
	}
	return false;
}

static bool
add_dynamic(const Mapping *mapping, void *arg)
{
	if (mapping->permissions[3] == 's' &&
		strstr(mapping->name, "/dev/shm/PostgreSQL.") != NULL)
		*(int64 *) arg += (int64) (mapping->end - mapping->start);
	return true;
}

int64
shared_memory_dynamic(int pid)
{
	char		path[64];
	int64		bytes = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	visit_mappings(path, add_dynamic, &bytes);
	return bytes;
}

int64
shared_memory_untouched(void)
{
	long		page_bytes = sysconf(_SC_PAGESIZE);
	int64		pages;

	if (!main_memory.looked_for)
	{
		main_memory.looked_for = true;
		main_memory.untouched = SAMPLES;
		visit_mappings("/proc/self/maps", look_for_main, NULL);
	}
	pages = main_memory.bytes / page_bytes;
	if (pages < SAMPLES)
		return 0;				/* less than the guard would notice */
	for (int i = 0; i < SAMPLES && main_memory.untouched > 0; i++)
	{
		int64		page = (2 * i + 1) * pages / (2 * SAMPLES);
		unsigned char there;

		if (main_memory.touched[i])
			continue;
		if (mincore((void *) (main_memory.start + page * page_bytes),
					page_bytes, &there) != 0)
			return 0;
		if (there & 1)
		{
			main_memory.touched[i] = true;
			main_memory.untouched--;
		}
	}
	return main_memory.bytes / SAMPLES * main_memory.untouched;
}

#else							/* !__linux__ */

int64
shared_memory_dynamic(int pid)
{
	return 0;
}

int64
shared_memory_untouched(void)
{
	return 0;
}

#endif							/* __linux__ */
