/*-------------------------------------------------------------------------
 *
 * process_limit.c
 *	  The private memory that a session's process may have.
 *
 * The kernel keeps the limit: with RLIMIT_DATA, Linux refuses a process's
 * request for private writable memory beyond the soft limit.  malloc(3) then
 * fails, and PostgreSQL raises its own "out of memory" at that very place.
 * Nothing is polled; a statement that does not fail only passes the hooks that
 * look for languages.
 *
 * The soft limit is process_limit, or the guard's ceiling if that is smaller,
 * which the watcher moves from outside while the session runs (ceiling.h).  A
 * session that can have a ceiling is limited, also if it has none just now.
 *
 * What must not fail is the clean-up after an error.  So the soft limit is
 * moved out of the way for its time, in two steps.
 *
 *	state		soft limit					begins
 *	NONE		what the process began with	no process_limit, no guard
 *	KEPT		process_limit, see ROOM; or	end of a command, or of a
 *				the ceiling					subtransaction that was aborted
 *	LOOSENED	the same, or what it has,	an error was raised, or has left
 *				and RESERVE_BYTES			a transaction block to be ended
 *	LIFTED		the hard limit				a transaction or subtransaction is
 *											being aborted, one that has written
 *											is being committed, or an error that
 *											nobody has caught is written
 *
 * The first step is bounded since PostgreSQL does not tell what becomes of an
 * error: a trusted language's function can catch one without a subtransaction
 * and go on, and must not be free of the limit by that.
 *
 * How we come to know.  An error: by a callback at the bottom of
 * error_context_stack, called before anybody can catch the error, and so
 * before its catcher allocates.  It also writes DETAIL and HINT, for whoever
 * sees the error, a client, the log or an exception handler (limit_error.c).
 * PostgreSQL drops that stack after an error in a top-level statement, so the
 * callback goes back at the end of each command that had one.  emit_log_hook
 * is the second net: if the stack was dropped meanwhile, it sees errors that
 * nobody has caught and that are logged.  Aborts: by the transaction
 * callbacks.  The end of a command: by a callback of MessageContext.  The end
 * of a subtransaction: by a callback of its CurTransactionContext, which is
 * the last to go.
 *
 * A commit.  PostgreSQL takes memory also after it has written the commit
 * record.  An error there could not be undone any more: the server would go
 * down with PANIC.  So from the last moment before, the limit is lifted until
 * TopTransactionContext goes.  The same for what PREPARE TRANSACTION has left,
 * which a command commits that has written nothing itself.
 *
 * A language's interpreter needs memory when it begins (limit_languages.c).  So
 * in the command in which a session first uses a procedural language other
 * than PL/pgSQL, the limit is higher by LANGUAGE_BYTES.
 *
 * A session whose caches have filled the process could not do anything any
 * more.  If it is still full when a command that has failed at the limit is
 * over, it trims itself before the next one; for a trim, the limit is loosened.
 *
 * These callbacks allocate nothing, but for the DETAIL and HINT of an error
 * at the limit, which PostgreSQL copies to ErrorContext, and those run after
 * the limit was moved.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "pg_compat.h"
#include "reading/process_memory.h"
#include "session/ceiling.h"
#include "session/judge.h"
#include "session/limit_error.h"
#include "session/limit_languages.h"
#include "session/limit_setting.h"
#include "session/process_limit.h"
#include "session/trim.h"
#include "settings.h"

/* What handlers of errors and the beginning of an abort may take. */
#define RESERVE_BYTES	(8 * 1024 * 1024)

/*
 * What a process may have more than it has after it has trimmed itself, at
 * most RESERVE_BYTES above its limit: one that is full at rest could not even
 * execute what makes it smaller.
 */
#define ROOM_BYTES		(256 * 1024)

/* What the interpreter of a language needs when it begins, amply. */
#define LANGUAGE_BYTES	(32 * 1024 * 1024)

typedef enum ProcessLimitState
{
	LIMIT_NONE,
	LIMIT_KEPT,
	LIMIT_LOOSENED,
	LIMIT_LIFTED
} ProcessLimitState;

/* Bytes; -1: no limit. */
typedef struct ProcessLimit
{
	bool		begun;			/* this process has limits, or may have */
	bool		has_slot;		/* and may have a ceiling */
	bool		superuser;		/* as it connected */
	bool		is_wanted;		/* by process_limit or the guard */
	ProcessLimitState state;
	bool		loosened_for_refusal;	/* by an error "out of memory" */
	int64		original;		/* soft limit that the process began with */
	int64		own_bytes;		/* process_limit, or else original */
	int64		base_bytes;		/* that, or more if more was there */
	int64		kept_bytes;		/* own_bytes and what ROOM_BYTES has added */
	int64		language_bytes; /* LANGUAGE_BYTES while one may begin, or 0 */
	int64		language_floor; /* what it may have then, whatever the ceiling */
	bool		settings_restored;	/* of a parallel worker: the leader's */
	bool		lifts_at_exit;	/* before temporary tables are dropped */
} ProcessLimit;

bool		process_limit_guarded = false;

static ProcessLimit limit;

bool		process_limit_was_set = false;

static ErrorContextCallback error_callback;
static MemoryContextCallback command_callback;
static bool command_callback_hangs = false;
static MemoryContextCallback subtransaction_callback;
static bool subtransaction_callback_hangs = false;
static MemoryContextCallback block_callback;
static bool block_callback_hangs = false;
static emit_log_hook_type previous_emit_log_hook = NULL;

static void await_end_of_command(void);
static void trim_if_full(void);

/* ---------------------------------------------------------------------------
 * The soft limit
 * ---------------------------------------------------------------------------
 */

/* A limit and some more. */
static int64
plus(int64 bytes, int64 more)
{
	return bytes < 0 ? -1 : bytes + more;
}

/* Private writable memory of this process as the kernel counts it, or -1. */
static int64
data_bytes_now(void)
{
	ProcessMemory memory;

	process_memory_read(MyProcPid, &memory);
	return memory.data_bytes;
}

/*
 * Sets the limit as the settings have it, and what goes with it.
 */
static void
keep_limit(void)
{
	if (!limit.is_wanted)
	{
		if (limit.state != LIMIT_NONE)
			ceiling_move(CEILING_REFUSED, limit.original, 0);
		limit.state = LIMIT_NONE;
		return;
	}
	limit.state = LIMIT_KEPT;
	ceiling_move(process_limit_guarded ? CEILING_ACCEPTED : CEILING_REFUSED,
				 limit.language_bytes == 0 ? limit.kept_bytes :
				 plus(limit.base_bytes, limit.language_bytes),
				 limit.language_floor);
}

/*
 * A ceiling may be below what the process has, which could grow while the
 * watcher looked.  To find out takes longer than all the rest, so that is done
 * when a request was refused.
 */
static void
set_loosened(bool refused)
{
	int64		floor = 0;

	limit.state = LIMIT_LOOSENED;
	limit.loosened_for_refusal = refused;
	if (ceiling_mine() >= 0)
	{
		floor = ceiling_mine();
		if (refused)
			floor = Max(floor, data_bytes_now());
		floor += RESERVE_BYTES;
	}
	ceiling_move(process_limit_guarded ? CEILING_ACCEPTED : CEILING_REFUSED,
				 plus(limit.base_bytes, limit.language_bytes + RESERVE_BYTES),
				 Max(floor, limit.language_floor));
}

/* An error was raised; see the head of this file. */
static void
loosen_limit(bool refused)
{
	if (limit.state != LIMIT_KEPT &&
		!(limit.state == LIMIT_LOOSENED && refused &&
		  !limit.loosened_for_refusal))
		return;
	set_loosened(refused);
	await_end_of_command();
}

/* A clean-up has begun, and must not fail. */
static void
lift_limit(void)
{
	if (limit.state != LIMIT_KEPT && limit.state != LIMIT_LOOSENED)
		return;
	limit.state = LIMIT_LIFTED;
	ceiling_move(process_limit_guarded ? CEILING_SUSPENDED : CEILING_REFUSED,
				 -1, 0);
	await_end_of_command();
}

/* ---------------------------------------------------------------------------
 * The error
 * ---------------------------------------------------------------------------
 */

/* What has refused, if a request was refused just now. */
static LimitInForce
limit_in_force(void)
{
	LimitInForce in_force = {-1, -1};

	if (setting_process_limit >= 0)
		in_force.process_limit_bytes = limit_setting_bytes(setting_process_limit);
	if (process_limit_guarded)
		in_force.ceiling_bytes = ceiling_mine();
	if (in_force.ceiling_bytes >= 0)
		in_force.ceiling_bytes = Max(in_force.ceiling_bytes,
									 limit.language_floor);
	return in_force;
}

/*
 * The callback of error_context_stack: a message, of which only the SQLSTATE
 * can be known, is about to be thrown or written.
 */
static void
message_was_raised(void *arg)
{
	int			code = geterrcode();
	int			category = ERRCODE_TO_CATEGORY(code);
	LimitInForce in_force;

	if (limit.state == LIMIT_NONE ||
		category == ERRCODE_SUCCESSFUL_COMPLETION ||
		category == ERRCODE_WARNING ||
		category == ERRCODE_NO_DATA)
		return;
	in_force = limit_in_force();
	loosen_limit(code == ERRCODE_OUT_OF_MEMORY);
	await_end_of_command();
	if (unlikely(code == ERRCODE_OUT_OF_MEMORY ||
				 code == ERRCODE_QUERY_CANCELED ||
				 code == ERRCODE_ADMIN_SHUTDOWN))
		limit_error_raised(&in_force);
}

/*
 * emit_log_hook: for errors of which the callback has not heard.
 */
static void
message_is_logged(ErrorData *edata)
{
	if (unlikely(limit.state != LIMIT_NONE) && edata->elevel >= ERROR)
	{
		bool		was_heard = limit.state != LIMIT_KEPT;
		LimitInForce in_force = limit_in_force();

		lift_limit();
		if (!was_heard)
			limit_error_logged(edata, &in_force);
	}
	if (previous_emit_log_hook)
		previous_emit_log_hook(edata);
}

/*
 * Sees to it that the callback is at the bottom of the stack.  What is above
 * goes in the course of things, and then ours is the top.
 */
static void
hear_of_errors(void)
{
	ErrorContextCallback *bottom = error_context_stack;

	error_callback.callback = message_was_raised;
	error_callback.arg = NULL;
	error_callback.previous = NULL;
	if (bottom == NULL)
	{
		error_context_stack = &error_callback;
		return;
	}
	while (bottom != &error_callback && bottom->previous != NULL)
		bottom = bottom->previous;
	if (bottom != &error_callback)
		bottom->previous = &error_callback;
}

/* ---------------------------------------------------------------------------
 * When it is over
 * ---------------------------------------------------------------------------
 */

/*
 * The callback of TopTransactionContext: a block that had failed is over, or a
 * commit.
 */
static void
end_of_block(void *arg)
{
	block_callback_hangs = false;
	if (limit.state != LIMIT_NONE)
		keep_limit();
}

static void
await_end_of_block(void)
{
	if (block_callback_hangs || TopTransactionContext == NULL)
		return;
	block_callback.func = end_of_block;
	MemoryContextRegisterResetCallback(TopTransactionContext,
									   &block_callback);
	block_callback_hangs = true;
}

/*
 * A transaction block has failed, and the session must be able to end it.
 */
static void
loosen_for_block(void)
{
	set_loosened(true);
	await_end_of_block();
}

/*
 * The callback of MessageContext: the command is over, and what it had is
 * cleaned up.
 */
static void
end_of_command(void *arg)
{
	command_callback_hangs = false;
	if (unlikely(limit_error_pending()) || limit.language_bytes > 0)
		trim_if_full();
	limit_error_end_of_command();

	/* What an interpreter has taken, it keeps. */
	if (limit.language_bytes > 0)
		limit.base_bytes = limit.base_bytes < 0 ? -1 :
			Max(limit.base_bytes,
				Min(data_bytes_now(), limit.base_bytes +
					limit.language_bytes));
	limit.language_bytes = 0;
	limit.language_floor = 0;
	if (IsAbortedTransactionBlockState() && limit.state != LIMIT_NONE)
		loosen_for_block();
	else
		keep_limit();
	if (limit.state != LIMIT_NONE)
		hear_of_errors();
}

/*
 * What fills the process after the command may well be its catalog caches,
 * and then even a statement that would empty them finds no memory.
 */
static void
trim_if_full(void)
{
	LimitInForce in_force = limit_in_force();
	int64		most = in_force.process_limit_bytes;

	if (in_force.ceiling_bytes >= 0)
		most = most < 0 ? in_force.ceiling_bytes :
			Min(most, in_force.ceiling_bytes);
	if (most >= 0 && data_bytes_now() > most - most / 8)
		session_trim_request_own();
}

static void
await_end_of_command(void)
{
	/* Background workers have none, and end with their first error. */
	if (MessageContext == NULL || command_callback_hangs)
		return;
	command_callback.func = end_of_command;
	MemoryContextRegisterResetCallback(MessageContext, &command_callback);
	command_callback_hangs = true;
}

/*
 * The callback of an aborted subtransaction's context.  If its error was
 * caught, the statement goes on, and must be limited.  If not, interrupts are
 * held off for the clean-up of the whole transaction, which goes on.
 */
static void
end_of_subtransaction(void *arg)
{
	subtransaction_callback_hangs = false;
	if (limit.state != LIMIT_NONE && InterruptHoldoffCount == 0)
		keep_limit();
}

/* A callback of before_shmem_exit. */
static void
lift_at_exit(int code, Datum arg)
{
	lift_limit();
}

void
process_limit_end_of_command_limited(void)
{
	Oid			temporary;
	Oid			toast;

	if (process_limit_guarded)
		ceiling_lift_stale(GetCurrentStatementStartTimestamp());
	if (limit.state == LIMIT_NONE || limit.lifts_at_exit)
		return;

	/*
	 * PostgreSQL registers its callback that drops the session's temporary
	 * tables when their schema is made.  Ours is called before that if it is
	 * registered after it.
	 */
	GetTempNamespaceState(&temporary, &toast);
	if (!OidIsValid(temporary))
		return;
	limit.lifts_at_exit = true;
	before_shmem_exit(lift_at_exit, (Datum) 0);
}

static void
subtransaction_event(SubXactEvent event, SubTransactionId mine,
					 SubTransactionId parent, void *arg)
{
	if (likely(limit.state == LIMIT_NONE))
		return;
	if (event == SUBXACT_EVENT_START_SUB)
	{
		/* Nobody begins one in a clean-up, so that is over. */
		if (limit.state != LIMIT_KEPT)
			keep_limit();
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		lift_limit();
		if (!subtransaction_callback_hangs)
		{
			subtransaction_callback.func = end_of_subtransaction;
			MemoryContextRegisterResetCallback(CurTransactionContext,
											   &subtransaction_callback);
			subtransaction_callback_hangs = true;
		}
	}
}

void
process_limit_loosen(void)
{
	loosen_limit(true);
}

void
process_limit_keep(void)
{
	if (limit.state != LIMIT_LOOSENED)
		return;
	if (limit.kept_bytes >= 0)
		limit.kept_bytes = Max(limit.kept_bytes,
							   Min(data_bytes_now() + ROOM_BYTES,
								   limit.base_bytes + RESERVE_BYTES));
	keep_limit();
}

void
process_limit_commit_limited(void)
{
	if (limit.state == LIMIT_NONE ||
		!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	lift_limit();
	await_end_of_block();
}

void
process_limit_finish_prepared(void)
{
	lift_limit();
}

void
process_limit_abort_limited(void)
{
	lift_limit();
	/* A parallel worker has no other moment. */
	if (unlikely(limit_error_pending()) && MessageContext == NULL)
		limit_error_end_of_command();
}

/*
 * The session is about to use a language for the first time.
 */
static bool
language_begins(void)
{
	int64		data_bytes;

	if (limit.state != LIMIT_KEPT)
		return false;
	data_bytes = data_bytes_now();
	if (limit.base_bytes >= 0)
		limit.base_bytes = Max(limit.base_bytes, data_bytes);
	limit.language_bytes = LANGUAGE_BYTES;
	if (process_limit_guarded)
		limit.language_floor = data_bytes + LANGUAGE_BYTES;
	keep_limit();
	await_end_of_command();
	return true;
}

/* ---------------------------------------------------------------------------
 * Its beginning, and its settings
 * ---------------------------------------------------------------------------
 */

/* Whether the session's user is a superuser, without a look at catalogs. */
static bool
is_superuser(void)
{
	const char *value = GetConfigOption("is_superuser", true, false);

	return value != NULL && strcmp(value, "on") == 0;
}

/*
 * Makes the limit of a process that has begun be as the settings say.
 */
static void
apply_settings(int kilobytes, int guard, double weight)
{
	if (limit.has_slot)
		(void) ceiling_publish(weight, limit.superuser);
	process_limit_guarded = limit.has_slot && guard == GUARD_ON && weight > 0;
	limit.is_wanted = kilobytes >= 0 || process_limit_guarded;

	/*
	 * The end of a transaction, which holds interrupts off and may bring a
	 * limit back, is left to end first.
	 */
	if (limit.is_wanted && limit.state == LIMIT_NONE &&
		InterruptHoldoffCount > 0 && MessageContext != NULL)
		limit.state = LIMIT_LIFTED;

	limit.own_bytes = kilobytes < 0 ? limit.original : limit_setting_bytes(kilobytes);
	limit.kept_bytes = limit.own_bytes;
	limit.base_bytes = limit.own_bytes;
	if (limit.is_wanted)
	{
		process_limit_was_set = true;
		limit_languages_watch(language_begins);
		if (limit.base_bytes >= 0)
			limit.base_bytes = Max(limit.base_bytes, data_bytes_now());
		hear_of_errors();
		await_end_of_command();
	}
	if (limit.state != LIMIT_LOOSENED && limit.state != LIMIT_LIFTED)
		keep_limit();
}

bool
process_limit_begin(void)
{
	struct rlimit rlimit;

	if (!IsUnderPostmaster || (!pgsm_is_session() && !IsParallelWorker()))
		return true;
	if (IsParallelWorker() && !limit.settings_restored)
	{
		limit.settings_restored = true;
		return false;
	}
	if (getrlimit(RLIMIT_DATA, &rlimit) != 0)
		return true;
	limit.original = rlimit.rlim_cur == RLIM_INFINITY ? -1 :
		(int64) rlimit.rlim_cur;
	limit.begun = true;

	/* What keeps a standby alive, or a backup, is none of the guard's. */
	if (MyBackendType != B_WAL_SENDER || OidIsValid(MyDatabaseId))
	{
		limit.superuser = is_superuser();
		limit.has_slot = ceiling_publish(setting_guard_weight,
										 limit.superuser);
		if (limit.has_slot)
			ceiling_lease_init();
	}
	apply_settings(setting_process_limit, setting_guard,
				   setting_guard_weight);
	return true;
}

void
process_limit_assign(int kilobytes, void *extra)
{
	if (limit.begun)
		apply_settings(kilobytes, setting_guard, setting_guard_weight);
}

void
process_limit_assign_guard(int guard, void *extra)
{
	if (limit.begun)
		apply_settings(setting_process_limit, guard, setting_guard_weight);
}

void
process_limit_assign_weight(double weight, void *extra)
{
	if (limit.begun)
		apply_settings(setting_process_limit, setting_guard, weight);
}

void
process_limit_init(void)
{
	RegisterSubXactCallback(subtransaction_event, NULL);
	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = message_is_logged;
}
