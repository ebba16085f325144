/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  When a session measures itself, and what it does when it is idle.
 *
 * The life of a measurement: the end of a transaction hangs a callback on
 * MessageContext.  The main loop of a session resets that context when it has
 * released everything of the finished command, right before it tells the
 * client that it is ready.  So what the callback finds is what the session
 * retains, and what it sets (the status parameter) leaves with the response
 * to the very command that made the difference.  Auxiliary processes and
 * background workers have no MessageContext and are not measured.
 *
 * Measuring is bounded: a session earns max_overhead per cent of its time for
 * it, and may save up what it earns in SAVED_SECONDS, so some commands in a row
 * can be measured; a walk is paid for afterwards, so after a large one of d
 * the next waits for d * 100 / max_overhead.  While nothing changes the watch
 * waits longer, up to QUIET_WAIT, as long as the two
 * contexts in which all growth of caches shows look the same.  If a command's
 * end was passed over, a timeout looks again once the session has been idle
 * for idle_delay.
 *
 * The timeout's handler only sets flags and the latch.  The idle session then
 * runs an empty transaction, as for a sinval catch-up, and our transaction
 * callback does the work there: before the commit what needs a transaction,
 * after it what must not fail.  A session in a transaction block runs none,
 * so it is left alone.  That it is such a transaction and no command's we
 * know by the statement's start time: a command sets a new one.  The same
 * happens when another session asks for a trim.
 *
 * Nothing here raises an error or allocates, except a trim before the commit.
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
#include "session/measure.h"
#include "session/report.h"
#include "session/statement_memory.h"
#include "session/trim.h"
#include "session/watch.h"

/* The longest wait between measurements of a session that stays as it is. */
#define QUIET_WAIT			INT64CONST(100000)	/* microseconds */
#define QUIET_WAIT_FIRST	INT64CONST(1000)

/* What a session can save up for measuring: the earnings of so many. */
#define SAVED_SECONDS		1

/* A summary of what changes when caches grow; see look_now. */
typedef struct QuietLook
{
	Size		top_bytes;
	Size		cache_bytes;
	MemoryContext top_first;
	MemoryContext cache_first;
} QuietLook;

/* Hangs on MessageContext from a transaction's end to the command's. */
static MemoryContextCallback command_callback;
static bool command_callback_hangs = false;

/* Hangs on TopTransactionContext from an abort to the end of its block. */
static MemoryContextCallback cleanup_callback;
static bool cleanup_callback_hangs = false;

/* The start time of the statement that is over; 0 if none has been yet. */
static TimestampTz over_statement_start = 0;

static TimestampTz last_walk_at = 0;
static double earned_microseconds = 0;	/* below 0: owed */
static TimestampTz earned_at = 0;	/* when that was worked out */
static int64 quiet_wait = 0;	/* microseconds, while nothing changes */
static QuietLook quiet_look;
static bool measure_next = false;	/* settings have changed */
static bool was_skipped = false;	/* the last command's end */
static bool was_tracked = false;

/* The idle timeout, and what there is to do when it ends. */
static TimeoutId idle_timeout = USER_TIMEOUT;
static bool idle_timeout_registered = false;
static volatile sig_atomic_t idle_timeout_fired = false;
static TimestampTz idle_timeout_end = 0;
static TimestampTz last_command_at = 0;
static bool has_worked = false; /* since it last trimmed itself */

/* A trim that has begun before the commit and goes on after it. */
static bool trim_begun = false;
static uint64 trim_request = 0; /* 0: its own decision */
static TrimResult trim_result;

/* The status that the client shall see, once it may be set. */
static SessionStatus wanted_status = SESSION_OK;

/*
 * What shows the growth of caches, functions and statements: that which hangs
 * from these two contexts grows them, or becomes their first child.
 */
static QuietLook
look_now(void)
{
	QuietLook	look;

	look.top_bytes = TopMemoryContext->mem_allocated;
	look.top_first = TopMemoryContext->firstchild;
	look.cache_bytes = CacheMemoryContext != NULL ?
		CacheMemoryContext->mem_allocated : 0;
	look.cache_first = CacheMemoryContext != NULL ?
		CacheMemoryContext->firstchild : NULL;
	return look;
}

/* Whether that has changed since the last walk. */
static bool
look_has_changed(void)
{
	QuietLook	look = look_now();

	return look.top_bytes != quiet_look.top_bytes ||
		look.top_first != quiet_look.top_first ||
		look.cache_bytes != quiet_look.cache_bytes ||
		look.cache_first != quiet_look.cache_first;
}

/*
 * Whether max_overhead allows a walk now.
 */
static bool
walk_is_earned(TimestampTz now)
{
	if (setting_max_overhead >= 100.0)
		return true;
	if (now > earned_at)
		earned_microseconds =
			Min(earned_microseconds +
				(now - earned_at) * setting_max_overhead / 100.0,
				SAVED_SECONDS * 1e6 * setting_max_overhead / 100.0);
	earned_at = now;
	return earned_microseconds >= 0;
}

/*
 * Walks, publishes and judges.
 */
static void
walk_and_publish(TimestampTz now, bool in_command)
{
	static SessionMeasure measure;
	SlotData   *slot = session_slot_mine();
	int64		before = slot->retained_bytes;
	instr_time	start;
	instr_time	took;

	HOLD_INTERRUPTS();
	INSTR_TIME_SET_CURRENT(start);
	session_measure(&measure, in_command, false);
	INSTR_TIME_SET_CURRENT(took);
	INSTR_TIME_SUBTRACT(took, start);
	session_report(&measure, now);
	wanted_status = slot->status;
	quiet_look = look_now();
	RESUME_INTERRUPTS();

	/* What is written to the log is not measuring: it is asked for. */
	earned_microseconds -= INSTR_TIME_GET_DOUBLE(took) * 1e6;
	last_walk_at = now;
	if (measure.bytes != before)
		quiet_wait = 0;
	else
		quiet_wait = Min(Max(quiet_wait * 2, QUIET_WAIT_FIRST), QUIET_WAIT);
	measure_next = false;
	was_skipped = false;
}

void
session_watch_measure(bool in_command)
{
	walk_and_publish(GetCurrentTimestamp(), in_command);
}

/* Tracking was switched off: what was published is not true any more. */
static void
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
	wanted_status = SESSION_OK;
	was_skipped = false;
	was_tracked = false;
}

/* In a signal handler: flags and the latch, nothing more. */
static void
idle_timeout_handler(void)
{
	idle_timeout_fired = true;
	catchupInterruptPending = true;
	SetLatch(MyLatch);
}

static void
await_idle(TimestampTz now)
{
	TimestampTz end = TimestampTzPlusMilliseconds(last_command_at,
												  setting_idle_delay);

	if (!idle_timeout_registered)
	{
		idle_timeout = RegisterTimeout(USER_TIMEOUT, idle_timeout_handler);
		idle_timeout_registered = true;
	}

	/*
	 * PostgreSQL clears all timeouts after an error, so its word counts.  One
	 * that ends in time may go on; idle_delay may have become shorter.
	 */
	if (get_timeout_active(idle_timeout) && idle_timeout_end <= end)
		return;
	idle_timeout_fired = false;
	idle_timeout_end = end;
	enable_timeout_after(idle_timeout, (int) Max((end - now) / 1000, 0) + 1);
}

/*
 * The callback of MessageContext: a command is over.
 */
static void
end_of_command(void *arg)
{
	bool		left_is_known = false;
	int64		left_bytes = 0;

	command_callback_hangs = false;
	over_statement_start = GetCurrentStatementStartTimestamp();
	has_worked = true;

	if (setting_track || setting_trim_when_idle)
		last_command_at = GetCurrentTimestamp();

	if (setting_track)
	{
		TimestampTz now = last_command_at;

		was_tracked = true;
		if (measure_next || setting_max_overhead >= 100.0 ||
			((now >= last_walk_at + quiet_wait || look_has_changed()) &&
			 walk_is_earned(now)))
		{
			SlotData   *slot = session_slot_mine();

			/* What this command left, if what was there before is known. */
			left_is_known = slot->measured_at != 0 && !was_skipped;
			left_bytes = -slot->retained_bytes;
			walk_and_publish(now, false);
			left_bytes += slot->retained_bytes;
		}
		else
			was_skipped = true;
	}
	else if (was_tracked)
		forget_measurements();

	statement_memory_end_of_command(last_command_at, left_is_known,
									left_bytes);

	if (was_skipped || setting_trim_when_idle)
		await_idle(last_command_at);

	/* Somebody asked while the session was busy: now it is not. */
	if (unlikely(session_trim_requested(&trim_request)))
	{
		catchupInterruptPending = true;
		SetLatch(MyLatch);
	}

	/*
	 * The parameter leaves with the response to this command.  Inside of a
	 * transaction the setting would be taken back with it, so there it waits.
	 */
	if (wanted_status != (SessionStatus) setting_status &&
		!IsTransactionOrTransactionBlock())
		SetConfigOption("pg_session_memory.status",
						wanted_status == SESSION_BLOATED ? "bloated" : "ok",
						PGC_INTERNAL, PGC_S_OVERRIDE);
}

/*
 * Whether the timeout has ended and the session has been idle for idle_delay
 * since its last command; waits on if it has worked meanwhile.
 */
static bool
idle_delay_is_over(void)
{
	TimestampTz now;

	if (!idle_timeout_fired)
		return false;
	idle_timeout_fired = false;
	now = GetCurrentTimestamp();
	if (TimestampDifferenceExceeds(last_command_at, now, setting_idle_delay))
		return true;
	await_idle(now);
	return false;
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

	if (!setting_trim_when_idle || !has_worked)
		return false;
	has_worked = false;
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
static void
before_idle_commit(void)
{
	bool		caches = true;
	bool		idle = idle_delay_is_over();

	trim_begun = false;
	if (session_trim_requested(&trim_request) ||
		(idle && own_trim_is_due(&caches)))
	{
		session_trim_begin(caches, &trim_result);
		trim_begun = true;
	}
	else if (idle && was_skipped && setting_track)
		walk_and_publish(GetCurrentTimestamp(), true);
}

static void
after_idle_commit(void)
{
	if (!trim_begun)
		return;
	trim_begun = false;
	session_trim_finish(&trim_result);
	if (setting_track)
		walk_and_publish(GetCurrentTimestamp(), true);
	if (trim_request != 0)
		session_trim_answer(trim_request, &trim_result);
}

static void
await_end_of_command(void)
{
	if (command_callback_hangs)
		return;
	command_callback.func = end_of_command;
	MemoryContextRegisterResetCallback(MessageContext, &command_callback);
	command_callback_hangs = true;
}

/*
 * The callback of TopTransactionContext: a transaction block that had failed
 * before is over.
 */
static void
after_cleanup(void *arg)
{
	cleanup_callback_hangs = false;
	await_end_of_command();
}

void
session_watch_transaction(XactEvent event, void *arg)
{
	static bool permitted = false;

	if (unlikely(!permitted))
	{
		read_permission_grant_server();
		permitted = true;
	}

	if (event == XACT_EVENT_PARALLEL_COMMIT ||
		event == XACT_EVENT_PARALLEL_ABORT)
		statement_memory_worker_ends();
	else if (event == XACT_EVENT_ABORT)
		statement_memory_abort();

	/* Only sessions watch themselves. */
	if (!pgsm_is_session())
		return;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (unlikely(idle_timeout_fired ||
						 session_trim_requested(&trim_request)) &&
				over_statement_start == GetCurrentStatementStartTimestamp())
				before_idle_commit();
			return;

		case XACT_EVENT_COMMIT:
			if (over_statement_start == GetCurrentStatementStartTimestamp() &&
				over_statement_start != 0)
			{
				after_idle_commit();
				return;
			}
			break;

		case XACT_EVENT_ABORT:
			trim_begun = false;
			break;

		case XACT_EVENT_PREPARE:
			break;

		default:
			return;
	}

	if (MessageContext == NULL)
	{
		/* The transaction that connects: from here on we can be asked. */
		session_slot_mine();
		if (setting_track)
			session_report_baseline();
		over_statement_start = GetCurrentStatementStartTimestamp();
	}
	else
	{
		await_end_of_command();

		/*
		 * A block that has failed stays until the client ends it, and then
		 * there is no further event.
		 */
		if (event == XACT_EVENT_ABORT && !cleanup_callback_hangs &&
			TopTransactionContext != NULL)
		{
			cleanup_callback.func = after_cleanup;
			MemoryContextRegisterResetCallback(TopTransactionContext,
											   &cleanup_callback);
			cleanup_callback_hangs = true;
		}
	}
}

void
session_watch_settings_changed(void)
{
	measure_next = true;
}

void
session_watch_reset_peak(void)
{
	SlotData   *slot = session_slot_mine();

	session_watch_measure(true);
	session_slot_begin();
	slot->peak_bytes = slot->retained_bytes;
	slot->peak_at = slot->measured_at;
	session_slot_end();
}
