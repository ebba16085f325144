/*-------------------------------------------------------------------------
 *
 * high_water_mark.h
 *	  What the process had more at its peak, as the kernel counts it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_HIGH_WATER_MARK_H
#define PGSM_HIGH_WATER_MARK_H

/* Whether the next begin is to begin anew. */
extern bool high_water_mark_is_stale;

extern void high_water_mark_begin_anew(void);

/*
 * Begins anew, if the peak has been raised since it last did: from here on
 * high_water_mark_bytes counts.  Callbacks too; no allocation, no error.
 */
static inline void
high_water_mark_begin(void)
{
	if (unlikely(high_water_mark_is_stale))
		high_water_mark_begin_anew();
}

/*
 * What the process had more at its peak than at the last begin, in bytes of
 * anonymous memory; -1 where the kernel does not tell.  Some microseconds.
 * Callbacks too; no allocation, no error.
 */
extern int64 high_water_mark_bytes(void);

/* The same without an effect on the next begin. */
extern int64 high_water_mark_bytes_now(void);

/*
 * For now and then, where statements run that are not looked at: has the next
 * begin begin anew if together they have raised the peak.  A microsecond.
 */
extern void high_water_mark_check(void);

/* The process has given memory back: the next begin is to begin anew. */
extern void high_water_mark_forget(void);

/*
 * All anonymous memory of the process at its peak, in bytes, -1 where the
 * kernel does not tell; in a process that has never begun.
 */
extern int64 high_water_mark_whole_bytes(void);

#endif							/* PGSM_HIGH_WATER_MARK_H */
