/*-------------------------------------------------------------------------
 *
 * context_category.h
 *	  What a memory context is for: its category, out of its name.
 *
 * A context whose name the table of names knows belongs to the category that
 * the table gives; every other context belongs to its parent's category.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CONTEXT_CATEGORY_H
#define PGSM_CONTEXT_CATEGORY_H

typedef enum ContextCategory
{
	CATEGORY_BASE = 0,			/* what every backend has from its start */
	CATEGORY_CATALOG_CACHE,		/* relcache, catcache, their satellites */
	CATEGORY_CACHED_PLANS,		/* prepared statements and their plans */
	CATEGORY_FUNCTIONS,			/* functions of PL/pgSQL and other languages */
	CATEGORY_CURSORS,			/* portals and what they hold */
	CATEGORY_TRANSACTION,		/* what lives until the transaction ends */
	CATEGORY_EXECUTION,			/* plans that run: sorts, hashes, expressions */
	CATEGORY_TEMP_TABLES,		/* temporary tables and local buffers */
	CATEGORY_REPLICATION,		/* walsender, logical decoding, apply */
	CATEGORY_OTHER				/* known to nobody, or of nothing above */
} ContextCategory;

#define CONTEXT_CATEGORY_COUNT	(CATEGORY_OTHER + 1)

/* In the table of names: no entry, so the parent decides. */
#define CATEGORY_OF_PARENT		(-1)

/*
 * The category of a context of this name, or CATEGORY_OF_PARENT where the
 * name is not known.  Any context, any caller; no allocation, no error.
 */
extern int	context_category_of_name(const char *name);

/* The category's name as SQL shows it, for instance "catalog cache". */
extern const char *context_category_name(ContextCategory category);

/*
 * Why memory of this category stays: sentences for a DBA who does not read
 * source.  What gives it back is in session/remedy.h.
 */
extern const char *context_category_explanation(ContextCategory category);

#endif							/* PGSM_CONTEXT_CATEGORY_H */
