/*-------------------------------------------------------------------------
 *
 * process_limit.h
 *	  The private memory that a session's process may have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_PROCESS_LIMIT_H
#define PGSM_PROCESS_LIMIT_H

#include "access/xact.h"

#include "session/ceiling.h"
#include "session/ceiling_lease.h"

/* Whether this process may have a ceiling of the guard. */
extern bool process_limit_guarded;

/* At the library's start: the hook and callbacks of the limit. */
extern void process_limit_init(void);

/*
 * The hook of process_limit, which moves the limit of a process that has begun
 * to have one; no error.
 */
extern void process_limit_assign(int kilobytes, void *extra);

/* The same for guard and guard_weight. */
extern void process_limit_assign_guard(int guard, void *extra);
extern void process_limit_assign_weight(double weight, void *extra);

/*
 * The first transaction that this process sees is over, so its settings are
 * known: from here on the limit counts, if this is a process that has one.
 * Returns false if it is to be told of the next transaction, too: in parallel
 * workers, which load their leader's libraries and settings in the second.
 * Transaction callback; raises no error.
 */
extern bool process_limit_begin(void);

/*
 * A command begins: sees to it that no ceiling holds that the watcher does not
 * renew.  Ordinary code; no error.
 */
static inline void
process_limit_command(void)
{
	if (unlikely(process_limit_guarded))
	{
		ceiling_lift_stale(GetCurrentStatementStartTimestamp());
		ceiling_lease_await();
	}
}

/*
 * For something short that must not fail: lets the process have some memory
 * more, and no more again.  Any context outside of signal handlers; no error.
 */
extern void process_limit_loosen(void);
extern void process_limit_keep(void);

/* Whether this process ever had a limit: most never pass the next three. */
extern bool process_limit_was_set;

extern void process_limit_end_of_command_limited(void);
extern void process_limit_commit_limited(void);
extern void process_limit_abort_limited(void);

/*
 * A transaction has ended, and its command: sees to it that temporary tables
 * can be dropped when the session ends.  Callback of MessageContext; no error,
 * except FATAL from before_shmem_exit's table overflow.
 */
static inline void
process_limit_end_of_command(void)
{
	if (unlikely(process_limit_was_set))
		process_limit_end_of_command_limited();
}

/*
 * A transaction is about to be committed or prepared: from here on nothing may
 * fail.  Transaction callback; no error.
 */
static inline void
process_limit_commit(void)
{
	if (unlikely(process_limit_was_set))
		process_limit_commit_limited();
}

/* COMMIT PREPARED or ROLLBACK PREPARED is about to run; no error. */
extern void process_limit_finish_prepared(void);

/* A transaction is being aborted.  Transaction callback; no error. */
static inline void
process_limit_abort(void)
{
	if (unlikely(process_limit_was_set))
		process_limit_abort_limited();
}

#endif							/* PGSM_PROCESS_LIMIT_H */
