/*-------------------------------------------------------------------------
 *
 * ident_pattern.h
 *	  What idents of contexts have in common: all but their numbers.
 *
 * Thousands of statements that a driver has prepared, or indexes of partitions,
 * differ in numbers alone.  One by one each of them is small.  Their pattern,
 * the ident with numbers replaced, is the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_IDENT_PATTERN_H
#define PGSM_IDENT_PATTERN_H

#include "reading/context_walk.h"

/* As many bytes as pg_session_memory_contexts() shows, and a zero. */
#define IDENT_BYTES			1024

/*
 * Reads the ident of a context, at most IDENT_BYTES - 1 bytes at a
 * character's end.  Returns false if it has none, or an empty one.  Raises no
 * error but what the reader raises.
 */
extern bool ident_read(MemoryReader *reader, const ContextNode *node,
					   char *ident);

/*
 * The pattern of an ident, which is at most as long: "#" for each number.
 * Raises no error.
 */
extern void ident_pattern(const char *ident, char *pattern);

#endif							/* PGSM_IDENT_PATTERN_H */
