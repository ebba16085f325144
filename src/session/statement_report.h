/*-------------------------------------------------------------------------
 *
 * statement_report.h
 *	  Writes log and event of a statement that took more than the threshold.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_STATEMENT_REPORT_H
#define PGSM_STATEMENT_REPORT_H

#include "session/statement_memory.h"

/*
 * One line in the log, and an event.  bytes is what it took in all; text is
 * its text, of this length; executor is what the executor still has, NULL
 * where it has ended.  Callbacks too; no error.
 */
extern void statement_report(const StatementMemory *memory, int64 bytes,
							 int64 threshold, const char *text, int length,
							 MemoryContext executor);

#endif							/* PGSM_STATEMENT_REPORT_H */
