/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  When a session measures itself, and what it does when it is idle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_WATCH_H
#define PGSM_SESSION_WATCH_H

#include "access/xact.h"

/* The transaction callback that keeps the watch going. */
extern void session_watch_transaction(XactEvent event, void *arg);

/* The same of a failed command that rolls back to a savepoint. */
extern void session_watch_subtransaction(SubXactEvent event,
										 SubTransactionId mine,
										 SubTransactionId parent, void *arg);

extern void session_watch_command_of_block(void);

/*
 * A command runs.  In a transaction block its end is measured, and whatever
 * else is done at the end of a command; elsewhere the transaction's end sees
 * to that.  For hooks of the parser, executor and utility commands, as often
 * as they like.  May raise out-of-memory.
 */
static inline void
session_watch_command(void)
{
	if (unlikely(IsTransactionBlock()))
		session_watch_command_of_block();
}

/* Thresholds have changed: the end of the next command is measured. */
extern void session_watch_settings_changed(void);

/*
 * Starts the session's peak anew, from what it retains now; nothing in other
 * processes, which publish nothing.  Raises what another module's
 * emit_log_hook raises.
 */
extern void session_watch_reset_peak(void);

#endif							/* PGSM_SESSION_WATCH_H */
