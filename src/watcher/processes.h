/*-------------------------------------------------------------------------
 *
 * processes.h
 *	  The server's processes as the watcher follows them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_PROCESSES_H
#define PGSM_PROCESSES_H

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/backend_status.h"

#include "reading/context_category.h"
#include "session/event_ring.h"
#include "watcher/recorded_sample.h"

/* A process, with what was seen of it.  Bytes; -1 where not known. */
typedef struct FollowedProcess
{
	int			pid;			/* 0: the slot is not in use */
	int			leader_pid;		/* of a parallel worker, 0: none */
	TimestampTz backend_start;
	BackendType type;
	BackendState state;
	Oid			userid;
	Oid			databaseid;
	TimestampTz query_start;	/* of the running statement or the last one */
	TimestampTz state_start;
	bool		looked_idle;	/* it was idle when anon_bytes was read */

	int			leader_looks;	/* how often a leader was looked for */
	bool		pages_are_open; /* pages is a kept descriptor */
	int			pages;			/* of /proc/PID/statm; of an ended process it
								 * gives nothing, whoever has its pid */

	int64		anon_bytes;		/* as it was read last */
	int64		data_bytes;		/* private writable memory, touched or not */
	int64		statement_base; /* of that, before the statement */
	int64		statement_peak; /* the most that the statement added */
	int64		highest_bytes;	/* the most that a sample has told of */
	int64		told_bytes;		/* in the log, while over its threshold, or 0 */

	/* Its contexts, as they were walked last. */
	int64		walked_at_bytes;	/* anon_bytes then, -1: never */
	uint64		walked_at;		/* microseconds of the watcher's clock */
	uint64		walk_took;		/* of CPU time */
	int64		context_bytes;
	int64		category_bytes[CONTEXT_CATEGORY_COUNT];
	int64		largest_context_bytes;
	char		largest_context[RECORDED_NAME_BYTES];
} FollowedProcess;

/* Sums over all processes, as of the last look. */
typedef struct ProcessSums
{
	int			sessions;		/* client backends */
	int			active;			/* those of them that run a statement */
	int64		anon_bytes;		/* of all processes */
	bool		new_highest;	/* one is larger by a tenth than ever told */
} ProcessSums;

/* Whose memory a look reads, beside processes that may have changed. */
typedef enum ProcessLook
{
	LOOK_CHANGED,				/* nobody else's */
	LOOK_LARGE,					/* idle ones that hold much, which may shrink */
	LOOK_ALL
} ProcessLook;

/* Makes room for all processes, in TopMemoryContext.  Out of memory: ERROR. */
extern void processes_create(void);

/*
 * Looks at all processes.  Reads the memory of those that run a statement, or
 * have done anything since the last look, and of others as look says.
 * Publishes what running statements have added.  now is the watcher's clock.
 * No wait; nothing but system calls that fail can go wrong.
 */
extern void processes_look(ProcessLook look, uint64 now, ProcessSums *sums);

/* The process in a slot, as it was seen last; NULL if there was none. */
extern const FollowedProcess *processes_at(int slot);

/*
 * Whether the process in a slot is still the one that was seen, with the same
 * statement, in the same state.
 */
extern bool processes_is_unchanged(int slot);

/*
 * Judges running statements by their sessions' process_threshold: log and
 * events say so while they run.  Allocates in the current memory context.
 */
extern void processes_judge(uint64 now);

/*
 * Fills in the largest processes of a sample, and sums by category, having
 * walked the contexts of those that have changed.
 */
extern void processes_record(uint64 now, RecordedSample *sample);

/*
 * Copies what is known of the process in a slot, which must have been seen;
 * its contexts are those that were walked last.
 */
extern void processes_copy(int slot, RecordedSession *session);

/* The slots of the largest processes, and how many there are. */
extern int	processes_find_largest(int largest[RECORDED_SESSIONS]);

/* Adds an event about a process of a sample to the ring. */
extern void processes_add_event(EventKind kind, const RecordedSession *session,
								int64 threshold_bytes);

/* "PID 1 of role@database (active) with 5 MB, most of it ...": for the log. */
extern void processes_describe(const RecordedSession *session,
							   StringInfo text);

#endif							/* PGSM_PROCESSES_H */
