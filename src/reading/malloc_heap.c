/*-------------------------------------------------------------------------
 *
 * malloc_heap.c
 *	  What malloc keeps of the calling process's memory.
 *
 * The C library counts free bytes of its heap, but not whether they are in
 * RAM: what malloc_trim(3) has given back from the middle of the heap is
 * still free, and no memory any more.  So the pages of the heap that are in
 * RAM are counted, and what is in use is taken from them.  Memory in use
 * that was never written to is not in RAM either; then the result is too
 * small by that, never too large.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "reading/malloc_heap.h"

/* mallinfo2 came with 2.33; its predecessor counts in ints. */
#ifdef __GLIBC__
#if __GLIBC_PREREQ(2, 33)
#define HAVE_MALLINFO2
#endif
#endif

#ifdef HAVE_MALLINFO2

/* Pages that one mincore call tells about. */
#define PAGES_A_CALL	4096

/*
 * Bytes of the heap from its beginning to its end that are in RAM, -1 where
 * the heap is not one range.
 */
static int64
resident_bytes(Size heap_bytes)
{
	unsigned char pages[PAGES_A_CALL];
	uintptr_t	page_bytes = sysconf(_SC_PAGESIZE);
	uintptr_t	end = (uintptr_t) sbrk(0);
	uintptr_t	from;
	int64		resident = 0;

	if (end == (uintptr_t) -1 || heap_bytes > end)
		return -1;
	from = TYPEALIGN_DOWN(page_bytes, end - heap_bytes);
	while (from < end)
	{
		uintptr_t	count = (end - from + page_bytes - 1) / page_bytes;

		count = Min(count, PAGES_A_CALL);
		if (mincore((void *) from, count * page_bytes, pages) != 0)
			return -1;
		for (uintptr_t i = 0; i < count; i++)
			resident += pages[i] & 1;
		from += count * page_bytes;
	}
	return resident * page_bytes;
}

int64
malloc_heap_free_bytes(void)
{
	struct mallinfo2 info = mallinfo2();
	int64		resident = resident_bytes(info.arena);
	int64		in_ram;

	if (resident < 0)
		return info.fordblks;
	in_ram = resident - (int64) info.uordblks;
	return Max(Min(in_ram, (int64) info.fordblks), 0);
}

#else

int64
malloc_heap_free_bytes(void)
{
	return -1;
}

#endif
