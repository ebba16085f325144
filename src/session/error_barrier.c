/*-------------------------------------------------------------------------
 *
 * error_barrier.c
 *	  Calls what may raise an error from where none may get out.
 *
 * A LOG message is no error, but writing one can be: another module's
 * emit_log_hook raises one, or a large message finds no memory.  At the end of
 * a command that error would be sent to the client for a command that has
 * been committed already, or would roll back the transaction block that the
 * command was in; in an idle session it would end the connection, since
 * PostgreSQL was about to read a message.  So it stops here.
 *
 * An error is forgotten the way that PostgreSQL's own processes do it which
 * have no transactions.  What was not written is lost; the event ring and the
 * session's slot have it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "session/error_barrier.h"

bool
session_stop_errors(void (*function) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;
	uint32		cancel_holdoff = QueryCancelHoldoffCount;
	volatile bool succeeded = true;

	PG_TRY();
	{
		function(arg);
	}
	PG_CATCH();
	{
		succeeded = false;
		LWLockReleaseAll();
		pgstat_report_wait_end();
		MemoryContextSwitchTo(caller);
		FlushErrorState();

		/* An error sets these to 0. */
		InterruptHoldoffCount = holdoff;
		QueryCancelHoldoffCount = cancel_holdoff;
	}
	PG_END_TRY();
	return succeeded;
}
