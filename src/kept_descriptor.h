/*-------------------------------------------------------------------------
 *
 * kept_descriptor.h
 *	  A descriptor that is kept open without an owner that PostgreSQL knows.
 *
 * It counts among the external ones, which get a third of
 * max_files_per_process, so that PostgreSQL's own files do not run out of
 * descriptors, and it does not pass to programs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_KEPT_DESCRIPTOR_H
#define PGSM_KEPT_DESCRIPTOR_H

#include <unistd.h>

#include "storage/fd.h"

#include "close_on_exec.h"

/* As open(2); also -1 where no more may be kept.  No allocation, no error. */
static inline int
kept_descriptor_open(const char *file, int flags)
{
	int			descriptor;

	if (!AcquireExternalFD())
		return -1;
	descriptor = open(file, flags | O_CLOEXEC);
	if (descriptor < 0)
		ReleaseExternalFD();
	return descriptor;
}

static inline void
kept_descriptor_close(int descriptor)
{
	close(descriptor);
	ReleaseExternalFD();
}

#endif							/* PGSM_KEPT_DESCRIPTOR_H */
