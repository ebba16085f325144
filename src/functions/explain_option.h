/*-------------------------------------------------------------------------
 *
 * explain_option.h
 *	  EXPLAIN (ANALYZE, SESSION_MEMORY).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_EXPLAIN_OPTION_H
#define PGSM_EXPLAIN_OPTION_H

/*
 * Adds the option, where extensions can do so (PostgreSQL 18 and later); for
 * _PG_init.
 */
extern void explain_option_install(void);

#endif							/* PGSM_EXPLAIN_OPTION_H */
