/*-------------------------------------------------------------------------
 *
 * event_ring.h
 *	  The last threshold crossings of all sessions, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_EVENT_RING_H
#define PGSM_EVENT_RING_H

#include "datatype/timestamp.h"

#include "session/slot.h"

typedef enum EventKind
{
	EVENT_CONTEXT,				/* contexts of one name are over */
	EVENT_SESSION,				/* all retained contexts are over */
	EVENT_PROCESS,				/* the process is over */
	EVENT_FELL,					/* something is below its threshold again */
	EVENT_TRIMMED,				/* memory was given back */
	EVENT_RECYCLED,				/* the session ended itself */
	EVENT_STATEMENT,			/* a statement took much */
	EVENT_RESTARTED,			/* the server had not been shut down */
	EVENT_LIMITED,				/* a statement has failed at a limit */
	EVENT_PRESSURE,				/* the server's memory is short */
	EVENT_RELIEVED,				/* not any more */
	EVENT_CANCELLED,			/* the guard has cancelled a statement */
	EVENT_TERMINATED			/* or terminated a session */
} EventKind;

#define EVENT_QUERY_BYTES	1024

/* One event; outlives the session.  Bytes and thresholds in bytes. */
typedef struct MemoryEvent
{
	int64		id;				/* counts up from 1 since server start */
	TimestampTz at;
	TimestampTz backend_start;
	int			pid;
	Oid			userid;			/* as in pg_stat_activity: whose session */
	EventKind	kind;
	int64		bytes;
	int64		threshold_bytes;	/* -1: none */
	int64		session_bytes;
	int64		query_id;		/* 0: none */
	NameData	usename;
	NameData	datname;
	NameData	application_name;
	char		context[SLOT_NAME_BYTES];	/* empty: not of one name */
	char		query[EVENT_QUERY_BYTES];
} MemoryEvent;

/* Shared memory that the ring takes, in bytes. */
extern Size event_ring_shmem_size(void);

/* Creates or finds it; under AddinShmemInitLock. */
extern void event_ring_shmem_startup(void);

/* The LWLock tranche's name, for the request at server start. */
#define EVENT_RING_TRANCHE	"pg_session_memory"

/*
 * Adds an event about the calling session; id, at, and who it is are filled
 * in here.  Nothing where there is no ring, or where the session has added as
 * many as it may in a minute.  Callbacks too; no error.
 */
extern void event_ring_add(EventKind kind, const char *context, int64 bytes,
						   int64 threshold_bytes, int64 session_bytes);

/*
 * Adds an event about a statement, which may not be the last one that the
 * session has reported as its activity; text has this length.
 */
extern void event_ring_add_statement(int64 bytes, int64 threshold_bytes,
									 int64 query_id, const char *text,
									 int length);

/*
 * Adds an event about any process, of which all but id and at is filled in.
 * Nothing where there is no ring.  Callbacks too; no error.
 */
extern void event_ring_put(MemoryEvent *event);

/*
 * The ids that there are: from first_id up to, and without, next_id.
 */
extern void event_ring_range(int64 *first_id, int64 *next_id);

/*
 * Copies the event of this id.  Returns false if it is not there any more.
 * Only with an id of event_ring_range.
 */
extern bool event_ring_read(int64 id, MemoryEvent *copy);

/* Forgets all events; ids go on. */
extern void event_ring_reset(void);

#endif							/* PGSM_EVENT_RING_H */
