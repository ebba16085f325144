/*-------------------------------------------------------------------------
 *
 * watcher.h
 *	  The background worker that watches the server's memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_WATCHER_H
#define PGSM_WATCHER_H

/* As pg_stat_activity shows it. */
#define WATCHER_TYPE	"pg_session_memory watcher"

/*
 * Registers the worker.  Only while shared_preload_libraries are loaded.
 */
extern void watcher_register(void);

/*
 * Has the watcher forget the history, and waits until it has.  Raises
 * object_not_in_prerequisite_state where no watcher runs, and what
 * CHECK_FOR_INTERRUPTS raises.
 */
extern void watcher_reset_history(void);

#endif							/* PGSM_WATCHER_H */
