/*-------------------------------------------------------------------------
 *
 * report.h
 *	  Publishes a measurement, judges thresholds, writes log and events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_REPORT_H
#define PGSM_SESSION_REPORT_H

#include "session/measure.h"

/* The first words of the log line and of check()'s error: fixed. */
#define REPORT_FIRST_WORDS	"session memory over threshold"

/*
 * Publishes what was measured at now in the session's slot, its status too,
 * and writes to log and ring what has crossed a threshold with it.
 * Callbacks too; no error.
 */
extern void session_report(const SessionMeasure *measure, TimestampTz now);

/*
 * A size as a person reads it, "64 MB", into text; returns text.
 */
#define PRETTY_BYTES	24
extern const char *pretty_bytes(int64 bytes, char *text);

/*
 * The remedy for an excess, as a hint.  retained_bytes is what all contexts
 * of the session hold.
 */
extern const char *session_report_remedy(const char *kind,
										 ContextCategory category,
										 int64 bytes, int64 retained_bytes);

#endif							/* PGSM_SESSION_REPORT_H */
