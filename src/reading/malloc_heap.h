/*-------------------------------------------------------------------------
 *
 * malloc_heap.h
 *	  What malloc keeps of the calling process's memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_MALLOC_HEAP_H
#define PGSM_MALLOC_HEAP_H

/*
 * Bytes that the process has freed and malloc keeps in RAM for the next
 * malloc: what malloc_trim(3) could give back, but for parts of pages.  -1
 * where the C library does not tell.  No allocation, no error.
 */
extern int64 malloc_heap_free_bytes(void);

#endif							/* PGSM_MALLOC_HEAP_H */
