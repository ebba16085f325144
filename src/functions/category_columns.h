/*-------------------------------------------------------------------------
 *
 * category_columns.h
 *	  The order in which views have a column for each category.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CATEGORY_COLUMNS_H
#define PGSM_CATEGORY_COLUMNS_H

#include "reading/context_category.h"

static const ContextCategory category_columns[CONTEXT_CATEGORY_COUNT] = {
	CATEGORY_CATALOG_CACHE,
	CATEGORY_CACHED_PLANS,
	CATEGORY_FUNCTIONS,
	CATEGORY_CURSORS,
	CATEGORY_TRANSACTION,
	CATEGORY_EXECUTION,
	CATEGORY_TEMP_TABLES,
	CATEGORY_REPLICATION,
	CATEGORY_BASE,
	CATEGORY_OTHER
};

#endif							/* PGSM_CATEGORY_COLUMNS_H */
