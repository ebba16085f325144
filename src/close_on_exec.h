/*-------------------------------------------------------------------------
 *
 * close_on_exec.h
 *	  open(2)'s O_CLOEXEC, 0 where there is none.
 *
 * Descriptors that are kept open without PostgreSQL's knowing must not pass to
 * the programs that it starts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CLOSE_ON_EXEC_H
#define PGSM_CLOSE_ON_EXEC_H

#include <fcntl.h>

#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif

#endif							/* PGSM_CLOSE_ON_EXEC_H */
