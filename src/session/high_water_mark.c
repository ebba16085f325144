/*-------------------------------------------------------------------------
 *
 * high_water_mark.c
 *	  What the process had more at its peak, as the kernel counts it.
 *
 * Linux remembers the largest number of pages that a process ever had in RAM;
 * getrusage(2) tells it in a microsecond.  Writing "5" to /proc/self/clear_refs
 * makes it forget, and begin with what there is: as quick, no page is visited.
 * So nothing needs to be done while a statement runs, and what it had at its
 * peak is known afterwards, wherever it was allocated: in a function's
 * variables, in a sort of CREATE INDEX, in a library.
 *
 * The pages are of three kinds: anonymous ones, those of files, and those of
 * shared memory.  /proc/self/statm says how many there are of the latter two
 * together at the moment.  They only become more while a statement runs, so
 * what the peak has beyond them is anonymous.  A statement that releases much
 * memory, and then touches shared buffers that this process has not touched
 * before, had more than this says.
 *
 * Most statements raise no peak: then nothing has to begin anew, and one
 * getrusage(2) is all.  It begins anew with the next statement, not at the end
 * of the last one, for that is released in several steps.
 *
 * From Linux 6.2 on, the kernel's own numbers can be wrong by some pages for
 * each processor.
 *
 * Where there is no /proc, or it may not be written to, all of this gives -1.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __linux__
#include <sys/resource.h>
#include <unistd.h>
#endif

#include "miscadmin.h"

#include "kept_descriptor.h"
#include "reading/process_memory.h"
#include "session/high_water_mark.h"

/* What statements that were not looked at may add before it begins anew. */
#define DRIFT_BYTES		(256 * 1024)

typedef struct HighWaterMark
{
	int			pid;			/* whose descriptors these are, 0: none */
	int			clear_refs;		/* descriptors */
	int			statm;
	bool		is_refused;		/* by the kernel: not tried again */
	bool		has_begun;
	int64		anon_bytes;		/* at the begin */
	int64		resident_bytes; /* at the begin: where the peak begins */
} HighWaterMark;

static HighWaterMark mark;

/*
 * Since it was raised, memory was given back, or because it has never begun.
 * Where the kernel refuses it stays false.
 */
bool		high_water_mark_is_stale = true;

#ifdef __linux__

/* The largest that was in RAM. */
static int64
peak_resident(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return -1;
	return (int64) usage.ru_maxrss * 1024;
}

static void
refuse(const char *file)
{
	int			error = errno;

	mark.is_refused = true;
	errno = error;
	ereport(DEBUG1,
			(errmsg_internal("peaks of statements are not known: could not use \"%s\": %m",
							 file)));
}

/*
 * Opens the two files once a process.  A process that was forked has its
 * parent's descriptors, which lead to its parent.
 */
static bool
open_files(void)
{
	if (likely(mark.pid == MyProcPid))
		return !mark.is_refused;

	if (mark.pid != 0 && !mark.is_refused)
	{
		kept_descriptor_close(mark.clear_refs);
		kept_descriptor_close(mark.statm);
	}
	memset(&mark, 0, sizeof(mark));
	mark.pid = MyProcPid;

	mark.statm = kept_descriptor_open("/proc/self/statm", O_RDONLY);
	if (mark.statm < 0)
	{
		refuse("/proc/self/statm");
		return false;
	}
	mark.clear_refs = kept_descriptor_open("/proc/self/clear_refs", O_WRONLY);
	if (mark.clear_refs < 0)
	{
		refuse("/proc/self/clear_refs");
		kept_descriptor_close(mark.statm);
		return false;
	}
	return true;
}

void
high_water_mark_begin_anew(void)
{
	ProcessPages pages;

	high_water_mark_is_stale = false;
	if (!open_files())
		return;
	if (pwrite(mark.clear_refs, "5", 1, 0) != 1 ||
		!process_memory_read_pages(mark.statm, &pages))
	{
		refuse("/proc/self/clear_refs");
		kept_descriptor_close(mark.clear_refs);
		kept_descriptor_close(mark.statm);
		return;
	}
	mark.anon_bytes = pages.resident_bytes - pages.shared_bytes;

	/* What the kernel takes for its number, which it may estimate. */
	mark.resident_bytes = Max(peak_resident(), pages.resident_bytes);
	mark.has_begun = true;
}

/* What the process had more at its peak, and whether that was raised at all. */
static int64
look(bool *is_raised)
{
	int64		peak;
	ProcessPages pages;

	*is_raised = false;
	if (unlikely(!mark.has_begun) || mark.is_refused ||
		mark.pid != MyProcPid)
		return -1;
	peak = peak_resident();
	if (peak < 0)
		return -1;
	if (peak <= mark.resident_bytes)
		return 0;
	*is_raised = true;
	if (!process_memory_read_pages(mark.statm, &pages))
		return -1;
	return Max(peak - pages.shared_bytes - mark.anon_bytes, 0);
}

void
high_water_mark_check(void)
{
	if (mark.has_begun && !mark.is_refused && mark.pid == MyProcPid &&
		peak_resident() > mark.resident_bytes + DRIFT_BYTES)
		high_water_mark_is_stale = true;
}

int64
high_water_mark_whole_bytes(void)
{
	ProcessPages pages;

	if (!open_files() || !process_memory_read_pages(mark.statm, &pages))
		return -1;
	return Max(peak_resident() - pages.shared_bytes, 0);
}

#else

void
high_water_mark_begin_anew(void)
{
	high_water_mark_is_stale = false;
}

static int64
look(bool *is_raised)
{
	*is_raised = false;
	return -1;
}

void
high_water_mark_check(void)
{
}

int64
high_water_mark_whole_bytes(void)
{
	return -1;
}

#endif							/* __linux__ */

int64
high_water_mark_bytes(void)
{
	bool		is_raised;
	int64		bytes = look(&is_raised);

	/* Also by shared buffers: looking would take a little longer each time. */
	high_water_mark_is_stale |= is_raised;
	return bytes;
}

int64
high_water_mark_bytes_now(void)
{
	bool		is_raised;

	return look(&is_raised);
}

void
high_water_mark_forget(void)
{
	high_water_mark_is_stale = true;
}
