/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  What each process may have, so that the server does not run out of
 *	  memory.
 *
 * A ceiling is the kernel's limit of a process's private memory, touched or
 * not.  At each tick, each process gets a new one: what it has, and the most
 * of
 *
 *		a share of the room		the same for all, far more than most need
 *		up to the level			for who holds little; out of the reserve,
 *								when there is no room
 *		its minimum				2 MB once, and 8 MB beyond what it began
 *								with: a connection can always be made, and
 *								a transaction be ended
 *
 * The room is what is available, less the reserve, less what is promised: what
 * processes have asked for and not touched yet.
 *
 * The share is the largest with which the room suffices if each process takes
 * what it took in a tick of late, up to the share, and one of which it is not
 * expected takes all of it.  So a hundred sessions that grow a little leave
 * most of the room to one that asks for much; and a single giant may ask for
 * half of what is left, again and again, but no request gets it all.  (Equal
 * parts for all who grow, however little, would refuse a join beside them
 * while most memory is free.)  Processes that took much unexpectedly may all
 * do so again in the same tick: so as many are expected to, for some seconds
 * after the last time, or for a moment when they are gone.  A tick ends before
 * a process can have touched its share, so one that just grows gets the next
 * in time.
 *
 * The level is that up to which all active processes and a newcomer can have
 * memory out of a pool.  The pool is three quarters of the reserve when the
 * room is gone, and nothing when a quarter of the reserve is left: that is for
 * what has no ceiling.  Who holds more is held at what it has; the others
 * don't notice.
 *
 * What was asked for long ago and not touched, as what malloc keeps after a
 * trim, is no longer counted as promised, little by little; who begins to
 * touch it is expected to go on.
 *
 * A weight below 1 makes the share smaller, and each weight moves the level.
 *
 * Most shortages need no more than ceilings: who asks for too much gets an
 * error, and its memory is back.  For those who just hold, or have no ceiling:
 *
 *		NEAR		each tick an idle session is asked to trim, largest first,
 *					each once in a shortage
 *		UNDER		for as long as the patience: idle sessions that still hold
 *					much are terminated; if there is none, the largest
 *					statement is cancelled, and its session terminated if
 *					that did not help within the patience
 *		urgent		the same at once, below twice the reserve: what goes in a
 *					quarter of the patience is more than what is left.  That
 *					is what is promised, when several have asked for much in
 *					the same tick, or is lost to dynamic shared memory or
 *					another program
 *
 * Then the effect is awaited, unless it is urgent, and even what will come
 * back is not enough.  server_limit is a second kind of memory, with a reserve
 * of its own, where nothing is urgent.
 *
 * A larger reserve never raises a ceiling: each term above falls with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "watcher/guard.h"

#define MB				(INT64CONST(1024) * 1024)
#define GB				(1024 * MB)
#define SECOND			UINT64CONST(1000000)

/* Figures are at most the first, and sums the second: nothing overflows. */
#define MOST_BYTES		(INT64CONST(1) << 50)
#define MOST_OF_ALL		(INT64CONST(1) << 60)

/* The wait from one tick to the next. */
#define SHORTEST_TICK	(SECOND / 100)
#define LONGEST_TICK	SECOND

/*
 * A process can touch memory so fast, in bytes a microsecond: about 6 GB a
 * second.  So can all together on a machine with this much memory or less;
 * larger ones are faster as well.
 */
#define FASTEST_GROWTH	6000.0
#define MEMORY_OF_CORES	(16 * GB)

/* What a process may always have: beyond its data, and beyond its first. */
#define MINIMUM			(2 * MB)
#define FIRST_MINIMUM	(8 * MB)

/* What a process that begins has at most, and of that untouched. */
#define MOST_AT_FIRST	(64 * MB)
#define MOST_AT_REST	(8 * MB)

/* Who touches memory of long ago will touch so many times as much. */
#define TOUCH_GOES_ON	8

/* Within these times, in microseconds, the past is forgotten. */
#define FORGET_GROWTH	(0.3 * SECOND)
#define FORGET_SURPRISE (20.0 * SECOND)
#define FORGET_GONE		(2.0 * SECOND)
#define FORGET_PROMISE	(8.0 * SECOND)
#define FORGET_RATE		(0.1 * SECOND)

/* Urgent: what goes within this part of the patience, and so much more. */
#define URGENT_PART		4
#define URGENT_MARGIN	1.1

/* Not worth an action: less than this, or than this part of the reserve. */
#define SMALL_BYTES		(4 * MB)
#define SMALL_PART		16

/* Something that must not run out: memory, or what server_limit allows. */
typedef struct Supply
{
	int64		left;			/* not in use */
	int64		reserve;
	int64		promised;		/* of that */
	int64		room;			/* for all; negative if too much is promised */
	int64		pool;			/* for who holds little; may be negative */
	GuardState	state;
} Supply;

/* Sums over all processes. */
typedef struct Sums
{
	int64		held;			/* anonymous and dynamic shared memory */
	int64		promised;		/* asked for, and about to be touched */
	int64		touched;		/* below ceilings, since the last tick */
	double		surprises;		/* processes that grew much unexpectedly, each
								 * less after some time */
	int			active;
} Sums;

static int64
bounded(int64 bytes)
{
	return Min(Max(bytes, 0), MOST_BYTES);
}

static int64
plus(int64 sum, int64 bytes)
{
	return Max(Min(sum + bytes, MOST_OF_ALL), -MOST_OF_ALL);
}

/* What is left, as a part, of something that is forgotten within a time. */
static double
fade(uint64 passed, double within)
{
	return passed < within ? 1.0 - passed / within : 0.0;
}

static double
weight_of(const GuardProcess *process)
{
	/* Also where it is no number. */
	return process->weight >= 0.001 && process->weight <= 1000.0 ?
		process->weight : 1.0;
}

int64
guard_default_reserve(int64 total_bytes)
{
	int64		total = bounded(total_bytes);

	return Min(Max(total / 20, Min(128 * MB, total / 8)), 4 * GB);
}

/* ----------------------------------------------------------------------------
 * What has happened since the last tick
 * ----------------------------------------------------------------------------
 */

/*
 * Returns what a process is about to touch.  much is what it takes to be a
 * surprise.  passed: since the last tick, 0 at the first one.
 */
static int64
observe_process(GuardProcess *process, double much, uint64 now, uint64 passed,
				Sums *sums)
{
	GuardMemory *memory = &process->memory;
	int64		data = bounded(process->data_bytes);
	int64		anon = bounded(process->anon_bytes);
	int64		untouched = Max(data - anon, 0);
	int64		rest;
	int64		grown;
	int64		touched;

	if (!memory->known)
	{
		memset(memory, 0, sizeof(GuardMemory));
		memory->known = true;
		memory->first_bytes = Min(data, MOST_AT_FIRST);
		/* One that has begun since the last tick may have grown much already. */
		memory->data_bytes = passed > 0 ? memory->first_bytes : data;
		memory->anon_bytes = anon;
		memory->anchor_bytes = data;
		memory->rest_bytes = Min(untouched, MOST_AT_REST);
	}
	grown = data - memory->data_bytes;
	touched = anon - memory->anon_bytes;
	memory->data_bytes = data;
	memory->anon_bytes = anon;

	if (grown - memory->expected_bytes > much)
		memory->surprised_at = now;
	if (memory->surprised_at != 0)
		sums->surprises +=
			Min(1.0, 2 * fade(now - memory->surprised_at, FORGET_SURPRISE));
	memory->expected_bytes = Max(grown, (int64) (memory->expected_bytes *
												 fade(passed, FORGET_GROWTH)));
	if (process->own_limit_bytes >= 0)
		memory->expected_bytes =
			Min(memory->expected_bytes,
				Max(bounded(process->own_limit_bytes) - data, 0));

	rest = Min(memory->rest_bytes, untouched);
	rest = Max(rest - TOUCH_GOES_ON * Max(touched, 0), 0);
	rest += (int64) ((untouched - rest) *
					 (1.0 - fade(passed, FORGET_PROMISE)));
	memory->rest_bytes = rest;

	sums->held = plus(sums->held, anon + bounded(process->shared_bytes));
	sums->promised = plus(sums->promised, untouched - rest);
	if (process->limited && process->weight > 0)
		sums->touched = plus(sums->touched, touched);
	if (!process->idle)
		sums->active++;
	return untouched - rest;
}

static void
observe(Guard *guard, const GuardServer *server, GuardProcess *processes,
		int count, uint64 now, Sums *sums)
{
	uint64		passed = guard->ticked_at == 0 ? 0 : now - guard->ticked_at;
	int64		available = bounded(server->available_bytes);

	/* Small shares are no measure of what is much. */
	double		much = Max(guard->share / 16,
						   (double) Max(server->total_bytes / 160, MB));

	memset(sums, 0, sizeof(Sums));
	for (int i = 0; i < count; i++)
		processes[i].memory.unit_bytes = 0;
	for (int i = 0; i < count; i++)
	{
		GuardProcess *process = &processes[i];
		int64		promised = observe_process(process, much, now, passed, sums);
		GuardMemory *leader;

		if (process->unit < 0 || process->unit >= count)
			process->unit = i;
		leader = &processes[process->unit].memory;
		leader->unit_bytes = plus(leader->unit_bytes,
								  bounded(process->anon_bytes) + promised +
								  bounded(process->shared_bytes));
	}

	guard->surprises = Max(sums->surprises, guard->surprises *
						   fade(passed, FORGET_GONE));
	if (passed > 0 && server->available_bytes >= 0)
	{
		double		part = 1.0 - fade(passed, FORGET_RATE);
		int64		lost = guard->available_bytes - available - sums->touched;

		guard->touching += ((double) Max(sums->touched, 0) / passed -
							guard->touching) * part;
		guard->losing += ((double) Max(lost, 0) / passed -
						  guard->losing) * part;
	}
	guard->available_bytes = available;
	guard->ticked_at = now;
}

/*
 * usual is the reserve where nobody has set one.  before is the state at the
 * last tick: a better one begins only a tenth of the reserve above where the
 * worse one began.
 */
static void
find_supply(Supply *supply, int64 left, int64 reserve, int64 usual,
			const Sums *sums, GuardState before)
{
	int64		less;

	supply->left = left;
	supply->reserve = reserve;
	supply->promised = sums->promised;
	less = left - sums->promised;
	supply->room = less - reserve;

	/* Not all that is promised is touched at once: some is for all. */
	supply->pool = Max(Min(less / 4 * 3, less - reserve / 4),
					   (left - reserve / 2) / 3);
	supply->pool = Min(supply->pool, usual / 4 * 3);

	if (left < reserve + (before == GUARD_UNDER ? reserve / 10 : 0))
		supply->state = GUARD_UNDER;
	else if (left < 2 * reserve + (before != GUARD_QUIET ? reserve / 5 : 0))
		supply->state = GUARD_NEAR;
	else
		supply->state = GUARD_QUIET;
}

/* ----------------------------------------------------------------------------
 * Ceilings
 * ----------------------------------------------------------------------------
 */

/*
 * The share with which the room is used up if each process takes what is
 * expected of it, but no more than the share, and some take all of it.  Each
 * round finds who is expected to take less, and what that leaves to the
 * others: a larger share, of which more of them may be expected to take less.
 */
static double
find_share(const GuardProcess *processes, int count, double room,
		   double surprises)
{
	double		share = 0;
	double		larger = 0;

	if (room <= 0)
		return 0;
	do
	{
		double		taken = 0;
		double		parts = Max(surprises, 1.0);

		share = larger;
		for (int i = 0; i < count; i++)
		{
			double		expected = processes[i].memory.expected_bytes;
			double		weight = weight_of(&processes[i]);

			if (expected <= share * weight)
				taken += expected;
			else
				parts += weight;
		}
		larger = (room - taken) / parts;
	} while (larger > share);
	return Min(share, room * 2 / 3);
}

/*
 * The level up to which all active processes, and one more, can have memory
 * out of the pool.  Each round leaves out those who hold more.
 */
static double
find_level(const GuardProcess *processes, int count, double pool)
{
	double		level = 0;
	double		lower = Max(pool, 0);

	do
	{
		double		held = 0;
		double		parts = 1;

		level = lower;
		for (int i = 0; i < count; i++)
		{
			double		data = processes[i].memory.data_bytes;
			double		weight = weight_of(&processes[i]);

			if (!processes[i].idle && data < level * weight)
			{
				held += data;
				parts += weight;
			}
		}
		lower = (Max(pool, 0) + held) / parts;
	} while (lower < level);
	return level;
}

static void
set_ceilings(Guard *guard, const GuardServer *server, GuardProcess *processes,
			 int count, const Sums *sums, int64 room, int64 pool)
{
	double		level = find_level(processes, count, pool);
	int64		minimum = MINIMUM;
	int64		first_minimum = FIRST_MINIMUM;

	guard->share = find_share(processes, count, room, guard->surprises);
	if (server->available_bytes >= 0)
	{
		minimum = Min(minimum, server->available_bytes / 4 /
					  (sums->active + 1));
		first_minimum = Min(first_minimum, server->available_bytes / 4);
	}
	for (int i = 0; i < count; i++)
	{
		GuardProcess *process = &processes[i];
		GuardMemory *memory = &process->memory;
		double		weight = weight_of(process);
		int64		data = memory->data_bytes;
		int64		ceiling;

		process->ceiling_bytes = -1;
		process->held = false;
		if (!process->limited || !(process->weight > 0) ||
			room == MOST_OF_ALL)
			continue;
		ceiling = data + (int64) Max(guard->share * Min(weight, 1.0),
									 Min(guard->share * weight,
										 (double) memory->expected_bytes));
		ceiling = Max(ceiling, (int64) Min(level * weight,
										   process->idle ? data + level :
										   (double) MOST_OF_ALL));

		/* A minimum is given anew when it was not needed. */
		if (ceiling - data >= MINIMUM || data < memory->anchor_bytes)
			memory->anchor_bytes = data;
		ceiling = Max(ceiling, memory->anchor_bytes + minimum);
		ceiling = Max(ceiling, memory->first_bytes + first_minimum);
		process->ceiling_bytes = ceiling;
		process->held = ceiling - data <= MINIMUM;
	}
}

/* ----------------------------------------------------------------------------
 * Actions
 * ----------------------------------------------------------------------------
 */

/*
 * Looks at what has become of actions.  Returns how much memory is expected of
 * those that have had no effect yet.
 */
static int64
look_at_effects(Guard *guard, const GuardServer *server,
				GuardProcess *processes, int count, uint64 now)
{
	int64		returning = 0;
	bool		awaits = false;
	bool		in_vain = false;

	for (int i = 0; i < count; i++)
	{
		GuardMemory *memory = &processes[i].memory;

		if (memory->action == GUARD_NOTHING)
			continue;
		if (memory->unit_bytes <= memory->acted_bytes / 2 ||
			(memory->action == GUARD_CANCEL &&
			 processes[i].statement != memory->acted_statement))
			memory->action = GUARD_NOTHING;
		else if (now - memory->acted_at < server->patience)
		{
			awaits = true;
			returning = plus(returning, memory->unit_bytes);
		}
		else if (memory->acted_at == guard->acted_at)
			in_vain = true;
	}
	if (guard->awaits && !awaits && !in_vain)
	{
		/* What was before says nothing any more. */
		guard->waits_since = now;
		guard->touching = 0;
		guard->losing = 0;
	}
	guard->awaits = awaits;
	return returning;
}

/*
 * Whether memory is about to run out, whatever ceilings there are.  What is
 * lost to something else may end with an action that is awaited.
 */
static bool
is_urgent(const Guard *guard, const GuardServer *server, const Supply *memory,
		  int64 returning)
{
	double		time = (double) server->patience / URGENT_PART;
	double		goes = Min((double) memory->promised, guard->touching * time) +
	guard->losing * (guard->awaits ? time / URGENT_PART : time);

	return memory->left < 2 * memory->reserve &&
		memory->left + returning < goes * URGENT_MARGIN;
}

/* Whether an action on a unit is allowed and worth it. */
static bool
is_open(const GuardProcess *processes, int index, int64 least)
{
	const GuardProcess *process = &processes[index];

	return process->unit == index && !process->exempt &&
		process->weight > 0 && process->memory.unit_bytes >= least;
}

static void
choose_trim(GuardProcess *processes, int count, int64 least, uint64 now,
			GuardAction *action)
{
	int64		most = -1;

	for (int i = 0; i < count; i++)
	{
		const GuardMemory *memory = &processes[i].memory;

		if (is_open(processes, i, least) && processes[i].idle &&
			memory->trimmed_at == 0 && memory->unit_bytes > most)
		{
			most = memory->unit_bytes;
			action->kind = GUARD_TRIM;
			action->process = i;
		}
	}
	if (most >= 0)
		processes[action->process].memory.trimmed_at = now;
}

/*
 * An idle session that was trimmed and still holds much, else a statement; the
 * largest.  In a hurry, the largest of all.
 */
static void
choose_victim(Guard *guard, const GuardServer *server,
			  GuardProcess *processes, int count, const Sums *sums,
			  int64 least, bool urgent, uint64 now, GuardAction *action)
{
	GuardProcess *process;
	int64		largest = 0;
	int64		most = -1;
	bool		idle = false;

	for (int i = 0; i < count; i++)
		largest = Max(largest, processes[i].memory.unit_bytes);
	for (int i = 0; i < count; i++)
	{
		const GuardMemory *memory = &processes[i].memory;
		bool		first = processes[i].idle && !urgent;

		if (!is_open(processes, i, least) ||
			memory->action == GUARD_TERMINATE ||
			(memory->acted_at != 0 &&
			 now - memory->acted_at < server->patience) ||
			(processes[i].superuser &&
			 memory->unit_bytes <= (sums->held + sums->promised) / 2))
			continue;
		if (first && (memory->trimmed_at == 0 ||
					  now - memory->trimmed_at < server->patience / 4 ||
					  (memory->unit_bytes <= server->reserve_bytes &&
					   memory->unit_bytes < largest)))
			continue;
		if (most < 0 || first > idle ||
			(first == idle && memory->unit_bytes > most))
		{
			most = memory->unit_bytes;
			idle = first;
			action->process = i;
		}
	}
	if (most < 0)
		return;

	process = &processes[action->process];
	action->kind = process->idle || process->memory.action == GUARD_CANCEL ?
		GUARD_TERMINATE : GUARD_CANCEL;
	process->memory.action = action->kind;
	process->memory.acted_at = guard->acted_at = now;
	process->memory.acted_bytes = most;
	process->memory.acted_statement = process->statement;
	process->memory.trimmed_at = 0;
	guard->awaits = true;
}

/* How long nobody can have touched its share, nor all together the room. */
static uint64
next_tick(const Guard *guard, const GuardServer *server, int64 room)
{
	double		machine = FASTEST_GROWTH *
	Max(1.0, (double) server->total_bytes / MEMORY_OF_CORES);
	double		growth = Max(machine, 2 * (guard->touching + guard->losing));
	double		wait = Min(guard->share / FASTEST_GROWTH,
						   Max(room, 0) / growth);

	return (uint64) Min(Max(wait, (double) SHORTEST_TICK),
						(double) LONGEST_TICK);
}

uint64
guard_decide(Guard *guard, const GuardServer *server, GuardProcess *processes,
			 int count, uint64 now, GuardAction *action)
{
	Sums		sums;
	Supply		supplies[2];
	int			kinds = 0;
	int64		room = MOST_OF_ALL; /* nothing is known */
	int64		pool = MOST_OF_ALL;
	int64		least = Max(bounded(server->reserve_bytes) / SMALL_PART,
							SMALL_BYTES);
	int64		returning;
	GuardState	state = GUARD_QUIET;
	bool		urgent;

	action->kind = GUARD_NOTHING;
	action->process = -1;
	observe(guard, server, processes, count, now, &sums);
	guard->promised_bytes = sums.promised;
	if (server->available_bytes >= 0)
		find_supply(&supplies[kinds++], bounded(server->available_bytes),
					bounded(server->reserve_bytes),
					guard_default_reserve(server->total_bytes), &sums,
					guard->state);
	if (server->server_limit_bytes >= 0)
	{
		int64		limit = bounded(server->server_limit_bytes);

		/* When it is passed, just this reserve is left. */
		find_supply(&supplies[kinds++], limit + limit / 20 - sums.held,
					limit / 20, limit / 20, &sums, guard->state);
	}
	for (int i = 0; i < kinds; i++)
	{
		room = Min(room, supplies[i].room);
		pool = Min(pool, supplies[i].pool);
		state = Max(state, supplies[i].state);
	}
	if (state == GUARD_UNDER && guard->state != GUARD_UNDER)
		guard->waits_since = now;
	if (state == GUARD_QUIET)
	{
		for (int i = 0; i < count; i++)
			processes[i].memory.trimmed_at = 0;
	}
	guard->state = state;
	set_ceilings(guard, server, processes, count, &sums, room, pool);

	returning = look_at_effects(guard, server, processes, count, now);
	urgent = server->available_bytes >= 0 &&
		is_urgent(guard, server, &supplies[0], returning);
	if (urgent || (state == GUARD_UNDER && !guard->awaits &&
				   now - guard->waits_since >= server->patience))
		choose_victim(guard, server, processes, count, &sums, least, urgent,
					  now, action);
	if (action->kind == GUARD_NOTHING && state != GUARD_QUIET &&
		!guard->awaits)
		choose_trim(processes, count, least, now, action);

	return next_tick(guard, server, room);
}
