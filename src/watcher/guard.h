/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  What each process may have, so that the server does not run out of
 *	  memory.
 *
 * A pure function of what it is told: no system call, no clock, no shared
 * memory, no allocation, no error, so that it can be tested without a server.
 * Bytes and microseconds throughout.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_GUARD_H
#define PGSM_GUARD_H

typedef enum GuardState
{
	GUARD_QUIET,				/* there is plenty */
	GUARD_NEAR,					/* less than twice the reserve is left */
	GUARD_UNDER					/* less than the reserve, or server_limit is
								 * passed */
} GuardState;

typedef enum GuardActionKind
{
	GUARD_NOTHING,
	GUARD_TRIM,					/* ask an idle process to give memory back */
	GUARD_CANCEL,				/* its statement */
	GUARD_TERMINATE				/* the session */
} GuardActionKind;

/*
 * What the guard remembers of a process from one tick to the next.  All zero
 * for a process that was not there before.
 */
typedef struct GuardMemory
{
	bool		known;			/* was there before */
	uint64		trimmed_at;		/* asked since memory became short, 0: not */
	int64		first_bytes;	/* data when it was first seen */
	int64		data_bytes;		/* data at the last tick */
	int64		anon_bytes;		/* at the last tick */
	int64		rest_bytes;		/* asked for long ago, and never touched */
	int64		expected_bytes; /* what it may ask for until the next tick */
	uint64		surprised_at;	/* when it took much unexpectedly, 0: never */
	int64		anchor_bytes;	/* its minimum counts from here */
	int64		unit_bytes;		/* of a leader: what its unit holds or is
								 * about to touch */
	GuardActionKind action;		/* whose effect is awaited, or did not come */
	uint64		acted_at;
	int64		acted_bytes;	/* unit_bytes then */
	int64		acted_statement;
} GuardMemory;

/* A process at this tick. */
typedef struct GuardProcess
{
	/* Told. */
	int			unit;			/* index of its leader, or its own */
	bool		limited;		/* can have a ceiling now */
	bool		idle;			/* runs no statement */
	bool		exempt;			/* no action on it */
	bool		superuser;		/* only if its unit has over half of all */
	double		weight;			/* guard_weight; 0: no ceiling, no action */
	int64		data_bytes;		/* private writable memory, touched or not:
								 * what a ceiling limits */
	int64		anon_bytes;		/* of that, what is there, in RAM or swap */
	int64		shared_bytes;	/* dynamic shared memory that its statement
								 * has made, 0 where not known */
	int64		own_limit_bytes;	/* process_limit, -1 none */
	int64		statement;		/* changes with each statement: its start */
	GuardMemory memory;			/* kept by the caller from tick to tick */

	/* Decided. */
	int64		ceiling_bytes;	/* -1: none */
	bool		held;			/* its ceiling leaves it nearly nothing */
} GuardProcess;

/* The server at this tick. */
typedef struct GuardServer
{
	int64		total_bytes;
	int64		available_bytes;	/* without what could go to swap; -1: not
									 * known */
	int64		reserve_bytes;
	int64		server_limit_bytes; /* server_limit, -1 none: of the sum of
									 * anon_bytes and shared_bytes */
	uint64		patience;		/* guard_patience */
} GuardServer;

/* What is remembered of all.  All zero at the beginning. */
typedef struct Guard
{
	GuardState	state;
	uint64		ticked_at;		/* 0: never */
	uint64		waits_since;	/* with the next cancel: since it is UNDER, or
								 * the last action took effect */
	uint64		acted_at;		/* the last cancel or termination */
	bool		awaits;			/* its effect */
	int64		available_bytes;	/* at the last tick */
	int64		promised_bytes; /* of that: asked for, not yet touched */
	double		share;			/* that each could have at the last tick */
	double		surprises;		/* processes that may take much in the same
								 * tick, as they have of late */
	double		touching;		/* by processes with a ceiling, of late, in
								 * bytes a microsecond */
	double		losing;			/* to anything else, likewise */
} Guard;

typedef struct GuardAction
{
	GuardActionKind kind;
	int			process;		/* index of a leader, -1 none */
} GuardAction;

/*
 * Decides for one tick.  now is that of a clock that is never set back, and
 * not 0.  Fills in ceiling_bytes and held of each process, guard->state, and
 * at most one action, which the caller carries out if the process still runs
 * the same statement.  Returns after how long it wants to be asked again:
 * 10,000 to 1,000,000 microseconds.  Any context.
 */
extern uint64 guard_decide(Guard *guard, const GuardServer *server,
						   GuardProcess *processes, int count, uint64 now,
						   GuardAction *action);

/*
 * The reserve where guard_reserve is -1: 5 per cent of what there is, but at
 * least 128 MB, or an eighth if that is less, and at most 4 GB.
 */
extern int64 guard_default_reserve(int64 total_bytes);

#endif							/* PGSM_GUARD_H */
