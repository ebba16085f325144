/*-------------------------------------------------------------------------
 *
 * trim.h
 *	  Gives memory of the calling session back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_TRIM_H
#define PGSM_SESSION_TRIM_H

/* What a trim did; bytes, -1 where not known. */
typedef struct TrimResult
{
	int64		context_bytes_before;
	int64		context_bytes_after;
	int64		anon_bytes_before;
	int64		anon_bytes_after;
	int64		released_bytes; /* anonymous memory given back, 0 or more */
	bool		caches_dropped;
	bool		heap_trimmed;	/* false where there is no malloc_trim */
	double		duration_ms;
} TrimResult;

/*
 * Trims the calling session: drops its catalog caches if caches is set,
 * returns free heap to the operating system, and publishes the result.
 *
 * Dropping caches needs a transaction and can raise what reading catalogs
 * can raise.  Whatever is in use stays: open relations are rebuilt.
 */
extern void session_trim(bool caches, TrimResult *result);

/*
 * The same in two steps, for an idle session: the first in a transaction that
 * is about to commit, the second when it has.  The second raises no error.
 */
extern void session_trim_begin(bool caches, TrimResult *result);
extern void session_trim_finish(TrimResult *result);

/*
 * Asks the process in this slot for a trim, at once or when it becomes idle.
 * Returns the number of the request, which trims_done of its slot reaches
 * when it was answered; 0 without shared memory.
 */
extern uint64 session_trim_request(int slot, int pid);

/*
 * Asks the calling session, before its next command.  Nothing without shared
 * memory.  Any context outside of signal handlers; no error.
 */
extern void session_trim_request_own(void);

/*
 * Answers all requests up to this one: publishes what the trim has given back
 * for those who wait.
 */
extern void session_trim_answer(uint64 request, const TrimResult *result);

#endif							/* PGSM_SESSION_TRIM_H */
