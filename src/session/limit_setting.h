/*-------------------------------------------------------------------------
 *
 * limit_setting.h
 *	  What is said to who sets process_limit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_LIMIT_SETTING_H
#define PGSM_LIMIT_SETTING_H

#include "utils/guc.h"

#include "session/ceiling.h"

/* The setting, which is not -1, as a soft limit in bytes. */
static inline int64
limit_setting_bytes(int kilobytes)
{
	return Max((int64) kilobytes * 1024, CEILING_SMALLEST);
}

/*
 * The check hook of process_limit.  Tells who sets it, by WARNING and NOTICE,
 * what will not be as expected; any value is good.
 */
extern bool limit_setting_check(int *kilobytes, void **extra,
								GucSource source);

/*
 * Warns in the log where the server's own settings meet JIT compilation,
 * which ends sessions that get no memory.  In the postmaster, at its start.
 */
extern void limit_setting_warn_jit(void);

#endif							/* PGSM_LIMIT_SETTING_H */
