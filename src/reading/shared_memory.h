/*-------------------------------------------------------------------------
 *
 * shared_memory.h
 *	  Shared memory: what nobody has touched yet, and what a statement has made.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SHARED_MEMORY_H
#define PGSM_SHARED_MEMORY_H

/*
 * Bytes of the server's main shared memory that no process has touched, so
 * that they are still counted as available: an estimate, off by less than a
 * part in 500 of the whole.  0 where huge pages, which are set aside for it,
 * make it up, and where the operating system does not tell.  Some microseconds
 * once all of it was touched, half a millisecond before that.  For one process
 * that asks again and again.  No allocation, no error.
 */
extern int64 shared_memory_untouched(void);

/*
 * Bytes of dynamic shared memory that a process uses: that of its parallel
 * workers, and the little that is for all.  0 where it is kept elsewhere than
 * in /dev/shm, and where the operating system does not tell.  Some ten
 * microseconds.  No allocation, no error.
 */
extern int64 shared_memory_dynamic(int pid);

#endif							/* PGSM_SHARED_MEMORY_H */
