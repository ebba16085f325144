/*-------------------------------------------------------------------------
 *
 * report.h
 *	  What becomes of a measurement: it is judged, published and told.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_REPORT_H
#define PGSM_SESSION_REPORT_H

#include "datatype/timestamp.h"

#include "session/measure.h"
#include "session/slot.h"

/*
 * Judges what was measured at now, publishes it with the status in the
 * session's slot, and tells log and ring what has crossed a threshold with it.
 * Callbacks too; no error.
 */
extern void session_report(const SessionMeasure *measure, TimestampTz now);

/*
 * Measures what the session has before its first command, which its growth is
 * compared with.  Callbacks too; no error.
 */
extern void session_report_baseline(void);

#endif							/* PGSM_SESSION_REPORT_H */
