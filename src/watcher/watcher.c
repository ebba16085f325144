/*-------------------------------------------------------------------------
 *
 * watcher.c
 *	  The background worker that watches the server's memory.
 *
 * Sessions measure themselves at the end of their commands.  What brings a
 * server down happens inside of one, so somebody has to look from outside:
 *
 *	- what running statements add to their processes, each watch_interval, for
 *	  the view;
 *	- how much memory is left, the more often the less there is: memory can
 *	  grow by some GB a second, so a server with 600 MB left is looked at each
 *	  100 ms, as earlyoom does;
 *	- ceilings on what sessions may have, and who is to give memory back, where
 *	  the guard is not off (guarding.c): each 10 ms to 1 s, as it wants it;
 *	- a sample of all this for the recorder's file: each record_interval, when
 *	  a process has become larger by a tenth than ever before, and when memory
 *	  is short.
 *
 * The postmaster starts the worker as soon as the server accepts connections,
 * on a standby, too, and again a second after it has ended for any reason.  It
 * connects to no database: that blocks no DROP DATABASE, and yet it is listed
 * in pg_stat_activity.  It runs no transaction of its own, takes no lock that
 * a session could hold for long, and waits for nobody: it reads what others
 * have published, and the kernel's files.  If it hangs, or is stopped, sessions
 * go on as if it were not there; as with any process of the server, DROP
 * DATABASE and what else needs an answer of all processes then waits.
 *
 * After a restart it finds in the recorder's file whether the last run of the
 * server was shut down.  If not, it writes to the log what there was before:
 * that is what an administrator wants to know first.
 *
 * What it writes: its own shared memory (watched.c) and the guard's
 * (ceiling.c), the recorder's file, log lines and events.  What it moves are
 * the soft limits of sessions; at its end it lifts them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/procsignal.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg_compat.h"
#include "session/event_ring.h"
#include "session/judge.h"
#include "session/watched.h"
#include "settings.h"
#include "watcher/guarding.h"
#include "watcher/processes.h"
#include "watcher/recorder.h"
#include "watcher/server_memory.h"
#include "watcher/watcher.h"

/* Memory can grow so fast, in bytes a microsecond: about 6 GB a second. */
#define FASTEST_GROWTH		6000

/* Bounds of the wait that follows from it, in microseconds. */
#define SHORTEST_WAIT		UINT64CONST(50000)
#define LONGEST_WAIT		UINT64CONST(1000000)

/* Samples taken because memory is short, or something grows, at most so often. */
#define SHORTEST_SAMPLE		UINT64CONST(100000)

/* Memory is short when less than this part of it is left ... */
#define SHORT_PART			10

/* ... and has changed when it is by this part of it less than before. */
#define CHANGED_PART		20

/*
 * After the OOM killer has ended a process, no sample is taken for so long, in
 * microseconds.  If it was one of ours, the postmaster is about to end us, and
 * the last sample should be of when that process was still there.  A server
 * that is short of memory is slow to notice.
 */
#define AFTER_OOM_KILL		UINT64CONST(3000000)

/* The server's groups are looked for anew so often, in microseconds. */
#define FIND_AGAIN			UINT64CONST(10000000)

/* A sample is told of after a crash if it is not older than the last by so. */
#define LAST_MOMENTS		(10 * INT64CONST(1000000))

/* How long reset_history waits, in ms, and how often it looks. */
#define RESET_WAIT_MS		10000
#define RESET_POLL_MS		10

/* What the watcher has to remember from one round to the next. */
typedef struct Watcher
{
	Recorder	recorder;
	bool		recorder_tried; /* since the settings were read */
	bool		restart_told;	/* what was there before this run */
	int			told_error;		/* errno of the recorder that was logged */
	MemorySources sources;
	uint64		found_at;		/* when those were found, 0: never */
	uint64		looked_at;		/* at running statements */
	uint64		sampled_at;
	int64		sampled_available;	/* bytes left then, -1: not known */
	int64		oom_kills;		/* as last read, -1: not known */
	uint64		no_sample_before;
	ProcessSums sums;
} Watcher;

static Watcher watcher;
static RecordedSample sample;

PGDLLEXPORT void pg_session_memory_watcher_main(Datum arg);

/* The watcher's clock: microseconds since some moment, never set back. */
static uint64
clock_now(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return INSTR_TIME_GET_MICROSEC(now);
}

/* ----------------------------------------------------------------------------
 * The recorder
 * ----------------------------------------------------------------------------
 */

/* Once for each new reason: the disk may be full for hours. */
static void
tell_recorder_error(const char *what)
{
	int			error = watcher.recorder.error;

	if (error == 0 || error == watcher.told_error)
		return;
	watcher.told_error = error;
	errno = error;
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("could not %s the history of session memory in \"%s\": %m",
					what, RECORDER_PATH),
			 errdetail("Everything else goes on; the history has a gap.")));
}

static void
take_sample(SampleReason reason, const ServerMemory *memory, uint64 now)
{
	sample.at = GetCurrentTimestamp();
	sample.reason = reason;
	sample.available_bytes = memory->available_bytes;
	sample.total_bytes = memory->total_bytes;
	sample.swap_bytes = memory->swap_bytes;
	sample.oom_kills = memory->oom_kills;
	sample.sessions = watcher.sums.sessions;
	sample.active = watcher.sums.active;

	/* Each process has some: 0 is that none could be read. */
	sample.anon_bytes = watcher.sums.anon_bytes > 0 ?
		watcher.sums.anon_bytes : -1;
	processes_record(now, &sample);
	watcher.sums.new_highest = false;
	watcher.sampled_at = now;
	watcher.sampled_available = memory->available_bytes;
	if (!recorder_write(&watcher.recorder, &sample))
		tell_recorder_error("write");
	else
		watcher.told_error = 0;
}

/*
 * The last run of the server ended without a shutdown: says what there was
 * before, out of the file.  Of the last moments that sample is told in which
 * most was in use: the very last one may be of a moment when the process that
 * the kernel ended was gone already.
 */
static void
tell_restart(const ServerMemory *memory)
{
	static RecordedSample before;
	RecordPlace *places;
	RecordPlace worst = {0};
	TimestampTz last = 0;
	int64		run = 0;
	int64		most = -1;
	int			count = recorder_find(watcher.recorder.file, &places);
	StringInfoData sessions;
	char		available[PRETTY_BYTES];
	char		total[PRETTY_BYTES];
	char		kills[96] = "";

	for (int i = 0; i < count; i++)
	{
		if (!recorder_read(watcher.recorder.file, &places[i], &before))
			continue;
		if (last == 0)
		{
			last = before.at;
			run = before.run;
		}
		if (before.run != run || before.at < last - LAST_MOMENTS)
			break;
		if (before.anon_bytes > most)
		{
			most = before.anon_bytes;
			worst = places[i];
		}
	}
	if (most >= 0 && recorder_read(watcher.recorder.file, &worst, &before))
	{
		initStringInfo(&sessions);
		for (int i = 0; i < Min(before.count, 3); i++)
			processes_describe(&before.largest[i], &sessions);
		if (memory->oom_kills > before.oom_kills && before.oom_kills >= 0)
			snprintf(kills, sizeof(kills),
					 "; the kernel's OOM killer has ended " INT64_FORMAT " %s since",
					 memory->oom_kills - before.oom_kills,
					 memory->oom_kills - before.oom_kills == 1 ?
					 "process" : "processes");
		ereport(LOG,
				(errmsg("server was not shut down before it started: at %s, %s of %s memory were available%s",
						timestamptz_to_str(before.at),
						pretty_bytes(before.available_bytes, available),
						pretty_bytes(before.total_bytes, total), kills),
				 errdetail("Largest processes: %s.", sessions.data),
				 errhint("See pg_session_memory_history_sessions for more.")));
		if (before.count > 0)
			processes_add_event(EVENT_RESTARTED, &before.largest[0], -1);
		pfree(sessions.data);
	}
	if (count >= 0)
		pfree(places);
}

/* Opens the file, and tells what there was before this run. */
static void
open_recorder(const ServerMemory *memory)
{
	RecorderFound found;

	watcher.recorder_tried = true;

	/* initdb makes the directory, but nothing of PostgreSQL needs it. */
	(void) MakePGDirectory(PG_STAT_TMP_DIR);
	found = recorder_open(&watcher.recorder, RECORDER_PATH,
						  (int64) setting_record_size * 1024,
						  watcher_state()->run);
	switch (found)
	{
		case RECORDER_FAILED:
			tell_recorder_error("open");
			return;
		case RECORDER_REPLACED:
			ereport(LOG,
					(errmsg("\"%s\" is not a history that this version of pg_session_memory can read",
							RECORDER_PATH),
					 errdetail("It was renamed to \"%s.old\"; a new history begins.",
							   RECORDER_PATH)));
			break;
		case RECORDER_CRASHED:
			tell_restart(memory);
			break;
		case RECORDER_NEW:
		case RECORDER_SAME_RUN:
		case RECORDER_STOPPED:
			break;
	}
	watcher.told_error = 0;
}

/*
 * Whether the file is still the one that we write: somebody may have removed
 * it, or put another one in its place.
 */
static bool
recorder_is_in_place(void)
{
	struct stat ours;
	struct stat there;

	return fstat(watcher.recorder.file, &ours) == 0 &&
		stat(RECORDER_PATH, &there) == 0 &&
		ours.st_dev == there.st_dev && ours.st_ino == there.st_ino &&
		there.st_size == watcher.recorder.size;
}

/* Removes the file if somebody has asked for it; a new one begins at once. */
static void
forget_history(uint64 requests)
{
	if (requests == pg_atomic_read_u64(&watcher_state()->resets_done))
		return;
	recorder_close(&watcher.recorder);
	if (unlink(RECORDER_PATH) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", RECORDER_PATH)));
	watcher.recorder_tried = false;
	watcher.sampled_at = 0;
}

/* ----------------------------------------------------------------------------
 * One round
 * ----------------------------------------------------------------------------
 */

/* How long memory lasts at the least, as a wait; in microseconds. */
static uint64
wait_for_memory(const ServerMemory *memory)
{
	int64		left = memory->available_bytes + Max(memory->swap_bytes, 0);

	if (memory->available_bytes < 0)
		return LONGEST_WAIT;
	return Min(Max((uint64) left / FASTEST_GROWTH, SHORTEST_WAIT),
			   LONGEST_WAIT);
}

/* Whether a sample is due now, and why. */
static bool
find_reason(bool is_short, bool fell, uint64 now, SampleReason *reason)
{
	uint64		passed = now - watcher.sampled_at;

	if (watcher.sampled_at == 0)
		*reason = SAMPLE_START;
	else if (is_short && passed >= SHORTEST_SAMPLE)
		*reason = SAMPLE_PRESSURE;
	else if ((fell || watcher.sums.new_highest) && passed >= SHORTEST_SAMPLE)
		*reason = SAMPLE_GROWTH;
	else if (passed >= (uint64) setting_record_interval * 1000)
		*reason = SAMPLE_INTERVAL;
	else
		return false;
	return true;
}

/*
 * Looks at what is due, and returns for how long there is nothing to do, in
 * microseconds; 0: until the settings change.
 */
static uint64
do_round(void)
{
	uint64		now = clock_now();
	uint64		watch = (uint64) setting_watch_interval * 1000;
	uint64		record = (uint64) setting_record_interval * 1000;
	uint64		wait = LONGEST_WAIT;
	uint64		guard_wait;
	SampleReason reason;
	ServerMemory memory;
	bool		recording;
	bool		is_short;
	bool		fell;

	if (watch == 0 && record == 0 && setting_guard == GUARD_OFF)
	{
		guarding_stop();
		return 0;
	}

	if (watcher.found_at == 0 || now - watcher.found_at >= FIND_AGAIN)
	{
		server_memory_find(&watcher.sources, "");
		watcher.found_at = now;
		if (watcher.recorder.file >= 0 && !recorder_is_in_place())
			recorder_close(&watcher.recorder);
		/* What failed may work by now. */
		if (watcher.recorder.file < 0)
			watcher.recorder_tried = false;
	}
	(void) server_memory_read(&watcher.sources, &memory);
	guard_wait = guarding_tick(&memory, now, &watcher.sums);
	is_short = memory.available_bytes >= 0 &&
		memory.available_bytes < memory.total_bytes / SHORT_PART;
	fell = memory.available_bytes >= 0 && watcher.sampled_available >= 0 &&
		watcher.sampled_available - memory.available_bytes >
		memory.total_bytes / CHANGED_PART;

	if (record != 0 && !watcher.recorder_tried)
	{
		memory.oom_kills = server_memory_read_oom_kills(&watcher.sources);
		open_recorder(&memory);
	}
	recording = record != 0 && watcher.recorder.file >= 0 &&
		now >= watcher.no_sample_before;

	/* Running statements, at their pace or because memory goes. */
	if (watcher.looked_at == 0 || fell || is_short ||
		(watch != 0 && now - watcher.looked_at >= watch) ||
		(recording && now - watcher.sampled_at >= record))
	{
		bool		all = watcher.looked_at == 0 ||
		(recording && now - watcher.sampled_at >= record);

		/* The guard has looked at those that have changed. */
		if (all || guard_wait == 0)
			processes_look(all ? LOOK_ALL : LOOK_CHANGED, now,
						   &watcher.sums);
		if (watch != 0)
			processes_judge(now);
		watcher.looked_at = now;
	}

	if (recording && find_reason(is_short, fell, now, &reason))
	{
		memory.oom_kills = server_memory_read_oom_kills(&watcher.sources);
		if (memory.oom_kills > watcher.oom_kills && watcher.oom_kills >= 0)
			watcher.no_sample_before = now + AFTER_OOM_KILL;
		else
			take_sample(reason, &memory, now);
		watcher.oom_kills = memory.oom_kills;
	}

	/* Until memory could be gone, or something is due. */
	if (recording)
		wait = Min(wait_for_memory(&memory), record);
	if (watch != 0)
		wait = Min(wait, watch - Min(now - watcher.looked_at, watch - 1));
	if (guard_wait != 0)
		wait = Min(wait, guard_wait);
	return wait;
}

/* ----------------------------------------------------------------------------
 * Its life
 * ----------------------------------------------------------------------------
 */

/*
 * SIGQUIT: the postmaster ends all processes at once, because it was told to
 * shut down or because one of them has crashed.  Only the first is a shutdown.
 */
static void
handle_quit(SIGNAL_ARGS)
{
	if (GetQuitSignalReason() == PMQUIT_FOR_STOP)
		recorder_stopped(&watcher.recorder);
	_exit(2);
}

static void
end_watching(int code, Datum arg)
{
	WatcherState *state = watcher_state();

	guarding_stop();
	pg_atomic_write_u32(&state->pid, 0);
	state->latch = NULL;
}

void
pg_session_memory_watcher_main(Datum arg)
{
	WatcherState *state = watcher_state();
	MemoryContext memory;

	watcher.recorder.file = -1;
	watcher.sampled_available = -1;
	watcher.oom_kills = -1;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGQUIT, handle_quit);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	memory = AllocSetContextCreate(TopMemoryContext, "pg_session_memory watcher",
								   ALLOCSET_DEFAULT_SIZES);
	processes_create();
	guarding_create();
	state->latch = MyLatch;
	pg_atomic_write_u32(&state->pid, MyProcPid);
	before_shmem_exit(end_watching, (Datum) 0);

	for (;;)
	{
		uint64		requests;
		uint64		wait;

		CHECK_FOR_INTERRUPTS();

		/*
		 * Messages about catalogs, which are of no use here but may not pile
		 * up.
		 */
		if (catchupInterruptPending)
			ProcessCatchupInterrupt();
		if (ShutdownRequestPending)
		{
			/* A watcher that is started again takes this back. */
			recorder_stopped(&watcher.recorder);
			proc_exit(1);
		}
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			if (setting_record_interval == 0)
			{
				/* What happens from here on is not told as a crash. */
				recorder_stopped(&watcher.recorder);
				recorder_close(&watcher.recorder);
			}
			watcher.recorder_tried = watcher.recorder.file >= 0;
			watcher.looked_at = 0;
			watcher.found_at = 0;
		}
		requests = pg_atomic_read_u64(&state->reset_requests);
		forget_history(requests);

		MemoryContextSwitchTo(memory);
		wait = do_round();
		MemoryContextReset(memory);
		pg_atomic_write_u64(&state->resets_done, requests);

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
						 (wait == 0 ? 0 : WL_TIMEOUT),
						 wait == 0 ? -1L : (long) (wait + 999) / 1000,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
watcher_register(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "pg_session_memory", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pg_session_memory_watcher_main",
			BGW_MAXLEN);
	strlcpy(worker.bgw_name, WATCHER_TYPE, BGW_MAXLEN);
	strlcpy(worker.bgw_type, WATCHER_TYPE, BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
watcher_reset_history(void)
{
	WatcherState *state = watcher_state();
	Latch	   *latch;
	uint64		request;

	if (state == NULL || pg_atomic_read_u32(&state->pid) == 0 ||
		(latch = state->latch) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the watcher of pg_session_memory does not run"),
				 errhint("It starts with the server where pg_session_memory is in shared_preload_libraries and max_worker_processes has room for it.")));
	request = pg_atomic_add_fetch_u64(&state->reset_requests, 1);
	SetLatch(latch);
	for (int waited = 0; waited < RESET_WAIT_MS; waited += RESET_POLL_MS)
	{
		if (pg_atomic_read_u64(&state->resets_done) >= request)
			return;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 RESET_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	ereport(WARNING,
			(errmsg("the watcher of pg_session_memory has not answered yet"),
			 errdetail("It forgets the history as soon as it goes on.")));
}
