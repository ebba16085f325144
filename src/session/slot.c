/*-------------------------------------------------------------------------
 *
 * slot.c
 *	  What a session publishes of itself: one slot a process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "pg_compat.h"
#include "session/change_count.h"
#include "session/identity.h"
#include "session/slot.h"

/* A slot is written in less time than this; else its process was stopped. */
#define READ_TRIES		100000

/* Kept apart, so that neighbours do not fight for a cache line. */
typedef union SessionSlot
{
	struct
	{
		pg_atomic_uint32 change_count;	/* odd while data is written */
		pg_atomic_uint64 requests;	/* trims asked for; any process */
		SlotData	data;
	};
	char		padding[2048];
} SessionSlot;

StaticAssertDecl(sizeof(SessionSlot) == 2048, "a slot takes 2 kB at most");

static SessionSlot *shared_slots = NULL;

/* Used where there is no shared memory. */
static SessionSlot private_slot;

/* This process's slot, NULL until it is first used. */
static SessionSlot *my_slot = NULL;

Size
session_slot_shmem_size(void)
{
	return mul_size(sizeof(SessionSlot), pgsm_process_slots());
}

void
session_slot_shmem_startup(void)
{
	bool		found;

	shared_slots = ShmemInitStruct("pg_session_memory slots",
								   session_slot_shmem_size(), &found);
	if (found)
		return;
	memset(shared_slots, 0, session_slot_shmem_size());
	for (int i = 0; i < pgsm_process_slots(); i++)
	{
		pg_atomic_init_u32(&shared_slots[i].change_count, 0);
		pg_atomic_init_u64(&shared_slots[i].requests, 0);
	}
}

static void
give_slot_back(int code, Datum arg)
{
	session_slot_begin();
	my_slot->data.pid = 0;
	session_slot_end();
}

SlotData *
session_slot_mine(void)
{
	int			number;

	if (likely(my_slot != NULL))
		return &my_slot->data;

	number = pgsm_my_process_slot();
	if (shared_slots != NULL && number >= 0 && number < pgsm_process_slots())
	{
		my_slot = &shared_slots[number];
		on_shmem_exit(give_slot_back, (Datum) 0);
	}
	else
	{
		my_slot = &private_slot;
		pg_atomic_init_u32(&my_slot->change_count, 0);
		pg_atomic_init_u64(&my_slot->requests, 0);
	}

	session_slot_begin();
	memset(&my_slot->data, 0, sizeof(SlotData));
	pg_atomic_write_u64(&my_slot->requests, 0);
	my_slot->data.pid = MyProcPid;
	my_slot->data.start = MyStartTimestamp;
	session_names(&my_slot->data.usename, &my_slot->data.datname);
	my_slot->data.statement_bytes = -1;
	my_slot->data.statement_peak_bytes = -1;
	session_slot_end();
	return &my_slot->data;
}

void
session_slot_begin(void)
{
	HOLD_INTERRUPTS();
	change_count_begin_write(&my_slot->change_count);
}

void
session_slot_end(void)
{
	change_count_end_write(&my_slot->change_count);
	RESUME_INTERRUPTS();
}

bool
session_slot_read(int slot, int pid, TimestampTz start, SlotData *data)
{
	SessionSlot *from;

	if (shared_slots != NULL)
		from = &shared_slots[slot];
	else if (pid == MyProcPid && my_slot != NULL)
		from = my_slot;
	else
		return false;

	for (int i = 0; i < READ_TRIES; i++)
	{
		uint32		before = change_count_begin_read(&from->change_count);

		memcpy(data, &from->data, sizeof(SlotData));
		if (change_count_end_read(&from->change_count, before))
			return data->pid == pid && data->start == start;
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

uint64
session_slot_open_request(void)
{
	uint64		requests;

	if (unlikely(my_slot == NULL))
		return 0;
	requests = pg_atomic_read_u64(&my_slot->requests);
	return likely(requests == my_slot->data.trims_done) ? 0 : requests;
}

pg_atomic_uint64 *
session_slot_requests(int slot)
{
	return shared_slots == NULL ? NULL : &shared_slots[slot].requests;
}
