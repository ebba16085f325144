/*-------------------------------------------------------------------------
 *
 * observed_process.h
 *	  A server process whose contexts somebody wants to see.
 *
 * What all functions that look at the contexts of one process have in common:
 * who may, how it is read, and what is said where that fails.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_OBSERVED_PROCESS_H
#define PGSM_OBSERVED_PROCESS_H

#include "reading/context_walk.h"
#include "reading/server_process.h"

typedef struct ObservedProcess
{
	ServerProcess process;
	bool		self;			/* the caller's own */
	MemoryReader *reader;
} ObservedProcess;

/*
 * Finds the process with this pid and allocates a reader of this use for it
 * in the current memory context.  For a pid that is none of a server process: a
 * WARNING and false.  Raises insufficient_privilege for sessions of other
 * roles.  Needs a transaction.
 */
extern bool observed_process_open(int pid, MemoryReaderUse use,
								  ObservedProcess *observed);

/*
 * Walks the contexts of the process as they are now.  WALK_UNREADABLE means
 * that the process has ended; where the operating system refuses to read it,
 * an error says so.  Sets the visitor's interruptible.
 */
extern ContextWalkResult observed_process_walk(ObservedProcess *observed,
											   ContextVisitor *visitor);

#endif							/* PGSM_OBSERVED_PROCESS_H */
