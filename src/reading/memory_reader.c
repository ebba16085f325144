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
 * A session that is looked at again is read at the same places, in the same
 * order; and so is another one that has done the same, for all begin alike, at
 * the same addresses.  So what the last process was asked for is remembered,
 * and fetched ahead, as far as the next one is asked for the same: only those
 * parts of pages that were needed, for copying is what most of the time goes
 * to.  A memory that is wrong costs some copies that nobody needed, and what
 * is missing then is fetched as if nothing were remembered.
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
#include "utils/memutils.h"

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

/*
 * A range of its own costs as much as copying so many granules that nobody
 * needs, which is a page.  Hence there are not more ranges in a group than
 * that.
 */
#define GAP_GRANULES		16
#define RANGES_A_GROUP		((64 + GAP_GRANULES) / (1 + GAP_GRANULES))

/* A group in the cache. */
typedef struct PageGroup
{
	uintptr_t	group;			/* address / GROUP_BYTES, 0 if none */
	GranuleSet	here;			/* those that are here */
	GranuleSet	wanted;			/* those that were asked for */
	int			noted;			/* index of what notes it, -1 if nothing */
	bool		complete;		/* all that can be read of it is here */
	uint64		call;			/* the last one that was to fetch it */
} PageGroup;

/* What was asked for of a group, as long as it was in the cache. */
typedef struct GroupNote
{
	uintptr_t	group;
	GranuleSet	granules;
} GroupNote;

/* What a process was asked for, in that order. */
typedef struct GroupNotes
{
	GroupNote  *notes;
	int			count;
	int			size;			/* of the array */
} GroupNotes;

/* Of each use; in the context beside it, which lives as long as we do. */
static GroupNotes remembered_notes[MEMORY_READER_CHUNKS + 1];
static MemoryContext remembered_memory;

/*
 * Sizes of the array.  A process that was asked for more is remembered as far
 * as that: 512 kB.
 */
#define MIN_NOTES			128
#define MAX_NOTES			(MIN_NOTES << 8)

/* How far ahead remembered groups are looked for, and fetched. */
#define MAX_SEARCHED		4096
#define MAX_AHEAD			64
#define MAX_RANGES			256

/* How many unmapped stretches such a fetch steps over. */
#define MAX_GAPS			4

struct MemoryReader
{
	int			pid;			/* 0: this process */
	int			error;			/* errno of the last failure */
	uint64		calls;			/* process_vm_readv calls made */
	int			group_count;	/* a power of 2 */
	int			run;			/* groups that the last call fetched */
	GroupNotes *remembered;		/* of the last process */
	int			expected;		/* index of the note that is fetched next */
	int			ahead;			/* how many notes to fetch then */
	GroupNotes	asked;			/* of this one */
	MemoryContext memory;		/* what the reader lives in */
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
	if (remembered_memory == NULL)
		remembered_memory = AllocSetContextCreate(TopMemoryContext,
												  "pg_session_memory remembered pages",
												  ALLOCSET_SMALL_SIZES);
	reader->remembered = &remembered_notes[use];
	reader->memory = CurrentMemoryContext;
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
	{
		reader->groups[i].group = 0;
		reader->groups[i].wanted = 0;
		reader->groups[i].call = 0;
	}
	reader->run = 1;
	reader->expected = 0;
	reader->ahead = MAX_AHEAD;
	reader->asked.count = 0;
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
 * Moves the notes to an array of another size, which has room for them.
 * Returns false if there is no memory for it.
 */
static bool
resize_notes(MemoryContext memory, GroupNotes *notes, int size)
{
	GroupNote  *moved = MemoryContextAllocExtended(memory,
												   size * sizeof(GroupNote),
												   MCXT_ALLOC_NO_OOM);

	if (moved == NULL)
		return false;
	if (notes->notes != NULL)
	{
		memcpy(moved, notes->notes, notes->count * sizeof(GroupNote));
		pfree(notes->notes);
	}
	notes->notes = moved;
	notes->size = size;
	return true;
}

/*
 * Something of the group in this slot is asked for, for the first time.
 */
static void
begin_note(MemoryReader *reader, PageGroup *slot)
{
	GroupNotes *asked = &reader->asked;

	slot->noted = -1;
	if (asked->count == asked->size &&
		(asked->size == MAX_NOTES ||
		 !resize_notes(reader->memory, asked, Max(asked->size * 2, MIN_NOTES))))
		return;
	slot->noted = asked->count++;
	asked->notes[slot->noted].group = slot->group;
}

/*
 * The last chance to see what was asked for of the group in this slot.
 */
static void
end_note(MemoryReader *reader, PageGroup *slot)
{
	if (slot->wanted != 0 && slot->noted >= 0)
		reader->asked.notes[slot->noted].granules = slot->wanted;
	slot->wanted = 0;
}

/*
 * Gives the slot to a group of which nothing is there yet.
 */
static void
take_slot(MemoryReader *reader, PageGroup *slot, uintptr_t group)
{
	end_note(reader, slot);
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
			take_slot(reader, slot, here > 0 ? first + i : 0);
		if (here > 0)
			slot->here = granules(0, here);
		slot->complete = true;
	}
}

/*
 * Adds the ranges that a note says, and returns how many there are then.
 */
static int
add_ranges(MemoryReader *reader, const GroupNote *note, MemoryRange *local,
		   MemoryRange *remote, int count)
{
	char	   *here = bytes_of(reader, note->group);
	char	   *there = (char *) (note->group << GROUP_SHIFT);
	GranuleSet	left = note->granules;

	while (left != 0)
	{
		int			first = pg_rightmost_one_pos64(left);
		int			end = first;

		do
			end = pg_rightmost_one_pos64(left & granules(end, 64)) + 1;
		while (end < 64 &&
			   (left & granules(end, Min(end + GAP_GRANULES, 64))) != 0);

		local[count].iov_base = here + first * GRANULE_BYTES;
		remote[count].iov_base = there + first * GRANULE_BYTES;
		local[count].iov_len = (end - first) * GRANULE_BYTES;
		remote[count].iov_len = local[count].iov_len;
		count++;
		left &= ~granules(0, end);
	}
	return count;
}

/*
 * Fetches what was needed of a group the last time, and what was needed after
 * that: the more, the more often that was right.  Does nothing if the group is
 * not remembered, or where the order is quite another one.
 */
static void
fetch_expected(MemoryReader *reader, uintptr_t group)
{
	const GroupNotes *remembered = reader->remembered;
	MemoryRange local[MAX_RANGES];
	MemoryRange remote[MAX_RANGES];
	uint64		call = reader->calls + 1;
	int			searched = Min(remembered->count, MAX_SEARCHED);
	int			at = reader->expected;
	int			fetched = 0;
	int			count = 0;
	int			done = 0;

	/* What is here already is not what is missed. */
	while (at < remembered->count && is_here(reader, remembered->notes[at].group))
		at++;
	reader->expected = at;

	/* Most often it is the one that is expected, and if not, a later one. */
	for (; searched > 0; searched--, at++)
	{
		if (at >= remembered->count)
			at = 0;
		if (remembered->notes[at].group == group)
			break;
	}
	if (searched == 0)
		return;
	if (at == reader->expected)
		reader->ahead = Min(Max(reader->ahead, 1) * 2, MAX_AHEAD);
	else
		reader->ahead /= 4;
	reader->expected = at + 1;
	if (reader->ahead == 0)
		return;

	for (; at < remembered->count && fetched < reader->ahead; at++)
	{
		const GroupNote *note = &remembered->notes[at];
		PageGroup  *slot = slot_of(reader, note->group);

		if (is_here(reader, note->group))
			continue;

		/* Not two groups in one slot, and all of a group or nothing. */
		if (slot->call == call ||
			count + RANGES_A_GROUP > lengthof(local))
			break;
		take_slot(reader, slot, note->group);
		slot->call = call;
		count = add_ranges(reader, note, local, remote, count);
		fetched++;
	}
	reader->expected = at;

	for (int gaps = 0; done < count && gaps < MAX_GAPS; gaps++)
	{
		ssize_t		copied = read_other(reader, &local[done], &remote[done],
										count - done);

		if (copied < 0 && reader->error != EFAULT)
			return;

		/* What was copied in whole; the next one is left out. */
		for (; done < count && copied >= (ssize_t) local[done].iov_len; done++)
		{
			uintptr_t	address = (uintptr_t) remote[done].iov_base;
			int			first = address % GROUP_BYTES / GRANULE_BYTES;
			int			end = first + local[done].iov_len / GRANULE_BYTES;

			slot_of(reader, address >> GROUP_SHIFT)->here |=
				granules(first, end);
			copied -= local[done].iov_len;
		}
		done++;
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

	if (slot->group != group)
	{
		fetch_expected(reader, group);
		if (slot->group == group && (slot->here & wanted) == wanted)
			return true;
	}

	if (slot->group != group || !slot->complete)
	{
		fetch_group(reader, group);
		if (slot->group != group)
		{
			if (reader->error != EFAULT)
				return false;	/* no such process, or not permitted */
			take_slot(reader, slot, group);
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

void
memory_reader_remember(MemoryReader *reader)
{
	GroupNotes *asked = &reader->asked;
	GroupNotes *remembered = reader->remembered;

	if (memory_reader_is_self(reader))
		return;
	for (int i = 0; i < reader->group_count; i++)
		end_note(reader, &reader->groups[i]);

	/* The array neither too small nor, after a large process, far too large. */
	remembered->count = 0;
	if ((asked->count <= remembered->size &&
		 remembered->size / 4 <= Max(asked->count, MIN_NOTES)) ||
		resize_notes(remembered_memory, remembered,
					 Max(asked->count, MIN_NOTES)))
	{
		memcpy(remembered->notes, asked->notes,
			   asked->count * sizeof(GroupNote));
		remembered->count = asked->count;
	}
	asked->count = 0;
}

void
memory_reader_trim(void)
{
	if (remembered_memory == NULL)
		return;
	memset(remembered_notes, 0, sizeof(remembered_notes));
	MemoryContextReset(remembered_memory);
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
	if (slot->wanted == 0)
		begin_note(reader, slot);
	slot->wanted |= wanted;

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
