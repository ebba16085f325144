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
 * Sessions begin alike, at the same addresses: what was needed of one of them,
 * if it was not much, is what will be needed of the next one.  So these pages
 * are remembered, and fetched in one call when another process, or the same
 * one again, is looked at.
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

#include "memory_reader.h"

/* The most groups that one call fetches. */
#define MAX_RUN				8

/* Pages are 4 kB or more wherever this runs; a smaller one is no harm. */
#define PAGE_BYTES			4096

/* A set of pages of a group: a bit for each. */
typedef uint32 PageSet;

/* A group in the cache. */
typedef struct PageGroup
{
	uintptr_t	group;			/* address >> group_shift, 0 if none */
	PageSet		pages;			/* those that are here */
	PageSet		wanted;			/* those that were asked for */
	bool		complete;		/* all that can be read of it is here */
} PageGroup;

/* The pages that a process was asked for. */
#define MAX_REMEMBERED		128

typedef struct RememberedPages
{
	int			count;
	uintptr_t	groups[MAX_REMEMBERED];
	PageSet		pages[MAX_REMEMBERED];
} RememberedPages;

static RememberedPages remembered_pages[MEMORY_READER_CHUNKS + 1];

/* How many unmapped stretches a fetch of remembered pages steps over. */
#define MAX_GAPS			4

struct MemoryReader
{
	int			pid;			/* 0: this process */
	int			error;			/* errno of the last failure */
	uint64		calls;			/* process_vm_readv calls made */
	int			group_shift;	/* a group has 1 << group_shift bytes */
	int			group_count;	/* a power of 2 */
	int			run;			/* groups that the last call fetched */
	bool		untouched;		/* nothing was asked for yet */
	RememberedPages *remembered;
	RememberedPages asked;		/* of groups that had to make room */
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
	MemoryReader *reader = palloc(sizeof(MemoryReader));

	reader->pid = 0;
	reader->error = 0;
	reader->calls = 0;
	switch (use)
	{
		case MEMORY_READER_WALK:
			reader->group_shift = 14;	/* 4 pages */
			reader->group_count = 128;
			break;
		case MEMORY_READER_CHUNKS:
			reader->group_shift = 14;	/* 4 pages */
			reader->group_count = 512;
			break;
	}
	reader->remembered = &remembered_pages[use];
	reader->groups = palloc(reader->group_count * sizeof(PageGroup));
	reader->bytes = palloc((Size) reader->group_count << reader->group_shift);
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
	reader->untouched = true;
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

static inline PageGroup *
slot_of(MemoryReader *reader, uintptr_t group)
{
	return &reader->groups[group & (reader->group_count - 1)];
}

static inline char *
bytes_of(MemoryReader *reader, uintptr_t group)
{
	return reader->bytes +
		((group & (reader->group_count - 1)) << reader->group_shift);
}

/*
 * Adds pages of a group to those that a process was asked for.
 */
static void
note_pages(RememberedPages *asked, uintptr_t group, PageSet pages)
{
	if (group == 0 || pages == 0)
		return;
	if (asked->count < MAX_REMEMBERED)
	{
		asked->groups[asked->count] = group;
		asked->pages[asked->count] = pages;
	}
	asked->count++;
}

/*
 * Fetches count groups, whose slots follow each other, with one call.
 */
static void
fetch_groups(MemoryReader *reader, uintptr_t first, int count)
{
	ssize_t		group_bytes = (ssize_t) 1 << reader->group_shift;
	MemoryRange local = {bytes_of(reader, first), count * group_bytes};
	MemoryRange remote = {(void *) (first << reader->group_shift),
	count * group_bytes};
	ssize_t		copied = read_other(reader, &local, &remote, 1);

	for (int i = 0; i < count; i++)
	{
		PageGroup  *slot = slot_of(reader, first + i);
		ssize_t		here = Min(copied - i * group_bytes, group_bytes);

		if (slot->group != first + i)
		{
			note_pages(&reader->asked, slot->group, slot->wanted);
			slot->wanted = 0;
		}
		slot->group = here > 0 ? first + i : 0;
		slot->pages = here > 0 ? (1 << (here / PAGE_BYTES)) - 1 : 0;
		slot->complete = true;
	}
}

/*
 * Fetches the pages that were remembered, into a cache that is empty.
 */
static void
fetch_remembered(MemoryReader *reader)
{
	const RememberedPages *remembered = reader->remembered;
	MemoryRange local[MAX_REMEMBERED * 2];
	MemoryRange remote[MAX_REMEMBERED * 2];
	int			count = 0;
	int			done = 0;

	/* A range for each stretch of pages in a group. */
	for (int i = 0; i < remembered->count; i++)
	{
		uintptr_t	group = remembered->groups[i];
		PageSet		left = remembered->pages[i];
		PageGroup  *slot = slot_of(reader, group);

		/* Two groups of one slot: one of them has to be fetched later. */
		if (slot->group != 0)
			continue;
		slot->group = group;
		slot->pages = 0;
		slot->wanted = 0;
		slot->complete = false;
		while (left != 0 && count < lengthof(local))
		{
			int			first = pg_rightmost_one_pos32(left);
			int			end = first;

			while (left & (1 << end))
				left &= ~(1 << end++);
			local[count].iov_base = bytes_of(reader, group) +
				first * PAGE_BYTES;
			remote[count].iov_base = (char *) (group << reader->group_shift) +
				first * PAGE_BYTES;
			local[count].iov_len = (end - first) * PAGE_BYTES;
			remote[count].iov_len = local[count].iov_len;
			count++;
		}
	}

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
			int			pages = (int) (remote[done].iov_len / PAGE_BYTES);

			slot_of(reader, address >> reader->group_shift)->pages |=
				((1 << pages) - 1) <<
				(address / PAGE_BYTES % (((Size) 1 << reader->group_shift) / PAGE_BYTES));
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
	bool		upwards = slot_of(reader, group - 1)->group == group - 1;
	bool		downwards = slot_of(reader, group + 1)->group == group + 1;
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
				step * ((ssize_t) 1 << reader->group_shift) ||
				slot_of(reader, next)->group == next || next == 0)
				break;
			count++;
			if (downwards)
				first = next;
		}
	}
	reader->run = count;

	/* A run that begins where nothing is mapped ends there, too. */
	fetch_groups(reader, first, count);
	if (count > 1 && slot_of(reader, group)->group != group)
	{
		reader->run = 1;
		fetch_groups(reader, group, 1);
	}
}

/*
 * Makes pages of a group readable in its slot.  Returns false where one of
 * them is not mapped.
 */
static bool
fetch_pages(MemoryReader *reader, uintptr_t group, PageSet wanted)
{
	PageGroup  *slot = slot_of(reader, group);
	int			first = pg_rightmost_one_pos32(wanted) * PAGE_BYTES;
	int			length = (pg_leftmost_one_pos32(wanted) + 1) * PAGE_BYTES - first;
	MemoryRange local = {bytes_of(reader, group) + first, length};
	MemoryRange remote = {(char *) (group << reader->group_shift) + first,
	length};
	ssize_t		copied;

	if (reader->untouched)
	{
		reader->untouched = false;
		fetch_remembered(reader);
	}

	if (slot->group != group ||
		((slot->pages & wanted) != wanted && !slot->complete))
	{
		fetch_group(reader, group);
		if (slot->group != group)
		{
			if (reader->error != EFAULT)
				return false;	/* no such process, or not permitted */
			slot->group = group;
			slot->pages = 0;
			slot->wanted = 0;
			slot->complete = true;
		}
	}

	if ((slot->pages & wanted) == wanted)
		return true;

	/* The group is not mapped from end to end: just what is asked for. */
	copied = read_other(reader, &local, &remote, 1);
	if (copied != length)
	{
		if (copied >= 0)
			reader->error = EFAULT;
		return false;
	}
	slot->pages |= wanted;
	return true;
}

void
memory_reader_remember(MemoryReader *reader)
{
	if (memory_reader_is_self(reader))
		return;
	for (int i = 0; i < reader->group_count; i++)
		note_pages(&reader->asked, reader->groups[i].group,
				   reader->groups[i].wanted);
	if (reader->asked.count <= MAX_REMEMBERED)
		*reader->remembered = reader->asked;
	reader->asked.count = 0;
}

const void *
memory_reader_map_other(MemoryReader *reader, uintptr_t address, Size len)
{
	Size		group_bytes = (Size) 1 << reader->group_shift;
	uintptr_t	group = address >> reader->group_shift;
	Size		offset = address & (group_bytes - 1);
	Size		here = Min(len, group_bytes - offset);
	PageGroup  *slot = slot_of(reader, group);
	char	   *bytes = bytes_of(reader, group);
	PageSet		wanted;
	const void *rest;

	Assert(len <= MEMORY_READER_MAX_MAP);

	/* The first page is never mapped, and nothing may wrap around. */
	if (group == 0 || len == 0 || address + len < address)
	{
		reader->error = EFAULT;
		return NULL;
	}

	wanted = ((2 << ((offset + here - 1) / PAGE_BYTES)) - 1) &
		~((1 << (offset / PAGE_BYTES)) - 1);
	if ((slot->group != group || (slot->pages & wanted) != wanted) &&
		!fetch_pages(reader, group, wanted))
		return NULL;
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

	/* In steps that end with a page, for the next one may not be mapped. */
	while (length < size - 1)
	{
		Size		step = PAGE_BYTES - (address + length) % PAGE_BYTES;
		const char *from;
		const char *end;

		step = Min(step, size - 1 - length);
		step = Min(step, MEMORY_READER_MAX_MAP);
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
