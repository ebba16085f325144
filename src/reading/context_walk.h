/*-------------------------------------------------------------------------
 *
 * context_walk.h
 *	  Walks a tree of memory contexts through a reader.
 *
 * Knows contexts, not SQL.  The same code walks this process's own tree and
 * another process's, which can change while it is read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CONTEXT_WALK_H
#define PGSM_CONTEXT_WALK_H

#include "nodes/nodes.h"

#include "reading/context_category.h"
#include "reading/memory_reader.h"

typedef enum ContextKind
{
	CONTEXT_ALLOCSET,
	CONTEXT_GENERATION,
	CONTEXT_SLAB,
	CONTEXT_BUMP				/* PostgreSQL 17 and later */
} ContextKind;

#define CONTEXT_KIND_COUNT	(CONTEXT_BUMP + 1)

/* A context as the walk found it.  Valid during the visit only. */
typedef struct ContextNode
{
	uintptr_t	address;		/* of its MemoryContextData */
	uintptr_t	parent;			/* of its parent's, 0 at the root */
	int			level;			/* 1 at the root */
	ContextKind kind;
	ContextCategory category;
	Size		total_bytes;	/* mem_allocated, in bytes */
	uintptr_t	name_address;	/* of the name, where the process has it */
	uintptr_t	ident_address;	/* of the ident, 0 if none */
	const char *name;			/* the name, readable here, never NULL */
} ContextNode;

typedef struct ContextVisitor
{
	/* A try begins: forget what an earlier one has handed over. */
	void		(*begin) (void *arg);
	/* One context, parents before children, siblings in list order. */
	void		(*visit) (const ContextNode *node, void *arg);
	void	   *arg;
	/* Whether a cancel may end the walk: not in callbacks. */
	bool		interruptible;
} ContextVisitor;

typedef enum ContextWalkResult
{
	WALK_EXACT,					/* the whole tree, consistent */
	WALK_APPROXIMATE,			/* it kept changing: what could be read, and
								 * some of it may be counted twice */
	WALK_UNREADABLE				/* nothing: see memory_reader_errno */
} ContextWalkResult;

/* More contexts than this are not followed: a tree this large is a loop. */
#define CONTEXT_WALK_MAX_CONTEXTS	10000000

/*
 * Walks the tree below TopMemoryContext of the reader's process, at any depth
 * in the same time for each context.
 *
 * With interruptible set it raises what CHECK_FOR_INTERRUPTS raises, in the
 * middle of another process's tree, at the end of the own one.  For the own
 * tree no other error, no allocation, and without interruptible any caller.
 * For another one that keeps changing, 16 bytes and more for each context in
 * the current memory context, which are freed at the end; it raises what the
 * reader raises.
 */
extern ContextWalkResult context_walk(MemoryReader *reader,
									  const ContextVisitor *visitor);

/*
 * Attaches the reader to the process pid, walks its tree, and detaches, also
 * after an error.
 */
extern ContextWalkResult context_walk_process(MemoryReader *reader, int pid,
											  const ContextVisitor *visitor);

/* The kind that a tag stands for, -1 if it is not a context's. */
extern int	context_kind_of_tag(NodeTag tag);

/* The name of a kind, as PostgreSQL 18's pg_backend_memory_contexts has it. */
extern const char *context_kind_name(ContextKind kind);

#endif							/* PGSM_CONTEXT_WALK_H */
