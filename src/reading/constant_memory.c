/*-------------------------------------------------------------------------
 *
 * constant_memory.c
 *	  Memory that is the same in all processes of the server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __linux__
#include <link.h>
#endif

#include "reading/constant_memory.h"

#ifdef __linux__

/* Read-only segments of the postgres executable; few executables have more. */
#define MAX_CONSTANT_SEGMENTS	8

static uintptr_t constant_from[MAX_CONSTANT_SEGMENTS];
static uintptr_t constant_to[MAX_CONSTANT_SEGMENTS];
static int	constant_segments = -1;

static int
note_constant_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		uintptr_t	from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

		if (info->dlpi_phdr[i].p_type != PT_LOAD ||
			(info->dlpi_phdr[i].p_flags & PF_W) != 0 ||
			constant_segments == MAX_CONSTANT_SEGMENTS)
			continue;
		constant_from[constant_segments] = from;
		constant_to[constant_segments] = from + info->dlpi_phdr[i].p_filesz;
		constant_segments++;
	}
	return 1;					/* the first object is the executable */
}

bool
constant_memory_has(uintptr_t address)
{
	if (unlikely(constant_segments < 0))
	{
		constant_segments = 0;
		dl_iterate_phdr(note_constant_segments, NULL);
	}
	for (int i = 0; i < constant_segments; i++)
	{
		if (address >= constant_from[i] && address < constant_to[i])
			return true;
	}
	return false;
}

#else

bool
constant_memory_has(uintptr_t address)
{
	return false;
}

#endif
