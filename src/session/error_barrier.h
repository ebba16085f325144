/*-------------------------------------------------------------------------
 *
 * error_barrier.h
 *	  Calls what may raise an error from where none may get out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_ERROR_BARRIER_H
#define PGSM_SESSION_ERROR_BARRIER_H

/*
 * Calls function(arg).  Returns false if it has raised an ERROR, which is
 * forgotten then; a FATAL ends the process as anywhere.
 *
 * For callbacks between two commands, where the process holds no lightweight
 * lock, and for functions that write to the log: no catalog, no transaction.
 */
extern bool session_stop_errors(void (*function) (void *arg), void *arg);

#endif							/* PGSM_SESSION_ERROR_BARRIER_H */
