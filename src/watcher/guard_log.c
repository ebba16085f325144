/*-------------------------------------------------------------------------
 *
 * guard_log.c
 *	  What the guard writes to the log, and to the event ring.
 *
 * The log gets at most LINES_A_MINUTE lines about pressure and about what was
 * not done because the guard is at log.  That a statement was cancelled, or a
 * session terminated, is always written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "session/event_ring.h"
#include "session/judge.h"
#include "settings.h"
#include "watcher/guard_log.h"

#define LINES_A_MINUTE		6
#define MINUTE				UINT64CONST(60000000)

/* What was told, and when. */
typedef struct Told
{
	uint64		minute_began;
	int			lines;			/* in that minute */
	bool		pressure_told;
	uint64		pressure_began;
	bool		action_told;	/* of the guard at log, in this pressure */
	bool		failure_told;
} Told;

static Told told;

/* Whether the log gets another line in this minute. */
static bool
may_tell(uint64 now)
{
	if (told.minute_began == 0 || now - told.minute_began >= MINUTE)
	{
		told.minute_began = now;
		told.lines = 0;
	}
	return ++told.lines <= LINES_A_MINUTE;
}

/*
 * "the server has 180 MB left of 4 GB", or what server_limit says of it, into
 * text; where it begins a sentence, with a capital letter.
 */
#define STANDING_BYTES	160

static const char *
standing(const CeilingServer *server, bool begins, char *text)
{
	char		one[PRETTY_BYTES];
	char		other[PRETTY_BYTES];

	if (ceiling_is_by_server_limit(server))
		snprintf(text, STANDING_BYTES,
				 "%sessions hold %s, pg_session_memory.server_limit is %s",
				 begins ? "S" : "s",
				 pretty_bytes(server->sessions_bytes, one),
				 pretty_bytes(server->server_limit_bytes, other));
	else
		snprintf(text, STANDING_BYTES, "%she server has %s left of %s",
				 begins ? "T" : "t",
				 pretty_bytes(server->available_bytes, one),
				 pretty_bytes(server->total_bytes, other));
	return text;
}

/* What is passed when memory is short. */
static int64
border_bytes(const CeilingServer *server)
{
	return ceiling_is_by_server_limit(server) ?
		server->server_limit_bytes :
		server->reserve_bytes;
}

/* The three largest processes as words. */
static char *
largest_words(void)
{
	static RecordedSession session;
	int			largest[RECORDED_SESSIONS];
	int			count = processes_find_largest(largest);
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; i < Min(count, 3); i++)
	{
		processes_copy(largest[i], &session);
		processes_describe(&session, &words);
	}
	return words.data;
}

/* An event about the largest process. */
static void
add_event_of_largest(EventKind kind, int64 threshold_bytes)
{
	static RecordedSession session;
	int			largest[RECORDED_SESSIONS];

	if (processes_find_largest(largest) == 0)
		return;
	processes_copy(largest[0], &session);
	processes_add_event(kind, &session, threshold_bytes);
}

void
guard_log_pressure(const CeilingServer *server, uint64 now)
{
	char		words[STANDING_BYTES];
	char		reserve[96] = "";
	char		bytes[PRETTY_BYTES];

	told.pressure_began = now;
	told.action_told = false;
	told.pressure_told = may_tell(now);
	if (!told.pressure_told)
		return;
	add_event_of_largest(EVENT_PRESSURE, border_bytes(server));
	if (!ceiling_is_by_server_limit(server))
		snprintf(reserve, sizeof(reserve),
				 ", pg_session_memory.guard_reserve is %s",
				 pretty_bytes(server->reserve_bytes, bytes));
	ereport(LOG,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("memory of the server is short: %s%s",
					standing(server, false, words), reserve),
			 errdetail("Largest processes: %s.", largest_words()),
			 setting_guard == GUARD_ON ? 0 :
			 errhint("pg_session_memory.guard is \"log\": nothing is done about it.")));
}

void
guard_log_relieved(const CeilingServer *server, uint64 now)
{
	char		words[STANDING_BYTES];

	if (!told.pressure_told)
		return;
	told.pressure_told = false;
	add_event_of_largest(EVENT_RELIEVED, border_bytes(server));
	ereport(LOG,
			(errmsg("memory of the server is not short any more: %s",
					standing(server, false, words)),
			 errdetail("It was short for %.1f s.",
					   (double) (now - told.pressure_began) / 1000000)));
}

void
guard_log_failure(int pid)
{
	if (told.failure_told)
		return;
	told.failure_told = true;
	ereport(LOG,
			(errmsg("pg_session_memory.guard cannot set the limit of PID %d",
					pid),
			 errdetail("The operating system has refused prlimit(2) on another process of the same user."),
			 errhint("Until that is allowed the guard can only cancel and terminate.")));
}

static void
tell_action(const CeilingServer *server, GuardActionKind kind,
			const RecordedSession *session, bool done)
{
	char		words[STANDING_BYTES];
	StringInfoData who;

	initStringInfo(&who);
	processes_describe(session, &who);
	if (done)
		processes_add_event(kind == GUARD_CANCEL ? EVENT_CANCELLED :
							EVENT_TERMINATED, session, border_bytes(server));
	if (kind == GUARD_CANCEL && done)
		ereport(LOG,
				(errmsg("pg_session_memory.guard cancels the statement of PID %d",
						session->pid),
				 errdetail("%s. %s.", standing(server, true, words), who.data)));
	else if (kind == GUARD_CANCEL)
		ereport(LOG,
				(errmsg("pg_session_memory.guard would have cancelled the statement of PID %d",
						session->pid),
				 errdetail("%s. %s.", standing(server, true, words), who.data),
				 errhint("Set pg_session_memory.guard to \"on\" to have it done.")));
	else if (done)
		ereport(LOG,
				(errmsg("pg_session_memory.guard terminates the session of PID %d",
						session->pid),
				 errdetail("%s. %s.", standing(server, true, words), who.data)));
	else
		ereport(LOG,
				(errmsg("pg_session_memory.guard would have terminated the session of PID %d",
						session->pid),
				 errdetail("%s. %s.", standing(server, true, words), who.data),
				 errhint("Set pg_session_memory.guard to \"on\" to have it done.")));
	pfree(who.data);
}

void
guard_log_action(const CeilingServer *server, GuardActionKind kind,
				 const RecordedSession *session)
{
	tell_action(server, kind, session, true);
}

void
guard_log_would_act(const CeilingServer *server, GuardActionKind kind,
					int slot)
{
	static RecordedSession session;

	if (told.action_told)
		return;
	told.action_told = true;
	processes_copy(slot, &session);
	tell_action(server, kind, &session, false);
}

void
guard_log_would_refuse(const CeilingServer *server, int slot,
					   int64 ceiling_bytes, uint64 now)
{
	static RecordedSession session;
	char		words[STANDING_BYTES];
	char		ceiling[PRETTY_BYTES];
	StringInfoData who;

	if (!may_tell(now))
		return;
	processes_copy(slot, &session);
	initStringInfo(&who);
	processes_describe(&session, &who);
	ereport(LOG,
			(errmsg("pg_session_memory.guard would have refused memory to PID %d beyond %s",
					session.pid, pretty_bytes(ceiling_bytes, ceiling)),
			 errdetail("%s. %s.", standing(server, true, words), who.data),
			 errhint("Set pg_session_memory.guard to \"on\" to have it done.")));
	pfree(who.data);
}

void
guard_log_forget(void)
{
	told.pressure_told = false;
	told.minute_began = 0;
}
