/*-------------------------------------------------------------------------
 *
 * mapped_file.c
 *	  What another process has mapped of a file and has not touched.
 *
 * The name of a memory context is a constant of the library that made the
 * context, and that page of the library need not be in the process's memory:
 * to make a context only takes the name's address.  Reading it in the process
 * would put it there, so it is read where the kernel would take it from.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "reading/mapped_file.h"

#ifdef __linux__

/* A line of /proc/PID/maps up to the path. */
typedef struct Mapping
{
	unsigned long from;
	unsigned long to;
	unsigned long offset;		/* of from, in the file */
	char		permissions[5]; /* "r-xp" */
} Mapping;

/*
 * Finds the mapping of a file that has address in it.  Where there is one,
 * path, of MAXPGPATH bytes, gets the file's name.
 */
static bool
find_mapping(int pid, uintptr_t address, Mapping *mapping, char *path)
{
	char		line[MAXPGPATH + 128];
	FILE	   *maps;
	bool		found = false;
	bool		begins = true;	/* what was read is the beginning of a line */

	snprintf(line, sizeof(line), "/proc/%d/maps", pid);
	maps = AllocateFile(line, PG_BINARY_R);
	if (maps == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), maps) != NULL)
	{
		char	   *end = strchr(line, '\n');
		int			name = 0;

		if (begins && end != NULL &&
			sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &mapping->from,
				   &mapping->to, mapping->permissions, &mapping->offset,
				   &name) == 4 &&
			address >= mapping->from && address < mapping->to)
		{
			*end = '\0';
			found = true;
			strlcpy(path, line + name, MAXPGPATH);
		}
		begins = end != NULL;
	}
	FreeFile(maps);

	/*
	 * A file that has been replaced, by an upgrade say, has " (deleted)"
	 * behind its name; so there is none of that name, or it is another one.
	 */
	return found && path[0] == '/' && mapping->permissions[0] == 'r' &&
		mapping->permissions[3] == 'p';
}

bool
mapped_file_read(int pid, uintptr_t address, char *to, Size length)
{
	Mapping		mapping;
	char		path[MAXPGPATH];
	int			file;
	ssize_t		got;

	if (!find_mapping(pid, address, &mapping, path) ||
		length > mapping.to - address)
		return false;

	/* Nothing that is mapped makes us wait, but the name may be another's. */
	file = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (file < 0)
		return false;
	got = pread(file, to, length, mapping.offset + (address - mapping.from));
	CloseTransientFile(file);
	if (got < 0)
		return false;
	memset(to + got, 0, length - got);
	return true;
}

#else

bool
mapped_file_read(int pid, uintptr_t address, char *to, Size length)
{
	return false;
}

#endif
