/*-------------------------------------------------------------------------
 *
 * statement_owners.c
 *	  Whose the cached statements are: a client's or those of functions.
 *
 * DEALLOCATE frees a prepared statement and not one inside a function, but
 * both have the same contexts: CachedPlanSource, a child of
 * CacheMemoryContext, with its query tree below.  What tells them apart is
 * the neighbour.  SPI_keepplan() gives a function's statement two children of
 * CacheMemoryContext one directly after the other: "SPI Plan", then its
 * source.  New children come first, so such a source is directly followed by
 * an "SPI Plan", and a prepared statement's is not.
 *
 * Of several statements in one SPI plan only one is counted for the function.
 * PL/pgSQL has one each, and what is asked is which of the two is more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "reading/statement_owners.h"

void
statement_owners_begin(StatementOwners *owners)
{
	memset(owners, 0, sizeof(StatementOwners));
}

void
statement_owners_end(StatementOwners *owners)
{
	if (owners->source_level > 0)
		owners->prepared_bytes += owners->source_bytes;
	owners->source_level = 0;
}

void
statement_owners_visit(StatementOwners *owners, const ContextNode *node)
{
	if (owners->source_level > 0)
	{
		if (node->level > owners->source_level)
		{
			owners->source_bytes += node->total_bytes;
			return;
		}
		if (node->level == owners->source_level &&
			strcmp(node->name, "SPI Plan") == 0)
		{
			owners->function_bytes += owners->source_bytes;
			owners->source_level = 0;
			return;
		}
		statement_owners_end(owners);
	}
	if (node->category == CATEGORY_CACHED_PLANS &&
		strcmp(node->name, "CachedPlanSource") == 0)
	{
		owners->source_level = node->level;
		owners->source_bytes = node->total_bytes;
	}
}
