/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  What each process may have, so that the server does not run out of
 *	  memory.
 *
 * A ceiling is the kernel's limit of a process's private memory, touched or
 * not.  At each tick, each process gets a new one: what it has, and
 *
 *		a share of the room		the same for all, often far more than
 *								they need
 *		or up to the level		for who holds little; out of the reserve,
 *								when the room is gone
 *		or its minimum			2 MB once, and 8 MB beyond what it began
 *								with, so that a connection can always be
 *								made and a transaction be ended
 *
 * whichever is most.  The room is what is available, less the reserve, less
 * what processes have asked for and not touched yet: that is promised.
 *
 * The share is the largest one with which all goes well if each process takes
 * of it what it took in a tick of late, and somebody unexpected takes all of
 * it.  So a hundred sessions that grow a little leave most of the room to one
 * that asks for much, and a single giant may take half of what is left, again
 * and again, but not all at once.  If more is taken unexpectedly in one tick,
 * shares are smaller for some seconds.  A tick ends before a process can have
 * touched its share, so one that just grows is given the next share in time.
 *
 * The level is that up to which all active processes, and a newcomer, could
 * have memory out of a pool of three quarters of what is left: who holds more
 * is held at what it has, and the others don't notice.  The last quarter of
 * the reserve is for what has no ceiling.
 *
 * Memory that was asked for long ago and not touched, as what malloc keeps
 * after a trim, may be touched without asking.  Little by little it is no
 * longer counted, but for the largest such of a process; who begins to touch
 * it is expected to go on.
 *
 * Ceilings are all there is to most shortages: who asks for too much gets an
 * error, and its memory is back.  If not,
 *
 *		NEAR		an idle session a tick is asked to trim, largest first,
 *					each once in a shortage
 *		UNDER		for longer than the patience: idle sessions that hold much
 *					and did not give it back are terminated, largest first;
 *					then the largest statement is cancelled, and its session
 *					terminated if that did not help within the patience
 *		urgent		as UNDER, but at once: what goes in an eighth of the
 *					patience is more than what is left.  It may be what is
 *					promised, after several processes have asked for very
 *					much in the same tick, or go to something that has no
 *					ceiling: dynamic shared memory, another program
 *
 * After each action its effect is awaited, unless it is urgent and what will
 * come back is not enough either.  server_limit is a second kind of memory,
 * with a reserve of its own, for which nothing is urgent.
 *
 * All is monotone in the reserve: a larger one never raises a ceiling.
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

/* Memory can grow so fast, in bytes a microsecond: about 6 GB a second. */
#define FASTEST_GROWTH	6000.0

/* What a process may always have: beyond its data, and beyond its first. */
#define MINIMUM			(2 * MB)
#define FIRST_MINIMUM	(8 * MB)

/* A process that begins has no more untouched memory than this. */
#define MOST_AT_REST	(8 * MB)

/* Who touches memory of long ago will touch so many times that much. */
#define TOUCH_GOES_ON	8

/* Within these times, in microseconds, the past is forgotten. */
#define FORGET_GROWTH	(0.3 * SECOND)
#define FORGET_SURPRISE (10.0 * SECOND)
#define FORGET_PROMISE	(8.0 * SECOND)
#define FORGET_RATE		(0.1 * SECOND)

/* Urgent: what goes within this part of the patience, and so much more. */
#define URGENT_PART		8
#define URGENT_MARGIN	1.1

/* Not worth an action: less than this, or than this part of the reserve. */
#define SMALL_BYTES		(4 * MB)
#define SMALL_PART		16

/* Searches end after so many halves. */
#define HALVES			40

/* Something that must not run out: memory, or what server_limit allows. */
typedef struct Supply
{
	int64		left;			/* not in use */
	int64		reserve;
	int64		promised;		/* of what is left */
	int64		room;			/* for all; negative if too much is promised */
	int64		pool;			/* for who holds little; may be negative */
	GuardState	state;
} Supply;

/* Sums over all processes. */
typedef struct Sums
{
	int64		held;			/* anonymous and dynamic shared memory */
	int64		promised;		/* asked for, and about to be touched */
	int64		rest;			/* asked for long ago: largest of a process */
	int64		unexpected;		/* growth since the last tick, of data ... */
	int64		touched;		/* ... and of memory below ceilings */
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
	return Min(sum + bytes, MOST_OF_ALL);
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

/* Returns what a process is about to touch. */
static int64
observe_process(GuardProcess *process, uint64 passed, Sums *sums)
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
		memory->first_bytes = data;
		memory->data_bytes = data;
		memory->anon_bytes = anon;
		memory->anchor_bytes = data;
		memory->rest_bytes = Min(untouched, MOST_AT_REST);
	}
	grown = data - memory->data_bytes;
	touched = anon - memory->anon_bytes;
	memory->data_bytes = data;
	memory->anon_bytes = anon;

	sums->unexpected = plus(sums->unexpected,
							Max(grown - memory->expected_bytes, 0));
	memory->expected_bytes = Max(grown, (int64) (memory->expected_bytes *
												 fade(passed, FORGET_GROWTH)));
	if (process->own_limit_bytes >= 0)
		memory->expected_bytes =
			Min(memory->expected_bytes,
				Max(bounded(process->own_limit_bytes) - data, 0));

	rest = Min(memory->rest_bytes, untouched);
	rest = Max(rest - TOUCH_GOES_ON * Max(touched, 0), 0);
	rest += (int64) ((untouched - rest) * (1.0 - fade(passed, FORGET_PROMISE)));
	memory->rest_bytes = rest;

	sums->held = plus(sums->held, anon + bounded(process->shared_bytes));
	sums->promised = plus(sums->promised, untouched - rest);
	sums->rest = Max(sums->rest, rest - MOST_AT_REST);
	if (process->limited)
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

	memset(sums, 0, sizeof(Sums));
	for (int i = 0; i < count; i++)
		processes[i].memory.unit_bytes = 0;
	for (int i = 0; i < count; i++)
	{
		GuardProcess *process = &processes[i];
		int64		promised = observe_process(process, passed, sums);
		GuardMemory *leader;

		if (process->unit < 0 || process->unit >= count)
			process->unit = i;
		leader = &processes[process->unit].memory;
		leader->unit_bytes = plus(leader->unit_bytes,
								  bounded(process->anon_bytes) + promised +
								  bounded(process->shared_bytes));
	}

	guard->surprises = Max(sums->unexpected /
						   Max(guard->share, (double) Max(server->reserve_bytes, MB)),
						   guard->surprises * fade(passed, FORGET_SURPRISE));
	if (passed > 0 && server->available_bytes >= 0)
	{
		double		part = 1.0 - fade(passed, FORGET_RATE);
		int64		lost = guard->available_bytes - server->available_bytes -
		sums->touched;

		guard->touching += ((double) Max(sums->touched, 0) / passed -
							guard->touching) * part;
		guard->losing += ((double) Max(lost, 0) / passed -
						  guard->losing) * part;
	}
	guard->available_bytes = server->available_bytes;
	guard->ticked_at = now;
}

/*
 * before is the state at the last tick: a better one begins only a tenth of
 * the reserve above where the worse one began.
 */
static void
find_supply(Supply *supply, int64 left, int64 reserve, const Sums *sums,
			GuardState before)
{
	int64		less;

	supply->left = left;
	supply->reserve = reserve;
	supply->promised = plus(sums->promised, Min(sums->rest, Max(left, 0) / 2));
	less = left - supply->promised;
	supply->room = less - reserve;

	/* What is promised is not touched at once. */
	supply->pool = Max(Min(less / 4 * 3, less - reserve / 4),
					   (left - reserve) / 2);

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

static double
find_share(const GuardProcess *processes, int count, double room,
		   double surprises)
{
	double		low = 0;
	double		high = room * 2 / 3;

	if (room <= 0)
		return 0;
	for (int half = 0; half < HALVES && low < high; half++)
	{
		double		share = half == 0 ? high : (low + high) / 2;
		double		taken = share * Max(surprises, 1.0);

		for (int i = 0; i < count; i++)
			taken += Min((double) processes[i].memory.expected_bytes,
						 share * weight_of(&processes[i]));
		if (taken <= room)
			low = share;
		else
			high = share;
	}
	return low;
}

static double
find_level(const GuardProcess *processes, int count, double pool)
{
	double		low = 0;
	double		high = pool;

	if (pool <= 0)
		return 0;
	for (int half = 0; half < HALVES; half++)
	{
		double		level = (low + high) / 2;
		double		taken = level;	/* by a newcomer */

		for (int i = 0; i < count; i++)
		{
			if (!processes[i].idle)
				taken += Max(level * weight_of(&processes[i]) -
							 processes[i].memory.data_bytes, 0.0);
		}
		if (taken <= pool)
			low = level;
		else
			high = level;
	}
	return low;
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
		if (!process->limited || !(process->weight > 0))
			continue;
		ceiling = data + (int64) Min(guard->share * weight,
									 Max(room, 0) * (2.0 / 3));
		ceiling = Max(ceiling, (int64) (level * weight));

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
		else
			in_vain = true;
	}
	if (guard->awaits && !awaits && !in_vain)
		guard->waits_since = now;
	guard->awaits = awaits;
	return returning;
}

/* Whether memory is about to run out, whatever ceilings there are. */
static bool
is_urgent(const Guard *guard, const GuardServer *server, const Supply *memory,
		  int64 returning)
{
	double		time = (double) server->patience / URGENT_PART;
	double		goes = Min((double) memory->promised, guard->touching * time) +
	guard->losing * time;

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
choose_trim(GuardProcess *processes, int count, int64 least,
			GuardAction *action)
{
	int64		most = -1;

	for (int i = 0; i < count; i++)
	{
		const GuardMemory *memory = &processes[i].memory;

		if (is_open(processes, i, least) && processes[i].idle &&
			!memory->trimmed && memory->unit_bytes > most)
		{
			most = memory->unit_bytes;
			action->kind = GUARD_TRIM;
			action->process = i;
		}
	}
	if (most >= 0)
		processes[action->process].memory.trimmed = true;
}

/*
 * An idle session that was trimmed and still holds much, else a statement; the
 * largest.  In a hurry, the largest of all.
 */
static void
choose_victim(const GuardServer *server, GuardProcess *processes, int count,
			  const Sums *sums, int64 least, bool urgent, uint64 now,
			  GuardAction *action)
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
		if (first && (!memory->trimmed ||
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
	process->memory.acted_at = now;
	process->memory.acted_bytes = most;
	process->memory.acted_statement = process->statement;
	process->memory.trimmed = false;
}

uint64
guard_decide(Guard *guard, const GuardServer *server, GuardProcess *processes,
			 int count, uint64 now, GuardAction *action)
{
	Sums		sums;
	Supply		supplies[2];
	int			kinds = 0;
	int64		room = MOST_BYTES;
	int64		pool = MOST_BYTES;
	int64		least = Max(bounded(server->reserve_bytes) / SMALL_PART,
							SMALL_BYTES);
	int64		returning;
	GuardState	state = GUARD_QUIET;
	bool		urgent;

	action->kind = GUARD_NOTHING;
	action->process = -1;
	observe(guard, server, processes, count, now, &sums);
	if (server->available_bytes >= 0)
		find_supply(&supplies[kinds++], bounded(server->available_bytes),
					bounded(server->reserve_bytes), &sums, guard->state);
	if (server->server_limit_bytes >= 0)
	{
		int64		limit = bounded(server->server_limit_bytes);

		/* When it is passed, just this reserve is left. */
		find_supply(&supplies[kinds++], limit + limit / 20 - sums.held,
					limit / 20, &sums, guard->state);
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
			processes[i].memory.trimmed = false;
	}
	guard->state = state;
	set_ceilings(guard, server, processes, count, &sums, room, pool);

	returning = look_at_effects(guard, server, processes, count, now);
	urgent = server->available_bytes >= 0 &&
		is_urgent(guard, server, &supplies[0], returning);
	if (urgent || (state == GUARD_UNDER && !guard->awaits &&
				   now - guard->waits_since >= server->patience))
		choose_victim(server, processes, count, &sums, least, urgent, now,
					  action);
	else if (state != GUARD_QUIET && !guard->awaits)
		choose_trim(processes, count, least, action);
	if (action->kind == GUARD_CANCEL || action->kind == GUARD_TERMINATE)
		guard->awaits = true;

	return (uint64) Min(Max(guard->share /
							Max(FASTEST_GROWTH,
								2 * (guard->touching + guard->losing)),
							(double) SHORTEST_TICK), (double) LONGEST_TICK);
}
