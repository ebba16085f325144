/*-------------------------------------------------------------------------
 *
 * watched.c
 *	  What the watcher has seen, in shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "session/change_count.h"
#include "session/watched.h"

/* A reader that meets a writer this often goes without. */
#define READ_TRIES		1000

typedef struct WatchedSlot
{
	pg_atomic_uint32 change_count;	/* odd while it is written */
	WatchedProcess process;
} WatchedSlot;

typedef struct WatchedShared
{
	WatcherState watcher;
	WatchedSlot slots[FLEXIBLE_ARRAY_MEMBER];
} WatchedShared;

static WatchedShared *shared = NULL;

Size
watched_shmem_size(void)
{
	return add_size(offsetof(WatchedShared, slots),
					mul_size(sizeof(WatchedSlot), pgsm_process_slots()));
}

void
watched_shmem_startup(void)
{
	bool		found;

	shared = ShmemInitStruct("pg_session_memory watcher",
							 watched_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, watched_shmem_size());
	pg_atomic_init_u32(&shared->watcher.pid, 0);
	pg_atomic_init_u64(&shared->watcher.reset_requests, 0);
	pg_atomic_init_u64(&shared->watcher.resets_done, 0);
	shared->watcher.run = GetCurrentTimestamp();
	for (int i = 0; i < pgsm_process_slots(); i++)
		pg_atomic_init_u32(&shared->slots[i].change_count, 0);
}

WatcherState *
watcher_state(void)
{
	return shared == NULL ? NULL : &shared->watcher;
}

void
watched_publish(int slot, const WatchedProcess *process)
{
	WatchedSlot *to = &shared->slots[slot];

	change_count_begin_write(&to->change_count);
	to->process = *process;
	change_count_end_write(&to->change_count);
}

bool
watched_read(int slot, int pid, TimestampTz backend_start,
			 TimestampTz query_start, WatchedProcess *process)
{
	WatchedSlot *from;

	if (shared == NULL)
		return false;
	from = &shared->slots[slot];
	for (int i = 0; i < READ_TRIES; i++)
	{
		uint32		before = change_count_begin_read(&from->change_count);

		*process = from->process;
		if (change_count_end_read(&from->change_count, before))
			return process->pid == pid &&
				process->backend_start == backend_start &&
				process->query_start == query_start;
	}
	return false;
}
