/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  When a session measures itself, and what it does when it is idle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_WATCH_H
#define PGSM_SESSION_WATCH_H

#include "access/xact.h"

/* The transaction callback that keeps the watch going. */
extern void session_watch_transaction(XactEvent event, void *arg);

/* Thresholds have changed: the end of the next command is measured. */
extern void session_watch_settings_changed(void);

/*
 * Measures and publishes now, in the middle of a statement or not.  Not in a
 * signal handler; no error.
 */
extern void session_watch_measure(bool in_command);

/* Starts the session's peak anew, from what it retains now. */
extern void session_watch_reset_peak(void);

#endif							/* PGSM_SESSION_WATCH_H */
