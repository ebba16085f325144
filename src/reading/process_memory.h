/*-------------------------------------------------------------------------
 *
 * process_memory.h
 *	  A process's memory as the operating system counts it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_PROCESS_MEMORY_H
#define PGSM_PROCESS_MEMORY_H

/* Bytes; -1 where the operating system does not tell. */
typedef struct ProcessMemory
{
	int64		anon_bytes;		/* anonymous memory in RAM */
	int64		swap_bytes;		/* anonymous memory in swap */
	int64		data_bytes;		/* private writable memory, touched or not */
} ProcessMemory;

/* Bytes; -1 where the operating system does not tell. */
typedef struct ProcessMemoryMap
{
	int64		rss_bytes;		/* all that is in RAM, shared memory too */
	int64		pss_bytes;		/* shared pages divided by their users */
	int64		private_bytes;	/* pages that only this process has */
	int64		shared_bytes;	/* pages that others have, too */
	int64		anon_bytes;
	int64		swap_bytes;
	int64		pss_anon_bytes;
	int64		pss_file_bytes;
	int64		pss_shmem_bytes;
} ProcessMemoryMap;

/*
 * Reads /proc/<pid>/status.  Linux 6.2 and later count a process's pages a
 * processor, and may leave out what each has not handed over: 32 pages, or
 * twice the number of processors, if that is more.  Returns false, with all
 * figures -1, where there is none.  No allocation, no error; may run in
 * callbacks.
 */
extern bool process_memory_read(int pid, ProcessMemory *memory);

/* Bytes of pages of some kinds. */
typedef struct ProcessPages
{
	int64		resident_bytes; /* in RAM */
	int64		shared_bytes;	/* of these, files' and shared memory's */
	int64		private_bytes;	/* writable and private, in RAM or not */
} ProcessPages;

/*
 * Reads an open /proc/<pid>/statm, from its beginning, as often as is wanted:
 * the same figures, as far off, for a fraction of what status costs.  Returns
 * false where they are not told.  No allocation, no error; may run in
 * callbacks.
 */
extern bool process_memory_read_pages(int file, ProcessPages *pages);

/*
 * The most private writable memory that the operating system lets a process
 * have, in bytes: its soft limit RLIMIT_DATA; -1: no limit, or not known.  Any
 * process of the same user.  No allocation, no error.
 */
extern int64 process_memory_limit(int pid);

/* The same of the process with this pid. */
extern bool process_memory_read_pages_of(int pid, ProcessPages *pages);

/*
 * Anonymous memory in RAM alone, in bytes, -1 where it is not told, by
 * process_memory_read_pages.  No allocation, no error; may run in callbacks.
 */
extern int64 process_memory_anon_bytes(int pid);

/*
 * Anonymous memory of the calling process in RAM and in swap, in bytes, -1
 * where it is not told: for who wants to know whether it is above interesting,
 * and asks often.  Swap is told in status only; it is left out where RAM and
 * swap together can't be above that.  No allocation, no error; may run in
 * callbacks.
 */
extern int64 process_memory_own_bytes(int64 interesting);

/*
 * Reads /proc/<pid>/smaps_rollup, for which the kernel visits all pages of
 * the process: milliseconds for gigabytes of shared buffers.  Returns false,
 * with all figures -1, where it can't be read.  No allocation, no error.
 */
extern bool process_memory_read_map(int pid, ProcessMemoryMap *map);

#endif							/* PGSM_PROCESS_MEMORY_H */
