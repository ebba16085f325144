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
 * into a direct-mapped cache.  A group is fetched as a whole where it is
 * mapped as a whole; where that fails (the edge of the heap), only the part
 * that is wanted is.  The cache has a fixed size and lives in the memory
 * context in which the reader was opened, so an error frees it, too.
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

#include "memory_reader.h"

/* Pages are 4 kB or more wherever this runs; a smaller one is no harm. */
#define PAGE_BYTES			4096

typedef struct PageGroup
{
	uintptr_t	group;			/* address >> group_shift, 0 if none */
	uint32		pages;			/* a bit for each page that was read */
} PageGroup;

struct MemoryReader
{
	int			pid;			/* 0: this process */
	int			error;			/* errno of the last failure */
	uint64		calls;			/* process_vm_readv calls made */
	int			group_shift;	/* a group has 1 << group_shift bytes */
	int			group_count;	/* a power of 2 */
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
			reader->group_count = 64;
			break;
		case MEMORY_READER_CHUNKS:
			reader->group_shift = 14;	/* 4 pages */
			reader->group_count = 512;
			break;
	}
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

/*
 * Copies len bytes from the other process.  Returns how many bytes were
 * copied: fewer than asked for where an unmapped page follows, -1 where not
 * even the first can be read.
 */
static ssize_t
read_other(MemoryReader *reader, uintptr_t address, void *to, Size len)
{
	struct iovec local = {.iov_base = to,.iov_len = len};
	struct iovec remote = {.iov_base = (void *) address,.iov_len = len};
	ssize_t		copied;

	reader->calls++;
	copied = process_vm_readv(reader->pid, &local, 1, &remote, 1, 0);
	if (copied < 0)
		reader->error = errno;
	return copied;
}

#else

static ssize_t
read_other(MemoryReader *reader, uintptr_t address, void *to, Size len)
{
	reader->error = ENOSYS;
	return -1;
}

#endif

/*
 * Makes the pages first to last (numbers within the group) of a group
 * readable in its slot.  Returns false where one of them is not mapped.
 */
static bool
fetch_pages(MemoryReader *reader, PageGroup *slot, char *bytes,
			uintptr_t group, int first, int last)
{
	uint32		wanted = ((2 << last) - 1) & ~((1 << first) - 1);
	uintptr_t	start = group << reader->group_shift;
	ssize_t		group_bytes = (ssize_t) 1 << reader->group_shift;
	ssize_t		copied;

	if (slot->group != group)
	{
		slot->group = group;
		slot->pages = 0;

		copied = read_other(reader, start, bytes, group_bytes);
		if (copied > 0)
			slot->pages = (1 << (copied / PAGE_BYTES)) - 1;
		else if (reader->error != EFAULT)
			return false;		/* no such process, or not permitted */
	}

	if ((slot->pages & wanted) == wanted)
		return true;

	/* The group is not mapped from end to end: just what is asked for. */
	copied = read_other(reader, start + first * PAGE_BYTES,
						bytes + first * PAGE_BYTES,
						(last - first + 1) * PAGE_BYTES);
	if (copied != (last - first + 1) * PAGE_BYTES)
	{
		if (copied >= 0)
			reader->error = EFAULT;
		return false;
	}
	slot->pages |= wanted;
	return true;
}

const void *
memory_reader_map_other(MemoryReader *reader, uintptr_t address, Size len)
{
	Size		group_bytes = (Size) 1 << reader->group_shift;
	uintptr_t	group = address >> reader->group_shift;
	Size		offset = address & (group_bytes - 1);
	Size		here = Min(len, group_bytes - offset);
	int			number = group & (reader->group_count - 1);
	PageGroup  *slot = &reader->groups[number];
	char	   *bytes = reader->bytes + ((Size) number << reader->group_shift);
	uint32		all_pages = (1 << (group_bytes / PAGE_BYTES)) - 1;
	const void *rest;

	Assert(len <= MEMORY_READER_MAX_MAP);

	/* The first page is never mapped, and nothing may wrap around. */
	if (group == 0 || len == 0 || address + len < address)
	{
		reader->error = EFAULT;
		return NULL;
	}

	if ((slot->group != group || slot->pages != all_pages) &&
		!fetch_pages(reader, slot, bytes, group, offset / PAGE_BYTES,
					 (offset + here - 1) / PAGE_BYTES))
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
