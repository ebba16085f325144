/*-------------------------------------------------------------------------
 *
 * ceiling.h
 *	  What the guard lets a process have: shared memory, and the kernel's
 *	  limit.
 *
 * The soft limit RLIMIT_DATA of a session's process has two masters.  The
 * session sets it for process_limit, and moves it out of the way for clean-ups
 * and commits, which must not fail (process_limit.c).  The watcher moves it
 * from outside, with prlimit(2), so that the server does not run out of
 * memory.  Each writes down what it wants, in a slot of shared memory, and
 * sets the limit to what follows from both:
 *
 *	consent is ACCEPTED		the session's own limit, or the ceiling if that is
 *							smaller; but not less than the floor
 *	otherwise				the session's own limit
 *
 * After that it looks whether the other one has changed its mind meanwhile.
 * So the one who sets it last has seen both.
 *
 * A session that must not fail from here on withdraws its consent, and waits
 * until nobody who has seen it before is still moving the limit.
 *
 * A ceiling is as good as what the watcher knows.  So the watcher says in each
 * round that it is there, and sessions lift all ceilings if it has not done so
 * for a while: it was stopped, say by a debugger.  They look at each command,
 * and while one runs (ceiling_lease.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CEILING_H
#define PGSM_CEILING_H

#include "datatype/timestamp.h"

/* The smallest soft limit, in bytes: Linux takes 0 for none. */
#define CEILING_SMALLEST	4096

/* What a session says to a ceiling. */
typedef enum CeilingConsent
{
	CEILING_REFUSED,			/* no process of ours, or not ready for one */
	CEILING_ACCEPTED,
	CEILING_SUSPENDED			/* not now: it cleans up or commits */
} CeilingConsent;

/* What the watcher did to a statement, for the message that its client sees. */
typedef enum CeilingVerdict
{
	CEILING_NO_VERDICT,
	CEILING_CANCELLED,
	CEILING_TERMINATED			/* with its session */
} CeilingVerdict;

/* Who a session is. */
typedef struct CeilingOwner
{
	int			pid;
	TimestampTz backend_start;
	CeilingConsent consent;
	int64		own_limit_bytes;	/* without a ceiling; -1: none */
	double		weight;			/* guard_weight */
	bool		superuser;		/* at its login */
} CeilingOwner;

/* The server, as the watcher saw it last.  Bytes. */
typedef struct CeilingServer
{
	TimestampTz renewed_at;		/* 0: there are no ceilings */
	int64		total_bytes;
	int64		available_bytes;
	int64		promised_bytes; /* of that: asked for, not yet touched */
	int64		reserve_bytes;
	int64		server_limit_bytes; /* -1: none */
	int64		sessions_bytes; /* what server_limit is compared with */
	int			state;			/* GuardState */
	int			largest_pid;	/* of the session that holds most */
	TimestampTz last_action_at; /* 0: never */
} CeilingServer;

/*
 * Whether it is server_limit that will be reached first, and not the end of
 * what the server has.
 */
static inline bool
ceiling_is_by_server_limit(const CeilingServer *server)
{
	return server->server_limit_bytes >= 0 &&
		server->server_limit_bytes - server->sessions_bytes <
		server->available_bytes - server->reserve_bytes;
}

/* Shared memory that this takes, in bytes. */
extern Size ceiling_shmem_size(void);

/* Creates or finds it; under AddinShmemInitLock. */
extern void ceiling_shmem_startup(void);

/* --- The session's side.  No allocation, no error; callbacks, too. --- */

/*
 * Says who this process is.  The first call takes its slot, and may raise FATAL
 * from on_shmem_exit's table overflow; consent is REFUSED until ceiling_move.
 * Returns false where there is no slot, or no prlimit(2).
 */
extern bool ceiling_publish(double weight, bool superuser);

/*
 * Sets this process's soft limit.  own_limit_bytes as above; floor_bytes: what
 * it may have whatever the ceiling is, 0 where there is no floor.  Also
 * without a slot, where consent and floor mean nothing.
 */
extern void ceiling_move(CeilingConsent consent, int64 own_limit_bytes,
						 int64 floor_bytes);

/* This process's ceiling in bytes; -1: none. */
extern int64 ceiling_mine(void);

/* What the watcher did to the statement that began then. */
extern CeilingVerdict ceiling_my_verdict(TimestampTz statement_start);

/*
 * A command begins or ends.  now: a time since the last one, for a first look
 * that costs nothing.  Where ceilings were not renewed for a while, lifts all
 * of them, for everybody.
 */
extern void ceiling_lift_stale(TimestampTz now);

/*
 * Lifts this process's ceiling if ceilings were not renewed for a while;
 * otherwise returns in how many microseconds that may be, 0 if there are none.
 * Signal handlers, too.
 */
extern int64 ceiling_lift_mine_if_stale(TimestampTz now);

/* --- The watcher's side, and whoever looks from outside.  No error. --- */

/* False if the slot is not that process's. */
extern bool ceiling_read_owner(int slot, int pid, TimestampTz backend_start,
							   CeilingOwner *owner);

/*
 * Gives the process in this slot a ceiling; -1: none.  A process whose consent
 * is suspended gets it later.  Nothing where it has refused, or is another
 * process by now.  Returns false where the kernel does.
 */
extern bool ceiling_set(int slot, int pid, TimestampTz backend_start,
						int64 bytes);

/* Its ceiling in bytes; -1: none, or it is another process by now. */
extern int64 ceiling_of(int slot, int pid, TimestampTz backend_start);

/* Before the statement that began then is cancelled, or its session ended. */
extern void ceiling_set_verdict(int slot, int pid, TimestampTz backend_start,
								TimestampTz statement_start,
								CeilingVerdict verdict);

/* Says what the server is like; renewed_at says that the watcher is there. */
extern void ceiling_publish_server(const CeilingServer *server);

/* False if nothing is known. */
extern bool ceiling_read_server(CeilingServer *server);

/* For all processes; before the watcher begins, and when it ends. */
extern void ceiling_lift_all(void);

#endif							/* PGSM_CEILING_H */
