/*-------------------------------------------------------------------------
 *
 * processes.c
 *	  The server's processes as the watcher follows them.
 *
 * Who there is comes from the array of PgBackendStatus, out of which
 * pg_stat_activity is made: an element is copied under its change count, and
 * left for the next look if its process goes on writing.  How much a process
 * has is what the kernel says in /proc/PID/statm, some microseconds each.  An
 * idle session keeps what it has, so it is read once after its last command;
 * a server of a thousand idle sessions costs a look at a thousand states.
 *
 * What a statement has added is what the process has now beyond what it had
 * when it was last seen before the statement.  A statement that is shorter
 * than the watcher's interval may not be seen at all: the session itself
 * measures what it took.
 *
 * Contexts are walked live, by reading the process's memory from outside,
 * where its anonymous memory has changed by more than WALK_GROWTH since the
 * last walk, and not before CALM_PAUSE times what that walk took is over, so
 * that walking takes at most one part in CALM_PAUSE of a processor for each of
 * the few largest processes, however many contexts these have.  One that has
 * grown by a quarter is worth more: it may be the one that brings the server
 * down.  Of all other sessions the figures are those that they have published
 * of themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "kept_descriptor.h"
#include "pg_compat.h"
#include "reading/context_walk.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"
#include "session/judge.h"
#include "session/slot.h"
#include "session/tell.h"
#include "session/watched.h"
#include "settings.h"
#include "watcher/processes.h"

/* How often an element that is being written is read anew. */
#define READ_TRIES		100

/* Walking a process pauses for so many times what it took. */
#define CALM_PAUSE		2000
#define GROWTH_PAUSE	20

/* Less than this is no growth that a walk is worth, nor a sample. */
#define WALK_GROWTH		(1024 * 1024)
#define SAMPLE_GROWTH	(16 * 1024 * 1024)

/* From here on an idle process is a large one. */
#define LARGE_BYTES		(16 * 1024 * 1024)

/* A worker joins its leader's group a moment after it has begun. */
#define LEADER_LOOKS	100

/* Names of contexts that are told apart in a walk; small ones are left out. */
#define NAME_SUMS		256
#define NAME_PROBES		8

typedef struct NameSum
{
	uint32		round;			/* of the walk that it belongs to */
	int64		bytes;
	char		name[RECORDED_NAME_BYTES];
} NameSum;

/* What a walk adds up. */
typedef struct ProcessWalk
{
	FollowedProcess *process;
	NameSum    *largest;
} ProcessWalk;

static FollowedProcess *followed;	/* by slot */
static MemoryReader *reader;
static NameSum name_sums[NAME_SUMS];
static uint32 name_round = 0;

void
processes_create(void)
{
	MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);

	followed = MemoryContextAllocZero(TopMemoryContext,
									  mul_size(sizeof(FollowedProcess),
											   pgsm_process_slots()));
	reader = memory_reader_open(MEMORY_READER_WALK);
	MemoryContextSwitchTo(caller);
}

/*
 * Copies what there is to know of the process in a slot, but for texts.
 * Returns false if it is being written all the time.
 */
static bool
read_status(int slot, FollowedProcess *process, bool *is_worker)
{
	volatile PgBackendStatus *status = pgsm_shared_backend_status() + slot;

	for (int i = 0; i < READ_TRIES; i++)
	{
		int			before;
		int			after;

		pgstat_begin_read_activity(status, before);
		process->pid = status->st_procpid;
		process->backend_start = status->st_proc_start_timestamp;
		process->type = status->st_backendType;
		process->state = status->st_state;
		process->userid = status->st_userid;
		process->databaseid = status->st_databaseid;
		process->query_start = status->st_activity_start_timestamp;
		process->state_start = status->st_state_start_timestamp;
		pgstat_end_read_activity(status, after);
		if (pgstat_read_activity_complete(before, after))
		{
			*is_worker = process->type == B_BG_WORKER;
			return true;
		}
	}
	return false;
}

/* Publishes what a process's statement has added, or that nothing is known. */
static void
publish(int slot, const FollowedProcess *process)
{
	WatchedProcess watched;

	memset(&watched, 0, sizeof(watched));
	if (process->pid != 0 && process->anon_bytes >= 0 &&
		process->state != STATE_DISABLED && setting_watch_interval != 0)
	{
		watched.pid = process->pid;
		watched.backend_start = process->backend_start;
		watched.query_start = process->query_start;
		watched.statement_bytes = process->anon_bytes -
			process->statement_base;
		watched.statement_peak_bytes = process->statement_peak;
	}
	watched_publish(slot, &watched);
}

/*
 * Whether it may be running a statement: one without track_activities does not
 * say.
 */
static bool
may_run_statement(BackendState state)
{
	return server_process_runs_statement(state) || state == STATE_DISABLED;
}

/*
 * Reads how much a process has.  Its file is kept open, which halves what
 * looking at many takes, where there are descriptors left.
 */
static bool
read_pages(FollowedProcess *process, ProcessPages *pages)
{
	if (!process->pages_are_open)
	{
		char		path[64];

		snprintf(path, sizeof(path), "/proc/%d/statm", process->pid);
		process->pages = kept_descriptor_open(path, O_RDONLY);
		process->pages_are_open = process->pages >= 0;
	}
	if (process->pages_are_open)
		return process_memory_read_pages(process->pages, pages);
	return process_memory_read_pages_of(process->pid, pages);
}

/*
 * Reads how much a process has, and works out what its statement has added.
 */
static void
measure(int slot, FollowedProcess *process, bool new_statement)
{
	int64		before = process->anon_bytes;
	ProcessPages pages;
	int64		bytes;

	process->looked_idle = !may_run_statement(process->state);
	if (!read_pages(process, &pages))
	{
		process->anon_bytes = -1;
		process->data_bytes = -1;
		return;
	}
	bytes = pages.resident_bytes - pages.shared_bytes;
	process->anon_bytes = bytes;
	process->data_bytes = pages.private_bytes;

	/* What the last statement needed and gave back is no base for this one. */
	if (new_statement)
	{
		process->statement_base = before < 0 ? bytes : Min(before, bytes);
		process->statement_peak = 0;
	}
	process->statement_peak = Max(process->statement_peak,
								  bytes - process->statement_base);
	publish(slot, process);
}

/* The process in a slot has ended, or there is another one. */
static void
forget(int slot, FollowedProcess *process)
{
	bool		was_there = process->pid != 0;

	if (process->pages_are_open)
		kept_descriptor_close(process->pages);
	memset(process, 0, sizeof(FollowedProcess));
	process->anon_bytes = -1;
	process->data_bytes = -1;
	process->walked_at_bytes = -1;
	if (was_there)
		publish(slot, process);
}

void
processes_look(ProcessLook look, uint64 now, ProcessSums *sums)
{
	memset(sums, 0, sizeof(ProcessSums));
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		FollowedProcess *process = &followed[slot];
		FollowedProcess current;
		bool		is_worker;
		bool		new_statement;

		if (!read_status(slot, &current, &is_worker))
			continue;
		if (current.pid <= 0)
		{
			if (process->pid != 0)
				forget(slot, process);
			continue;
		}
		if (current.pid != process->pid ||
			current.backend_start != process->backend_start)
		{
			forget(slot, process);
			process->pid = current.pid;
			process->backend_start = current.backend_start;
		}
		if (is_worker && process->leader_pid == 0 &&
			process->leader_looks < LEADER_LOOKS)
		{
			process->leader_looks++;
			process->leader_pid = server_process_leader(current.pid);
		}
		new_statement = current.query_start != process->query_start;
		process->type = current.type;
		process->userid = current.userid;
		process->databaseid = current.databaseid;
		process->query_start = current.query_start;
		if (look == LOOK_ALL || new_statement ||
			may_run_statement(current.state) ||
			(look == LOOK_LARGE && process->anon_bytes > LARGE_BYTES) ||
			!process->looked_idle || process->anon_bytes < 0 ||
			current.state_start != process->state_start)
		{
			process->state = current.state;
			process->state_start = current.state_start;
			measure(slot, process, new_statement);
		}

		if (process->type == B_BACKEND)
		{
			sums->sessions++;
			if (server_process_runs_statement(process->state))
				sums->active++;
		}
		sums->anon_bytes += Max(process->anon_bytes, 0);
		if (process->anon_bytes > SAMPLE_GROWTH &&
			process->anon_bytes - process->highest_bytes >
			process->highest_bytes / 10)
			sums->new_highest = true;
	}
}

const FollowedProcess *
processes_at(int slot)
{
	return followed[slot].pid == 0 ? NULL : &followed[slot];
}

bool
processes_is_unchanged(int slot)
{
	FollowedProcess *process = &followed[slot];
	FollowedProcess current;
	bool		is_worker;

	return process->pid != 0 && read_status(slot, &current, &is_worker) &&
		current.pid == process->pid &&
		current.backend_start == process->backend_start &&
		current.query_start == process->query_start &&
		current.state == process->state;
}

/* ----------------------------------------------------------------------------
 * Walking contexts
 * ----------------------------------------------------------------------------
 */

static void
begin_walk(void *arg)
{
	ProcessWalk *walk = arg;

	walk->process->context_bytes = 0;
	memset(walk->process->category_bytes, 0,
		   sizeof(walk->process->category_bytes));
	walk->largest = NULL;
	name_round++;
}

static void
add_context(const ContextNode *node, void *arg)
{
	ProcessWalk *walk = arg;
	uint32		hash = 2166136261U;

	walk->process->context_bytes += node->total_bytes;
	walk->process->category_bytes[node->category] += node->total_bytes;

	for (const char *c = node->name; *c; c++)
		hash = (hash ^ (unsigned char) *c) * 16777619U;
	for (int probe = 0; probe < NAME_PROBES; probe++)
	{
		NameSum    *sum = &name_sums[(hash + probe) % NAME_SUMS];

		if (sum->round != name_round)
		{
			sum->round = name_round;
			sum->bytes = 0;
			strlcpy(sum->name, node->name, RECORDED_NAME_BYTES);
		}
		else if (strncmp(sum->name, node->name, RECORDED_NAME_BYTES - 1) != 0)
			continue;
		sum->bytes += node->total_bytes;
		if (walk->largest == NULL || sum->bytes > walk->largest->bytes)
			walk->largest = sum;
		return;
	}
}

/* The processor's time that this process has taken, in microseconds. */
static uint64
cpu_now(void)
{
	struct timespec time;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0)
		return 0;
	return (uint64) time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/*
 * Walks the contexts of a process, if they have changed and it is not too
 * early; else what is known stays.
 */
static void
walk(FollowedProcess *process, uint64 now)
{
	ProcessWalk state = {process};
	ContextVisitor visitor = {begin_walk, add_context, &state, true};
	int64		changed = llabs(process->anon_bytes - process->walked_at_bytes);
	uint64		start;

	if (process->walked_at_bytes >= 0 &&
		(changed < WALK_GROWTH ||
		 now - process->walked_at < process->walk_took *
		 (changed > process->walked_at_bytes / 4 ? GROWTH_PAUSE : CALM_PAUSE)))
		return;

	start = cpu_now();
	if (context_walk_process(reader, process->pid, &visitor) ==
		WALK_UNREADABLE)
		process->walked_at_bytes = -1;
	else
	{
		process->walked_at_bytes = process->anon_bytes;
		process->largest_context_bytes = 0;
		process->largest_context[0] = '\0';
		if (state.largest != NULL)
		{
			process->largest_context_bytes = state.largest->bytes;
			strlcpy(process->largest_context, state.largest->name,
					RECORDED_NAME_BYTES);
		}
	}
	process->walk_took = cpu_now() - start;
	process->walked_at = now;
}

/* ----------------------------------------------------------------------------
 * A sample
 * ----------------------------------------------------------------------------
 */

/*
 * Copies the texts of the process in a slot, which are its own if it is still
 * the same one, and what they say is not half written.
 */
static void
copy_texts(int slot, const FollowedProcess *process, RecordedSession *session)
{
	volatile PgBackendStatus *status = pgsm_shared_backend_status() + slot;
	int			query_bytes = Min(RECORDED_QUERY_BYTES,
								  pgstat_track_activity_query_size);

	for (int i = 0; i < READ_TRIES; i++)
	{
		int			before;
		int			after;
		bool		same;

		pgstat_begin_read_activity(status, before);
		same = status->st_procpid == process->pid;
		memcpy(session->application_name, (char *) status->st_appname,
			   Min(RECORDED_NAME_BYTES, NAMEDATALEN));
		memcpy(session->query, (char *) status->st_activity_raw, query_bytes);
		session->query_id = (int64) status->st_query_id;
		pgstat_end_read_activity(status, after);
		session->application_name[RECORDED_NAME_BYTES - 1] = '\0';
		session->query[query_bytes - 1] = '\0';
		if (same && pgstat_read_activity_complete(before, after))
			return;
	}
	session->application_name[0] = '\0';
	session->query[0] = '\0';
	session->query_id = 0;
}

/* The slot of a process, -1 if it is not followed. */
static int
slot_of(int pid)
{
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		if (followed[slot].pid == pid)
			return slot;
	}
	return -1;
}

void
processes_copy(int slot, RecordedSession *session)
{
	FollowedProcess *process = &followed[slot];
	int			named = process->leader_pid != 0 ?
	slot_of(process->leader_pid) : slot;
	const char *state = pgsm_state_name(process->state);
	SlotData	data = {0};

	memset(session, 0, sizeof(RecordedSession));
	session->pid = process->pid;
	session->leader_pid = process->leader_pid;
	session->backend_start = process->backend_start;
	session->userid = process->userid;
	session->databaseid = process->databaseid;
	session->anon_bytes = process->anon_bytes;
	strlcpy(session->backend_type,
			server_process_type_name(process->pid, process->type),
			RECORDED_NAME_BYTES);
	if (state != NULL)
		strlcpy(session->state, state, RECORDED_NAME_BYTES);
	copy_texts(slot, process, session);
	if (named >= 0 &&
		session_slot_read(named, followed[named].pid,
						  followed[named].backend_start, &data))
	{
		strlcpy(session->usename, NameStr(data.usename),
				RECORDED_NAME_BYTES);
		strlcpy(session->datname, NameStr(data.datname),
				RECORDED_NAME_BYTES);
	}

	session->context_bytes = -1;
	memset(session->category_bytes, 0xff, sizeof(session->category_bytes));
	session->largest_context_bytes = -1;
	if (process->walked_at_bytes >= 0)
	{
		session->context_bytes = process->context_bytes;
		memcpy(session->category_bytes, process->category_bytes,
			   sizeof(session->category_bytes));
		session->largest_context_bytes = process->largest_context_bytes;
		strlcpy(session->largest_context, process->largest_context,
				RECORDED_NAME_BYTES);
	}
	else if (named == slot && data.pid == process->pid &&
			 data.measured_at != 0)
	{
		session->context_bytes = data.retained_bytes;
		memcpy(session->category_bytes, data.category_bytes,
			   sizeof(session->category_bytes));
	}
}

/* The same, with its contexts as they are now, if it is time for that. */
static void
record_session(int slot, uint64 now, RecordedSession *session)
{
	walk(&followed[slot], now);
	processes_copy(slot, session);
}

int
processes_find_largest(int largest[RECORDED_SESSIONS])
{
	int			count = 0;

	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		int64		bytes = followed[slot].anon_bytes;
		int			place = count;

		if (followed[slot].pid == 0 || bytes < 0)
			continue;
		while (place > 0 && bytes > followed[largest[place - 1]].anon_bytes)
			place--;
		if (place == RECORDED_SESSIONS)
			continue;
		count = Min(count + 1, RECORDED_SESSIONS);
		memmove(&largest[place + 1], &largest[place],
				(count - 1 - place) * sizeof(int));
		largest[place] = slot;
	}
	return count;
}

void
processes_record(uint64 now, RecordedSample *sample)
{
	int			largest[RECORDED_SESSIONS];

	sample->count = processes_find_largest(largest);
	for (int i = 0; i < sample->count; i++)
		record_session(largest[i], now, &sample->largest[i]);

	memset(sample->category_bytes, 0, sizeof(sample->category_bytes));
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		FollowedProcess *process = &followed[slot];
		SlotData	data;

		if (process->pid == 0)
			continue;
		process->highest_bytes = Max(process->highest_bytes,
									 process->anon_bytes);
		if (process->walked_at_bytes >= 0)
			memcpy(data.category_bytes, process->category_bytes,
				   sizeof(data.category_bytes));
		else if (!session_slot_read(slot, process->pid,
									process->backend_start, &data) ||
				 data.measured_at == 0)
			continue;
		for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
			sample->category_bytes[i] += data.category_bytes[i];
	}
}

/* ----------------------------------------------------------------------------
 * Words
 * ----------------------------------------------------------------------------
 */

void
processes_describe(const RecordedSession *session, StringInfo text)
{
	char		bytes[PRETTY_BYTES];
	int			largest = 0;

	appendStringInfo(text, "%sPID %d", text->len > 0 ? "; " : "", session->pid);
	if (session->usename[0] != '\0')
		appendStringInfo(text, " of %s@%s", session->usename,
						 session->datname);
	else
		appendStringInfo(text, ", %s", session->backend_type);
	if (session->state[0] != '\0')
		appendStringInfo(text, " (%s)", session->state);
	appendStringInfo(text, " with %s", pretty_bytes(session->anon_bytes,
													bytes));
	for (int i = 1; i < CONTEXT_CATEGORY_COUNT; i++)
	{
		if (session->category_bytes[i] > session->category_bytes[largest])
			largest = i;
	}
	if (session->category_bytes[largest] > 0)
		appendStringInfo(text, ", most of it %s, %s",
						 context_category_name(largest),
						 pretty_bytes(session->category_bytes[largest],
									  bytes));
	if (session->query[0] != '\0')
		appendStringInfo(text, ", statement: %.*s", 200, session->query);
}

void
processes_add_event(EventKind kind, const RecordedSession *session,
					int64 threshold_bytes)
{
	static MemoryEvent event;

	memset(&event, 0, sizeof(event));
	event.kind = kind;
	event.backend_start = session->backend_start;
	event.pid = session->pid;
	event.userid = session->userid;
	event.bytes = session->anon_bytes;
	event.threshold_bytes = threshold_bytes;
	event.session_bytes = session->context_bytes;
	event.query_id = session->query_id;
	strlcpy(NameStr(event.usename), session->usename, NAMEDATALEN);
	strlcpy(NameStr(event.datname), session->datname, NAMEDATALEN);
	strlcpy(NameStr(event.application_name), session->application_name,
			NAMEDATALEN);
	strlcpy(event.context, session->largest_context, SLOT_NAME_BYTES);
	strlcpy(event.query, session->query, EVENT_QUERY_BYTES);
	event_ring_put(&event);
}

/*
 * Judges a process while it runs a statement, by its session's threshold.  It
 * is told of when it crosses, and each time that it has doubled since.
 */
static void
judge_running(int slot, FollowedProcess *process, uint64 now)
{
	static RecordedSession session;
	SlotData	data;
	int64		threshold;
	char		amount[PRETTY_BYTES];
	char		limit[PRETTY_BYTES];
	char		hint[192];
	StringInfoData detail;

	if (!session_slot_read(slot, process->pid, process->backend_start, &data))
		return;
	threshold = data.measured_at != 0 ? data.process_threshold_bytes :
		threshold_bytes(setting_process_threshold);
	if (threshold < 0 || process->anon_bytes <= threshold)
	{
		process->told_bytes = 0;
		return;
	}
	if (!server_process_runs_statement(process->state) ||
		(process->told_bytes > 0 &&
		 process->anon_bytes / 2 < process->told_bytes))
		return;

	/* Over it already before the statement: the session has told of that. */
	if (process->told_bytes == 0 && process->statement_base > threshold &&
		process->anon_bytes / 2 < process->statement_base)
		return;
	process->told_bytes = process->anon_bytes;
	record_session(slot, now, &session);
	processes_add_event(EVENT_PROCESS, &session, threshold);
	initStringInfo(&detail);
	processes_describe(&session, &detail);
	appendStringInfoChar(&detail, '.');
	snprintf(hint, sizeof(hint),
			 "The statement has it until it ends: lower work_mem, set pg_session_memory.process_limit, or end it with pg_cancel_backend(%d).",
			 process->pid);
	tell_line(psprintf(REPORT_FIRST_WORDS ": the process holds %s while running, pg_session_memory.process_threshold is %s",
					   pretty_bytes(process->anon_bytes, amount),
					   pretty_bytes(threshold, limit)),
			  detail.data, hint);
}

void
processes_judge(uint64 now)
{
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		FollowedProcess *process = &followed[slot];

		/* An idle one has been judged by its session. */
		if (process->pid != 0 && process->type == B_BACKEND &&
			(server_process_runs_statement(process->state) ||
			 process->told_bytes > 0))
			judge_running(slot, process, now);
	}
}
