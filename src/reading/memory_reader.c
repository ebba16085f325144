/*-------------------------------------------------------------------------
 *
 * memory_reader.c
 *	  Reads bytes of this process, or of another process from outside.
 *
 * Every server process is forked from the postmaster without exec, so the
 * same address means the same global variable, and the same constant of the
 * postgres executable, in all of them.  What differs is the content of the
 * writable memory, and that is what process_vm_readv(2) copies to us.
 *
 * A system call costs about as much as copying some kilobytes, and contexts
 * lie in each other's neighbourhood, so memory is fetched in groups of pages
 * into a direct-mapped cache.  Contexts that were made one after the other are
 * met in that order, or in the opposite one: when a group is wanted whose
 * neighbour is there, some groups beyond it are fetched in the same call, more
 * of them each time.  A group is fetched as a whole where it is mapped as a
 * whole; where that fails (the edge of the heap), only the part that is wanted
 * is.  The cache has a fixed size and lives in the memory context in which the
 * reader was opened, so an error frees it, too.
 *
 * Reading needs the right to attach to the process, see ptrace(2): the same
 * user, which all processes of a server are, and where Linux's Yama restricts
 * it to descendants, a grant by the observed process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#ifdef __linux__
#include <link.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#endif

#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "reading/memory_reader.h"

/* The most groups that one call fetches. */
#define MAX_RUN				8

/*
 * A group is 4 pages, which have 4 kB or more wherever this runs, and has a bit
 * for each of 64 granules.
 */
#define GROUP_SHIFT			14
#define GROUP_BYTES			((Size) 1 << GROUP_SHIFT)
#define GRANULE_BYTES		(GROUP_BYTES / 64)

/* A set of granules of a group. */
typedef uint64 GranuleSet;

/* A group in the cache. */
typedef struct PageGroup
{
	uintptr_t	group;			/* address / GROUP_BYTES, 0 if none */
	GranuleSet	here;			/* those that are here */
	bool		complete;		/* all that can be read of it is here */
} PageGroup;

struct MemoryReader
{
	int			pid;			/* 0: this process */
	int			error;			/* errno of the last failure */
	uint64		calls;			/* process_vm_readv calls made */
	int			group_count;	/* a power of 2 */
	int			run;			/* groups that the last call fetched */
	PageGroup  *groups;
	char	   *bytes;			/* of all groups */
	char		joined[MEMORY_READER_MAX_MAP];	/* what crosses two groups */
};

MemoryReader memory_reader_of_self;

MemoryReader *
memory_reader_self(void)
{
	return &memory_reader_of_self;
}

MemoryReader *
memory_reader_open(MemoryReaderUse use)
{
	MemoryReader *reader = palloc0(sizeof(MemoryReader));

	switch (use)
	{
		case MEMORY_READER_WALK:
			reader->group_count = 128;
			break;
		case MEMORY_READER_CHUNKS:
			reader->group_count = 512;
			break;
	}
	reader->groups = palloc(reader->group_count * sizeof(PageGroup));
	reader->bytes = palloc(reader->group_count * GROUP_BYTES);
	memory_reader_forget(reader);
	return reader;
}

void
memory_reader_attach(MemoryReader *reader, int pid)
{
	reader->pid = pid;
	reader->error = 0;
	memory_reader_forget(reader);
}

void
memory_reader_forget(MemoryReader *reader)
{
	for (int i = 0; i < reader->group_count; i++)
		reader->groups[i].group = 0;
	reader->run = 1;
}

bool
memory_reader_is_self(const MemoryReader *reader)
{
	return reader == &memory_reader_of_self;
}

int
memory_reader_errno(const MemoryReader *reader)
{
	return reader->error;
}

uint64
memory_reader_calls(const MemoryReader *reader)
{
	return reader->calls;
}

#ifdef __linux__

typedef struct iovec MemoryRange;

/*
 * Copies count ranges from the other process, one after the other, to where
 * local says; both are of the same lengths.  Returns how many bytes were
 * copied: fewer than asked for where an unmapped page follows, -1 where not
 * even the first can be read.
 */
static ssize_t
read_other(MemoryReader *reader, const MemoryRange *local,
		   const MemoryRange *remote, int count)
{
	ssize_t		copied;

	reader->calls++;
	copied = process_vm_readv(reader->pid, local, count, remote, count, 0);
	if (copied < 0)
		reader->error = errno;
	return copied;
}

#else

typedef struct MemoryRange
{
	void	   *iov_base;
	size_t		iov_len;
} MemoryRange;

static ssize_t
read_other(MemoryReader *reader, const MemoryRange *local,
		   const MemoryRange *remote, int count)
{
	reader->error = ENOSYS;
	return -1;
}

#endif

/*
 * Copies one range.  Where that ends early it has failed, too: with EFAULT, and
 * with what it returns having been copied.
 */
static ssize_t
read_range(MemoryReader *reader, char *local, uintptr_t address, Size length)
{
	MemoryRange to = {local, length};
	MemoryRange from = {(void *) address, length};
	ssize_t		copied = read_other(reader, &to, &from, 1);

	if (copied >= 0 && copied < (ssize_t) length)
		reader->error = EFAULT;
	return copied;
}

static inline PageGroup *
slot_of(MemoryReader *reader, uintptr_t group)
{
	return &reader->groups[group & (reader->group_count - 1)];
}

static inline bool
is_here(MemoryReader *reader, uintptr_t group)
{
	return slot_of(reader, group)->group == group;
}

/* The granules from first on, up to but without end; at least one. */
static inline GranuleSet
granules(int first, int end)
{
	Assert(first < end);
	return (PG_UINT64_MAX << first) & (PG_UINT64_MAX >> (64 - end));
}

static inline char *
bytes_of(MemoryReader *reader, uintptr_t group)
{
	return reader->bytes +
		((group & (reader->group_count - 1)) << GROUP_SHIFT);
}

/*
 * Gives the slot to a group of which nothing is there yet.
 */
static void
take_slot(PageGroup *slot, uintptr_t group)
{
	slot->group = group;
	slot->here = 0;
	slot->complete = false;
}

/*
 * Fetches count groups, whose slots follow each other, with one call.
 */
static void
fetch_groups(MemoryReader *reader, uintptr_t first, int count)
{
	ssize_t		copied = read_range(reader, bytes_of(reader, first),
									first << GROUP_SHIFT, count * GROUP_BYTES);

	/* Linux copies whole pages, but nothing here depends on it. */
	for (int i = 0; i < count; i++)
	{
		PageGroup  *slot = slot_of(reader, first + i);
		ssize_t		bytes = Min(copied - i * (ssize_t) GROUP_BYTES,
								(ssize_t) GROUP_BYTES);
		int			here = Max(bytes, 0) / GRANULE_BYTES;

		if (slot->group != first + i || here == 0)
			take_slot(slot, here > 0 ? first + i : 0);
		if (here > 0)
			slot->here = granules(0, here);
		slot->complete = true;
	}
}

/*
 * Fetches a group, and with it some that will be wanted next, if the last
 * ones were wanted in the order of their addresses.
 */
static void
fetch_group(MemoryReader *reader, uintptr_t group)
{
	bool		upwards = is_here(reader, group - 1);
	bool		downwards = is_here(reader, group + 1);
	uintptr_t	first = group;
	int			count = 1;

	if (upwards != downwards)
	{
		int			most = Min(reader->run * 2, MAX_RUN);
		int			step = upwards ? 1 : -1;

		/* As far as slots follow each other and are not filled already. */
		for (uintptr_t next = group + step; count < most; next += step)
		{
			if (bytes_of(reader, next) != bytes_of(reader, next - step) +
				step * (ssize_t) GROUP_BYTES ||
				is_here(reader, next) || next == 0)
				break;
			count++;
			if (downwards)
				first = next;
		}
	}
	reader->run = count;

	/* A run that begins where nothing is mapped ends there, too. */
	fetch_groups(reader, first, count);
	if (count > 1 && !is_here(reader, group))
	{
		reader->run = 1;
		fetch_groups(reader, group, 1);
	}
}

/*
 * Makes granules of a group, which follow each other, readable in its slot.
 * Returns false where one of them is not mapped.
 *
 * If some are there and some are not, all are read anew, so that what is asked
 * for at once was read at once.
 */
static bool
fetch_granules(MemoryReader *reader, uintptr_t group, GranuleSet wanted)
{
	PageGroup  *slot = slot_of(reader, group);
	int			first = pg_rightmost_one_pos64(wanted);
	int			count = pg_leftmost_one_pos64(wanted) + 1 - first;
	Size		offset = first * GRANULE_BYTES;
	ssize_t		length = count * GRANULE_BYTES;

	if (slot->group != group || !slot->complete)
	{
		fetch_group(reader, group);
		if (slot->group != group)
		{
			if (reader->error != EFAULT)
				return false;	/* no such process, or not permitted */
			take_slot(slot, group);
			slot->complete = true;
		}
	}

	if ((slot->here & wanted) == wanted)
		return true;

	/* The group is not mapped from end to end: just what is asked for. */
	slot->here &= ~wanted;
	if (read_range(reader, bytes_of(reader, group) + offset,
				   (group << GROUP_SHIFT) + offset, length) != length)
		return false;
	slot->here |= wanted;
	return true;
}

const void *
memory_reader_map_other(MemoryReader *reader, uintptr_t address, Size len)
{
	uintptr_t	group = address >> GROUP_SHIFT;
	Size		offset = address % GROUP_BYTES;
	Size		here = Min(len, GROUP_BYTES - offset);
	PageGroup  *slot = slot_of(reader, group);
	char	   *bytes = bytes_of(reader, group);
	GranuleSet	wanted;
	const void *rest;

	Assert(len <= MEMORY_READER_MAX_MAP);

	/* The first page is never mapped, and nothing may wrap around. */
	if (group == 0 || len == 0 || address + len < address)
	{
		reader->error = EFAULT;
		return NULL;
	}

	wanted = granules(offset / GRANULE_BYTES,
					  (offset + here - 1) / GRANULE_BYTES + 1);
	if ((slot->group != group || (slot->here & wanted) != wanted) &&
		!fetch_granules(reader, group, wanted))
		return NULL;
	if (here == len)
		return bytes + offset;

	/*
	 * The range goes on in the next group, whose slot is another one.  That
	 * call is never joined itself, so the buffer is ours.
	 */
	memcpy(reader->joined, bytes + offset, here);
	rest = memory_reader_map_other(reader, address + here, len - here);
	if (rest == NULL)
		return NULL;
	memcpy(reader->joined + here, rest, len - here);
	return reader->joined;
}

int
memory_reader_string(MemoryReader *reader, uintptr_t address, char *buffer,
					 Size size)
{
	Size		length = 0;

	if (memory_reader_is_self(reader))
	{
		length = strnlen((const char *) address, size - 1);
		memcpy(buffer, (const char *) address, length);
		buffer[length] = '\0';
		return (int) length;
	}

	/* Not beyond what is needed: the next page may not be mapped. */
	while (length < size - 1)
	{
		Size		step = GRANULE_BYTES - (address + length) % GRANULE_BYTES;
		const char *from;
		const char *end;

		step = Min(step, size - 1 - length);
		from = memory_reader_map(reader, address + length, step);
		if (from == NULL)
			return -1;
		end = memchr(from, '\0', step);
		if (end != NULL)
			step = end - from;
		memcpy(buffer + length, from, step);
		length += step;
		if (end != NULL)
			break;
	}
	buffer[length] = '\0';
	return (int) length;
}

void
memory_reader_permit_server(void)
{
#if defined(__linux__) && defined(PR_SET_PTRACER)
	/* Fails where there is no Yama, and then it is not needed. */
	if (PostmasterPid > 0)
		(void) prctl(PR_SET_PTRACER, (unsigned long) PostmasterPid, 0, 0, 0);
#endif
}

#ifdef __linux__

/* Read-only segments of the postgres executable; few executables have more. */
#define MAX_CONSTANT_SEGMENTS	8

static uintptr_t constant_from[MAX_CONSTANT_SEGMENTS];
static uintptr_t constant_to[MAX_CONSTANT_SEGMENTS];
static int	constant_segments = -1;

static int
note_constant_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		uintptr_t	from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

		if (info->dlpi_phdr[i].p_type != PT_LOAD ||
			(info->dlpi_phdr[i].p_flags & PF_W) != 0 ||
			constant_segments == MAX_CONSTANT_SEGMENTS)
			continue;
		constant_from[constant_segments] = from;
		constant_to[constant_segments] = from + info->dlpi_phdr[i].p_filesz;
		constant_segments++;
	}
	return 1;					/* the first object is the executable */
}

bool
memory_reader_is_constant(uintptr_t address)
{
	if (unlikely(constant_segments < 0))
	{
		constant_segments = 0;
		dl_iterate_phdr(note_constant_segments, NULL);
	}
	for (int i = 0; i < constant_segments; i++)
	{
		if (address >= constant_from[i] && address < constant_to[i])
			return true;
	}
	return false;
}

#else

bool
memory_reader_is_constant(uintptr_t address)
{
	return false;
}

#endif
