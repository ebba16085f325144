/*-------------------------------------------------------------------------
 *
 * statement_owners.h
 *	  Whose the cached statements are: a client's or those of functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_STATEMENT_OWNERS_H
#define PGSM_STATEMENT_OWNERS_H

#include "reading/context_walk.h"

/* Kept along one walk; bytes of sources with their query trees. */
typedef struct StatementOwners
{
	int64		prepared_bytes; /* of prepared statements */
	int64		function_bytes; /* of statements inside functions */
	int64		source_bytes;	/* the last source, which is neither yet */
	int			source_level;	/* 0: there is none */
} StatementOwners;

/*
 * A walk begins, has come to a context, has ended.  Every context of the walk
 * must be handed over, in its order.  Any caller; no allocation, no error.
 */
extern void statement_owners_begin(StatementOwners *owners);
extern void statement_owners_visit(StatementOwners *owners,
								   const ContextNode *node);
extern void statement_owners_end(StatementOwners *owners);

#endif							/* PGSM_STATEMENT_OWNERS_H */
