/*-------------------------------------------------------------------------
 *
 * slot.h
 *	  What a session publishes of itself: one slot a process.
 *
 * Only its own process writes a slot, and whoever likes reads it, without a
 * lock, by the protocol of change_count.h.
 *
 * Where the library is not preloaded there is no shared memory, and a session
 * has a slot of its own that nobody else sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_SLOT_H
#define PGSM_SESSION_SLOT_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "reading/context_category.h"
#include "session/trim.h"
#include "settings.h"

/* Longer names of contexts are cut; PostgreSQL's own have at most 40. */
#define SLOT_NAME_BYTES		48

/* Groups of contexts of one name that a slot tells of: the largest ones. */
#define SLOT_GROUPS			4

/* Something that is over its threshold; since is 0 where nothing is. */
typedef struct SlotExcess
{
	int64		bytes;			/* at the last measurement */
	int64		threshold_bytes;
	int64		logged_bytes;	/* when it was last written to the log */
	TimestampTz since;			/* of the measurement that found it first */
	int32		cause;			/* MemoryCause, at the last measurement */
} SlotExcess;

/* Contexts of one name that are over context_threshold. */
typedef struct SlotGroup
{
	SlotExcess	excess;
	char		name[SLOT_NAME_BYTES];
} SlotGroup;

/* What is published; all bytes as of measured_at. */
typedef struct SlotData
{
	int			pid;			/* 0: not in use */
	TimestampTz start;			/* of the process: tells pids apart */
	NameData	usename;		/* as in pg_stat_activity, empty: none */
	NameData	datname;
	SessionStatus status;
	int64		contexts;
	int64		retained_bytes; /* without what is about to be freed */
	int64		category_bytes[CONTEXT_CATEGORY_COUNT];
	int64		baseline_bytes; /* before the first command, 0: not known */
	int64		peak_bytes;		/* the largest since start or reset */
	TimestampTz peak_at;
	TimestampTz measured_at;	/* 0: not measured yet */
	SlotExcess	session;		/* over session_threshold */
	SlotExcess	process;		/* over process_threshold */
	int64		process_threshold_bytes;	/* the session's own, -1: off */
	SlotGroup	groups[SLOT_GROUPS];	/* over context_threshold */
	int64		statement_bytes;	/* the last statement's contexts */
	int64		statement_peak_bytes;	/* its process's peak, -1: not known */
	TimestampTz last_trim_at;	/* 0: never */
	int64		trimmed_bytes;	/* released by all trims together */
	uint64		trims_done;		/* requests answered, see session_trim_answer */
	TrimResult	trim_result;	/* of the trim that answered them */
} SlotData;

/* Shared memory that the slots take, in bytes. */
extern Size session_slot_shmem_size(void);

/* Creates or finds them; under AddinShmemInitLock. */
extern void session_slot_shmem_startup(void);

/*
 * This session's own data: change it only between session_slot_begin and
 * session_slot_end.  The first call takes the slot and sees to it that it is
 * given back when the process ends.  Any context outside of signal handlers;
 * no error, except FATAL from on_shmem_exit's table overflow.
 */
extern SlotData *session_slot_mine(void);
extern void session_slot_begin(void);
extern void session_slot_end(void);

/*
 * Copies what the process in this slot has published.  Returns false if the
 * slot is not that process's, or there is no shared memory and the process
 * is another one, or the process was stopped while it wrote.  May raise what
 * CHECK_FOR_INTERRUPTS raises.
 */
extern bool session_slot_read(int slot, int pid, TimestampTz start,
							  SlotData *data);

/*
 * The request word of a slot, by which one session asks another for a trim;
 * NULL without shared memory.
 */
extern pg_atomic_uint64 *session_slot_requests(int slot);

/*
 * The number of the last request for a trim of this session, if it was not
 * answered yet; 0 where there is none.  Any context; no error.
 */
extern uint64 session_slot_open_request(void);

#endif							/* PGSM_SESSION_SLOT_H */
