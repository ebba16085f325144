/*-------------------------------------------------------------------------
 *
 * context_walk.c
 *	  Walks a tree of memory contexts through a reader.
 *
 * The walk goes down firstchild, along nextchild, and up again.  It does not
 * recurse: where to go on after a subtree is kept in an array for the levels
 * near the root.  Below them a context is read once more when it is left: it
 * knows its sibling and its parent.  What it does not know is its parent's
 * category, which mostly is its own; where it is not, the walk has noted that
 * on the way down.  So no depth is too large, each context takes the same
 * instructions at any depth, and no allocation is needed.  What a walk waits
 * for is memory, once the contexts are more than the processor's caches hold:
 * in a flat tree of as many contexts as in a deep one (test/bench/deep.py).
 *
 * Another process goes on changing its tree while we read it, and parts of
 * what we have may be older than others.  So a context is believed only if
 * it lies where a context may lie, its tag is that of a context kind, its
 * parent is the context whose child we take it for, and its previous sibling
 * is the one that we came from.
 *
 * A list that leads to something unbelievable is mended where it breaks.  New
 * contexts are put at the beginning of their parent's list and nowhere else,
 * so what follows the sibling that we came from was not met yet: that sibling
 * is read anew, and if it is where it was, the list goes on behind it.  If no
 * sibling was met yet, the parent is read anew.  Such a list is as good as one
 * that was met a moment later, and the result is still exact.  Where the
 * sibling has gone, the walk begins again.  The third try keeps in mind what
 * it has visited, goes through such a list from its beginning and passes over
 * what it knows; that result is approximate.
 *
 * A list that is read while it changes could lead in a circle.  For a context
 * to be met twice in one list it has to be moved to its beginning and then
 * get a previous sibling again, time and again while we go round; there is a
 * limit for the number of contexts all the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "utils/memutils.h"

#include "pg_compat.h"
#include "reading/constant_memory.h"
#include "reading/context_walk.h"

#define WALK_TRIES		3

/* The levels for which the walk remembers how to go on. */
#define WALK_LEVELS		100

/* How many changes of category it remembers on one path below them. */
#define WALK_CHANGES	1024

/* How often a list is mended in one try, and in one place. */
#define WALK_MENDS		1000
#define WALK_MENDS_HERE	16

/* Longer names are cut; PostgreSQL's own have at most 40 characters. */
#define NAME_BYTES		128

/* A context whose children are walked, and how to go on after them. */
typedef struct WalkLevel
{
	uintptr_t	address;		/* of the context at this level */
	uintptr_t	previous;		/* its previous sibling */
	uintptr_t	next;			/* its next sibling */
	uintptr_t	parent;
	ContextCategory category;
} WalkLevel;

/* Where the previous sibling is not known: no context's address. */
#define NOT_KNOWN		1

/* A context whose category is not its parent's, below WALK_LEVELS. */
typedef struct CategoryChange
{
	int			level;			/* of the context */
	ContextCategory parents;	/* its parent's category */
} CategoryChange;

/*
 * The contexts that were visited, each with the parent below which it was
 * met: a hash table of hash values, of which 0 is an empty slot.  The same
 * address below another parent is another context, or one that was moved.
 */
typedef struct VisitedSet
{
	uint64	   *slots;			/* NULL: nothing is kept */
	uint64		count;
	uint64		size;			/* a power of 2 */
} VisitedSet;

#define FIRST_VISITED_SLOTS		4096

/* The names met last, by address: most contexts share few names. */
#define NAME_SLOTS		64

typedef struct NameSlot
{
	uintptr_t	address;
	int			category;
} NameSlot;

/* Names in the executable: these hold for the process's whole life. */
static NameSlot constant_names[NAME_SLOTS];

/* What one walk needs to know while it goes on. */
typedef struct WalkState
{
	MemoryReader *reader;
	const ContextVisitor *visitor;
	bool		interruptible;
	bool		lenient;		/* the last try */

	/* Of one try */
	uint64		met;			/* contexts visited or passed over */
	int			mends;
	int			mends_here;		/* since a context was believed */
	uintptr_t	trusted;		/* comes next, whatever it says of itself */
	bool		doubted;		/* something was not believed */
	bool		stopped;		/* an interrupt is pending */
	VisitedSet	visited;
	CategoryChange changes[WALK_CHANGES];
	int			change_count;
	uintptr_t	last_name;		/* a name outside the executable ... */
	int			last_category;	/* ... and its category */
	char		name[NAME_BYTES];
	WalkLevel	levels[WALK_LEVELS];
} WalkState;

int
context_kind_of_tag(NodeTag tag)
{
	switch (tag)
	{
		case T_AllocSetContext:
			return CONTEXT_ALLOCSET;
		case T_GenerationContext:
			return CONTEXT_GENERATION;
		case T_SlabContext:
			return CONTEXT_SLAB;
#ifdef PGSM_HAVE_BUMP
		case T_BumpContext:
			return CONTEXT_BUMP;
#endif
		default:
			return -1;
	}
}

const char *
context_kind_name(ContextKind kind)
{
	switch (kind)
	{
		case CONTEXT_ALLOCSET:
			return "AllocSet";
		case CONTEXT_GENERATION:
			return "Generation";
		case CONTEXT_SLAB:
			return "Slab";
		case CONTEXT_BUMP:
			return "Bump";
	}
	return "???";
}

/*
 * The context at address, NULL if there can be none.  Valid until the
 * reader's next call.
 */
static inline const MemoryContextData *
read_context(MemoryReader *reader, uintptr_t address)
{
	const MemoryContextData *context;

	if (address == 0 || address % MAXIMUM_ALIGNOF != 0)
		return NULL;
	context = memory_reader_map(reader, address, sizeof(MemoryContextData));
	if (context == NULL || context_kind_of_tag(context->type) < 0)
		return NULL;
	return context;
}

/* The same, read anew from the process. */
static const MemoryContextData *
read_context_anew(MemoryReader *reader, uintptr_t address)
{
	memory_reader_forget_range(reader, address, sizeof(MemoryContextData));
	return read_context(reader, address);
}

/*
 * Has the processor fetch a context of this process while another one is
 * looked at: a walk mostly waits for memory.  The statistics methods read
 * behind MemoryContextData, too.
 */
static inline void
prefetch_context(uintptr_t address)
{
	for (int line = 0; line < 4; line++)
		memory_prefetch(address + line * 64);
}

/*
 * Sets node->name and looks up what the name says of the category.
 *
 * A hash table's context is called by the table's own name, as
 * pg_backend_memory_contexts does, and then has no ident.
 */
static int
resolve_name(WalkState *state, ContextNode *node)
{
	MemoryReader *reader = state->reader;

	/* cppcheck-suppress ctuuninitvar ; the callers set both addresses */
	uintptr_t	address = node->name_address;
	int			category;

	if (likely(constant_memory_has(address)))
	{
		NameSlot   *slot = &constant_names[(address >> 3) % NAME_SLOTS];

		node->name = (const char *) address;
		if (slot->address != address)
		{
			slot->category = context_category_of_name(node->name);
			slot->address = address;
		}
		category = slot->category;
	}
	else if (address == state->last_name && address != 0)
	{
		node->name = memory_reader_is_self(reader) ?
			(const char *) address : state->name;
		category = state->last_category;
	}
	else
	{
		if (memory_reader_is_self(reader))
			node->name = (const char *) address;
		else
		{
			if (memory_reader_string(reader, address, state->name,
									 NAME_BYTES) < 0)
				strlcpy(state->name, "???", NAME_BYTES);
			node->name = state->name;
		}
		category = context_category_of_name(node->name);
		state->last_name = address;
		state->last_category = category;
	}

	if (node->ident_address != 0 && strcmp(node->name, "dynahash") == 0)
	{
		if (memory_reader_is_self(reader))
			node->name = (const char *) node->ident_address;
		else
		{
			state->last_name = 0;
			if (memory_reader_string(reader, node->ident_address, state->name,
									 NAME_BYTES) > 0)
				node->name = state->name;
		}
		node->ident_address = 0;
		category = context_category_of_name(node->name);
	}
	return category;
}

/*
 * The category of a context of this name's category below a parent.  What
 * hangs from the root and is not known belongs to nobody that we know.
 */
static inline ContextCategory
inherit_category(int own, ContextCategory parents, int level)
{
	if (own != CATEGORY_OF_PARENT)
		return (ContextCategory) own;
	return level <= 2 ? CATEGORY_OTHER : parents;
}

/*
 * Looks for interrupts, before each context that is met or left: a visit can
 * take long, where the blocks of a large context are counted.  Returns whether
 * the walk is to end: while the own tree is walked nothing may change it,
 * which the processing of an interrupt can do.
 */
static inline bool
is_stopped(WalkState *state)
{
	if (!state->interruptible)
		return false;
	if (!memory_reader_is_self(state->reader))
		CHECK_FOR_INTERRUPTS();
	else if ((QueryCancelPending || ProcDiePending) &&
			 INTERRUPTS_CAN_BE_PROCESSED())
		state->stopped = true;
	return state->stopped;
}

/* An empty set, or none where there is no memory for it. */
static void
visited_begin(VisitedSet *visited)
{
	visited->count = 0;
	visited->size = FIRST_VISITED_SLOTS;
	visited->slots = palloc_extended(visited->size * sizeof(uint64),
									 MCXT_ALLOC_ZERO | MCXT_ALLOC_NO_OOM);
}

static void
visited_end(VisitedSet *visited)
{
	if (visited->slots != NULL)
		pfree(visited->slots);
	visited->slots = NULL;
}

/* The slot that holds the hash value, or where it would be. */
static inline uint64 *
visited_slot(const VisitedSet *visited, uint64 hash)
{
	uint64		at = hash & (visited->size - 1);

	while (visited->slots[at] != 0 && visited->slots[at] != hash)
		at = (at + 1) & (visited->size - 1);
	return &visited->slots[at];
}

/* Twice as many slots; without memory for them the set is given up. */
static void
visited_grow(VisitedSet *visited)
{
	VisitedSet	larger = {.size = visited->size * 2};

	larger.slots = palloc_extended(larger.size * sizeof(uint64),
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO |
								   MCXT_ALLOC_NO_OOM);
	for (uint64 i = 0; larger.slots != NULL && i < visited->size; i++)
	{
		if (visited->slots[i] != 0)
			*visited_slot(&larger, visited->slots[i]) = visited->slots[i];
	}
	larger.count = visited->count;
	visited_end(visited);
	*visited = larger;
}

/* Notes a child of a parent.  Returns false if it was noted before. */
static bool
visited_add(VisitedSet *visited, uintptr_t address, uintptr_t parent)
{
	uint64		hash = (uint64) address * UINT64CONST(0x9E3779B97F4A7C15);
	uint64	   *slot;

	hash = ((hash ^ parent) * UINT64CONST(0xD6E8FEB86659FD93));
	hash = (hash ^ hash >> 32) | 1;
	slot = visited_slot(visited, hash);
	if (*slot == hash)
		return false;
	*slot = hash;
	if (++visited->count > visited->size / 2)
		visited_grow(visited);
	return true;
}

/*
 * The list of a parent's children, which are on this level, leads to something
 * unbelievable behind *previous, 0 if that was its beginning; before is the
 * sibling before *previous.  Finds out where the list goes on: sets *previous
 * and *address, which is 0 where the list ends.  Returns false if that cannot
 * be found out.
 */
static bool
mend_list(WalkState *state, uintptr_t parent, int level, uintptr_t before,
		  uintptr_t *previous, uintptr_t *address)
{
	MemoryReader *reader = state->reader;
	const MemoryContextData *context;

	*address = 0;
	if (memory_reader_is_self(reader) || level == 1 ||
		++state->mends > WALK_MENDS ||
		++state->mends_here > WALK_MENDS_HERE)
		return false;

	if (*previous != 0)
	{
		context = read_context_anew(reader, *previous);
		if (context != NULL && (uintptr_t) context->parent == parent &&
			(uintptr_t) context->prevchild == before)
			*address = (uintptr_t) context->nextchild;
		else if (state->visited.slots == NULL)
			return false;
		else
		{
			*previous = 0;
			state->doubted = true;
		}
	}
	if (*previous == 0)
	{
		const WalkLevel *above = NULL;

		if (level - 1 <= WALK_LEVELS)
			above = &state->levels[level - 2];
		context = read_context_anew(reader, parent);
		if (context == NULL || above == NULL ||
			(uintptr_t) context->parent != above->parent ||
			(uintptr_t) context->prevchild != above->previous)
		{
			/* The parent has gone elsewhere, or something else is there. */
			if (context == NULL || state->visited.slots == NULL ||
				(above != NULL &&
				 (uintptr_t) context->parent != above->parent))
				return false;
			state->doubted = true;
		}
		*address = (uintptr_t) context->firstchild;
	}

	/*
	 * A process can be stopped in the middle of a change, and for long, with
	 * links that lead forward already and not yet back: those are set last.
	 * What a link still leads to after it was read is what comes next.
	 */
	context = read_context_anew(reader, *address);
	if (context != NULL && (uintptr_t) context->parent == parent &&
		(uintptr_t) context->prevchild != *previous)
	{
		uintptr_t	link = 0;

		context = read_context_anew(reader, *previous != 0 ? *previous : parent);
		if (context != NULL)
			link = (uintptr_t) (*previous != 0 ? context->nextchild :
								context->firstchild);
		if (link == *address)
			state->trusted = link;
	}
	return true;
}

/*
 * Below the levels that the walk remembers: what there is to know of a context
 * whose children were walked.
 */
static bool
read_level(WalkState *state, uintptr_t address, int level, WalkLevel *left)
{
	const MemoryContextData *context = read_context(state->reader, address);

	if (context == NULL)
		return false;
	left->address = address;
	left->previous = NOT_KNOWN;
	left->next = (uintptr_t) context->nextchild;
	left->parent = (uintptr_t) context->parent;

	/* The levels that are remembered end with what they began with. */
	return level > WALK_LEVELS + 1 ||
		left->parent == state->levels[WALK_LEVELS - 1].address;
}

/*
 * Notes a context whose children are walked next.
 */
static inline void
enter_level(WalkState *state, const ContextNode *node, uintptr_t previous,
			uintptr_t next, ContextCategory parents_category)
{
	if (likely(node->level <= WALK_LEVELS))
	{
		WalkLevel  *here = &state->levels[node->level - 1];

		here->address = node->address;
		here->previous = previous;
		here->next = next;
		here->parent = node->parent;
		here->category = node->category;
	}
	else if (node->level > WALK_LEVELS + 1 &&
			 node->category != parents_category)
	{
		if (state->change_count == WALK_CHANGES)
		{
			/* Some categories will be wrong on the way up. */
			state->doubted = true;
			return;
		}
		state->changes[state->change_count].level = node->level;
		state->changes[state->change_count].parents = parents_category;
		state->change_count++;
	}
}

/*
 * The category of the parent of a context on this level, which is left and is
 * of this category itself.
 */
static inline ContextCategory
parents_category_of(WalkState *state, int level, ContextCategory category)
{
	if (likely(level - 1 <= WALK_LEVELS))
		return state->levels[level - 2].category;
	if (state->change_count > 0 &&
		state->changes[state->change_count - 1].level == level)
		return state->changes[--state->change_count].parents;
	return category;
}

/*
 * One try.  Returns false if it should be made again.
 */
static bool
walk_once(WalkState *state, uintptr_t root)
{
	MemoryReader *reader = state->reader;
	uintptr_t	address = root;
	uintptr_t	parent = 0;
	uintptr_t	previous = 0;
	uintptr_t	before = 0;		/* the sibling before previous */
	ContextCategory parents_category = CATEGORY_OTHER;
	int			level = 1;

	state->met = 0;
	state->mends = 0;
	state->mends_here = 0;
	state->trusted = 0;
	state->change_count = 0;
	state->last_name = 0;
	if (state->visitor->begin)
		state->visitor->begin(state->visitor->arg);

	for (;;)
	{
		const MemoryContextData *context;

		if (is_stopped(state))
			return true;
		context = read_context(reader, address);
		if (likely(context != NULL &&
				   (uintptr_t) context->parent == parent &&
				   ((uintptr_t) context->prevchild == previous ||
					address == state->trusted)))
		{
			uintptr_t	previous_now = (uintptr_t) context->prevchild;
			uintptr_t	first = (uintptr_t) context->firstchild;
			uintptr_t	next = (uintptr_t) context->nextchild;

			state->mends_here = 0;
			state->trusted = 0;
			if (unlikely(++state->met > CONTEXT_WALK_MAX_CONTEXTS))
			{
				state->doubted = true;
				return true;
			}
			if (memory_reader_is_self(reader))
				prefetch_context(next);
			if (likely(state->visited.slots == NULL) ||
				visited_add(&state->visited, address, parent))
			{
				ContextNode node;

				node.address = address;
				node.parent = parent;
				node.level = level;
				node.kind = context_kind_of_tag(context->type);
				node.total_bytes = context->mem_allocated;
				node.name_address = (uintptr_t) context->name;
				node.ident_address = (uintptr_t) context->ident;
				node.category = inherit_category(resolve_name(state, &node),
												 parents_category, level);
				state->visitor->visit(&node, state->visitor->arg);

				if (first != 0)
				{
					enter_level(state, &node, previous_now, next,
								parents_category);
					parents_category = node.category;
					parent = address;
					before = 0;
					previous = 0;
					address = first;
					level++;
					continue;
				}
			}
			before = previous_now;
			previous = address;
			address = next;
		}
		else if (!mend_list(state, parent, level, before, &previous, &address))
		{
			/* What cannot be mended ends there. */
			state->doubted = true;
			if (!state->lenient || level == 1)
				return false;
		}
		else if (previous == 0)
			before = 0;

		/* Where a list ends, go on with the sibling of an ancestor. */
		while (address == 0)
		{
			WalkLevel	read;
			WalkLevel  *left = &read;

			if (is_stopped(state) || --level <= 1)
				return true;	/* the root has no siblings */
			if (level <= WALK_LEVELS)
				left = &state->levels[level - 1];
			else if (!read_level(state, parent, level, left))
			{
				/* Go on where the array still helps. */
				state->doubted = true;
				if (!state->lenient)
					return false;
				level = WALK_LEVELS;
				left = &state->levels[level - 1];
				state->change_count = 0;
			}
			before = left->previous;
			previous = left->address;
			address = left->next;
			parent = left->parent;
			parents_category = parents_category_of(state, level,
												   parents_category);
		}
	}
}

ContextWalkResult
context_walk(MemoryReader *reader, const ContextVisitor *visitor)
{
	/* Not on the stack, which callbacks may find nearly used up. */
	static WalkState state;
	const uintptr_t *top;
	bool		complete;

	state.reader = reader;
	state.visitor = visitor;
	state.interruptible = visitor->interruptible;
	state.visited.slots = NULL;

	for (int try = 1; try <= WALK_TRIES; try++)
	{
		if (try > 1)
			memory_reader_forget(reader);
		top = memory_reader_map(reader, (uintptr_t) &TopMemoryContext,
								sizeof(uintptr_t));
		if (top == NULL)
			return WALK_UNREADABLE;

		state.doubted = false;
		state.stopped = false;
		state.lenient = try == WALK_TRIES;
		if (state.lenient && !memory_reader_is_self(reader))
			visited_begin(&state.visited);
		complete = walk_once(&state, *top);
		visited_end(&state.visited);
		if (state.stopped)
		{
			CHECK_FOR_INTERRUPTS();
			/* It was put off, so the walk is made without a stop. */
			state.interruptible = false;
			try--;
		}
		else if (complete)
			return state.doubted ? WALK_APPROXIMATE : WALK_EXACT;
	}
	return WALK_UNREADABLE;
}

ContextWalkResult
context_walk_process(MemoryReader *reader, int pid,
					 const ContextVisitor *visitor)
{
	ContextWalkResult result;

	PG_TRY();
	{
		memory_reader_attach(reader, pid);
		result = context_walk(reader, visitor);
	}
	PG_FINALLY();
	{
		memory_reader_detach(reader);
	}
	PG_END_TRY();
	return result;
}
