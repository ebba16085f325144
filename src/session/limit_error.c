/*-------------------------------------------------------------------------
 *
 * limit_error.c
 *	  What is said of an error at the limit.
 *
 * PostgreSQL says "out of memory", and which context has asked for how much.
 * That is not what its reader needs to know: what has filled the process, what
 * the limit is, and what to do.
 *
 * Where the guard's ceiling is the limit, or the guard has cancelled the
 * statement, that is what the server has left, and who holds it.
 *
 * This runs between an error and its handling, in a process that has just run
 * out of memory, after its limit was moved (process_limit.c).  It allocates
 * nothing but what it gives to PostgreSQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "reading/process_memory.h"
#include "session/ceiling.h"
#include "session/event_ring.h"
#include "session/identity.h"
#include "session/judge.h"
#include "session/limit_error.h"
#include "session/measure.h"
#include "session/remedy.h"
#include "session/statement_memory.h"

/*
 * How far below the limit a process may be whose request of a small size has
 * failed: a memory context asks malloc(3) for as much at once.
 */
#define BLOCK_BYTES		(8 * 1024 * 1024)

/* What is left but promised is worth a word from this part of it on. */
#define PROMISED_PART	4

/* Why there is an error. */
typedef enum LimitCause
{
	CAUSE_NONE,					/* nothing that is ours to tell of */
	CAUSE_PROCESS_LIMIT,
	CAUSE_CEILING,
	CAUSE_CANCELLED,			/* by the guard */
	CAUSE_TERMINATED
} LimitCause;

/* The event of a command that has failed at the limit, until it is over. */
typedef struct HitEvent
{
	bool		pending;
	int64		bytes;
	int64		limit_bytes;
	int64		context_bytes;
	char		context[SLOT_NAME_BYTES];
} HitEvent;

static HitEvent hit_event;

/* What is said of an error at the limit. */
static char detail_text[2048];
static char hint_text[1024];

static bool in_callback = false;	/* an error is being described */

/*
 * The size of the request that has failed: the first number of PostgreSQL's
 * own DETAIL, in any language; 0 if there is none.
 */
static int64
requested_bytes(const char *detail)
{
	if (detail == NULL)
		return 0;
	detail += strcspn(detail, "0123456789");
	return strtoll(detail, NULL, 10);
}

/*
 * Which limit an error of this process was raised at, if not by the machine,
 * by shared memory, by another server or by RAISE: the smaller one of those
 * that were reached.
 */
static LimitCause
cause_of_error(const ErrorData *edata, const LimitInForce *in_force,
			   int64 data_bytes)
{
	int64		own = in_force->process_limit_bytes;
	int64		ceiling = in_force->ceiling_bytes;
	int64		reached = PG_INT64_MAX;

	if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
	{
		switch (ceiling_my_verdict(GetCurrentStatementStartTimestamp()))
		{
			case CEILING_CANCELLED:
				if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
					return CAUSE_CANCELLED;
				break;
			case CEILING_TERMINATED:
				if (edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
					return CAUSE_TERMINATED;
				break;
			case CEILING_NO_VERDICT:
				break;
		}
		return CAUSE_NONE;
	}

	if (edata->sqlerrcode != ERRCODE_OUT_OF_MEMORY ||
		edata->message_id == NULL ||
		strcmp(edata->message_id, "out of memory") != 0)
		return CAUSE_NONE;
	if (data_bytes >= 0)
		reached = data_bytes + requested_bytes(edata->detail) + BLOCK_BYTES;
	if (ceiling >= 0 && ceiling < reached && (own < 0 || ceiling < own))
		return CAUSE_CEILING;
	return own >= 0 && own < reached ? CAUSE_PROCESS_LIMIT : CAUSE_NONE;
}

/*
 * Whether it is an error of a parallel worker at its limit, who has said all.
 */
static bool
is_workers_error(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_OUT_OF_MEMORY &&
		edata->message_id == NULL && edata->detail != NULL &&
		(strstr(edata->detail, "pg_session_memory.process_limit") != NULL ||
		 strstr(edata->detail, "pg_session_memory.guard") != NULL);
}

/*
 * What to do about it, into text: about the statement, if it and what it has
 * just asked for are more than any category of what the session retains.
 */
static const char *
remedy(const SessionMeasure *measure, int64 requested, bool of_server,
	   char *text)
{
	const int64 *bytes = measure->category_bytes;
	ContextCategory largest = CATEGORY_EXECUTION;
	int64		most;

	most = requested + bytes[CATEGORY_EXECUTION] +
		bytes[CATEGORY_TRANSACTION] + bytes[CATEGORY_CURSORS];
	for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
	{
		if (bytes[i] > most)
		{
			largest = (ContextCategory) i;
			most = bytes[i];
		}
	}
	if (largest == CATEGORY_EXECUTION)
		return of_server ?
			"Let the statement handle less at a time, or lower work_mem, which each of its sorts and hashes may take, in each parallel worker again." :
			"Let the statement handle less at a time, or lower work_mem.";
	return remedy_text(memory_cause(largest, bytes[largest],
									measure->cache_free_bytes,
									measure->of_functions),
					   0, IsTransactionBlock(), text);
}

/*
 * The sentences about process_limit, into text, and its hint.
 */
static void
describe_process_limit(const LimitInForce *in_force, int64 data_bytes,
					   const char *what, char *text, Size size)
{
	char		bytes[PRETTY_BYTES];
	char		process[64] = "";

	if (data_bytes >= 0)
		snprintf(process, sizeof(process),
				 "The process holds %s of private memory, ",
				 pretty_bytes(data_bytes, bytes));
	snprintf(text, size, "%spg_session_memory.process_limit is %s.",
			 process, pretty_bytes(in_force->process_limit_bytes, bytes));
	snprintf(hint_text, sizeof(hint_text),
			 "%s If it does need so much, raise pg_session_memory.process_limit.",
			 what);
}

/*
 * The same about the guard.  What it knows of the server is as of its last
 * look.  Where much is left and this session does not get it, others have asked
 * for it and not yet used it.
 */
static void
describe_guard(LimitCause cause, const LimitInForce *in_force,
			   int64 data_bytes, const char *what, char *text, Size size)
{
	CeilingServer server;
	bool		of_sessions = false;
	char		bytes[PRETTY_BYTES];
	char		more[PRETTY_BYTES];
	char		part[PRETTY_BYTES];
	char		promised[64] = "";
	char		of_server[192] = "";
	char		holds[64] = "";
	char		largest[64] = "";
	char		deed[96];

	if (!ceiling_read_server(&server) || server.total_bytes <= 0)
		memset(&server, 0, sizeof(server));
	else
	{
		of_sessions = ceiling_is_by_server_limit(&server);
		if (of_sessions)
			snprintf(of_server, sizeof(of_server),
					 "All sessions together hold %s, pg_session_memory.server_limit is %s. ",
					 pretty_bytes(server.sessions_bytes, bytes),
					 pretty_bytes(server.server_limit_bytes, more));
		else
		{
			if (server.promised_bytes >= server.available_bytes / PROMISED_PART &&
				server.promised_bytes > 0)
				snprintf(promised, sizeof(promised),
						 ", and sessions have asked for %s%s",
						 pretty_bytes(server.promised_bytes, part),
						 server.promised_bytes > server.available_bytes ?
						 "" : " of it");
			snprintf(of_server, sizeof(of_server),
					 "The server has %s left of %s%s. ",
					 pretty_bytes(Max(server.available_bytes, 0), bytes),
					 pretty_bytes(server.total_bytes, more), promised);
		}
	}

	if (data_bytes >= 0)
		snprintf(holds, sizeof(holds), " holds %s",
				 pretty_bytes(data_bytes, bytes));
	if (server.largest_pid == MyProcPid)
		strlcpy(largest, ", most of any", sizeof(largest));
	else if (server.largest_pid != 0)
		snprintf(largest, sizeof(largest), ", process %d most of any",
				 server.largest_pid);
	if (cause == CAUSE_CANCELLED)
		strlcpy(deed, "pg_session_memory.guard has cancelled its statement",
				sizeof(deed));
	else if (cause == CAUSE_TERMINATED)
		strlcpy(deed, "pg_session_memory.guard has ended it", sizeof(deed));
	else
		snprintf(deed, sizeof(deed),
				 "pg_session_memory.guard lets it have %s now",
				 pretty_bytes(in_force->ceiling_bytes, bytes));
	snprintf(text, size, "%s%s%s%s; %s.", of_server,
			 IsParallelWorker() ? "This parallel worker" : "This session",
			 holds, largest, deed);

	if (of_sessions)
		snprintf(hint_text, sizeof(hint_text),
				 "%s To let all sessions together have more, raise pg_session_memory.server_limit; pg_session_memory.process_limit limits each of them.",
				 what);
	else
		snprintf(hint_text, sizeof(hint_text),
				 "%s pg_session_memory.process_limit limits each session before the server is short of memory; pg_session_memory.guard_reserve, %s now, is kept free.",
				 what, pretty_bytes(server.reserve_bytes, bytes));
}

/*
 * Writes what there is to say to detail_text and hint_text, and keeps what
 * the event needs.
 */
static void
describe_error(const ErrorData *edata, LimitCause cause,
			   const LimitInForce *in_force, int64 data_bytes)
{
	static SessionMeasure measure;
	static char largest[LARGEST_WORDS_BYTES];
	static char limit_words[512];
	char		remedy_words[REMEDY_BYTES];
	const char *what;
	int64		requested = 0;
	char		id[48] = "";

	if (cause == CAUSE_PROCESS_LIMIT || cause == CAUSE_CEILING)
		requested = requested_bytes(edata->detail);
	session_measure_everything(&measure);
	what = remedy(&measure, requested, cause != CAUSE_PROCESS_LIMIT,
				  remedy_words);
	if (cause == CAUSE_PROCESS_LIMIT)
		describe_process_limit(in_force, data_bytes, what,
							   limit_words, sizeof(limit_words));
	else
		describe_guard(cause, in_force, data_bytes, what,
					   limit_words, sizeof(limit_words));
	if (session_query_id() != 0)
		snprintf(id, sizeof(id), " Query id " INT64_FORMAT ".",
				 session_query_id());
	snprintf(detail_text, sizeof(detail_text),
			 "%s%s%s Largest: %s contexts.%s",
			 edata->detail != NULL ? edata->detail : "",
			 edata->detail != NULL ? " " : "", limit_words,
			 largest_groups_words(&measure, largest), id);

	if (!hit_event.pending &&
		(cause == CAUSE_PROCESS_LIMIT || cause == CAUSE_CEILING))
	{
		hit_event.pending = true;
		hit_event.bytes = data_bytes < 0 ? -1 : data_bytes + requested;
		hit_event.limit_bytes = cause == CAUSE_CEILING ?
			in_force->ceiling_bytes : in_force->process_limit_bytes;
		hit_event.context_bytes = measure.bytes;
		strlcpy(hit_event.context, measure.largest[0].name != NULL ?
				measure.largest[0].name : "", SLOT_NAME_BYTES);
	}
}

/*
 * Finds out whether an error is the limit's or the guard's, and counts it.
 * Where it was raised by this process, the texts are set and true is returned.
 */
static bool
examine_error(const ErrorData *edata, const LimitInForce *in_force)
{
	LimitCause	cause;
	ProcessMemory memory;

	/*
	 * An error in here is raised in this very state, and comes here again. In
	 * a critical section the server is about to go down.
	 */
	if (in_callback || CritSectionCount > 0)
		return false;
	in_callback = true;
	process_memory_read(MyProcPid, &memory);
	cause = cause_of_error(edata, in_force, memory.data_bytes);
	if (is_workers_error(edata) || cause == CAUSE_PROCESS_LIMIT ||
		cause == CAUSE_CEILING)
		statement_memory_limited();
	if (cause != CAUSE_NONE)
		describe_error(edata, cause, in_force, memory.data_bytes);
	in_callback = false;
	return cause != CAUSE_NONE;
}

void
limit_error_raised(const LimitInForce *in_force)
{
	MemoryContext caller;
	ErrorData  *edata;

	/* Most errors of these codes are somebody else's. */
	if (in_callback || CritSectionCount > 0 ||
		(geterrcode() != ERRCODE_OUT_OF_MEMORY &&
		 likely(ceiling_my_verdict(GetCurrentStatementStartTimestamp()) ==
				CEILING_NO_VERDICT)))
		return;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	edata = CopyErrorData();
	MemoryContextSwitchTo(caller);
	if (edata->elevel >= ERROR && examine_error(edata, in_force))
	{
		errdetail_internal("%s", detail_text);
		/* The log has this one instead, where there is one. */
		if (edata->detail_log != NULL)
			errdetail_log("%s %s", edata->detail_log, detail_text);
		if (edata->hint == NULL)
			errhint("%s", hint_text);
	}
	FreeErrorData(edata);
}

void
limit_error_logged(ErrorData *edata, const LimitInForce *in_force)
{
	if (!examine_error(edata, in_force))
		return;
	edata->detail = MemoryContextStrdup(edata->assoc_context, detail_text);
	if (edata->detail_log != NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(edata->assoc_context);

		edata->detail_log = psprintf("%s %s", edata->detail_log, detail_text);
		MemoryContextSwitchTo(caller);
	}
	if (edata->hint == NULL)
		edata->hint = MemoryContextStrdup(edata->assoc_context, hint_text);
}

bool
limit_error_pending(void)
{
	return hit_event.pending;
}

void
limit_error_end_of_command(void)
{
	in_callback = false;
	if (likely(!hit_event.pending))
		return;
	hit_event.pending = false;
	event_ring_add(EVENT_LIMITED, hit_event.context, hit_event.bytes,
				   hit_event.limit_bytes, hit_event.context_bytes);
}
