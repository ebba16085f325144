/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings of pg_session_memory; module.c defines them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SETTINGS_H
#define PGSM_SETTINGS_H

/* Values of pg_session_memory.status, and of the slot's status. */
typedef enum SessionStatus
{
	SESSION_OK,
	SESSION_BLOATED
} SessionStatus;

/* Values of pg_session_memory.track_statements. */
typedef enum TrackStatements
{
	TRACK_STATEMENTS_NONE,
	TRACK_STATEMENTS_TOP,
	TRACK_STATEMENTS_ALL
} TrackStatements;

/* Values of pg_session_memory.guard. */
typedef enum GuardMode
{
	GUARD_OFF,
	GUARD_LOG,					/* tells what it would do */
	GUARD_ON
} GuardMode;

extern bool setting_track;		/* measure at the end of commands */
extern int	setting_context_threshold;	/* kB, -1 off */
extern int	setting_session_threshold;	/* kB, -1 off */
extern int	setting_process_threshold;	/* kB, -1 off */
extern int	setting_process_limit;	/* kB, -1 none */
extern int	setting_log_level;	/* an elevel below ERROR */
extern double setting_max_overhead; /* per cent, 100: no bound */
extern int	setting_idle_delay; /* milliseconds */
extern bool setting_trim_when_idle;
extern int	setting_trim_threshold; /* kB */
extern int	setting_max_events; /* entries of the event ring */
extern bool setting_live_reads; /* read other processes' memory */
extern int	setting_statement_threshold;	/* kB, -1 off */
extern int	setting_track_statements;	/* TrackStatements */
extern int	setting_statement_floor;	/* kB */
extern int	setting_max_statements; /* entries of the statement table */
extern int	setting_watch_interval; /* milliseconds, 0 off */
extern int	setting_record_interval;	/* milliseconds, 0 off */
extern int	setting_record_size;	/* kB */
extern int	setting_guard;		/* GuardMode */
extern double setting_guard_weight; /* 0: exempt */
extern int	setting_guard_reserve;	/* kB, -1: a share of what there is */
extern int	setting_guard_patience; /* milliseconds */
extern int	setting_server_limit;	/* kB, -1 none */
extern int	setting_status;		/* SessionStatus, as reported */

/* Bytes of a threshold setting, which is in kB; -1 where it is off. */
static inline int64
threshold_bytes(int setting)
{
	return setting < 0 ? -1 : (int64) setting * 1024;
}

/* Whether the library was loaded by shared_preload_libraries. */
extern bool module_is_preloaded;

/*
 * Raises object_not_in_prerequisite_state (55000) where what needs shared
 * memory is asked for and there is none.
 */
extern void module_require_preloaded(void);

#endif							/* PGSM_SETTINGS_H */
