/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  When a session measures itself, and what it does when it is idle.
 *
 * The life of a measurement: a callback is hung on MessageContext, by the end
 * of a transaction or by a command in a transaction block (see hooks.c).
 * The main loop of a session resets that context when it has released
 * everything of the finished command, right before it tells the client that
 * it is ready.  So what the callback finds is what the session retains, and
 * what it sets (the status parameter) leaves with the response to the very
 * command that made the difference.  Auxiliary processes and background
 * workers have no MessageContext and are not measured.
 *
 * Measuring is bounded: a session earns max_overhead per cent of its time for
 * it, and may save up what it earns in SAVED_SECONDS, so some commands in a row
 * can be measured; a walk is paid for afterwards, so after a large one of d
 * the next waits for d * 100 / max_overhead.  While little changes the watch
 * waits longer, up to QUIET_WAIT, as long as the two
 * contexts in which all growth of caches shows look the same.  If a command's
 * end was passed over, a timeout looks again once the session has been idle
 * for idle_delay.
 *
 * The timeout's handler only sets flags and the latch.  Outside of a
 * transaction the idle session then runs an empty one, as for a sinval
 * catch-up, and our transaction callback does the work there: before the
 * commit what needs a transaction, after it what must not fail.  In a
 * transaction block it runs none, and measures itself where it handles an
 * interrupt (see interrupt.c); it trims itself when the block is over.
 *
 * Where a session is, and which fields of watch say so:
 *
 *	  state                 fields                      left by
 *	  --------------------  --------------------------  ------------------------
 *	  it connects           over_statement_start is 0   the end of its first
 *														transaction
 *	  a command runs        end_awaited, from the       reset of MessageContext:
 *							transaction's end or the    end_of_command
 *							block's command on
 *	  idle, measured        not was_skipped             the next command
 *	  idle, passed over     was_skipped; the timeout    the timeout, or the next
 *							runs until timeout_end      command
 *	  it is to look         timeout_fired               an empty transaction, or
 *														in a block, where
 *														idle_in_block is set,
 *														an interrupt
 *	  it trims itself       trim_begun                  that transaction's end
 *
 * A session is idle when the present statement's start time is that of the
 * statement that is over (over_statement_start): a command sets a new one.
 *
 * No error leaves what runs between two commands: where another module's
 * emit_log_hook can raise one, it is stopped (see error_barrier.c).  Nothing is
 * allocated there.  What runs before the commit of an empty transaction can
 * raise one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "reading/process_memory.h"
#include "reading/read_permission.h"
#include "session/error_barrier.h"
#include "session/interrupt.h"
#include "session/measure.h"
#include "session/process_limit.h"
#include "session/report.h"
#include "session/statement_memory.h"
#include "session/trim.h"
#include "session/watch.h"

/* The longest wait between measurements of a session that stays as it is. */
#define QUIET_WAIT			INT64CONST(100000)	/* microseconds */
#define QUIET_WAIT_FIRST	INT64CONST(1000)

/*
 * So much more or less is no change: what a small transaction block has beside
 * what the session retains between transactions.
 */
#define QUIET_BYTES			(64 * 1024)

/* What a session can save up for measuring: the earnings of so many. */
#define SAVED_SECONDS		1

/*
 * The idle timeout.  RegisterTimeout ends the process where ten modules have
 * taken the ten timeouts for extensions, and there is no way to ask before.
 * This one is of the process that replays WAL, and free in sessions.
 */
#define IDLE_TIMEOUT		STANDBY_LOCK_TIMEOUT

/* A summary of what changes when caches grow; see look_now. */
typedef struct QuietLook
{
	Size		top_bytes;
	Size		cache_bytes;
	MemoryContext top_first;
	MemoryContext cache_first;
} QuietLook;

/*
 * Where this session is; the head of this file has the states.
 *
 * Times are timestamps, which PostgreSQL and statement_memory.c have taken
 * already: a clock of its own would cost each command 35 instructions more.
 * The clock can be set back.  A time in the future counts as one long ago, so
 * that nothing waits for it (see is_past).
 */
typedef struct SessionWatch
{
	bool		begun;			/* what a process does once is done */
	bool		is_session;

	/* The running command, and the one that is over */
	bool		end_awaited;	/* on_end hangs on MessageContext */
	bool		cleanup_awaited;	/* on_cleanup hangs on
									 * TopTransactionContext */
	TimestampTz over_statement_start;	/* 0: no statement yet */
	TimestampTz over_at;		/* its end, but for its commit */

	/* Measurements */
	bool		was_tracked;	/* something is published */
	bool		measure_next;	/* whatever it costs: settings have changed */
	bool		was_skipped;	/* the last command's end */
	bool		was_in_block;	/* the last measurement */
	TimestampTz measured_at;
	int64		quiet_wait;		/* microseconds, while nothing changes */
	QuietLook	quiet_look;		/* of the last measurement */
	double		earned_microseconds;	/* below 0: owed */
	TimestampTz earned_at;		/* when that was worked out */
	SessionStatus status;		/* what the client shall see */

	/* The idle timeout, and what there is to do when it ends */
	bool		timeout_registered;
	volatile sig_atomic_t timeout_fired;
	volatile sig_atomic_t idle_in_block;
	TimestampTz timeout_end;
	bool		has_worked;		/* since it last trimmed itself */
	bool		context_is_left;	/* a catch-up leaves TopMemoryContext */

	/* The running transaction is to be committed, and no statement began it */
	bool		is_empty_transaction;

	/* A trim that has begun before the commit and goes on after it */
	bool		trim_begun;
	uint64		trim_request;	/* 0: its own decision */
	TrimResult	trim_result;
} SessionWatch;

static SessionWatch watch;

static MemoryContextCallback on_end;
static MemoryContextCallback on_cleanup;

static void await_end_of_command(void);
static inline void await_idle(TimestampTz now);

/*
 * Whether it is now at least so many microseconds after a time, or before it,
 * since the clock was set back.
 */
static inline bool
is_past(TimestampTz time, int64 microseconds, TimestampTz now)
{
	return (uint64) (now - time) >= (uint64) microseconds;
}

/*
 * What shows the growth of caches, functions and statements: that which hangs
 * from these two contexts grows them, or becomes their first child.  So does
 * each transaction's context, which comes and goes.
 */
static inline QuietLook
look_now(void)
{
	QuietLook	look;

	look.top_bytes = TopMemoryContext->mem_allocated;
	look.top_first = TopMemoryContext->firstchild;
	if (look.top_first == TopTransactionContext && look.top_first != NULL)
		look.top_first = look.top_first->nextchild;
	look.cache_bytes = CacheMemoryContext != NULL ?
		CacheMemoryContext->mem_allocated : 0;
	look.cache_first = CacheMemoryContext != NULL ?
		CacheMemoryContext->firstchild : NULL;
	return look;
}

/* Whether that has changed since the last measurement. */
static inline bool
look_has_changed(void)
{
	QuietLook	look = look_now();

	return look.top_bytes != watch.quiet_look.top_bytes ||
		look.top_first != watch.quiet_look.top_first ||
		look.cache_bytes != watch.quiet_look.cache_bytes ||
		look.cache_first != watch.quiet_look.cache_first;
}

/*
 * Whether max_overhead allows a measurement now.
 */
static bool
measurement_is_earned(TimestampTz now)
{
	if (setting_max_overhead >= 100.0)
		return true;
	watch.earned_microseconds =
		Min(watch.earned_microseconds +
			Max(now - watch.earned_at, 0) * setting_max_overhead / 100.0,
			SAVED_SECONDS * 1e6 * setting_max_overhead / 100.0);
	watch.earned_at = now;
	return watch.earned_microseconds >= 0;
}

/*
 * Measures and reports: between two commands, or in the middle of one
 * (in_command).
 */
static pg_noinline void
measure_and_report(bool in_command)
{
	static SessionMeasure measure;
	SlotData   *slot = session_slot_mine();
	int64		before = slot->retained_bytes;
	TimestampTz now;
	instr_time	start;
	instr_time	took;

	HOLD_INTERRUPTS();
	INSTR_TIME_SET_CURRENT(start);
	session_measure(&measure, in_command, false);
	INSTR_TIME_SET_CURRENT(took);
	INSTR_TIME_SUBTRACT(took, start);

	/* What is written to the log is not measuring: it is asked for. */
	watch.earned_microseconds -= INSTR_TIME_GET_DOUBLE(took) * 1e6;
	now = GetCurrentTimestamp();
	session_report(&measure, now);
	watch.status = slot->status;
	watch.measured_at = now;

	/* A session earns from its first measurement on. */
	if (watch.earned_at == 0)
		watch.earned_at = watch.measured_at;
	if (llabs(measure.bytes - before) > QUIET_BYTES)
		watch.quiet_wait = 0;
	else
		watch.quiet_wait = Min(Max(watch.quiet_wait * 2, QUIET_WAIT_FIRST),
							   QUIET_WAIT);
	watch.quiet_look = look_now();
	watch.measure_next = false;
	watch.was_skipped = false;
	watch.was_in_block = IsTransactionBlock();
	RESUME_INTERRUPTS();
}

/* Tracking was switched off: what was published is not true any more. */
static pg_noinline void
forget_measurements(void)
{
	SlotData   *slot = session_slot_mine();

	session_slot_begin();
	slot->status = SESSION_OK;
	slot->measured_at = 0;
	memset(&slot->session, 0, sizeof(slot->session));
	memset(&slot->process, 0, sizeof(slot->process));
	memset(slot->groups, 0, sizeof(slot->groups));
	session_slot_end();
	watch.status = SESSION_OK;
	watch.was_skipped = false;
	watch.was_tracked = false;
}

/* In a signal handler: flags and the latch, nothing more. */
static void
idle_timeout_handler(void)
{
	watch.timeout_fired = true;
	if (watch.idle_in_block)
		session_interrupt_raise();
	else
	{
		catchupInterruptPending = true;
		SetLatch(MyLatch);
	}
}

/*
 * Whether the timeout has ended and the session has been idle for idle_delay
 * since its last command; waits on if it has worked meanwhile.
 */
static bool
idle_delay_is_over(void)
{
	TimestampTz now;

	if (!watch.timeout_fired)
		return false;
	watch.timeout_fired = false;
	now = GetCurrentTimestamp();
	if (is_past(watch.over_at, setting_idle_delay * INT64CONST(1000), now))
		return true;
	await_idle(now);
	return false;
}

/*
 * What a session in a transaction block does when it handles an interrupt.
 * It can't await another one here, so it looks however short it has been idle:
 * that is once in idle_delay at most.
 */
static void
look_in_block(void)
{
	if (!IsTransactionBlock())
		return;

	/* A command runs: what is to be looked at is seen at its end. */
	if (watch.over_statement_start != GetCurrentStatementStartTimestamp())
		await_end_of_command();
	else if (watch.was_skipped && setting_track)
		measure_and_report(false);
}

/*
 * Whether the timeout that runs will do.  One that ends too early may go on;
 * idle_delay may have become shorter.  One that should have ended was delayed
 * by a clock that was set back.  PostgreSQL clears all timeouts after an error,
 * so its word counts.
 */
static inline bool
timeout_will_do(TimestampTz now, TimestampTz end)
{
	return watch.timeout_end <= end && watch.timeout_end >= now &&
		get_timeout_active(IDLE_TIMEOUT);
}

static pg_noinline void
start_timeout(TimestampTz now, TimestampTz end)
{
	if (!watch.timeout_registered)
	{
		RegisterTimeout(IDLE_TIMEOUT, idle_timeout_handler);
		watch.timeout_registered = true;
	}
	watch.timeout_fired = false;
	watch.timeout_end = end;
	enable_timeout_after(IDLE_TIMEOUT, (int) Max((end - now) / 1000, 0) + 1);
}

/*
 * Has the session look again when it will have been idle for idle_delay.
 */
static inline void
await_idle(TimestampTz now)
{
	TimestampTz end = watch.over_at + setting_idle_delay * INT64CONST(1000);

	watch.idle_in_block = IsTransactionBlock();
	if (watch.idle_in_block)
		session_interrupt_await(look_in_block);
	if (unlikely(!timeout_will_do(now, end)))
		start_timeout(now, end);
}

/*
 * Whether the command that is over is to be measured.
 */
static inline bool
measurement_is_due(void)
{
	if (watch.measure_next || setting_max_overhead >= 100.0)
		return true;

	/*
	 * Whoever has seen a block bloated wants to know whether that was the
	 * transaction, before the connection is given to somebody else.
	 */
	if (watch.was_in_block && watch.status == SESSION_BLOATED &&
		!IsTransactionBlock())
		return true;
	return (is_past(watch.measured_at, watch.quiet_wait, watch.over_at) ||
			look_has_changed()) && measurement_is_earned(watch.over_at);
}

/*
 * Measures what the session retains now that a command is over, and tells the
 * statements what this one has left, where that is known.
 */
static pg_noinline void
measure_end_of_command(void)
{
	SlotData   *slot = session_slot_mine();
	int64		before = slot->retained_bytes;
	bool		left_is_known = slot->measured_at != 0 && !watch.was_skipped;

	measure_and_report(false);
	statement_memory_end_of_command(left_is_known,
									left_is_known ?
									slot->retained_bytes - before : 0);
}

/*
 * The parameter leaves with the response to this command.  Set like this, as
 * a default, it is not taken back when the transaction is.
 */
static void
report_status(void)
{
	if (unlikely(watch.status != (SessionStatus) setting_status))
		SetConfigOption("pg_session_memory.status",
						watch.status == SESSION_BLOATED ? "bloated" : "ok",
						PGC_INTERNAL, PGC_S_OVERRIDE);
}

/* Somebody asked for a trim while the session was busy: now it is not. */
static void
heed_trim_request(void)
{
	if (unlikely(session_slot_open_request() != 0) &&
		!IsTransactionOrTransactionBlock())
	{
		catchupInterruptPending = true;
		SetLatch(MyLatch);
	}
}

/*
 * The callback of MessageContext: a command is over.
 */
static void
end_of_command(void *arg)
{
	watch.end_awaited = false;
	watch.over_statement_start = GetCurrentStatementStartTimestamp();
	watch.has_worked = true;
	if (likely(statement_memory_looked_at >= watch.over_statement_start))
		watch.over_at = statement_memory_looked_at;
	else if (setting_track || setting_trim_when_idle)
		watch.over_at = GetCurrentTimestamp();
	process_limit_end_of_command();

	if (likely(setting_track))
	{
		watch.was_tracked = true;
		if (unlikely(measurement_is_due()))
			measure_end_of_command();
		else
		{
			watch.was_skipped = true;
			statement_memory_end_of_command(false, 0);
		}
	}
	else
	{
		if (watch.was_tracked)
			forget_measurements();
		statement_memory_end_of_command(false, 0);
	}

	if (likely(watch.was_skipped) || setting_trim_when_idle)
		await_idle(watch.over_at);
	heed_trim_request();
	report_status();
}

/*
 * Whether the session should trim itself: it holds much memory that no
 * context knows, and has worked since it last did.
 */
static bool
own_trim_is_due(bool *caches)
{
	static SessionMeasure measure;
	ProcessMemory memory;
	int64		context_threshold = threshold_bytes(setting_context_threshold);

	if (!setting_trim_when_idle || !watch.has_worked)
		return false;
	watch.has_worked = false;
	if (!process_memory_read(MyProcPid, &memory))
		return false;
	session_measure(&measure, true, false);
	*caches = context_threshold >= 0 &&
		measure.category_bytes[CATEGORY_CATALOG_CACHE] > context_threshold;
	return *caches ||
		memory.anon_bytes + Max(memory.swap_bytes, 0) - measure.bytes >=
		threshold_bytes(setting_trim_threshold);
}

/*
 * The empty transaction of an idle session is about to commit.
 */
static pg_noinline void
before_idle_commit(void)
{
	bool		caches = true;
	bool		idle = idle_delay_is_over();

	watch.trim_begun = false;
	watch.context_is_left = pgsm_catchup_leaves_context();
	if (watch.context_is_left)
		session_interrupt_prepare();

	watch.trim_request = session_slot_open_request();
	if (watch.trim_request != 0 ||
		(idle && own_trim_is_due(&caches)))
	{
		session_trim_begin(caches, &watch.trim_result);
		watch.trim_begun = true;
	}
	else if (idle && watch.was_skipped && setting_track)
		measure_and_report(true);
}

/*
 * Where the catch-up has left CurrentMemoryContext at TopMemoryContext, the
 * session would keep what it allocates for the next message, its text if it
 * is converted to another encoding, for good.
 */
static void
leave_top_context(void)
{
	if (CurrentMemoryContext == TopMemoryContext &&
		watch.over_statement_start == GetCurrentStatementStartTimestamp())
		MemoryContextSwitchTo(MessageContext);
}

static void
finish_trim(void *arg)
{
	session_trim_finish(&watch.trim_result);
}

static pg_noinline void
after_idle_commit(void)
{
	if (watch.context_is_left)
	{
		watch.context_is_left = false;
		session_interrupt_await(leave_top_context);
		session_interrupt_raise();
	}
	if (!watch.trim_begun)
		return;
	watch.trim_begun = false;
	(void) session_stop_errors(finish_trim, NULL);
	if (setting_track)
		measure_and_report(true);
	if (watch.trim_request != 0)
		session_trim_answer(watch.trim_request, &watch.trim_result);
}

static void
await_end_of_command(void)
{
	if (watch.end_awaited)
		return;
	on_end.func = end_of_command;
	MemoryContextRegisterResetCallback(MessageContext, &on_end);
	watch.end_awaited = true;
}

void
session_watch_command_of_block(void)
{
	if (watch.end_awaited || MessageContext == NULL || !pgsm_is_session())
		return;
	if (setting_track)
		session_interrupt_prepare();
	await_end_of_command();
}

/*
 * The callback of TopTransactionContext: a transaction block that had failed
 * before is over.
 */
static void
after_cleanup(void *arg)
{
	watch.cleanup_awaited = false;
	await_end_of_command();
}

/*
 * A block that has failed stays until the client ends it, and then there is no
 * further event.
 */
static void
await_end_of_block(void)
{
	if (MessageContext == NULL || watch.cleanup_awaited ||
		TopTransactionContext == NULL)
		return;
	on_cleanup.func = after_cleanup;
	MemoryContextRegisterResetCallback(TopTransactionContext, &on_cleanup);
	watch.cleanup_awaited = true;
}

void
session_watch_subtransaction(SubXactEvent event, SubTransactionId mine,
							 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && MessageContext != NULL &&
		IsTransactionBlock() && pgsm_is_session())
		await_end_of_command();
}

/*
 * The first transactions of this process: what it has to do once.
 */
static pg_noinline void
begin_watch(XactEvent event)
{
	/* Only sessions watch themselves: in others the states stay at the first. */
	watch.is_session = pgsm_is_session();

	/* The end of a transaction: before that, settings may not be known. */
	if (event == XACT_EVENT_PRE_COMMIT)
		return;
	read_permission_grant_server();
	watch.begun = process_limit_begin();
}

/*
 * A session's transaction is over: the command may be, or the session has
 * connected and can be asked from here on.
 */
static inline void
transaction_is_over(void)
{
	if (likely(MessageContext != NULL))
	{
		await_end_of_command();
		return;
	}
	session_slot_mine();
	if (setting_track)
		session_report_baseline();
	watch.over_statement_start = GetCurrentStatementStartTimestamp();
}

/* What most transactions do not have. */
static pg_noinline void
other_transaction_event(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_ABORT:
			statement_memory_abort();
			process_limit_abort();
			if (watch.is_session)
			{
				watch.trim_begun = false;
				watch.context_is_left = false;
				transaction_is_over();
				await_end_of_block();
			}
			break;

		case XACT_EVENT_PRE_PREPARE:
			process_limit_commit();
			break;

		case XACT_EVENT_PREPARE:
			if (watch.is_session)
				transaction_is_over();
			break;

		case XACT_EVENT_PARALLEL_COMMIT:
			statement_memory_worker_ends();
			break;

		case XACT_EVENT_PARALLEL_ABORT:
			statement_memory_worker_ends();
			process_limit_abort();
			break;

		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
	}
}

void
session_watch_transaction(XactEvent event, void *arg)
{
	if (unlikely(!watch.begun))
		begin_watch(event);

	if (event == XACT_EVENT_PRE_COMMIT)
	{
		process_limit_commit();
		watch.is_empty_transaction =
			unlikely(watch.over_statement_start ==
					 GetCurrentStatementStartTimestamp()) &&
			watch.over_statement_start != 0;
		if (unlikely(watch.is_empty_transaction) &&
			(watch.timeout_fired || session_slot_open_request() != 0))
			before_idle_commit();
	}
	else if (event == XACT_EVENT_COMMIT)
	{
		if (unlikely(watch.is_empty_transaction))
			after_idle_commit();
		else if (watch.is_session)
			transaction_is_over();
	}
	else
		other_transaction_event(event);
}

void
session_watch_settings_changed(void)
{
	watch.measure_next = true;
}

void
session_watch_reset_peak(void)
{
	SlotData   *slot;

	/* Other processes publish nothing, hence no peak. */
	if (!pgsm_is_session())
		return;
	slot = session_slot_mine();
	measure_and_report(true);
	session_slot_begin();
	slot->peak_bytes = slot->retained_bytes;
	slot->peak_at = slot->measured_at;
	session_slot_end();
}
