/*-------------------------------------------------------------------------
 *
 * context_walk_test.c
 *	  src/reading/context_walk.c by itself, without a server: wherever it is in
 *	  a tree, a cancel ends it before it has met or left another context.
 *
 *	context_walk_test
 *
 * Trees that are wide, deep or both are made up, and walked as those of this
 * process and as those of another one, whose memory a reader of the test's own
 * hands out.  In each place that is tried something sets the flags that the
 * handler of a signal sets; from there on contexts and reads are counted.
 *
 * check.sh compiles it with sanitizers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>

#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "utils/memutils.h"

#include "reading/context_walk.h"

#undef printf

#define CONTEXTS		60000

/* After a cancel: reads of another process's contexts, at most. */
#define READS_AFTER		2

struct MemoryReader
{
	int			nothing;
};

typedef enum Shape
{
	WIDE,						/* all hang from the root */
	DEEP,						/* each hangs from the one before */
	CHANGING,					/* the same, and categories change */
	COMB						/* each third one has the next three */
} Shape;

static const char *const shape_names[] = {"wide", "deep", "changing", "comb"};

MemoryReader memory_reader_of_self;
static MemoryReader other;

MemoryContext TopMemoryContext;
MemoryContext CurrentMemoryContext;
volatile sig_atomic_t InterruptPending;
volatile sig_atomic_t QueryCancelPending;
volatile sig_atomic_t ProcDiePending;
volatile uint32 InterruptHoldoffCount;
volatile uint32 QueryCancelHoldoffCount;
volatile uint32 CritSectionCount;
sigjmp_buf *PG_exception_stack;
ErrorContextCallback *error_context_stack;

static MemoryContextData *contexts;
static jmp_buf cancelled;
static bool is_held;			/* interrupts are, so nothing may end */
static long cancel_at_visit;	/* 0: not at a visit */
static long cancel_at_read;
static long visits;
static long reads;
static long visits_after;
static long reads_after;

/* ----------------------------------------------------------------------------
 * What the walk needs of a server, and of the reader
 * ----------------------------------------------------------------------------
 */

static void
cancel(void)
{
	InterruptPending = true;
	QueryCancelPending = true;
}

void
ProcessInterrupts(void)
{
	if (InterruptHoldoffCount > 0)
		return;
	longjmp(cancelled, 1);
}

void *
palloc_extended(Size size, int flags)
{
	return calloc(1, size);
}

void
pfree(void *pointer)
{
	free(pointer);
}

void
pg_re_throw(void)
{
	abort();
}

void
ExceptionalCondition(const char *condition,
#if PG_VERSION_NUM < 160000
					 const char *type,
#endif
					 const char *file, int line)
{
	printf("%s:%d: %s\n", file, line, condition);
	abort();
}

const void *
memory_reader_map_other(MemoryReader *reader, uintptr_t address, Size length)
{
	reads++;
	if (QueryCancelPending)
		reads_after++;
	if (reads == cancel_at_read)
		cancel();
	return (const void *) address;
}

bool
memory_reader_is_self(const MemoryReader *reader)
{
	return reader == &memory_reader_of_self;
}

int
memory_reader_string(MemoryReader *reader, uintptr_t address, char *buffer,
					 Size size)
{
	return (int) strlcpy(buffer, (const char *) address, size);
}

void
memory_reader_attach(MemoryReader *reader, int pid)
{
}

void
memory_reader_detach(MemoryReader *reader)
{
}

void
memory_reader_forget(MemoryReader *reader)
{
}

void
memory_reader_forget_range(MemoryReader *reader, uintptr_t address,
						   Size length)
{
}

/* ----------------------------------------------------------------------------
 * The test
 * ----------------------------------------------------------------------------
 */

/* Hangs a context from another one, before its other children. */
static void
hang(MemoryContextData *child, MemoryContextData *parent)
{
	child->parent = parent;
	child->nextchild = parent->firstchild;
	if (parent->firstchild != NULL)
		parent->firstchild->prevchild = child;
	parent->firstchild = child;
}

static void
make_tree(Shape shape)
{
	memset(contexts, 0, CONTEXTS * sizeof(MemoryContextData));
	for (int i = 0; i < CONTEXTS; i++)
	{
		contexts[i].type = T_AllocSetContext;
		contexts[i].name = "ExprContext";
		contexts[i].mem_allocated = 8192;
		if (shape == CHANGING && i % 100 == 0)
			contexts[i].name = i % 200 == 0 ? "PortalContext" : "CachedPlan";
	}
	contexts[0].name = "TopMemoryContext";
	for (int i = 1; i < CONTEXTS; i++)
		hang(&contexts[i],
			 shape == WIDE ? &contexts[0] :
			 shape == COMB ? &contexts[(i - 1) / 3 * 3] : &contexts[i - 1]);
	TopMemoryContext = contexts;
}

static void
visit(const ContextNode *node, void *arg)
{
	visits++;
	if (QueryCancelPending)
		visits_after++;
	if (visits == cancel_at_visit)
		cancel();
}

/* Whether the walk came to its end. */
static bool
walk(MemoryReader *reader)
{
	ContextVisitor visitor = {NULL, visit, NULL, true};

	visits = reads = visits_after = reads_after = 0;
	InterruptPending = QueryCancelPending = false;
	InterruptHoldoffCount = is_held ? 1 : 0;
	if (setjmp(cancelled) != 0)
		return false;
	return context_walk(reader, &visitor) == WALK_EXACT;
}

static void
fail(Shape shape, const char *what)
{
	printf("%s tree: %s (cancelled at visit %ld, read %ld: %ld visits and %ld reads after it)\n",
		   shape_names[shape], what, cancel_at_visit, cancel_at_read,
		   visits_after, reads_after);
	exit(1);
}

int
main(int argc, char **argv)
{
	long		places = 0;

	contexts = malloc(CONTEXTS * sizeof(MemoryContextData));
	for (Shape shape = WIDE; shape <= COMB; shape++)
	{
		long		all_reads;

		make_tree(shape);
		cancel_at_visit = cancel_at_read = 0;
		if (!walk(&memory_reader_of_self) || visits != CONTEXTS)
			fail(shape, "the own one is not walked to its end");
		if (!walk(&other) || visits != CONTEXTS)
			fail(shape, "another one is not walked to its end");
		all_reads = reads;

		for (int i = 0; i < 500; i++, places++)
		{
			/* The first and the last ones, and some in between */
			long		place = i < 20 ? i + 1 :
				i < 40 ? CONTEXTS - (i - 20) : 1 + random() % CONTEXTS;

			cancel_at_visit = place;
			if (walk(&memory_reader_of_self) || visits_after > 0)
				fail(shape, "the own one is not left at once");
			if (walk(&other) || visits_after > 0 || reads_after > READS_AFTER)
				fail(shape, "another one is not left at once, from a visit");
			cancel_at_visit = 0;

			/* Also where contexts are left and not met.  The root is not. */
			cancel_at_read = i < 20 ? i + 1 :
				i < 40 ? all_reads - 1 - (i - 20) : 1 + random() % all_reads;
			cancel_at_read = Min(cancel_at_read, all_reads - 1);
			if (walk(&other) || visits_after > 1 || reads_after > READS_AFTER)
				fail(shape, "another one is not left at once, from a read");
			cancel_at_read = 0;
		}

		/* Where it is not the time for it, nothing ends. */
		is_held = true;
		cancel_at_visit = CONTEXTS / 2;
		if (!walk(&memory_reader_of_self) || visits != CONTEXTS ||
			!walk(&other) || visits != CONTEXTS)
			fail(shape, "interrupts that are held end it");
		is_held = false;
	}
	printf("%ld places in trees of %d contexts\n", places, CONTEXTS);
	return 0;
}
