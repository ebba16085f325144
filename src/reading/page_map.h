/*-------------------------------------------------------------------------
 *
 * page_map.h
 *	  Which pages another process has in memory, without touching them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_PAGE_MAP_H
#define PGSM_PAGE_MAP_H

/*
 * The unit of everything here.  A page of the system has as much or a
 * multiple of it.
 */
#define MAP_PAGE_SHIFT		12
#define MAP_PAGE_BYTES		((Size) 1 << MAP_PAGE_SHIFT)

/* What the kernel says of a page. */
typedef enum PageState
{
	PAGE_UNKNOWN,				/* it does not tell */
	PAGE_ABSENT,				/* never touched, given back, or not mapped */
	PAGE_SWAPPED,				/* in swap */
	PAGE_OWN,					/* in memory, a copy of its own or a file's */
	PAGE_INHERITED				/* in memory, shared until somebody writes */
} PageState;

/* A stretch of 64 pages, each of which has a bit. */
typedef struct PageMapPart
{
	uintptr_t	number;			/* of its first page / 64 */
	uint64		asked;			/* page_map_forget calls until then, 0: never */
	bool		known;			/* whether the kernel told */
	uint64		own;
	uint64		inherited;
	uint64		swapped;
} PageMapPart;

/* As much as 256 MB are known at a time. */
#define PAGE_MAP_PARTS		1024

/* All zero is a map of no process. */
typedef struct PageMap
{
	int			pid;			/* 0: no process */
	bool		opened;			/* whether file is what opening gave */
	int			file;			/* /proc/<pid>/pagemap, -1 if it can't be */
	Size		page_bytes;		/* of the system */
	uint64		forgotten;		/* page_map_forget calls */
	PageMapPart parts[PAGE_MAP_PARTS];	/* by number modulo that */
} PageMap;

/*
 * Points a map at a process, or at none, where pid is 0, and forgets what it
 * knows.  The file of the last process is closed; that of the new one is
 * opened when a page is asked for.
 */
extern void page_map_attach(PageMap *map, int pid);

/* Forgets what is known, so that it is asked for anew. */
extern void page_map_forget(PageMap *map);

/* The same of one page, and of those around it. */
extern void page_map_forget_page(PageMap *map, uintptr_t page);

/*
 * The state of the page with this number (address / MAP_PAGE_BYTES).  Raises
 * what OpenTransientFile raises: an error where this process has far too many
 * files open.
 */
extern PageState page_map_state(PageMap *map, uintptr_t page);

#endif							/* PGSM_PAGE_MAP_H */
