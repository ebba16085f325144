/*-------------------------------------------------------------------------
 *
 * folded.c
 *	  pg_session_memory_folded(pid, idents): contexts as folded stacks.
 *
 * A line is a stack, the names of all contexts from the root down to one,
 * with semicolons between them, a blank, and the bytes of what is there alone
 * and not further down.  Programs that draw flame graphs read that, and take
 * what they read apart themselves: by line, by the last blank, by semicolon.
 * Names and idents are data from users.  So here they are made such that
 * none of these programs loses a line or takes one for another: the sum of
 * all lines is what the view calls context_bytes.
 *
 * Contexts of the same stack are one line.  They are added up along the walk,
 * by frames as they will be written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"	/* get_database_name from 19 on */
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/ident_pattern.h"
#include "functions/observed_process.h"
#include "functions/permission.h"
#include "functions/tuple_writer.h"
#include "pg_compat.h"
#include "reading/context_tally.h"

PG_FUNCTION_INFO_V1(pg_session_memory_folded);

#define FOLDED_COLUMNS			1

/*
 * A stack has so many contexts at most, as a path of
 * pg_session_memory_contexts() has: ten thousand nested savepoints would be
 * as many stacks, of half as many frames each.  What lies deeper counts with
 * what it hangs from there.
 */
#define STACK_LEVELS			100

/* As much as there is of an ident; names of own contexts can be longer. */
#define FRAME_BYTES				IDENT_BYTES

typedef struct FoldedWalk
{
	MemoryReader *reader;
	bool		with_idents;
	ContextTally stacks;		/* by the frames from the root on */
	ContextTally idents;		/* the patterns themselves, as frames; which
								 * one a context belongs to, by level */
	char		ident[IDENT_BYTES];
	char		pattern[IDENT_BYTES];
	char		frame[FRAME_BYTES];
} FoldedWalk;

/* Where all processes are shown, what could not be shown as it is. */
typedef struct FoldedTroubles
{
	int			approximate;
	int			unreadable;
} FoldedTroubles;

/*
 * The bytes of a character that is no character to show: controls, for some
 * programs the end of a line among them, and in UTF-8 also those beyond ASCII,
 * the separators of lines and paragraphs, and what turns the direction of all
 * that follows.  0 for any other character.
 */
static int
unprintable_bytes(const unsigned char *c, bool utf8)
{
	if (*c <= ' ' || *c == 0x7f)
		return 1;
	if (!utf8)
		return 0;
	if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)
		return 2;
	if (c[0] == 0xe2 && c[1] == 0x80 && c[2] >= 0xa8 && c[2] <= 0xae)
		return 3;
	return 0;
}

/*
 * Makes a frame, of FRAME_BYTES at most: one blank for blanks and whatever is
 * not printed, none at the ends, and commas for semicolons.
 *
 * A number behind a blank at the end is tied to what stands before it, since
 * flamegraph.pl takes "a 1 2" for two amounts of "a".
 */
static void
make_frame(const char *text, char *frame)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	const unsigned char *c = (const unsigned char *) text;
	int			length = 0;
	int			number;

	while (*c != '\0' && length < FRAME_BYTES - 1)
	{
		int			skipped = unprintable_bytes(c, utf8);

		if (skipped == 0)
			frame[length++] = *c == ';' ? ',' : *c;
		else if (length > 0 && frame[length - 1] != ' ')
			frame[length++] = ' ';
		c += Max(skipped, 1);
	}
	if (*c != '\0')
		length = pg_mbcliplen(frame, length, length);
	if (length > 0 && frame[length - 1] == ' ')
		length--;

	number = length;
	while (number > 0 && (frame[number - 1] == '.' ||
						  (frame[number - 1] >= '0' &&
						   frame[number - 1] <= '9')))
		number--;
	if (number < length && number > 0 && frame[number - 1] == ' ')
		frame[number - 1] = '_';

	if (length == 0)
		frame[length++] = '?';
	frame[length] = '\0';
}

static void
begin_folded(void *arg)
{
	FoldedWalk *walk = arg;

	context_tally_begin(&walk->stacks);
	context_tally_begin(&walk->idents);
}

/*
 * Which ident the context belongs to: its own, or that of the nearest one
 * above that has one; -1 if none.
 */
static int
find_ident(FoldedWalk *walk, const ContextNode *node)
{
	int			ident = context_tally_above(&walk->idents, node->level);

	if (ident_read(walk->reader, node, walk->ident))
	{
		ident_pattern(walk->ident, walk->pattern);
		make_frame(walk->pattern, walk->frame);
		ident = context_tally_find(&walk->idents, -1, CATEGORY_OTHER,
								   walk->frame, NULL);
	}
	context_tally_set_level(&walk->idents, node->level, ident);
	return ident;
}

static void
add_to_folded(const ContextNode *node, void *arg)
{
	FoldedWalk *walk = arg;
	int			stack = context_tally_above(&walk->stacks, node->level);

	if (node->level <= STACK_LEVELS)
	{
		make_frame(node->name, walk->frame);
		stack = context_tally_find(&walk->stacks, stack, CATEGORY_OTHER,
								   walk->frame, NULL);
	}
	context_tally_set_level(&walk->stacks, node->level, stack);

	if (walk->with_idents)
	{
		int			ident = find_ident(walk, node);

		if (ident >= 0)
			stack = context_tally_find(&walk->stacks, stack, CATEGORY_OTHER,
									   walk->idents.sums[ident].name, NULL);
	}
	walk->stacks.sums[stack].bytes += node->total_bytes;
}

/* Appends the frames from the root down to this one. */
static void
append_stack(StringInfo line, const ContextTally *stacks, int stack)
{
	if (stacks->sums[stack].parent >= 0)
	{
		append_stack(line, stacks, stacks->sums[stack].parent);
		appendStringInfoChar(line, ';');
	}
	appendStringInfoString(line, stacks->sums[stack].name);
}

/* A line for each stack, below this root if it is not NULL. */
static void
put_stacks(const ContextTally *stacks, const char *root,
		   ReturnSetInfo *rsinfo)
{
	StringInfoData line;

	initStringInfo(&line);
	for (int i = 0; i < stacks->count; i++)
	{
		Datum		value;
		bool		null = false;

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (stacks->sums[i].bytes == 0)
			continue;
		resetStringInfo(&line);
		if (root != NULL)
			appendStringInfo(&line, "%s;", root);
		append_stack(&line, stacks, i);
		appendStringInfo(&line, " " INT64_FORMAT, stacks->sums[i].bytes);
		value = PointerGetDatum(text_of_foreign(line.data, line.len));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value,
							 &null);
		pfree(DatumGetPointer(value));
	}
	pfree(line.data);
}

/* Appends a name of the process as part of its frame. */
static void
append_name(StringInfo root, const char *before, const char *name)
{
	char		frame[FRAME_BYTES];

	make_frame(name, frame);
	appendStringInfo(root, "%s%s", before, frame);
}

/*
 * The root of a process among others: who it is, and its pid, which tells it
 * from others of the same kind.  As pg_stat_activity shows it to everybody.
 */
static char *
root_of_process(const ServerProcess *process)
{
	const char *role = NULL;
	const char *database = NULL;
	NameData	application;
	StringInfoData root;

	if (OidIsValid(process->userid))
		role = GetUserNameFromId(process->userid, true);
	if (OidIsValid(process->databaseid))
		database = get_database_name(process->databaseid);
	server_process_application(process, &application);

	initStringInfo(&root);
	if (process->type != B_BACKEND || role == NULL)
		append_name(&root, "",
					server_process_type_name(process->pid, process->type));
	if (role != NULL)
		append_name(&root, root.len > 0 ? ", " : "", role);
	if (database != NULL)
		append_name(&root, role != NULL ? "@" : ", ", database);
	if (NameStr(application)[0] != '\0' && role != NULL)
		append_name(&root, ", ", NameStr(application));
	appendStringInfo(&root, ", pid %d", process->pid);
	return root.data;
}

/* The lines of the processes that the caller may see, below a root each. */
static void
fold_all(FoldedWalk *walk, ContextVisitor *visitor, FoldedTroubles *troubles,
		 ReturnSetInfo *rsinfo)
{
	MemoryReader *reader = memory_reader_open(MEMORY_READER_WALK);
	MemoryContext own = AllocSetContextCreate(CurrentMemoryContext,
											  "pg_session_memory process",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(own);

	visitor->interruptible = true;
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		ServerProcess process;
		ContextWalkResult result;

		CHECK_FOR_INTERRUPTS();
		if (!server_process_at(slot, &process) ||
			!permission_may_see(&process))
			continue;
		MemoryContextReset(own);
		if (process.pid == MyProcPid)
		{
			walk->reader = memory_reader_self();
			result = context_walk(walk->reader, visitor);
		}
		else
		{
			walk->reader = reader;
			result = context_walk_process(reader, process.pid, visitor);
			if (!server_process_is_alive(&process))
				continue;
		}
		if (result == WALK_UNREADABLE)
		{
			troubles->unreadable++;
			continue;
		}
		if (result == WALK_APPROXIMATE)
			troubles->approximate++;
		put_stacks(&walk->stacks, root_of_process(&process), rsinfo);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * pg_session_memory_folded(pid int, idents boolean)
 *
 * A line for each stack of contexts of a server process, and with idents for
 * each pattern of idents in them; of all processes if pid is NULL.  Pids,
 * permissions and errors as in pg_session_memory_contexts; of all processes,
 * those that the caller may not see are left out.  A WARNING says where
 * figures are approximate or missing, since a line has no room for it.
 */
Datum
pg_session_memory_folded(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FoldedTroubles troubles = {0};
	FoldedWalk *walk;
	ContextVisitor visitor = {begin_folded, add_to_folded};
	MemoryContext work;
	MemoryContext caller;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	tuple_writer_require_columns(rsinfo->setDesc, FOLDED_COLUMNS);

	work = AllocSetContextCreate(CurrentMemoryContext,
								 "pg_session_memory folded",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	walk = palloc(sizeof(FoldedWalk));
	walk->with_idents = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	context_tally_create(&walk->stacks);
	context_tally_create(&walk->idents);
	visitor.arg = walk;

	if (PG_ARGISNULL(0))
		fold_all(walk, &visitor, &troubles, rsinfo);
	else
	{
		int			pid = PG_GETARG_INT32(0);
		ObservedProcess observed;

		if (observed_process_open(pid, MEMORY_READER_WALK, &observed))
		{
			ContextWalkResult result;

			walk->reader = observed.reader;
			result = observed_process_walk(&observed, &visitor);
			if (result == WALK_UNREADABLE)
				server_process_warn_unknown(pid);
			else
				put_stacks(&walk->stacks, NULL, rsinfo);
			if (result == WALK_APPROXIMATE)
				troubles.approximate++;
		}
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);

	if (troubles.approximate > 0)
		ereport(WARNING,
				(errmsg_plural("memory contexts of %d process changed while they were read",
							   "memory contexts of %d processes changed while they were read",
							   troubles.approximate,
							   troubles.approximate),
				 errdetail("Some of them may be missing or counted twice.")));
	if (troubles.unreadable > 0)
		ereport(WARNING,
				(errmsg_plural("memory contexts of %d process could not be read",
							   "memory contexts of %d processes could not be read",
							   troubles.unreadable,
							   troubles.unreadable),
				 errdetail("They are not among the stacks."),
				 errhint("Ask for one of them by its pid to know why.")));
	return (Datum) 0;
}
