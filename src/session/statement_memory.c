/*-------------------------------------------------------------------------
 *
 * statement_memory.c
 *	  What a session measures of the statements that it runs.
 *
 * Three figures, since each of them misses something:
 *
 * - plan: what the context in which the planner runs has grown by;
 * - exec: what the executor's contexts hold when it is about to end;
 * - peak: what the process had more at its peak (high_water_mark.c).  That
 *	 knows of everything, but takes some microseconds, so only statements of
 *	 LOOK_AFTER and more are looked at.  It is what the process had to get from
 *	 the system: memory that malloc still had is not in it.  Where the kernel
 *	 does not tell, it is the most that the watcher has seen, if it has looked
 *	 while the statement ran: less than the truth, and marked as sampled.
 *
 * So a statement took the larger of plan + exec and peak, and beside that what
 * its parallel workers took, which tell it to their leader at their end.
 *
 * A statement that is not nested goes through these states.  Only the current
 * one and the one before it are kept, so nothing piles up when statements
 * fail, are cancelled, or leave a portal open.
 *
 *	state	entered when						left when
 *	NONE	the process starts					a statement begins
 *	ENDED	its figures are complete			another one begins
 *	PLANS	the planner is called				the executor runs
 *	RUNS	the executor or a utility command	the executor or the command
 *			runs								ends, or an error ended it
 *
 * In the extended protocol a statement can be in PLANS or RUNS beyond the end
 * of a command: Bind plans, Execute runs, and the executor ends at the next
 * Bind or Sync.  Then its peak is looked at at the end of each command, and the
 * executor's figure comes later.  What is known of one execution can come to
 * the table in parts, the first of which counts as the call.
 *
 * Nested statements have a plan and an exec figure only, and are looked at if
 * track_statements is all.
 *
 * Runs in each statement and in callbacks: static memory, fixed sizes, no
 * error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "session/event_ring.h"
#include "session/high_water_mark.h"
#include "session/hooks.h"
#include "session/identity.h"
#include "session/slot.h"
#include "session/statement_memory.h"
#include "session/statement_report.h"
#include "session/statement_table.h"
#include "session/watched.h"

/* Statements that take less time are not looked at for their peak, */
#define LOOK_AFTER		INT64CONST(1000)	/* microseconds */

/* but after so many of them it is seen what they have raised together. */
#define SHORT_STATEMENTS	64

/* Levels of nesting whose last plan is remembered. */
#define PLAN_LEVELS		8

/* Their names here, where nothing else is current. */
#define current statement_memory_current
#define previous statement_memory_previous

/* The last plan at a level of nesting. */
typedef struct NestedPlan
{
	int64		queryid;
	int64		bytes;			/* -1: none, or its executor has taken it */
} NestedPlan;

TimestampTz statement_memory_looked_at = 0;

static Execution executions[2] = {{.state = EXECUTION_NONE}};
Execution  *statement_memory_current = &executions[0];
Execution  *statement_memory_previous = &executions[1];
static NestedPlan nested_plans[PLAN_LEVELS];
static int	short_statements = 0;
static bool has_aborted = false;	/* since the last end of a command */
static int64 published_bytes = -1;	/* in the session's slot */
static int64 published_peak_bytes = -1;
static int64 worker_exec_bytes = 0; /* of this process, a parallel worker */

/* What contexts had of it. */
static inline int64
context_bytes(const StatementMemory *memory)
{
	return Max(memory->plan_bytes, 0) + Max(memory->exec_bytes, 0);
}

/* What it took in this process. */
static inline int64
own_bytes(const StatementMemory *memory)
{
	return Max(context_bytes(memory), memory->peak_bytes);
}

/* What separates statements, apart from their semicolon. */
static inline bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/*
 * The part of a text that is the statement, cut to size at a character's end.
 * A location of -1 or a length of 0 mean the rest of the text.
 */
static int
cut_text(const char **text, int location, int length)
{
	if (location > 0)
		*text += location;
	else
		location = 0;
	if (length <= 0)
		length = strnlen(*text, STATEMENT_QUERY_BYTES);
	while (length > 0 && is_space(**text))
	{
		(*text)++;
		length--;
	}
	while (length > 0 && is_space((*text)[length - 1]))
		length--;
	return pg_mbcliplen(*text, length, STATEMENT_QUERY_BYTES - 1);
}

/* What it took with its parallel workers. */
static inline int64
all_bytes(const StatementMemory *memory)
{
	return own_bytes(memory) + memory->worker_bytes;
}

static inline int64
floor_bytes(void)
{
	return (int64) setting_statement_floor * 1024;
}

/*
 * Tells the table what is new of the current statement, if it is one to be
 * counted.
 */
static void
count_current(const char *text, int length, TimestampTz now)
{
	const StatementMemory *memory = &current->memory;
	StatementMemory *told = &current->told;
	StatementKey key;
	StatementNews news;

	if (!current->is_counted)
		*told = statement_memory_nothing;
	memset(&key, 0, sizeof(key));
	key.userid = GetUserId();
	key.dbid = MyDatabaseId;
	key.queryid = memory->queryid;
	key.toplevel = true;
	news.is_call = !current->is_counted;
	news.limited = current->is_limited;
	news.plan_bytes = told->plan_bytes < 0 ? memory->plan_bytes : -1;
	news.exec_bytes = told->exec_bytes < 0 ? memory->exec_bytes : -1;
	news.peak_bytes = memory->peak_bytes;
	news.peak_again = told->peak_bytes >= 0;
	news.sampled = memory->peak_is_sampled && !told->peak_is_sampled;
	news.worker_bytes = memory->worker_bytes;
	news.left_bytes = memory->left_bytes - told->left_bytes;
	news.took_bytes = all_bytes(memory);
	news.at = now;
	news.query = text;
	news.query_length = length;
	statement_table_add(&key, &news);
	current->is_counted = true;
	current->is_limited = false;
	*told = *memory;
}

/*
 * The most that the watcher has seen while the current statement ran; -1 if it
 * has seen nothing.  The watcher tells statements apart by the time at which
 * the client sent them.  Of several that were sent in one text, what it saw is
 * taken for the first that asks, and is not known of the others.
 */
static pg_noinline int64
sampled_peak(void)
{
	static TimestampTz taken = 0;	/* of the text that was asked about last */
	TimestampTz sent = GetCurrentStatementStartTimestamp();
	WatchedProcess watched;
	int			slot = pgsm_my_process_slot();

	if (slot < 0 || (sent == taken && !current->memory.peak_is_sampled) ||
		!watched_read(slot, MyProcPid, MyStartTimestamp, sent, &watched))
		return -1;
	taken = sent;
	current->memory.peak_is_sampled = true;
	return watched.statement_peak_bytes;
}

static pg_noinline void
look_at_peak(void)
{
	int64		peak = high_water_mark_bytes();

	if (unlikely(peak < 0))
		peak = sampled_peak();
	current->memory.peak_bytes = Max(current->memory.peak_bytes, peak);
}

/*
 * Looks at the peak, if the statement has taken long enough for it.  Returns
 * the time.
 */
static inline TimestampTz
look(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz since = Max(GetCurrentStatementStartTimestamp(),
							statement_memory_looked_at);

	statement_memory_looked_at = now;
	if (unlikely(now - since >= LOOK_AFTER))
		look_at_peak();
	else if (unlikely(++short_statements >= SHORT_STATEMENTS))
	{
		short_statements = 0;
		high_water_mark_check();
	}
	current->memory.worker_bytes += statement_table_take_workers();
	return now;
}

static pg_noinline void
publish_other(const StatementMemory *memory)
{
	SlotData   *slot;

	if (!pgsm_is_session())
		return;
	published_bytes = context_bytes(memory);
	published_peak_bytes = memory->peak_bytes;
	slot = session_slot_mine();
	session_slot_begin();
	slot->statement_bytes = published_bytes;
	slot->statement_peak_bytes = published_peak_bytes;
	session_slot_end();
}

/*
 * Publishes the figures of the current statement in the session's slot, if
 * they are other ones than those of the statement before.
 */
static inline void
publish(const StatementMemory *memory)
{
	if (unlikely(published_bytes != context_bytes(memory) ||
				 published_peak_bytes != memory->peak_bytes))
		publish_other(memory);
}

/*
 * Tells table, log and events of the current statement, where it is one to be
 * told of.  text can be NULL; executor is what the executor still has, NULL
 * where it has ended.
 */
static pg_noinline void
tell_all(const char *text, int location, int length, MemoryContext executor,
		 TimestampTz now)
{
	int64		bytes = all_bytes(&current->memory);
	int64		threshold = threshold_bytes(setting_statement_threshold);
	bool		is_counted = current->is_counted || current->is_limited ||
	bytes >= floor_bytes();
	bool		is_reported = threshold >= 0 && bytes > threshold &&
	!current->is_reported;

	if (text != NULL)
		length = cut_text(&text, location, length);
	if (is_counted)
		count_current(text, length, now);
	if (is_reported && text != NULL)
	{
		current->is_reported = true;
		statement_report(&current->memory, bytes, threshold, text, length,
						 executor);
	}
}

/* Whether the current statement may be one to be told of: most are not. */
static inline bool
is_to_be_told(const StatementMemory *memory)
{
	return all_bytes(memory) >= floor_bytes() || current->is_counted ||
		current->is_limited || setting_statement_threshold >= 0;
}

static void
tell(const char *text, int location, int length, MemoryContext executor,
	 TimestampTz now)
{
	if (is_to_be_told(&current->memory))
		tell_all(text, location, length, executor, now);
}

/* Makes the current statement the previous one, and a new one current. */
static void
start_anew(int64 queryid, ExecutionState state)
{
	if (unlikely(current->state == EXECUTION_NONE))
		statement_table_forget_workers();

	/* One that was only planned was no execution. */
	if (likely(current->state != EXECUTION_PLANS))
		statement_memory_swap();
	statement_memory_start(queryid, state);
}

static void
begin(int64 queryid, ExecutionState state)
{
	start_anew(queryid, state);
	high_water_mark_begin();
}

/* Whether statements are not measured in this process. */
static inline bool
is_off(void)
{
	return setting_track_statements == TRACK_STATEMENTS_NONE ||
		IsParallelWorker();
}

void
statement_memory_plan_another(int64 queryid)
{
	if (is_off())
		return;

	/* A rule makes several queries of one, which one command plans first. */
	if (current->state == EXECUTION_PLANS && current->is_of_command &&
		current->memory.queryid == queryid)
		high_water_mark_begin();
	else
		begin(queryid, EXECUTION_PLANS);
}

void
statement_memory_run_another(int64 queryid)
{
	if (is_off())
		return;

	if (current->memory.queryid != queryid ||
		current->state <= EXECUTION_ENDED)
		begin(queryid, EXECUTION_RUNS);
	else
	{
		current->state = EXECUTION_RUNS;
		current->is_of_command = true;
		high_water_mark_begin();
	}
}

void
statement_memory_begin_utility(int64 queryid)
{
	if (is_off())
		return;

	/* pg_stat_statements hides it from who comes after. */
	begin(queryid != 0 ? queryid : session_query_id(), EXECUTION_RUNS);
}

void
statement_memory_end_utility(const char *text, int location, int length)
{
	TimestampTz now;

	if (is_off() || current->state != EXECUTION_RUNS)
		return;
	now = look();
	publish(&current->memory);
	tell(text, location, length, NULL, now);
	current->state = EXECUTION_ENDED;
}

void
statement_memory_nested_plan(int64 queryid, int64 bytes)
{
	NestedPlan *plan = &nested_plans[Min(hooks_nesting_level,
										 PLAN_LEVELS - 1)];

	plan->queryid = queryid;
	plan->bytes = bytes;
}

/*
 * A nested statement: only what its contexts tell, and only if asked for.
 */
static void
end_nested(QueryDesc *queryDesc, int level)
{
	NestedPlan *plan = &nested_plans[Min(level, PLAN_LEVELS - 1)];
	PlannedStmt *stmt = queryDesc->plannedstmt;
	StatementKey key;
	StatementNews news;

	memset(&news, 0, sizeof(news));
	news.exec_bytes = MemoryContextMemAllocated(queryDesc->estate->es_query_cxt,
												true);
	news.plan_bytes = -1;
	if (plan->bytes >= 0 && plan->queryid == (int64) stmt->queryId)
	{
		news.plan_bytes = plan->bytes;
		plan->bytes = -1;
	}
	news.took_bytes = news.exec_bytes + Max(news.plan_bytes, 0);
	if (news.took_bytes < floor_bytes())
		return;

	memset(&key, 0, sizeof(key));
	key.userid = GetUserId();
	key.dbid = MyDatabaseId;
	key.queryid = (int64) stmt->queryId;
	news.is_call = true;
	news.peak_bytes = -1;
	news.at = GetCurrentTimestamp();
	news.query = queryDesc->sourceText;
	if (news.query != NULL)
		news.query_length = cut_text(&news.query, stmt->stmt_location,
									 stmt->stmt_len);
	statement_table_add(&key, &news);
}

/* The executor is about to end in a parallel worker, or of a nested one. */
static pg_noinline void
end_other_executor(QueryDesc *queryDesc, int level)
{
	if (IsParallelWorker())
		worker_exec_bytes =
			Max(worker_exec_bytes,
				(int64) MemoryContextMemAllocated(queryDesc->estate->es_query_cxt,
												  true));
	else if (setting_track_statements == TRACK_STATEMENTS_ALL)
		end_nested(queryDesc, level);
}

void
statement_memory_end_executor(QueryDesc *queryDesc, int level)
{
	PlannedStmt *stmt = queryDesc->plannedstmt;
	StatementMemory *memory;
	MemoryContext executor;
	TimestampTz now;

	if (unlikely(queryDesc->estate == NULL) ||
		setting_track_statements == TRACK_STATEMENTS_NONE)
		return;
	if (level > 0 || unlikely(IsParallelWorker()))
	{
		end_other_executor(queryDesc, level);
		return;
	}

	/* A cursor that others ran after, or the library was loaded meanwhile. */
	if (unlikely(current->state != EXECUTION_RUNS ||
				 current->memory.queryid != (int64) stmt->queryId))
		begin((int64) stmt->queryId, EXECUTION_RUNS);

	memory = &current->memory;
	executor = queryDesc->estate->es_query_cxt;
	memory->exec_bytes = MemoryContextMemAllocated(executor, true);
	now = look();
	publish(memory);

	/* What it releases now may be what the next one gets. */
	if (unlikely(memory->exec_bytes >= 1024 * 1024))
		high_water_mark_forget();

	if (unlikely(is_to_be_told(memory)))
		tell_all(queryDesc->sourceText, stmt->stmt_location, stmt->stmt_len,
				 executor, now);
	current->is_of_command = true;
	current->state = EXECUTION_ENDED;
}

void
statement_memory_look(void)
{
	if (is_off() || current->state != EXECUTION_RUNS)
		return;
	tell(NULL, 0, 0, NULL, look());
}

void
statement_memory_abort(void)
{
	has_aborted = true;

	/* Other processes than sessions have no end of a command. */
	if (unlikely(!pgsm_is_session()))
		hooks_nesting_level = 0;
}

void
statement_memory_limited(void)
{
	if (is_off())
		return;

	/* It was not even planned. */
	if (current->state == EXECUTION_ENDED || current->state == EXECUTION_NONE)
		start_anew(session_query_id(), EXECUTION_RUNS);
	current->is_limited = true;
}

/* A command is over that has done more than execute a short statement. */
static pg_noinline void
complete_command(bool left_is_known, int64 left_bytes)
{
	static char text[STATEMENT_QUERY_BYTES];
	bool		is_over = has_aborted;
	TimestampTz now = 0;

	has_aborted = false;
	left_is_known = left_is_known && current->is_of_command;
	current->is_of_command = false;
	if (current->state <= EXECUTION_ENDED && !left_is_known &&
		!current->is_limited)
		return;
	if (is_off())
		return;

	if (current->state > EXECUTION_ENDED)
	{
		now = look();
		publish(&current->memory);
	}
	if (left_is_known)
	{
		current->memory.left_bytes += left_bytes;
		current->memory.left_is_known = true;

		/* What was given back may be what the next one gets. */
		if (left_bytes < 0)
			high_water_mark_forget();
	}
	if (current->state > EXECUTION_ENDED)
	{
		/* A FETCH that was counted runs a statement of another text. */
		session_query_text(text, sizeof(text));
		tell(current->is_counted ? NULL : text, 0, 0, NULL, now);
		if (is_over)
			current->state = EXECUTION_ENDED;
	}
	else if (current->is_limited || current->is_counted ||
			 left_bytes >= floor_bytes())
	{
		session_query_text(text, sizeof(text));
		count_current(current->is_counted ? NULL : text, strlen(text),
					  GetCurrentTimestamp());
	}
}

void
statement_memory_end_of_command(bool left_is_known, int64 left_bytes)
{
	hooks_nesting_level = 0;
	if (likely(current->state == EXECUTION_ENDED && !left_is_known &&
			   !current->is_limited && !has_aborted))
		current->is_of_command = false;
	else
		complete_command(left_is_known, left_bytes);
}

void
statement_memory_worker_ends(void)
{
	int64		bytes;

	if (setting_track_statements == TRACK_STATEMENTS_NONE)
		return;
	bytes = high_water_mark_whole_bytes();
	if (bytes >= 0)
		bytes -= statement_table_birth_bytes();
	statement_table_add_worker(pgsm_parallel_leader_slot(),
							   Max(bytes, worker_exec_bytes));
}

bool
statement_memory_last(StatementMemory *memory)
{
	const Execution *last = current->state == EXECUTION_ENDED ? current :
	previous;

	*memory = last->memory;
	return last->state != EXECUTION_NONE;
}

int64
statement_memory_plan_bytes_now(void)
{
	if (hooks_nesting_level == 0)
		return current->memory.plan_bytes;
	return nested_plans[Min(hooks_nesting_level, PLAN_LEVELS - 1)].bytes;
}

int64
statement_memory_peak_bytes_now(void)
{
	return high_water_mark_bytes_now();
}
