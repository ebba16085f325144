/*-------------------------------------------------------------------------
 *
 * limit_error.h
 *	  What is said of an error at the limit.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_LIMIT_ERROR_H
#define PGSM_LIMIT_ERROR_H

/* What a process may have, in bytes; -1: no limit. */
typedef struct LimitInForce
{
	int64		process_limit_bytes;
	int64		ceiling_bytes;	/* the guard's */
} LimitInForce;

/*
 * An error was raised in a process that was limited so: if that is why, it is
 * counted, and gets its DETAIL and HINT.  The same, but not counted, if the
 * guard has cancelled the statement or ended the session.  In a callback of
 * error_context_stack.  Copies the error into TopMemoryContext for the moment.
 */
extern void limit_error_raised(const LimitInForce *in_force);

/*
 * The same for one that is about to be logged, and of which no callback has
 * heard.  In emit_log_hook.
 */
extern void limit_error_logged(ErrorData *edata,
							   const LimitInForce *in_force);

/* Whether the present command has failed at the limit.  No error. */
extern bool limit_error_pending(void);

/*
 * The command is over: writes its event, if it has failed at the limit.
 * Callbacks too; no error.
 */
extern void limit_error_end_of_command(void);

#endif							/* PGSM_LIMIT_ERROR_H */
