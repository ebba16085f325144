/*-------------------------------------------------------------------------
 *
 * page_map.c
 *	  Which pages another process has in memory, without touching them.
 *
 * Who reads another process's page that is not in memory has the kernel make
 * one, and it stays: a page that was never written to, one that malloc gave
 * back, or one that was swapped out, which is read in again.  And since Linux
 * 5.19 process_vm_readv(2) of a page that the process still shares with the
 * postmaster, from which it was forked, makes a copy of it.  So the kernel is
 * asked first, by /proc/PID/pagemap: 8 bytes a page, see
 * Documentation/admin-guide/mm/pagemap.rst in its source.  Whoever may read
 * the process's memory may read that, too; only the addresses in RAM, which
 * are not needed, are for root.
 *
 * The answer is kept as long as the look lasts.  A page that goes in between
 * and is read after that comes back; that time is some milliseconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "reading/page_map.h"

#define PAGES_A_PART		64

/* Bits of an entry. */
#define ENTRY_PRESENT		(UINT64CONST(1) << 63)
#define ENTRY_SWAPPED		(UINT64CONST(1) << 62)
#define ENTRY_FILE			(UINT64CONST(1) << 61)
#define ENTRY_EXCLUSIVE		(UINT64CONST(1) << 56)

void
page_map_attach(PageMap *map, int pid)
{
	if (map->opened && map->file >= 0)
		CloseTransientFile(map->file);
	map->opened = false;
	map->pid = pid;
	page_map_forget(map);
}

void
page_map_forget(PageMap *map)
{
	map->forgotten++;
}

void
page_map_forget_page(PageMap *map, uintptr_t page)
{
	map->parts[page / PAGES_A_PART % PAGE_MAP_PARTS].asked = 0;
}

#ifdef __linux__

static void
open_file(PageMap *map)
{
	char		path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", map->pid);
	map->file = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	map->opened = true;
	map->page_bytes = sysconf(_SC_PAGESIZE);
}

static void
read_part(PageMap *map, PageMapPart *part, uintptr_t number)
{
	uint64		entries[PAGES_A_PART];
	Size		bytes = PAGES_A_PART * MAP_PAGE_BYTES;
	int			count = Max(bytes / map->page_bytes, 1);
	ssize_t		got;

	memset(part, 0, sizeof(PageMapPart));
	part->number = number;
	part->asked = map->forgotten;
	if (map->file < 0)
		return;
	got = pread(map->file, entries, count * sizeof(uint64),
				number * bytes / map->page_bytes * sizeof(uint64));
	if (got < 0)
		return;
	part->known = true;

	for (int i = 0; i < PAGES_A_PART; i++)
	{
		Size		at = i * MAP_PAGE_BYTES / map->page_bytes;
		uint64		bit = UINT64CONST(1) << i;

		/* Behind the end of all addresses there is nothing. */
		if ((at + 1) * sizeof(uint64) > (Size) got)
			break;
		if ((entries[at] & ENTRY_PRESENT) == 0)
		{
			if ((entries[at] & ENTRY_SWAPPED) != 0)
				part->swapped |= bit;
		}
		else if ((entries[at] & (ENTRY_FILE | ENTRY_EXCLUSIVE)) != 0)
			part->own |= bit;
		else
			part->inherited |= bit;
	}
}

#else

static void
open_file(PageMap *map)
{
	map->file = -1;
	map->opened = true;
}

static void
read_part(PageMap *map, PageMapPart *part, uintptr_t number)
{
	memset(part, 0, sizeof(PageMapPart));
	part->number = number;
	part->asked = map->forgotten;
}

#endif

PageState
page_map_state(PageMap *map, uintptr_t page)
{
	uintptr_t	number = page / PAGES_A_PART;
	PageMapPart *part = &map->parts[number % PAGE_MAP_PARTS];
	uint64		bit = UINT64CONST(1) << (page % PAGES_A_PART);

	if (!map->opened)
		open_file(map);
	if (part->number != number || part->asked != map->forgotten)
		read_part(map, part, number);

	if (!part->known)
		return PAGE_UNKNOWN;
	if ((part->own & bit) != 0)
		return PAGE_OWN;
	if ((part->inherited & bit) != 0)
		return PAGE_INHERITED;
	return (part->swapped & bit) != 0 ? PAGE_SWAPPED : PAGE_ABSENT;
}
