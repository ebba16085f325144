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
 * lie in each other's neighbourhood.  Contexts that were made one after the
 * other are met in that order, or in the opposite one: when a page is wanted
 * whose neighbour is in the cache, some pages beyond it are fetched in the same
 * call, more of them each time.  The cache is direct-mapped, has a fixed size
 * and lives in the memory context in which the reader was opened, so an error
 * frees it, too.
 *
 * To look must not cost the other process any memory, and the kernel makes a
 * page where one is read that is not there.  So page_map.c is asked what is
 * there.  A page that is absent or in swap is not read, whoever wants it; but
 * a library's, of which the process has used nothing yet, is read from the
 * library.  A page that is shared with the postmaster is read by
 * /proc/PID/mem, more slowly: process_vm_readv(2) would copy it, see
 * page_map.c.  Where the kernel does not say what is there, only the page that
 * is wanted is read, and none ahead: it is there, if no pointer was wrong.
 *
 * Reading needs the right to attach to the process, see ptrace(2): the same
 * user, which all processes of a server are, and where Linux's Yama restricts
 * it to descendants, a grant by the observed process, see read_permission.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/uio.h>
#endif

#include "storage/fd.h"

#include "reading/mapped_file.h"
#include "reading/memory_reader.h"
#include "reading/page_map.h"

/* The most pages that one call fetches. */
#define MAX_RUN				32

struct MemoryReader
{
	int			pid;			/* 0: this process */
	int			error;			/* errno of the last failure */
	uint64		calls;			/* that have read pages */
	int			page_count;		/* a power of 2 */
	int			run;			/* pages that the last call fetched */
	uintptr_t  *pages;			/* address / MAP_PAGE_BYTES, 0 if none */
	char	   *bytes;			/* of all pages */
	PageMap		map;
	bool		memory_opened;	/* whether memory is what opening gave */
	int			memory;			/* /proc/<pid>/mem, -1 if it can't be */
	char		joined[MEMORY_READER_MAX_MAP];	/* what crosses two pages */
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
			reader->page_count = 512;
			break;
		case MEMORY_READER_CHUNKS:
			reader->page_count = 2048;
			break;
	}
	reader->pages = palloc(reader->page_count * sizeof(uintptr_t));
	reader->bytes = palloc(reader->page_count * MAP_PAGE_BYTES);
	memory_reader_forget(reader);
	return reader;
}

void
memory_reader_attach(MemoryReader *reader, int pid)
{
	memory_reader_detach(reader);
	reader->pid = pid;
	reader->error = 0;
	page_map_attach(&reader->map, pid);
	memory_reader_forget(reader);
}

void
memory_reader_detach(MemoryReader *reader)
{
	if (memory_reader_is_self(reader))
		return;
	page_map_attach(&reader->map, 0);
	if (reader->memory_opened && reader->memory >= 0)
		CloseTransientFile(reader->memory);
	reader->memory_opened = false;
	reader->pid = 0;
}

void
memory_reader_forget(MemoryReader *reader)
{
	if (memory_reader_is_self(reader))
		return;
	memset(reader->pages, 0, reader->page_count * sizeof(uintptr_t));
	reader->run = 1;
	page_map_forget(&reader->map);
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

static ssize_t
read_own_pages(MemoryReader *reader, void *to, uintptr_t address, Size length)
{
	struct iovec local = {to, length};
	struct iovec remote = {(void *) address, length};

	return process_vm_readv(reader->pid, &local, 1, &remote, 1, 0);
}

static ssize_t
read_inherited_pages(MemoryReader *reader, void *to, uintptr_t address,
					 Size length)
{
	if (!reader->memory_opened)
	{
		char		path[64];

		snprintf(path, sizeof(path), "/proc/%d/mem", reader->pid);
		reader->memory = OpenTransientFile(path, O_RDONLY | PG_BINARY);
		reader->memory_opened = true;
	}
	if (reader->memory < 0)
		return read_own_pages(reader, to, address, length);
	return pread(reader->memory, to, length, address);
}

#else

static ssize_t
read_own_pages(MemoryReader *reader, void *to, uintptr_t address, Size length)
{
	errno = ENOSYS;
	return -1;
}

#define read_inherited_pages read_own_pages

#endif

static inline int
slot_of(MemoryReader *reader, uintptr_t page)
{
	return page & (reader->page_count - 1);
}

static inline bool
is_here(MemoryReader *reader, uintptr_t page)
{
	return reader->pages[slot_of(reader, page)] == page;
}

static inline char *
bytes_of(MemoryReader *reader, uintptr_t page)
{
	return reader->bytes + slot_of(reader, page) * MAP_PAGE_BYTES;
}

/*
 * Fetches count pages, whose slots follow each other and which are all in the
 * same state, with one call.
 */
static void
fetch_pages(MemoryReader *reader, PageState state, uintptr_t first, int count)
{
	uintptr_t	address = first << MAP_PAGE_SHIFT;
	Size		length = count * MAP_PAGE_BYTES;
	ssize_t		copied;

	reader->calls++;
	if (state == PAGE_INHERITED)
		copied = read_inherited_pages(reader, bytes_of(reader, first),
									  address, length);
	else
		copied = read_own_pages(reader, bytes_of(reader, first), address,
								length);
	if (copied < 0)
		reader->error = errno;
	else if (copied < (ssize_t) length)
		reader->error = EFAULT;

	/* What was not copied as a whole is not here, nor what was here before. */
	for (int i = 0; i < count; i++)
		reader->pages[slot_of(reader, first + i)] =
			(i + 1) * (ssize_t) MAP_PAGE_BYTES <= copied ? first + i : 0;
}

/*
 * How many pages to fetch with one call, so that page is among them, and the
 * first of them.  More than one if the last ones were wanted in the order of
 * their addresses: those that will be wanted next.
 */
static int
choose_run(MemoryReader *reader, PageState state, uintptr_t page,
		   uintptr_t *first)
{
	bool		upwards = is_here(reader, page - 1);
	bool		downwards = is_here(reader, page + 1);
	int			step = upwards ? 1 : -1;
	int			most = Min(reader->run * 2, MAX_RUN);
	int			count = 1;

	*first = page;
	if (state == PAGE_UNKNOWN || upwards == downwards)
		return 1;

	/* As far as slots follow each other and are not filled already. */
	for (uintptr_t next = page + step; count < most; next += step)
	{
		if (slot_of(reader, next) != slot_of(reader, next - step) + step ||
			is_here(reader, next) ||
			page_map_state(&reader->map, next) != state)
			break;
		count++;
		if (downwards)
			*first = next;
	}
	return count;
}

/*
 * Brings a page into its slot.  Returns false where it can't be read without
 * costing the process memory, or not at all.
 */
static bool
fetch_page(MemoryReader *reader, uintptr_t page)
{
	PageState	state = page_map_state(&reader->map, page);
	uintptr_t	first;

	if (state == PAGE_SWAPPED)
	{
		reader->error = EAGAIN;
		return false;
	}
	if (state == PAGE_ABSENT)
	{
		int			slot = slot_of(reader, page);

		reader->pages[slot] = 0;
		if (!mapped_file_read(reader->pid, page << MAP_PAGE_SHIFT,
							  bytes_of(reader, page), MAP_PAGE_BYTES))
		{
			reader->error = EFAULT;
			return false;
		}
		reader->pages[slot] = page;
		return true;
	}

	reader->run = choose_run(reader, state, page, &first);
	fetch_pages(reader, state, first, reader->run);
	if (!is_here(reader, page) && reader->run > 1)
	{
		/* Something before it has gone since the kernel was asked. */
		reader->run = 1;
		fetch_pages(reader, state, page, 1);
	}
	return is_here(reader, page);
}

void
memory_reader_forget_range(MemoryReader *reader, uintptr_t address, Size len)
{
	if (memory_reader_is_self(reader) || len == 0)
		return;
	for (uintptr_t page = address >> MAP_PAGE_SHIFT;
		 page <= (address + len - 1) >> MAP_PAGE_SHIFT; page++)
	{
		if (is_here(reader, page))
			reader->pages[slot_of(reader, page)] = 0;
		page_map_forget_page(&reader->map, page);
	}
}

const void *
memory_reader_map_other(MemoryReader *reader, uintptr_t address, Size len)
{
	uintptr_t	page = address >> MAP_PAGE_SHIFT;
	Size		offset = address % MAP_PAGE_BYTES;
	Size		here = Min(len, MAP_PAGE_BYTES - offset);
	const void *rest;

	Assert(len <= MEMORY_READER_MAX_MAP);
	Assert(reader->pid != 0);

	/* The first page is never mapped, and nothing may wrap around. */
	if (page == 0 || len == 0 || address + len < address)
	{
		reader->error = EFAULT;
		return NULL;
	}
	if (!is_here(reader, page) && !fetch_page(reader, page))
		return NULL;
	if (here == len)
		return bytes_of(reader, page) + offset;

	/*
	 * The range goes on in the next page, whose slot is another one.  That
	 * call is never joined itself, so the buffer is ours.
	 */
	memcpy(reader->joined, bytes_of(reader, page) + offset, here);
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
		Size		step = MAP_PAGE_BYTES - (address + length) % MAP_PAGE_BYTES;
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
