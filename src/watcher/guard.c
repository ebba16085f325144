/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  What each process may have, so that the server does not run out of
 *	  memory.
 *
 * Each process may have what it has, and of what the server still has, less
 * the reserve and what was asked for but not touched yet, two thirds: enough
 * for one that asks for very much at once, and not all for the first one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "watcher/guard.h"

#define MB				(INT64CONST(1024) * 1024)

/* The wait from one tick to the next. */
#define SHORTEST_TICK	UINT64CONST(10000)
#define LONGEST_TICK	UINT64CONST(1000000)

/* Memory can grow so fast, in bytes a microsecond. */
#define FASTEST_GROWTH	6000

/* Every process may have so much more. */
#define MINIMUM			(2 * MB)

int64
guard_default_reserve(int64 total_bytes)
{
	return Max(total_bytes, 0) / 20;
}

uint64
guard_decide(Guard *guard, const GuardServer *server, GuardProcess *processes,
			 int count, uint64 now, GuardAction *action)
{
	int64		room = server->available_bytes - server->reserve_bytes;

	action->kind = GUARD_NOTHING;
	action->process = -1;
	for (int i = 0; i < count; i++)
	{
		GuardProcess *process = &processes[i];

		process->ceiling_bytes = -1;
		process->held = false;
		if (!process->memory.known)
		{
			process->memory.known = true;
			process->memory.rest_bytes = process->data_bytes -
				process->anon_bytes;
		}
		room -= Max(process->data_bytes - process->anon_bytes -
					process->memory.rest_bytes, 0);
	}
	guard->ticked_at = now;
	if (server->available_bytes < 0)
	{
		guard->state = GUARD_QUIET;
		return LONGEST_TICK;
	}
	for (int i = 0; i < count; i++)
	{
		GuardProcess *process = &processes[i];

		if (!process->limited || process->weight <= 0)
			continue;
		process->ceiling_bytes = process->data_bytes +
			Max(room / 3 * 2, MINIMUM);
		process->held = room <= MINIMUM;
	}
	guard->state = server->available_bytes < server->reserve_bytes ?
		GUARD_UNDER :
		server->available_bytes < 2 * server->reserve_bytes ?
		GUARD_NEAR : GUARD_QUIET;
	return Min(Max((uint64) Max(room, 0) / FASTEST_GROWTH, SHORTEST_TICK),
			   LONGEST_TICK);
}
