/*-------------------------------------------------------------------------
 *
 * context_walk.c
 *	  Walks a tree of memory contexts through a reader.
 *
 * The walk goes down firstchild, along nextchild, and up again.  It does not
 * recurse: where to go on after a subtree is kept in an array for the levels
 * near the root, and read anew from the parent below them, so that no depth
 * is too large and no allocation is needed.
 *
 * Another process goes on changing its tree while we read it, and parts of
 * what we have may be older than others.  So a context is believed only if
 * it lies where a context may lie, its tag is that of a context kind, its
 * parent is the context whose child we take it for, and its previous sibling
 * is the one that we came from.  The last test is also what keeps the walk
 * out of circles: no list whose links agree in both directions and that
 * began at a first child returns to itself.  If a context is not believed,
 * the walk begins again; the third try takes a list that ends in something
 * unbelievable for one that ends there, and the result is approximate.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/memnodes.h"
#include "utils/memutils.h"

#include "pg_compat.h"
#include "reading/context_walk.h"

#define WALK_TRIES		3

/* The levels for which the walk remembers how to go on. */
#define WALK_LEVELS		100

/* How often the walk looks for interrupts, in contexts. */
#define WALK_INTERRUPT_EVERY	256

/* Longer names are cut; PostgreSQL's own have at most 40 characters. */
#define NAME_BYTES		128

/* A context's own data and where its subtree leads back to. */
typedef struct WalkLevel
{
	uintptr_t	address;		/* of the context at this level */
	uintptr_t	next;			/* its next sibling */
	uintptr_t	parent;
	ContextCategory category;
} WalkLevel;

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
	uint64		visited;
	bool		lenient;		/* the last try */
	bool		doubted;		/* something was not believed */
	uintptr_t	last_name;		/* a name outside the executable ... */
	int			last_category;	/* ... and its category */
	char		name[NAME_BYTES];
	WalkLevel	levels[WALK_LEVELS];
} WalkState;

/*
 * The kind that a tag stands for, -1 if it is not a context's.
 */
static inline int
kind_of_tag(NodeTag tag)
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
	if (context == NULL || kind_of_tag(context->type) < 0)
		return NULL;
	return context;
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

	if (likely(memory_reader_is_constant(address)))
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
 * Below the levels that the walk remembers: finds out about the context at
 * address, level levels deep, what the array would have told.
 */
static bool
recall_level(WalkState *state, uintptr_t address, int level,
			 WalkLevel *recalled)
{
	const MemoryContextData *context = read_context(state->reader, address);
	uintptr_t	ancestor = address;

	if (context == NULL)
		return false;
	recalled->address = address;
	recalled->next = (uintptr_t) context->nextchild;
	recalled->parent = (uintptr_t) context->parent;

	/* Its category is that of the nearest ancestor that knows its own. */
	for (; level > WALK_LEVELS; level--)
	{
		ContextNode node = {0};
		int			own;

		context = read_context(state->reader, ancestor);
		if (context == NULL)
			return false;
		node.name_address = (uintptr_t) context->name;
		node.ident_address = (uintptr_t) context->ident;
		ancestor = (uintptr_t) context->parent;
		own = resolve_name(state, &node);
		if (own != CATEGORY_OF_PARENT)
		{
			recalled->category = (ContextCategory) own;
			return true;
		}
	}
	recalled->category = state->levels[WALK_LEVELS - 1].category;
	return true;
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
	ContextCategory parents_category = CATEGORY_OTHER;
	int			level = 1;

	state->visited = 0;
	state->last_name = 0;
	if (state->visitor->begin)
		state->visitor->begin(state->visitor->arg);

	for (;;)
	{
		const MemoryContextData *context = read_context(reader, address);
		uintptr_t	next = 0;

		if (likely(context != NULL &&
				   (uintptr_t) context->parent == parent &&
				   (uintptr_t) context->prevchild == previous))
		{
			ContextNode node;
			uintptr_t	first = (uintptr_t) context->firstchild;

			next = (uintptr_t) context->nextchild;
			if (memory_reader_is_self(reader))
				prefetch_context(next);
			node.address = address;
			node.parent = parent;
			node.level = level;
			node.kind = kind_of_tag(context->type);
			node.total_bytes = context->mem_allocated;
			node.name_address = (uintptr_t) context->name;
			node.ident_address = (uintptr_t) context->ident;
			node.category = inherit_category(resolve_name(state, &node),
											 parents_category, level);
			state->visitor->visit(&node, state->visitor->arg);

			if (unlikely(++state->visited >= CONTEXT_WALK_MAX_CONTEXTS))
			{
				state->doubted = true;
				return true;
			}
			if (state->visited % WALK_INTERRUPT_EVERY == 0 &&
				state->visitor->interruptible)
				CHECK_FOR_INTERRUPTS();

			if (first != 0)
			{
				if (level <= WALK_LEVELS)
				{
					WalkLevel  *here = &state->levels[level - 1];

					here->address = address;
					here->next = next;
					here->parent = parent;
					here->category = node.category;
				}
				parents_category = node.category;
				parent = address;
				previous = 0;
				address = first;
				level++;
				continue;
			}
		}
		else
		{
			state->doubted = true;
			if (!state->lenient || level == 1)
				return false;
		}

		/* Go on with the sibling, or with that of an ancestor. */
		previous = address;
		address = next;
		while (address == 0)
		{
			WalkLevel	recalled;
			WalkLevel  *up;

			if (--level < 1)
				return true;
			if (level <= WALK_LEVELS)
				up = &state->levels[level - 1];
			else
			{
				up = &recalled;
				if (!recall_level(state, parent, level, up))
				{
					/* Begin again where the array still helps. */
					state->doubted = true;
					if (!state->lenient)
						return false;
					level = WALK_LEVELS;
					up = &state->levels[level - 1];
				}
			}
			previous = up->address;
			address = up->next;
			parent = up->parent;

			/* The parent's category: the level above has it. */
			if (address != 0)
			{
				if (level == 1)
					return true;	/* the root has no siblings */
				if (level - 1 <= WALK_LEVELS)
					parents_category = state->levels[level - 2].category;
				else if (recall_level(state, parent, level - 1, &recalled))
					parents_category = recalled.category;
			}
		}
	}
}

ContextWalkResult
context_walk(MemoryReader *reader, const ContextVisitor *visitor)
{
	/* Not on the stack, which callbacks may find nearly used up. */
	static WalkState state;
	const uintptr_t *top;
	uintptr_t	root;

	state.reader = reader;
	state.visitor = visitor;
	state.lenient = false;

	for (int try = 1; try <= WALK_TRIES; try++)
	{
		if (try > 1)
			memory_reader_forget(reader);
		top = memory_reader_map(reader, (uintptr_t) &TopMemoryContext,
								sizeof(uintptr_t));
		if (top == NULL)
			return WALK_UNREADABLE;
		root = *top;

		state.doubted = false;
		state.lenient = try == WALK_TRIES;
		if (walk_once(&state, root))
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
