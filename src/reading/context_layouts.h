/*-------------------------------------------------------------------------
 *
 * context_layouts.h
 *	  How each kind of memory context is laid out, a mirror.
 *
 * The structs are private to aset.c, generation.c, slab.c and bump.c.  Nothing
 * here is believed before layout_check.c has confirmed it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CONTEXT_LAYOUTS_H
#define PGSM_CONTEXT_LAYOUTS_H

#include "lib/ilist.h"
#include "nodes/memnodes.h"
#if PG_VERSION_NUM >= 160000
#include "utils/memutils_memorychunk.h"
#endif

#include "pg_compat.h"

/*
 * The layouts.  Pointers into the other process are uintptr_t here, for they
 * are never to be followed directly; list nodes keep their type for its
 * layout's sake.  Names of fields are PostgreSQL's.
 */

/* The type of the sizes among a context's parameters. */
#if PG_VERSION_NUM >= 170000
typedef uint32 ParameterSize;
#else
typedef Size ParameterSize;
#endif

/* aset.c: free chunks of list k have 1 << (k + ALLOC_MINBITS) bytes. */
#define ALLOC_MINBITS			3
#define ALLOCSET_NUM_FREELISTS	11

typedef struct AllocSetLayout
{
	MemoryContextData header;
#ifdef PGSM_WRONG_LAYOUT
	uintptr_t	not_there;		/* a test build: the check must notice it */
#endif
	uintptr_t	blocks;
	uintptr_t	freelist[ALLOCSET_NUM_FREELISTS];
	ParameterSize initBlockSize;
	ParameterSize maxBlockSize;
	ParameterSize nextBlockSize;
	ParameterSize allocChunkLimit;
#if PG_VERSION_NUM < 170000
	uintptr_t	keeper;
#endif
	int			freeListIndex;
} AllocSetLayout;

typedef struct AllocBlockLayout
{
	uintptr_t	aset;
	uintptr_t	prev;
	uintptr_t	next;
	uintptr_t	freeptr;
	uintptr_t	endptr;
} AllocBlockLayout;

/*
 * A free chunk: its header and, in the header (15) or behind it (16 and
 * later), the link to the next one.  On a 32-bit machine that aligns to 8
 * bytes, 15 built with assertions pads the header; the check refutes us there.
 */
typedef struct FreeChunkLayout
{
#if PG_VERSION_NUM >= 160000
	MemoryChunk header;
#else
	Size		size;
#ifdef MEMORY_CONTEXT_CHECKING
	Size		requested_size;
#endif
#endif
	uintptr_t	next;
} FreeChunkLayout;

#if PG_VERSION_NUM >= 160000

#define ALLOC_CHUNKHDRSZ		sizeof(MemoryChunk)

/*
 * The part of a chunk's hdrmask that is the same for all free chunks of a
 * list: the context kind, that it is not "external", and the list's number.
 */
#define CHUNK_LIST_BIT			(MEMORY_CONTEXT_METHODID_BITS + 1)
#define CHUNK_LIST_MASK			\
	(((MEMORYCHUNK_MAX_VALUE + 1) << CHUNK_LIST_BIT) - 1)
#define CHUNK_OF_LIST(list)		\
	(((uint64) (list) << CHUNK_LIST_BIT) | MCTX_ASET_ID)

#else

#define ALLOC_CHUNKHDRSZ		sizeof(FreeChunkLayout)

#endif

/* generation.c */
typedef struct GenerationLayout
{
	MemoryContextData header;
	ParameterSize initBlockSize;
	ParameterSize maxBlockSize;
	ParameterSize nextBlockSize;
	ParameterSize allocChunkLimit;
	uintptr_t	block;
	uintptr_t	freeblock;
#if PG_VERSION_NUM < 170000
	uintptr_t	keeper;
#endif
	dlist_head	blocks;
} GenerationLayout;

typedef struct GenerationBlockLayout
{
	dlist_node	node;
#if PG_VERSION_NUM >= 160000
	uintptr_t	context;
#endif
	Size		blksize;
	int			nchunks;
	int			nfree;
	uintptr_t	freeptr;
	uintptr_t	endptr;
} GenerationBlockLayout;

/* slab.c, written anew for PostgreSQL 16 */
#if PG_VERSION_NUM >= 160000

#define SLAB_BLOCKLIST_COUNT	3

typedef struct SlabLayout
{
	MemoryContextData header;
	ParameterSize chunkSize;
	ParameterSize fullChunkSize;
	ParameterSize blockSize;
	int32		chunksPerBlock;
	int32		curBlocklistIndex;
#ifdef MEMORY_CONTEXT_CHECKING
	uintptr_t	isChunkFree;
#endif
	int32		blocklist_shift;
	dclist_head emptyblocks;
	dlist_head	blocklist[SLAB_BLOCKLIST_COUNT];
} SlabLayout;

typedef struct SlabBlockLayout
{
	uintptr_t	slab;
	int32		nfree;
	int32		nunused;
	uintptr_t	freehead;
	uintptr_t	unused;
	dlist_node	node;
} SlabBlockLayout;

#else

typedef struct SlabLayout
{
	MemoryContextData header;
	Size		chunkSize;
	Size		fullChunkSize;
	Size		blockSize;
	Size		headerSize;
	int			chunksPerBlock;
	int			minFreeChunks;
	int			nblocks;
#ifdef MEMORY_CONTEXT_CHECKING
	uintptr_t	freechunks;
#endif
	dlist_head	freelist[FLEXIBLE_ARRAY_MEMBER];
} SlabLayout;

typedef struct SlabBlockLayout
{
	dlist_node	node;
	int			nfree;
	int			firstFreeChunk;
} SlabBlockLayout;

#endif

/* bump.c */
#ifdef PGSM_HAVE_BUMP

typedef struct BumpLayout
{
	MemoryContextData header;
	ParameterSize initBlockSize;
	ParameterSize maxBlockSize;
	ParameterSize nextBlockSize;
	ParameterSize allocChunkLimit;
	dlist_head	blocks;
} BumpLayout;

typedef struct BumpBlockLayout
{
	dlist_node	node;
#ifdef MEMORY_CONTEXT_CHECKING
	uintptr_t	context;
#endif
	uintptr_t	freeptr;
	uintptr_t	endptr;
} BumpBlockLayout;

#endif

#endif							/* PGSM_CONTEXT_LAYOUTS_H */
