/*-------------------------------------------------------------------------
 *
 * trim.c
 *	  Gives memory of the calling session back.
 *
 * Two things keep memory in a session that has no use for it.  The catalog
 * caches keep an entry for everything that was ever touched; dropping them
 * is what PostgreSQL itself does when a session has missed too many
 * invalidation messages, so it is safe wherever such messages are taken, and
 * what is in use at the moment is rebuilt.  And malloc keeps what PostgreSQL
 * has freed; malloc_trim(3) returns it to the operating system, page by page,
 * also from between what is still in use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "reading/process_memory.h"
#include "session/event_ring.h"
#include "session/high_water_mark.h"
#include "session/judge.h"
#include "session/measure.h"
#include "session/process_limit.h"
#include "session/trim.h"

static instr_time trim_started;

static int64
anon_bytes_now(void)
{
	ProcessMemory memory;

	process_memory_read(MyProcPid, &memory);
	return memory.anon_bytes;
}

static int64
context_bytes_now(void)
{
	static SessionMeasure measure;

	session_measure(&measure, true, false);
	return measure.bytes;
}

void
session_trim_begin(bool caches, TrimResult *result)
{
	memset(result, 0, sizeof(TrimResult));
	INSTR_TIME_SET_CURRENT(trim_started);
	process_limit_loosen();
	result->context_bytes_before = context_bytes_now();
	result->anon_bytes_before = anon_bytes_now();

	if (caches)
	{
		InvalidateSystemCaches();
		result->caches_dropped = true;
	}
}

/*
 * An event is left out for a trim that gave back nothing: it would displace
 * others.
 */
void
session_trim_finish(TrimResult *result)
{
	SlotData   *slot = session_slot_mine();
	char		released[PRETTY_BYTES];
	instr_time	duration;

#ifdef __GLIBC__
	malloc_trim(0);
	result->heap_trimmed = true;
#endif
	process_limit_keep();
	high_water_mark_forget();

	result->context_bytes_after = context_bytes_now();
	result->anon_bytes_after = anon_bytes_now();
	if (result->anon_bytes_before >= 0 && result->anon_bytes_after >= 0)
		result->released_bytes = Max(result->anon_bytes_before -
									 result->anon_bytes_after, 0);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, trim_started);
	result->duration_ms = INSTR_TIME_GET_MILLISEC(duration);

	session_slot_begin();
	slot->last_trim_at = GetCurrentTimestamp();
	slot->trimmed_bytes += result->released_bytes;
	session_slot_end();

	if (result->anon_bytes_after < 0)
		event_ring_add(EVENT_TRIMMED, NULL, -1, -1,
					   result->context_bytes_after);
	else if (result->released_bytes > 0)
		event_ring_add(EVENT_TRIMMED, NULL, result->released_bytes, -1,
					   result->context_bytes_after);
	ereport(DEBUG1,
			(errmsg_internal("session memory trimmed: %s given back in %.1f ms, catalog caches %s",
							 pretty_bytes(result->released_bytes, released),
							 result->duration_ms,
							 result->caches_dropped ? "dropped" : "kept")));
}

void
session_trim(bool caches, TrimResult *result)
{
	session_trim_begin(caches, result);
	session_trim_finish(result);
}

uint64
session_trim_request(int slot, int pid)
{
	pg_atomic_uint64 *requests = session_slot_requests(slot);
	uint64		request;

	if (requests == NULL)
		return 0;
	request = pg_atomic_add_fetch_u64(requests, 1);
	pgsm_send_catchup(pid, slot);
	return request;
}

void
session_trim_request_own(void)
{
	int			slot = pgsm_my_process_slot();
	pg_atomic_uint64 *requests = session_slot_requests(slot);

	if (requests == NULL || slot < 0)
		return;
	pg_atomic_fetch_add_u64(requests, 1);
	catchupInterruptPending = true;
	SetLatch(MyLatch);
}

void
session_trim_answer(uint64 request, const TrimResult *result)
{
	SlotData   *slot = session_slot_mine();

	session_slot_begin();
	slot->trims_done = request;
	slot->trim_result = *result;
	session_slot_end();
}
