/*-------------------------------------------------------------------------
 *
 * remedy.h
 *	  What gives memory back, by what it is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_REMEDY_H
#define PGSM_SESSION_REMEDY_H

#include "reading/context_category.h"

/*
 * What memory is, as far as it decides what gives it back.  A category of
 * contexts is a cause by itself, of the same number; what is behind these
 * needs something else than its category or is in no context.
 */
typedef enum MemoryCause
{
	/* Catalog caches that are empty: most of their memory is free. */
	CAUSE_EMPTY_CACHES = CONTEXT_CATEGORY_COUNT,
	CAUSE_FUNCTION_STATEMENTS,	/* cached plans, but most of functions */
	CAUSE_MALLOC_FREE,			/* freed, and kept by malloc */
	CAUSE_OUTSIDE_CONTEXTS,		/* in no context, and in use */
	CAUSE_OUTSIDE_OR_FREE		/* one of these two: only itself can tell */
} MemoryCause;

#define MEMORY_CAUSE_COUNT	(CAUSE_OUTSIDE_OR_FREE + 1)

/*
 * The cause of a category of contexts that hold bytes, of which free_bytes
 * are free (-1: not known).  of_functions: its statements are most those of
 * functions.
 */
extern MemoryCause memory_cause(ContextCategory category, int64 bytes,
								int64 free_bytes, bool of_functions);

/* Longest text, with its end. */
#define REMEDY_BYTES	384

/*
 * The remedy, one to three sentences, into text; returns text.  pid is the
 * session's that is to be told of, 0 if it is told to that session itself.
 * in_transaction: it has a transaction block open, where known.  Callbacks
 * too; no error.
 */
extern const char *remedy_text(int cause, int pid, bool in_transaction,
							   char *text);

#endif							/* PGSM_SESSION_REMEDY_H */
