/*-------------------------------------------------------------------------
 *
 * context_tally.c
 *	  Adds up contexts that are the same thing to the one who asks.
 *
 * A hash table of sums, and an array by level that tells a walk where it is.
 * Both grow while the caller's own contexts are walked, but in one context
 * that was there before, so the tree keeps its shape.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "reading/context_tally.h"

#define FIRST_SUMS		256		/* a power of 2 */
#define FIRST_LEVELS	32

void
context_tally_create(ContextTally *tally)
{
	tally->memory = AllocSetContextCreate(CurrentMemoryContext,
										  "pg_session_memory tally",
										  ALLOCSET_DEFAULT_SIZES);
	context_tally_begin(tally);
}

void
context_tally_begin(ContextTally *tally)
{
	MemoryContextReset(tally->memory);
	tally->count = 0;
	tally->size = FIRST_SUMS;
	tally->sums = MemoryContextAlloc(tally->memory,
									 tally->size * sizeof(TallySum));
	tally->bucket_count = FIRST_SUMS;
	tally->buckets = MemoryContextAlloc(tally->memory,
										tally->bucket_count * sizeof(int));
	memset(tally->buckets, 0xff, tally->bucket_count * sizeof(int));
	tally->levels = FIRST_LEVELS;
	tally->at_level = MemoryContextAlloc(tally->memory,
										 tally->levels * sizeof(int));
}

static uint32
hash_of(int parent, ContextCategory category, const char *name,
		const char *ident)
{
	uint32		hash = hash_bytes((const unsigned char *) name,
								  (int) strlen(name));

	hash = hash_combine(hash, hash_bytes_uint32((uint32) parent));
	hash = hash_combine(hash, (uint32) category);
	if (ident != NULL)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) ident,
											 (int) strlen(ident)));
	return hash;
}

/* The index of the sum, -1 if there is none. */
static int
look_up(const ContextTally *tally, uint32 hash, int parent,
		ContextCategory category, const char *name, const char *ident)
{
	int			i = tally->buckets[hash & (tally->bucket_count - 1)];

	for (; i >= 0; i = tally->sums[i].next)
	{
		const TallySum *sum = &tally->sums[i];

		if (sum->hash == hash && sum->parent == parent &&
			sum->category == category &&
			(sum->ident == NULL) == (ident == NULL) &&
			strcmp(sum->name, name) == 0 &&
			(ident == NULL || strcmp(sum->ident, ident) == 0))
			return i;
	}
	return -1;
}

/* Twice as many sums and buckets. */
static void
grow(ContextTally *tally)
{
	tally->size *= 2;
	tally->sums = repalloc_huge(tally->sums, tally->size * sizeof(TallySum));
	tally->bucket_count *= 2;
	tally->buckets = repalloc_huge(tally->buckets,
								   tally->bucket_count * sizeof(int));
	memset(tally->buckets, 0xff, tally->bucket_count * sizeof(int));
	for (int i = 0; i < tally->count; i++)
	{
		int		   *bucket = &tally->buckets[tally->sums[i].hash &
											 (tally->bucket_count - 1)];

		tally->sums[i].next = *bucket;
		*bucket = i;
	}
}

int
context_tally_find(ContextTally *tally, int parent, ContextCategory category,
				   const char *name, const char *ident)
{
	uint32		hash = hash_of(parent, category, name, ident);
	int			found = look_up(tally, hash, parent, category, name, ident);
	TallySum   *sum;
	int		   *bucket;

	if (found >= 0)
		return found;

	if (tally->count == tally->size)
		grow(tally);
	bucket = &tally->buckets[hash & (tally->bucket_count - 1)];
	sum = &tally->sums[tally->count];
	sum->parent = parent;
	sum->category = category;
	sum->name = MemoryContextStrdup(tally->memory, name);
	sum->ident = ident == NULL ? NULL :
		MemoryContextStrdup(tally->memory, ident);
	sum->hash = hash;
	sum->next = *bucket;
	sum->level = parent < 0 ? 1 : tally->sums[parent].level + 1;
	sum->contexts = 0;
	sum->bytes = 0;
	*bucket = tally->count;
	return tally->count++;
}

bool
context_tally_has(const ContextTally *tally, int parent,
				  ContextCategory category, const char *name,
				  const char *ident)
{
	return look_up(tally, hash_of(parent, category, name, ident), parent,
				   category, name, ident) >= 0;
}

int
context_tally_above(const ContextTally *tally, int level)
{
	return level > 1 ? tally->at_level[level - 2] : -1;
}

void
context_tally_set_level(ContextTally *tally, int level, int sum)
{
	if (level > tally->levels)
	{
		tally->levels *= 2;
		tally->at_level = repalloc_huge(tally->at_level,
										tally->levels * sizeof(int));
	}
	tally->at_level[level - 1] = sum;
}

static int
compare_bytes(const void *a, const void *b)
{
	const TallySum *one = *(const TallySum *const *) a;
	const TallySum *other = *(const TallySum *const *) b;

	CHECK_FOR_INTERRUPTS();
	if (one->bytes != other->bytes)
		return one->bytes > other->bytes ? -1 : 1;
	/* In the order in which they were met. */
	return one < other ? -1 : one > other;
}

const TallySum **
context_tally_sorted(const ContextTally *tally)
{
	const TallySum **sorted;

	sorted = MemoryContextAllocHuge(CurrentMemoryContext,
									(tally->count + 1) * sizeof(TallySum *));
	for (int i = 0; i < tally->count; i++)
		sorted[i] = &tally->sums[i];
	qsort(sorted, tally->count, sizeof(TallySum *), compare_bytes);
	return sorted;
}
