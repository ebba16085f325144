/*-------------------------------------------------------------------------
 *
 * ceiling.c
 *	  What the guard lets a process have: shared memory, and the kernel's
 *	  limit.
 *
 * ceiling.h tells how a session and the watcher agree.
 *
 * The words that both of them need to find the limit are atomic variables.
 * What tells who the session is, is published by the protocol of
 * change_count.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sched.h>
#include <sys/resource.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "session/ceiling.h"
#include "session/change_count.h"

/* A reader that meets a writer this often goes without. */
#define READ_TRIES		1000

/* Who sets the limit tries again this often when the other one has, too. */
#define MOVE_TRIES		100

/*
 * How a session waits for who is just moving its limit, which takes two system
 * calls: it yields, and then sleeps so many times for so long (microseconds).
 * One that was stopped in between is not waited for again.
 */
#define MOVER_YIELDS	1000
#define MOVER_SLEEPS	100
#define MOVER_SLEEP		1000

/* Ceilings that were not renewed for so long, in microseconds, are lifted. */
#define STALE_AFTER		INT64CONST(2000000)

/* Kept apart, so that neighbours do not fight for a cache line. */
typedef union CeilingSlot
{
	struct
	{
		/* Written by the session */
		pg_atomic_uint32 change_count;	/* odd while the next four are written */
		int			pid;		/* 0: not in use */
		TimestampTz backend_start;
		double		weight;
		bool		superuser;
		pg_atomic_uint32 consent;	/* CeilingConsent */
		pg_atomic_uint64 own_limit; /* an int64, as the next two */
		pg_atomic_uint64 floor;

		/* Written by the watcher */
		pg_atomic_uint64 ceiling;
		pg_atomic_uint64 verdict;	/* see pack_verdict */

		/* How many processes are moving the session's limit just now */
		pg_atomic_uint32 movers;
	};
	char		padding[128];
} CeilingSlot;

StaticAssertDecl(sizeof(CeilingSlot) == 128, "a slot takes 128 bytes at most");

typedef struct CeilingShared
{
	pg_atomic_uint64 renewed_at;	/* a TimestampTz, see CeilingServer */
	pg_atomic_uint32 change_count;	/* odd while server is written */
	CeilingServer server;		/* its renewed_at is not used */
	CeilingSlot slots[FLEXIBLE_ARRAY_MEMBER];
} CeilingShared;

/* Whether a process can set another one's limit. */
#ifdef __linux__
static const bool can_have_ceilings = true;
#else
static const bool can_have_ceilings = false;
#endif

static CeilingShared *shared = NULL;

/* This process's slot, NULL where it has none. */
static CeilingSlot *my_slot = NULL;

Size
ceiling_shmem_size(void)
{
	return add_size(offsetof(CeilingShared, slots),
					mul_size(sizeof(CeilingSlot), pgsm_process_slots()));
}

void
ceiling_shmem_startup(void)
{
	bool		found;

	shared = ShmemInitStruct("pg_session_memory ceilings",
							 ceiling_shmem_size(), &found);
	if (found)
		return;
	memset(shared, 0, ceiling_shmem_size());
	pg_atomic_init_u64(&shared->renewed_at, 0);
	pg_atomic_init_u32(&shared->change_count, 0);
	shared->server.server_limit_bytes = -1;
	for (int i = 0; i < pgsm_process_slots(); i++)
	{
		CeilingSlot *slot = &shared->slots[i];

		pg_atomic_init_u32(&slot->change_count, 0);
		pg_atomic_init_u32(&slot->consent, CEILING_REFUSED);
		pg_atomic_init_u64(&slot->own_limit, (uint64) -1);
		pg_atomic_init_u64(&slot->floor, 0);
		pg_atomic_init_u64(&slot->ceiling, (uint64) -1);
		pg_atomic_init_u64(&slot->verdict, 0);
		pg_atomic_init_u32(&slot->movers, 0);
	}
}

/* ---------------------------------------------------------------------------
 * The soft limit
 * ---------------------------------------------------------------------------
 */

/* prlimit(2), or what other systems have for the process itself. */
static int
move_rlimit(int pid, const struct rlimit *new, struct rlimit *old)
{
#ifdef __linux__
	return prlimit(pid, RLIMIT_DATA, new, old);
#else
	if (pid != MyProcPid)
		return -1;
	return new != NULL ? setrlimit(RLIMIT_DATA, new) :
		getrlimit(RLIMIT_DATA, old);
#endif
}

/* Sets it; -1: to the hard limit.  Returns false if the kernel refuses. */
static bool
set_soft_limit(int pid, int64 bytes)
{
	struct rlimit rlimit;
	rlim_t		soft;

	if (move_rlimit(pid, NULL, &rlimit) != 0)
		return false;
	soft = bytes < 0 ? RLIM_INFINITY : (rlim_t) Max(bytes, CEILING_SMALLEST);
	soft = Min(soft, rlimit.rlim_max);
	if (rlimit.rlim_cur == soft)
		return true;
	rlimit.rlim_cur = soft;
	return move_rlimit(pid, &rlimit, NULL) == 0;
}

/* What a slot's words come to; -1: no limit. */
static int64
slot_limit(CeilingSlot *slot, CeilingConsent *consent)
{
	int64		own = (int64) pg_atomic_read_u64(&slot->own_limit);
	int64		floor = (int64) pg_atomic_read_u64(&slot->floor);
	int64		ceiling = (int64) pg_atomic_read_u64(&slot->ceiling);

	*consent = (CeilingConsent) pg_atomic_read_u32(&slot->consent);
	if (*consent != CEILING_ACCEPTED || ceiling < 0)
		return own;
	ceiling = Max(ceiling, floor);
	return own < 0 ? ceiling : Min(own, ceiling);
}

/*
 * Sets the limit of a slot's process, until its words come to what was set.
 */
static bool
set_slot_limit(CeilingSlot *slot, int pid)
{
	CeilingConsent consent;
	int64		bytes = slot_limit(slot, &consent);

	for (int i = 0; i < MOVE_TRIES; i++)
	{
		int64		set = bytes;

		/* One that has refused may be gone, and its pid be another's. */
		if (consent == CEILING_REFUSED && slot != my_slot)
			return true;
		if (!set_soft_limit(pid, set))
			return false;
		pg_memory_barrier();
		bytes = slot_limit(slot, &consent);
		if (bytes == set)
			return true;
	}
	return true;
}

/*
 * Returns when nobody is moving this process's limit who may have read the
 * slot before now.
 */
static void
wait_for_movers(void)
{
	static bool gave_up = false;

	pg_memory_barrier();
	for (int i = 0; pg_atomic_read_u32(&my_slot->movers) > 0; i++)
	{
		if (gave_up || i == MOVER_YIELDS + MOVER_SLEEPS)
		{
			gave_up = true;
			return;
		}
		if (i < MOVER_YIELDS)
			sched_yield();
		else
			pg_usleep(MOVER_SLEEP);
	}
	gave_up = false;
}

/* ---------------------------------------------------------------------------
 * The session's side
 * ---------------------------------------------------------------------------
 */

/* A callback of on_shmem_exit: the pid may soon be another process's. */
static void
give_slot_back(int code, Datum arg)
{
	ceiling_move(CEILING_REFUSED, -1, 0);
	change_count_begin_write(&my_slot->change_count);
	my_slot->pid = 0;
	change_count_end_write(&my_slot->change_count);
	my_slot = NULL;
}

bool
ceiling_publish(double weight, bool superuser)
{
	int			number = pgsm_my_process_slot();
	bool		first = my_slot == NULL;

	if (!can_have_ceilings || shared == NULL || number < 0 ||
		number >= pgsm_process_slots())
		return false;
	if (first)
		on_shmem_exit(give_slot_back, (Datum) 0);
	my_slot = &shared->slots[number];

	change_count_begin_write(&my_slot->change_count);
	if (first)
	{
		pg_atomic_write_u32(&my_slot->consent, CEILING_REFUSED);
		pg_atomic_write_u64(&my_slot->own_limit, (uint64) -1);
		pg_atomic_write_u64(&my_slot->floor, 0);
		pg_atomic_write_u64(&my_slot->ceiling, (uint64) -1);
		pg_atomic_write_u64(&my_slot->verdict, 0);
	}
	my_slot->pid = MyProcPid;
	my_slot->backend_start = MyStartTimestamp;
	my_slot->weight = weight;
	my_slot->superuser = superuser;
	change_count_end_write(&my_slot->change_count);
	return true;
}

void
ceiling_move(CeilingConsent consent, int64 own_limit_bytes, int64 floor_bytes)
{
	if (my_slot == NULL)
	{
		(void) set_soft_limit(MyProcPid, own_limit_bytes);
		return;
	}
	pg_atomic_write_u64(&my_slot->own_limit, (uint64) own_limit_bytes);
	pg_atomic_write_u64(&my_slot->floor, (uint64) floor_bytes);
	pg_atomic_write_u32(&my_slot->consent, consent);
	wait_for_movers();
	if (consent == CEILING_REFUSED)
		pg_atomic_write_u64(&my_slot->ceiling, (uint64) -1);
	(void) set_slot_limit(my_slot, MyProcPid);
}

int64
ceiling_mine(void)
{
	if (my_slot == NULL)
		return -1;
	return (int64) pg_atomic_read_u64(&my_slot->ceiling);
}

/* A verdict and its statement's start in one word; starts have some 50 bits. */
static uint64
pack_verdict(TimestampTz statement_start, CeilingVerdict verdict)
{
	return ((uint64) statement_start << 2) | (uint64) verdict;
}

CeilingVerdict
ceiling_my_verdict(TimestampTz statement_start)
{
	uint64		word;

	if (my_slot == NULL)
		return CEILING_NO_VERDICT;
	word = pg_atomic_read_u64(&my_slot->verdict);
	if (word == pack_verdict(statement_start, CEILING_CANCELLED))
		return CEILING_CANCELLED;
	if (word == pack_verdict(statement_start, CEILING_TERMINATED))
		return CEILING_TERMINATED;
	return CEILING_NO_VERDICT;
}

/* Either way: the clock may have been set back. */
static inline bool
is_stale(TimestampTz renewed_at, TimestampTz now)
{
	return renewed_at != 0 && (now - renewed_at > STALE_AFTER ||
							   renewed_at - now > STALE_AFTER);
}

static void
lift_mine(void)
{
	(void) ceiling_set((int) (my_slot - shared->slots), MyProcPid,
					   MyStartTimestamp, -1);
}

void
ceiling_lift_stale(TimestampTz now)
{
	uint64		renewed_at;

	if (my_slot == NULL)
		return;
	renewed_at = pg_atomic_read_u64(&shared->renewed_at);
	if (likely(!is_stale((TimestampTz) renewed_at, now)) ||
		!is_stale((TimestampTz) renewed_at, GetCurrentTimestamp()))
		return;
	if (pg_atomic_compare_exchange_u64(&shared->renewed_at, &renewed_at, 0))
		ceiling_lift_all();
	else
		lift_mine();
}

int64
ceiling_lift_mine_if_stale(TimestampTz now)
{
	TimestampTz renewed_at;

	if (my_slot == NULL)
		return 0;
	renewed_at = (TimestampTz) pg_atomic_read_u64(&shared->renewed_at);
	if (renewed_at == 0)
		return 0;
	if (!is_stale(renewed_at, now))
		return renewed_at + STALE_AFTER - now + 1;
	lift_mine();
	return 0;
}

/* ---------------------------------------------------------------------------
 * The watcher's side
 * ---------------------------------------------------------------------------
 */

bool
ceiling_read_owner(int slot, int pid, TimestampTz backend_start,
				   CeilingOwner *owner)
{
	CeilingSlot *from;

	if (shared == NULL)
		return false;
	from = &shared->slots[slot];
	for (int i = 0; i < READ_TRIES; i++)
	{
		uint32		before = change_count_begin_read(&from->change_count);

		owner->pid = from->pid;
		owner->backend_start = from->backend_start;
		owner->weight = from->weight;
		owner->superuser = from->superuser;
		owner->consent = (CeilingConsent) pg_atomic_read_u32(&from->consent);
		owner->own_limit_bytes = (int64) pg_atomic_read_u64(&from->own_limit);
		if (change_count_end_read(&from->change_count, before))
			return owner->pid == pid && owner->backend_start == backend_start;
	}
	return false;
}

bool
ceiling_set(int slot, int pid, TimestampTz backend_start, int64 bytes)
{
	CeilingSlot *to;
	CeilingOwner owner;
	bool		done = true;

	if (shared == NULL)
		return true;
	to = &shared->slots[slot];

	/* A full barrier: the session sees this, or we see what it says now. */
	pg_atomic_fetch_add_u32(&to->movers, 1);
	if (ceiling_read_owner(slot, pid, backend_start, &owner) &&
		owner.consent != CEILING_REFUSED)
	{
		pg_atomic_write_u64(&to->ceiling, (uint64) bytes);
		pg_memory_barrier();
		if (pg_atomic_read_u32(&to->consent) == CEILING_ACCEPTED)
			done = set_slot_limit(to, pid);
	}
	pg_atomic_fetch_sub_u32(&to->movers, 1);
	return done;
}

int64
ceiling_of(int slot, int pid, TimestampTz backend_start)
{
	CeilingOwner owner;

	if (!ceiling_read_owner(slot, pid, backend_start, &owner) ||
		owner.consent == CEILING_REFUSED)
		return -1;
	return (int64) pg_atomic_read_u64(&shared->slots[slot].ceiling);
}

void
ceiling_set_verdict(int slot, int pid, TimestampTz backend_start,
					TimestampTz statement_start, CeilingVerdict verdict)
{
	CeilingOwner owner;

	if (ceiling_read_owner(slot, pid, backend_start, &owner))
		pg_atomic_write_u64(&shared->slots[slot].verdict,
							pack_verdict(statement_start, verdict));
}

void
ceiling_publish_server(const CeilingServer *server)
{
	if (shared == NULL)
		return;
	change_count_begin_write(&shared->change_count);
	shared->server = *server;
	change_count_end_write(&shared->change_count);
	pg_atomic_write_u64(&shared->renewed_at, (uint64) server->renewed_at);
}

bool
ceiling_read_server(CeilingServer *server)
{
	if (shared == NULL)
		return false;
	for (int i = 0; i < READ_TRIES; i++)
	{
		uint32		before = change_count_begin_read(&shared->change_count);

		*server = shared->server;
		if (before != 0 &&
			change_count_end_read(&shared->change_count, before))
		{
			server->renewed_at =
				(TimestampTz) pg_atomic_read_u64(&shared->renewed_at);
			return true;
		}
	}
	return false;
}

void
ceiling_lift_all(void)
{
	if (shared == NULL)
		return;
	pg_atomic_write_u64(&shared->renewed_at, 0);
	for (int slot = 0; slot < pgsm_process_slots(); slot++)
	{
		CeilingSlot *of = &shared->slots[slot];
		int			pid = of->pid;
		TimestampTz backend_start = of->backend_start;

		if (pid != 0 && (int64) pg_atomic_read_u64(&of->ceiling) != -1)
			(void) ceiling_set(slot, pid, backend_start, -1);
	}
}
