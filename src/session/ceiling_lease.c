/*-------------------------------------------------------------------------
 *
 * ceiling_lease.c
 *	  A statement that runs for long sees to it that its ceiling is renewed.
 *
 * Each command lifts ceilings that the watcher has not renewed (ceiling.h).
 * That is too late for one that runs already, if there is no other.  So a
 * timeout ends when the ceiling would be too old.  If it was renewed meanwhile,
 * it waits for the next time; and no more once the session is idle.  That is
 * a signal in one or two seconds while statements run.
 *
 * Its handler does more than to set a flag: a statement that only allocates
 * might never look at it.  It reads and writes atomic variables and moves the
 * process's limit, two system calls, all of which may be done in a signal
 * handler, and may meet a move of the limit that it has interrupted: who moves
 * it looks afterwards whether another one has changed his mind.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/backend_status.h"
#include "utils/timestamp.h"

#include "reading/server_process.h"
#include "session/ceiling.h"
#include "session/ceiling_lease.h"

/* Waits until the ceiling will be too old; not where there is none. */
static void
await_end(int64 microseconds)
{
	if (microseconds > 0)
		enable_timeout_after(LEASE_TIMEOUT, (int) (microseconds / 1000) + 1);
}

/* In a signal handler. */
static void
lease_ended(void)
{
	int64		left = ceiling_lift_mine_if_stale(GetCurrentTimestamp());

	if (MyBEEntry == NULL || !server_process_is_idle(MyBEEntry->st_state))
		await_end(left);
}

void
ceiling_lease_init(void)
{
	RegisterTimeout(LEASE_TIMEOUT, lease_ended);
}

void
ceiling_lease_begin(void)
{
	await_end(ceiling_lift_mine_if_stale(GetCurrentTimestamp()));
}
