/*-------------------------------------------------------------------------
 *
 * used_columns.h
 *	  Which columns of a set-returning function a query uses.
 *
 * PostgreSQL leaves out columns of a table that a query does not use, but
 * asks a function in FROM for all of them.  Where a column is expensive, the
 * function's planner support function can find out here whether it is needed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_USED_COLUMNS_H
#define PGSM_USED_COLUMNS_H

#include "nodes/pathnodes.h"

/*
 * The columns of the function that the query being planned uses wherever it
 * calls it in FROM, bit i for column i + 1; of at most 31 columns.  All of
 * them where that is not certain: calls elsewhere than in FROM, or whole
 * rows.  For a support function, while SupportRequestSimplify is served; root
 * may be NULL there.
 */
extern uint32 used_columns(PlannerInfo *root, Oid function, int columns);

#endif							/* PGSM_USED_COLUMNS_H */
