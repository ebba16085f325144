/*-------------------------------------------------------------------------
 *
 * limit_error.c
 *	  What is said of an error at the limit.
 *
 * PostgreSQL says "out of memory", and which context has asked for how much.
 * That is not what its reader needs to know: what has filled the process, what
 * the limit is, and what to do.
 *
 * This runs between an error and its handling, in a process that has just run
 * out of memory, after its limit was moved (process_limit.c).  It allocates
 * nothing but what it gives to PostgreSQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "reading/process_memory.h"
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
 * Whether an error of this process was raised since the limit was reached,
 * and not by the machine, by shared memory, by another server or by RAISE.
 */
static bool
is_at_limit(const ErrorData *edata, int64 data_bytes, int64 limit_bytes)
{
	if (edata->sqlerrcode != ERRCODE_OUT_OF_MEMORY ||
		edata->message_id == NULL ||
		strcmp(edata->message_id, "out of memory") != 0)
		return false;
	return data_bytes < 0 ||
		data_bytes + requested_bytes(edata->detail) + BLOCK_BYTES >
		limit_bytes;
}

/*
 * Whether it is an error of a parallel worker at its limit, who has said all.
 */
static bool
is_workers_error(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_OUT_OF_MEMORY &&
		edata->message_id == NULL && edata->detail != NULL &&
		strstr(edata->detail, "pg_session_memory.process_limit") != NULL;
}

/*
 * What to do about it, into text: about the statement, if it and what it has
 * just asked for are more than any category of what the session retains.
 */
static const char *
remedy(const SessionMeasure *measure, int64 requested, char *text)
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
		return "Let the statement handle less at a time, or lower work_mem.";
	return remedy_text(memory_cause(largest, bytes[largest],
									measure->cache_free_bytes,
									measure->of_functions),
					   0, IsTransactionBlock(), text);
}

/*
 * Writes what there is to say to detail_text and hint_text, and keeps what
 * the event needs.
 */
static void
describe_error(const ErrorData *edata, int64 data_bytes, int64 limit_bytes)
{
	static SessionMeasure measure;
	static char largest[LARGEST_WORDS_BYTES];
	char		what[REMEDY_BYTES];
	int64		requested = requested_bytes(edata->detail);
	char		bytes[PRETTY_BYTES];
	char		process[64] = "";
	char		id[48] = "";

	session_measure_everything(&measure);
	if (data_bytes >= 0)
		snprintf(process, sizeof(process),
				 "The process holds %s of private memory, ",
				 pretty_bytes(data_bytes, bytes));
	if (session_query_id() != 0)
		snprintf(id, sizeof(id), " Query id " INT64_FORMAT ".",
				 session_query_id());
	snprintf(detail_text, sizeof(detail_text),
			 "%s%s%spg_session_memory.process_limit is %s. Largest: %s contexts.%s",
			 edata->detail != NULL ? edata->detail : "",
			 edata->detail != NULL ? " " : "", process,
			 pretty_bytes(limit_bytes, bytes),
			 largest_groups_words(&measure, largest), id);
	snprintf(hint_text, sizeof(hint_text),
			 "%s If it does need so much, raise pg_session_memory.process_limit.",
			 remedy(&measure, requested, what));

	if (!hit_event.pending)
	{
		hit_event.pending = true;
		hit_event.bytes = data_bytes < 0 ? -1 : data_bytes + requested;
		hit_event.limit_bytes = limit_bytes;
		hit_event.context_bytes = measure.bytes;
		strlcpy(hit_event.context, measure.largest[0].name != NULL ?
				measure.largest[0].name : "", SLOT_NAME_BYTES);
	}
}

/*
 * Finds out whether an error is the limit's, and counts it.  Where it was
 * raised by this process, the texts are set and true is returned.
 */
static bool
examine_error(const ErrorData *edata, int64 limit_bytes)
{
	bool		at_limit = false;
	ProcessMemory memory;

	/*
	 * An error in here is raised in this very state, and comes here again. In
	 * a critical section the server is about to go down.
	 */
	if (in_callback || CritSectionCount > 0)
		return false;
	in_callback = true;
	process_memory_read(MyProcPid, &memory);
	if (is_workers_error(edata))
		statement_memory_limited();
	else if (is_at_limit(edata, memory.data_bytes, limit_bytes))
	{
		statement_memory_limited();
		describe_error(edata, memory.data_bytes, limit_bytes);
		at_limit = true;
	}
	in_callback = false;
	return at_limit;
}

void
limit_error_raised(int64 limit_bytes)
{
	MemoryContext caller;
	ErrorData  *edata;

	if (in_callback || CritSectionCount > 0)
		return;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	edata = CopyErrorData();
	MemoryContextSwitchTo(caller);
	if (edata->elevel >= ERROR && examine_error(edata, limit_bytes))
	{
		errdetail_internal("%s", detail_text);
		if (edata->hint == NULL)
			errhint("%s", hint_text);
	}
	FreeErrorData(edata);
}

void
limit_error_logged(ErrorData *edata, int64 limit_bytes)
{
	if (!examine_error(edata, limit_bytes))
		return;
	edata->detail = MemoryContextStrdup(edata->assoc_context, detail_text);
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
