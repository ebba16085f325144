/*-------------------------------------------------------------------------
 *
 * hooks.h
 *	  Where the library is called while a command runs: parse analysis,
 *	  planner, executor and utility commands.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_HOOKS_H
#define PGSM_SESSION_HOOKS_H

/*
 * How deep the process is inside of statements: 0 outside of all, 1 in one
 * that the client sent, more in those that run inside of it.  Counted as
 * pg_stat_statements does; the end of a command makes it 0.
 */
extern int	hooks_nesting_level;

/* Puts our hooks before those that are there; for _PG_init. */
extern void hooks_install(void);

#endif							/* PGSM_SESSION_HOOKS_H */
