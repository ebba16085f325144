/*-------------------------------------------------------------------------
 *
 * interrupt.c
 *	  Has a session do something where PostgreSQL handles interrupts.
 *
 * An extension has no interrupt of its own, and a session that is idle in a
 * transaction block runs nothing that calls one.  But it handles the interrupt
 * by which parallel workers say that they have sent a message, also where
 * there are none.  PostgreSQL does that in a context of its own, which it
 * resets before each use: a reset callback of that context runs outside of
 * signal handlers, with interrupts held, and knows nothing of the transaction.
 *
 * The context is made at the first such interrupt, so we have one handled and
 * then look for it among the children of TopMemoryContext, by its name.  If a
 * version calls it otherwise, nothing is awaited.
 *
 * A reset calls its callbacks until there is none.  One that registers itself
 * again would be called for ever, so a handler is called once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "utils/memutils.h"

#include "pg_compat.h"
#include "session/interrupt.h"

/* PostgreSQL's context for parallel workers' messages; NULL: not known. */
static MemoryContext message_context = NULL;
static bool message_context_sought = false;

static MemoryContextCallback callback;
static void (*awaiting_handler) (void) = NULL;

void
session_interrupt_prepare(void)
{
	if (likely(message_context_sought))
		return;
	pgsm_handle_parallel_messages();
	message_context_sought = true;
	for (MemoryContext child = TopMemoryContext->firstchild;
		 child != NULL && message_context == NULL;
		 child = child->nextchild)
	{
		if (strcmp(child->name, PGSM_PARALLEL_MESSAGE_CONTEXT) == 0)
			message_context = child;
	}
}

/* The callback of PostgreSQL's context. */
static void
call_handler(void *arg)
{
	void		(*handler) (void) = awaiting_handler;

	awaiting_handler = NULL;
	handler();
}

void
session_interrupt_await(void (*handler) (void))
{
	if (message_context == NULL)
		return;
	if (awaiting_handler == NULL)
	{
		callback.func = call_handler;
		MemoryContextRegisterResetCallback(message_context, &callback);
	}
	awaiting_handler = handler;
}

void
session_interrupt_raise(void)
{
	HandleParallelMessageInterrupt();
}
