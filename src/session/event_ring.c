/*-------------------------------------------------------------------------
 *
 * event_ring.c
 *	  The last threshold crossings of all sessions, in shared memory.
 *
 * An event is rare, some an hour in a healthy server, so a lock is simple
 * and cheap enough.  It is held only to copy one event, by who writes and by
 * who reads: a session that ends its command never waits for the whole ring.
 * So a reader may miss the oldest events, if others take their places while
 * it reads.
 *
 * The ring is everybody's, so nobody can fill it: a session adds at most
 * EVENTS_A_MINUTE, and what is beyond that is left out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "session/event_ring.h"
#include "session/identity.h"

typedef struct EventRing
{
	LWLock	   *lock;
	int64		first_id;		/* of the oldest event that counts */
	int64		next_id;
	MemoryEvent events[FLEXIBLE_ARRAY_MEMBER];	/* by id % max_events */
} EventRing;

/* More events than this within a minute a session does not add. */
#define EVENTS_A_MINUTE		30

static EventRing *ring = NULL;

/* The minute in which this session last added events, and how many. */
static TimestampTz minute_began = 0;
static int	events_in_minute = 0;

Size
event_ring_shmem_size(void)
{
	return add_size(offsetof(EventRing, events),
					mul_size(sizeof(MemoryEvent), setting_max_events));
}

void
event_ring_shmem_startup(void)
{
	bool		found;

	ring = ShmemInitStruct("pg_session_memory events",
						   event_ring_shmem_size(), &found);
	if (found)
		return;
	ring->lock = &GetNamedLWLockTranche(EVENT_RING_TRANCHE)->lock;
	ring->first_id = 1;
	ring->next_id = 1;
}

/* Whether the session may add an event now.  A clock can be set back. */
static bool
own_event_is_allowed(void)
{
	TimestampTz now;

	if (ring == NULL || setting_max_events == 0)
		return false;
	now = GetCurrentTimestamp();
	if (now < minute_began || now - minute_began >= USECS_PER_MINUTE)
	{
		minute_began = now;
		events_in_minute = 0;
	}
	return ++events_in_minute <= EVENTS_A_MINUTE;
}

/* Too large for the stack of a callback. */
static MemoryEvent own_event;

/* An event about the calling session, but for the statement. */
static void
fill_event(EventKind kind, int64 bytes, int64 threshold_bytes,
		   int64 session_bytes)
{
	memset(&own_event, 0, sizeof(own_event));
	own_event.backend_start = MyStartTimestamp;
	own_event.pid = MyProcPid;
	own_event.userid = MyBEEntry != NULL ? MyBEEntry->st_userid : InvalidOid;
	own_event.kind = kind;
	own_event.bytes = bytes;
	own_event.threshold_bytes = threshold_bytes;
	own_event.session_bytes = session_bytes;
	session_names(&own_event.usename, &own_event.datname);
	if (application_name != NULL)
		strlcpy(NameStr(own_event.application_name), application_name,
				NAMEDATALEN);
}

void
event_ring_put(MemoryEvent *event)
{
	if (ring == NULL || setting_max_events == 0)
		return;
	event->at = GetCurrentTimestamp();
	LWLockAcquire(ring->lock, LW_EXCLUSIVE);
	event->id = ring->next_id++;
	ring->events[event->id % setting_max_events] = *event;
	LWLockRelease(ring->lock);
}

void
event_ring_add(EventKind kind, const char *context, int64 bytes,
			   int64 threshold_bytes, int64 session_bytes)
{
	if (!own_event_is_allowed())
		return;
	fill_event(kind, bytes, threshold_bytes, session_bytes);
	own_event.query_id = session_query_id();
	if (context != NULL)
		strlcpy(own_event.context, context, SLOT_NAME_BYTES);
	session_query_text(own_event.query, EVENT_QUERY_BYTES);
	event_ring_put(&own_event);
}

void
event_ring_add_statement(int64 bytes, int64 threshold_bytes, int64 query_id,
						 const char *text, int length)
{
	const SlotData *slot;

	if (!own_event_is_allowed())
		return;
	slot = session_slot_mine();

	/* A session that is not tracked has measured nothing, or long ago. */
	fill_event(EVENT_STATEMENT, bytes, threshold_bytes,
			   slot->measured_at != 0 ? slot->retained_bytes : -1);
	own_event.query_id = query_id;
	length = Min(length, EVENT_QUERY_BYTES - 1);
	memcpy(own_event.query, text, length);
	event_ring_put(&own_event);
}

void
event_ring_range(int64 *first_id, int64 *next_id)
{
	*first_id = *next_id = 0;
	if (ring == NULL || setting_max_events == 0)
		return;
	LWLockAcquire(ring->lock, LW_SHARED);
	*first_id = Max(ring->first_id, ring->next_id - setting_max_events);
	*next_id = ring->next_id;
	LWLockRelease(ring->lock);
}

bool
event_ring_read(int64 id, MemoryEvent *copy)
{
	bool		is_there;

	LWLockAcquire(ring->lock, LW_SHARED);
	is_there = id >= ring->first_id && id < ring->next_id &&
		id >= ring->next_id - setting_max_events;
	if (is_there)
		*copy = ring->events[id % setting_max_events];
	LWLockRelease(ring->lock);
	return is_there;
}

void
event_ring_reset(void)
{
	if (ring == NULL)
		return;
	LWLockAcquire(ring->lock, LW_EXCLUSIVE);
	ring->first_id = ring->next_id;
	LWLockRelease(ring->lock);
}
