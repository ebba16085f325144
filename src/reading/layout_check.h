/*-------------------------------------------------------------------------
 *
 * layout_check.h
 *	  Whether memory contexts are laid out as we think.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_LAYOUT_CHECK_H
#define PGSM_LAYOUT_CHECK_H

/*
 * Checks the mirrored layouts against the stats methods, once in a process:
 * over all of its own contexts and over a small one of each kind made for the
 * check.  A kind that disagrees is not measured from then on, and one WARNING
 * says so.  Allocates; may raise out-of-memory; call it from a function, not
 * from a callback.
 */
extern void layout_check(void);

#endif							/* PGSM_LAYOUT_CHECK_H */
