/*-------------------------------------------------------------------------
 *
 * guarding.c
 *	  The guard at work: what it is told, and what it has decided, done.
 *
 * guard.c decides, and knows nothing but figures.  Here they are gathered and
 * its decisions are carried out, once a tick, in this order:
 *
 *	1	who has how much: processes.c, out of /proc/PID/statm
 *	2	what each may have, and whether something has to be done: guard.c
 *	3	how the server stands, for sessions and views: ceiling.c
 *	4	on: each ceiling, with prlimit(2), through ceiling.c
 *		log: compares what each has with the ceiling of the tick before
 *	5	on: the action.  A request for a trim, or a signal to a session after
 *		who it is and what it does were compared once more, with a verdict by
 *		which it tells its client why
 *	6	what of this is news: the log and the event ring, in guard_log.c
 *
 * Who can have a ceiling says so itself, in ceiling.c.  Who may be cancelled or
 * terminated is a client's session or an autovacuum worker that does not
 * prevent wraparound.  All others, walsenders and background workers among
 * them, are exempt: they are the server's, or nobody knows what ends with
 * them.  Parallel workers are their leader's.
 *
 * In calm a ceiling is left as it is until it has changed by an eighth of the
 * room that it leaves: of a hundred sessions at work few cost a system call.
 * A session that was in a commit or a clean-up when its turn came gets it in
 * the next tick.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "reading/process_memory.h"
#include "reading/server_process.h"
#include "reading/shared_memory.h"
#include "session/ceiling.h"
#include "session/trim.h"
#include "settings.h"
#include "watcher/guard.h"
#include "watcher/guard_log.h"
#include "watcher/guarding.h"

/* In calm, a ceiling moves when the room that it leaves changes by this part. */
#define CALM_PART			8

/* Memory that was asked for and is not there may be in swap from here on. */
#define SWAP_INTERESTING	(16 * 1024 * 1024)

/*
 * Where shared memory was touched, as much less is available, unless others
 * have given back as much.  So it is looked at when that has fallen by more
 * than this, or this part of what was untouched, and else in intervals.
 */
#define TOUCHED_INTERESTING	(8 * 1024 * 1024)
#define TOUCHED_PART		32
#define TOUCHED_INTERVAL	UINT64CONST(5000000)
#define TOUCHED_PRESSED		UINT64CONST(100000)

/* At the guard's log, growth beyond a ceiling by less is none that matters. */
#define REFUSAL_BYTES		(1024 * 1024)

/* What is remembered of the process in a slot from one tick to the next. */
typedef struct GuardedProcess
{
	int			pid;
	TimestampTz backend_start;
	GuardMemory memory;
	int64		decided_bytes;	/* the ceiling of the tick before, -1: none */
	int64		told_statement; /* of which a refusal was told, -1: of none */
} GuardedProcess;

typedef struct Guarding
{
	int			mode;			/* of the tick before: off, log or on */
	Guard		guard;
	GuardServer server;
	CeilingServer published;	/* of this tick, too */
	GuardedProcess *guarded;	/* by slot */
	GuardProcess *processes;	/* those of this tick */
	int		   *slots;			/* of those */
	int			count;
	int64		untouched_bytes;	/* of main shared memory */
	int64		untouched_available;	/* what the server had left then */
	uint64		untouched_at;	/* when that was looked at, 0: never */
	int64		sessions_bytes; /* that server_limit is compared with */
	TimestampTz last_action_at; /* 0: never */
} Guarding;

static Guarding guarding;

void
guarding_create(void)
{
	Size		slots = pgsm_process_slots();
	CeilingServer server;

	guarding.guarded =
		MemoryContextAllocZero(TopMemoryContext,
							   mul_size(sizeof(GuardedProcess), slots));
	guarding.processes =
		MemoryContextAllocZero(TopMemoryContext,
							   mul_size(sizeof(GuardProcess), slots));
	guarding.slots = MemoryContextAllocZero(TopMemoryContext,
											mul_size(sizeof(int), slots));
	guarding.mode = GUARD_OFF;
	if (ceiling_read_server(&server))
		guarding.last_action_at = server.last_action_at;
	ceiling_lift_all();
}

const char *
guarding_state_name(int state)
{
	switch ((GuardState) state)
	{
		case GUARD_QUIET:
			return "quiet";
		case GUARD_NEAR:
			return "near";
		case GUARD_UNDER:
			return "under";
	}
	return NULL;
}

/* ----------------------------------------------------------------------------
 * Gathering
 * ----------------------------------------------------------------------------
 */

/* Whether an autovacuum worker keeps transaction ids from wrapping around. */
static bool
prevents_wraparound(int pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);

	return proc == NULL ||
		(proc->statusFlags & PROC_VACUUM_FOR_WRAPAROUND) != 0;
}

/*
 * Whether it is one that the guard looks at.  Those that keep the server alive
 * hold little, and always the same.
 */
static bool
is_of_interest(const FollowedProcess *followed)
{
	switch (followed->type)
	{
		case B_BACKEND:
		case B_WAL_SENDER:
		case B_AUTOVAC_WORKER:
		case B_BG_WORKER:
			return followed->pid != MyProcPid && followed->anon_bytes >= 0;
		default:
			return false;
	}
}

static GuardedProcess *
remembered(int slot, const FollowedProcess *followed)
{
	GuardedProcess *guarded = &guarding.guarded[slot];

	if (guarded->pid != followed->pid ||
		guarded->backend_start != followed->backend_start)
	{
		memset(guarded, 0, sizeof(GuardedProcess));
		guarded->pid = followed->pid;
		guarded->backend_start = followed->backend_start;
		guarded->decided_bytes = -1;
		guarded->told_statement = -1;
	}
	return guarded;
}

static void
gather_process(int slot, const FollowedProcess *followed, bool swap)
{
	GuardProcess *process = &guarding.processes[guarding.count];
	bool		is_session = followed->type == B_BACKEND;
	bool		is_worker = followed->leader_pid != 0;
	CeilingOwner owner = {0};
	bool		known = ceiling_read_owner(slot, followed->pid,
										   followed->backend_start, &owner);

	memset(process, 0, sizeof(GuardProcess));
	process->limited = setting_guard == GUARD_ON ?
		known && owner.consent != CEILING_REFUSED : is_session || is_worker;
	process->idle = is_session &&
		server_process_is_idle(followed->state);
	process->exempt = !is_session && !is_worker &&
		(followed->type != B_AUTOVAC_WORKER ||
		 prevents_wraparound(followed->pid));
	process->superuser = known && owner.superuser;
	process->weight = known ? owner.weight : 1;
	process->own_limit_bytes = known ? owner.own_limit_bytes : -1;
	process->data_bytes = followed->data_bytes;
	process->anon_bytes = followed->anon_bytes;
	process->statement = followed->query_start;
	process->memory = remembered(slot, followed)->memory;

	if (swap &&
		followed->data_bytes - followed->anon_bytes > SWAP_INTERESTING)
	{
		ProcessMemory memory;

		if (process_memory_read(followed->pid, &memory))
			process->anon_bytes = memory.anon_bytes +
				Max(memory.swap_bytes, 0);
	}
	guarding.sessions_bytes += process->anon_bytes;
	guarding.slots[guarding.count++] = slot;
}

/* Whose worker each one is, and what they share. */
static void
gather_units(bool shared)
{
	for (int i = 0; i < guarding.count; i++)
	{
		GuardProcess *process = &guarding.processes[i];
		int			leader_pid = processes_at(guarding.slots[i])->leader_pid;

		process->unit = i;
		for (int j = 0; leader_pid != 0 && j < guarding.count; j++)
		{
			GuardProcess *leader = &guarding.processes[j];
			int			slot = guarding.slots[j];

			if (guarding.guarded[slot].pid != leader_pid)
				continue;
			process->unit = j;
			if (shared && leader->shared_bytes == 0)
			{
				leader->shared_bytes = shared_memory_dynamic(leader_pid);
				guarding.sessions_bytes += leader->shared_bytes;
			}
			break;
		}
	}
}

/* Main shared memory that is promised: it will be touched sooner or later. */
static int64
untouched_bytes(int64 available_bytes, uint64 now)
{
	uint64		interval = guarding.guard.state == GUARD_QUIET ?
	TOUCHED_INTERVAL : TOUCHED_PRESSED;

	if (guarding.untouched_at == 0 ||
		now - guarding.untouched_at >= interval ||
		guarding.untouched_available - available_bytes >
		Max(TOUCHED_INTERESTING, guarding.untouched_bytes / TOUCHED_PART))
	{
		guarding.untouched_bytes = shared_memory_untouched();
		guarding.untouched_available = available_bytes;
		guarding.untouched_at = now;
	}

	/* What is touched after more was given back must be noticed, too. */
	guarding.untouched_available = Max(guarding.untouched_available,
									   available_bytes);
	return guarding.untouched_bytes;
}

static void
gather(const ServerMemory *memory, uint64 now)
{
	GuardServer *server = &guarding.server;

	server->total_bytes = memory->total_bytes;
	server->available_bytes = Max(memory->available_bytes -
								  untouched_bytes(memory->available_bytes, now),
								  0);
	server->reserve_bytes = threshold_bytes(setting_guard_reserve);
	if (server->reserve_bytes < 0)
		server->reserve_bytes = guard_default_reserve(memory->total_bytes);
	server->server_limit_bytes = threshold_bytes(setting_server_limit);
	server->patience = (uint64) setting_guard_patience * 1000;

	guarding.count = 0;
	guarding.sessions_bytes = 0;
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		const FollowedProcess *followed = processes_at(slot);

		if (followed != NULL && is_of_interest(followed))
			gather_process(slot, followed, memory->swap_used_bytes > 0);
	}
	gather_units(guarding.guard.state != GUARD_QUIET ||
				 server->server_limit_bytes >= 0);
}

/* Keeps what the guard wants to remember. */
static void
remember(void)
{
	for (int i = 0; i < guarding.count; i++)
		guarding.guarded[guarding.slots[i]].memory =
			guarding.processes[i].memory;
}

/* ----------------------------------------------------------------------------
 * Doing
 * ----------------------------------------------------------------------------
 */

/* Whether a ceiling is to be moved; see the head of this file. */
static bool
is_worth_moving(int64 present, const GuardProcess *process)
{
	int64		change;

	if (present == process->ceiling_bytes)
		return false;
	if (guarding.guard.state != GUARD_QUIET || present < 0 ||
		process->ceiling_bytes < 0)
		return true;
	change = llabs(present - process->ceiling_bytes);
	return change > (process->ceiling_bytes - process->data_bytes) / CALM_PART;
}

static void
set_ceilings(void)
{
	for (int i = 0; i < guarding.count; i++)
	{
		GuardProcess *process = &guarding.processes[i];
		int			slot = guarding.slots[i];
		GuardedProcess *guarded = &guarding.guarded[slot];

		if (!process->limited ||
			!is_worth_moving(ceiling_of(slot, guarded->pid,
										guarded->backend_start), process))
			continue;

		/* One that has just ended is no failure. */
		if (!ceiling_set(slot, guarded->pid, guarded->backend_start,
						 process->ceiling_bytes) && errno != ESRCH)
			guard_log_failure(guarded->pid);
	}
}

/* As pg_cancel_backend and pg_terminate_backend do it. */
static bool
send_signal(int pid, int signal)
{
#ifdef HAVE_SETSID
	return kill(-pid, signal) == 0;
#else
	return kill(pid, signal) == 0;
#endif
}

/*
 * Does what was decided, if the process is still what it was.
 */
static void
act(const GuardAction *action)
{
	static RecordedSession session;
	int			slot = guarding.slots[action->process];
	GuardedProcess *guarded = &guarding.guarded[slot];
	bool		cancels = action->kind == GUARD_CANCEL;

	if (!processes_is_unchanged(slot))
		return;
	if (action->kind == GUARD_TRIM)
	{
		(void) session_trim_request(slot, guarded->pid);
		guarding.last_action_at = GetCurrentTimestamp();
		return;
	}
	ceiling_set_verdict(slot, guarded->pid, guarded->backend_start,
						processes_at(slot)->query_start,
						cancels ? CEILING_CANCELLED : CEILING_TERMINATED);

	/* Before the signal: the session may be gone at once, and its name. */
	processes_copy(slot, &session);
	if (!send_signal(guarded->pid, cancels ? SIGINT : SIGTERM))
		return;
	guarding.last_action_at = GetCurrentTimestamp();
	guard_log_action(&guarding.published, action->kind, &session);
}

/*
 * The guard at log: compares what processes have with the ceilings of the tick
 * before, which were not set.  Who has more would have been refused it.
 */
static void
find_refusals(uint64 now)
{
	for (int i = 0; i < guarding.count; i++)
	{
		GuardProcess *process = &guarding.processes[i];
		int			slot = guarding.slots[i];
		GuardedProcess *guarded = &guarding.guarded[slot];
		int64		decided = guarded->decided_bytes;

		guarded->decided_bytes = process->limited ?
			process->ceiling_bytes : -1;
		if (decided < 0 || process->weight <= 0 ||
			process->data_bytes <= decided + REFUSAL_BYTES ||
			process->statement == guarded->told_statement)
			continue;
		guarded->told_statement = process->statement;
		guard_log_would_refuse(&guarding.published, slot, decided, now);
	}
}

/*
 * The process that holds most, or is about to, with its parallel workers; 0 if
 * there is none.
 */
static int
largest_pid(void)
{
	int			largest = -1;

	for (int i = 0; i < guarding.count; i++)
	{
		if (largest < 0 || guarding.processes[i].memory.unit_bytes >
			guarding.processes[largest].memory.unit_bytes)
			largest = i;
	}
	return largest < 0 ? 0 : guarding.guarded[guarding.slots[largest]].pid;
}

static void
publish(void)
{
	CeilingServer *server = &guarding.published;

	server->renewed_at = GetCurrentTimestamp();
	server->total_bytes = guarding.server.total_bytes;
	server->available_bytes = guarding.server.available_bytes;
	server->promised_bytes = guarding.guard.promised_bytes;
	server->reserve_bytes = guarding.server.reserve_bytes;
	server->server_limit_bytes = guarding.server.server_limit_bytes;
	server->sessions_bytes = guarding.sessions_bytes;
	server->state = guarding.guard.state;
	server->largest_pid = largest_pid();
	server->last_action_at = guarding.last_action_at;
	ceiling_publish_server(server);
}

void
guarding_stop(void)
{
	CeilingServer server;

	if (guarding.mode == GUARD_OFF)
		return;
	guarding.mode = GUARD_OFF;
	memset(&guarding.guard, 0, sizeof(Guard));
	guard_log_forget();
	memset(&server, 0, sizeof(server));
	server.last_action_at = guarding.last_action_at;
	ceiling_publish_server(&server);
	ceiling_lift_all();
}

uint64
guarding_tick(const ServerMemory *memory, uint64 now, ProcessSums *sums)
{
	GuardState	before = guarding.guard.state;
	GuardAction action = {GUARD_NOTHING, 0};
	uint64		wait;

	if (setting_guard == GUARD_OFF || memory->available_bytes < 0)
	{
		guarding_stop();
		return 0;
	}
	if (guarding.mode != setting_guard)
	{
		guarding_stop();
		guarding.mode = setting_guard;
		before = guarding.guard.state;
	}

	processes_look(before == GUARD_QUIET ? LOOK_CHANGED : LOOK_LARGE, now,
				   sums);
	gather(memory, now);
	wait = guard_decide(&guarding.guard, &guarding.server, guarding.processes,
						guarding.count, now, &action);
	remember();
	publish();
	if (setting_guard == GUARD_ON)
	{
		set_ceilings();
		if (action.kind != GUARD_NOTHING)
			act(&action);
	}

	if (guarding.guard.state == GUARD_UNDER && before != GUARD_UNDER)
		guard_log_pressure(&guarding.published, now);
	else if (guarding.guard.state != GUARD_UNDER && before == GUARD_UNDER)
		guard_log_relieved(&guarding.published, now);
	if (setting_guard == GUARD_LOG)
	{
		find_refusals(now);
		if (action.kind == GUARD_CANCEL || action.kind == GUARD_TERMINATE)
			guard_log_would_act(&guarding.published, action.kind,
								guarding.slots[action.process]);
	}
	return wait;
}
