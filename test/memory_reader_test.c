/*-------------------------------------------------------------------------
 *
 * memory_reader_test.c
 *	  src/reading/memory_reader.c by itself, without a server: it has to give
 *	  the bytes of the process that it reads, and nothing where nothing is,
 *	  whatever it was asked for before; and that process must have the memory
 *	  that it had before.
 *
 *	memory_reader_test [SEED [ROUNDS]]
 *
 * Two processes have the same pages mapped, with gaps.  Some of these they
 * have written to, with different bytes, some they still share with this
 * process, some are a file's and some are nobody's, never touched; and of some
 * the kernel is made to say that they are in swap.  A round reads some thousand
 * places of one of them, then of the other one, mostly the same ones in the
 * same order: upwards, downwards or anywhere.  Now and then calls fail or are
 * cut short at any byte, or the kernel does not say which pages are there.
 *
 * check.sh compiles it with sanitizers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "storage/fd.h"

#include "other_process.h"
#include "reading/memory_reader.h"

/* Those of the system: there is no server with its own ones. */
#undef fprintf
#undef printf
#undef snprintf
#undef strerror
#undef vsnprintf

#define PAGE		4096
#define PAGES		16384
#define PLACES		3000
#define PROCESSES	2

/* What a page has in it. */
typedef enum Contents
{
	GAP,						/* not mapped */
	WRITTEN,					/* each process's own bytes */
	SWAPPED,					/* the same, but "in swap" */
	INHERITED,					/* this process's bytes */
	FROM_FILE,					/* a file's bytes */
	UNTOUCHED
} Contents;

typedef struct Place
{
	size_t		offset;
	size_t		length;
} Place;

static unsigned char *memory;	/* the same addresses in all processes */
static Contents contents[PAGES];
static Place places[PLACES];
static bool reads_fail;			/* some of them */
static bool pages_unknown;		/* there is no /proc/PID/pagemap */
static char *file_name;			/* of the file that is mapped */
static int	pagemap_file = -1;	/* what the reader has open of that */

/* A number below limit */
static size_t
below(size_t limit)
{
	return random() % limit;
}

/* ----------------------------------------------------------------------------
 * What the reader needs of a server
 * ----------------------------------------------------------------------------
 */

void *
palloc(Size size)
{
	return malloc(size);
}

void *
palloc0(Size size)
{
	return calloc(1, size);
}

int
pg_snprintf(char *to, size_t size, const char *format,...)
{
	va_list		arguments;
	int			length;

	va_start(arguments, format);
	length = vsnprintf(to, size, format, arguments);
	va_end(arguments);
	return length;
}

#ifndef HAVE_STRLCPY
size_t
strlcpy(char *to, const char *from, size_t size)
{
	return snprintf(to, size, "%s", from);
}
#endif

int
OpenTransientFile(const char *name, int flags)
{
	bool		pagemap = strstr(name, "pagemap") != NULL;
	int			file = pagemap && pages_unknown ? -1 : open(name, flags);

	if (pagemap)
		pagemap_file = file;
	return file;
}

int
CloseTransientFile(int file)
{
	if (file == pagemap_file)
		pagemap_file = -1;
	return close(file);
}

FILE *
AllocateFile(const char *name, const char *mode)
{
	return fopen(name, mode);
}

int
FreeFile(FILE *file)
{
	return fclose(file);
}

/* ----------------------------------------------------------------------------
 * What the reader needs of the system
 * ----------------------------------------------------------------------------
 */

/* In the place of the C library's; says what is in swap. */
ssize_t
pread(int file, void *to, size_t length, off_t offset)
{
	ssize_t		got = syscall(SYS_pread64, file, to, length, offset);

	for (size_t i = 0; file == pagemap_file && i < got / sizeof(uint64); i++)
	{
		uintptr_t	page = offset / sizeof(uint64) + i -
			(uintptr_t) memory / PAGE;

		if (page < PAGES && contents[page] == SWAPPED)
			((uint64 *) to)[i] = UINT64CONST(1) << 62;
	}
	return got;
}

/* In the place of the C library's */
ssize_t
process_vm_readv(pid_t pid, const struct iovec *local, unsigned long locals,
				 const struct iovec *remote, unsigned long remotes,
				 unsigned long flags)
{
	static const int errors[] = {EPERM, ESRCH, EFAULT};
	ssize_t		copied;
	ssize_t		end = 0;

	if (reads_fail && below(10) == 0)
	{
		errno = errors[below(lengthof(errors))];
		return -1;
	}
	copied = syscall(SYS_process_vm_readv, pid, local, locals, remote, remotes,
					 flags);
	if (!reads_fail || copied <= 0 || below(10) > 0)
		return copied;

	/* Short by some or by most, and what it does not say has not come. */
	copied = below(below(2) == 0 ? copied : Min(copied, 600));
	for (unsigned long i = 0; i < locals; i++)
	{
		for (size_t j = 0; j < local[i].iov_len; j++, end++)
		{
			if (end >= copied)
				((char *) local[i].iov_base)[j] = (char) 0xA5;
		}
	}
	return copied;
}

/* ----------------------------------------------------------------------------
 * The test
 * ----------------------------------------------------------------------------
 */

/* The byte at a place in what process number, or a number for another source. */
static unsigned char
byte_of(size_t offset, int process)
{
	switch (contents[offset / PAGE])
	{
		case INHERITED:
			process = 100;
			break;
		case FROM_FILE:
			process = 200;
			break;
		default:
			break;
	}
	return (offset / 8 * 2654435761u + process * 977) >> 13;
}

static void
fill_pages(Contents what, int process)
{
	for (size_t i = 0; i < (size_t) PAGES * PAGE; i++)
	{
		if (contents[i / PAGE] == what)
			memory[i] = byte_of(i, process);
	}
}

static void
remove_file(void)
{
	unlink(file_name);
}

/* Maps the pages that are a file's. */
static void
map_file(void)
{
	char		name[] = "/tmp/memory_reader_test.XXXXXX";
	unsigned char bytes[PAGE];
	int			file = mkstemp(name);

	if (file < 0)
		die("mkstemp");
	for (size_t page = 0; page < PAGES; page++)
	{
		off_t		offset = page * PAGE;

		if (contents[page] != FROM_FILE)
			continue;
		for (int i = 0; i < PAGE; i++)
			bytes[i] = byte_of(offset + i, 0);
		if (pwrite(file, bytes, PAGE, offset) != PAGE)
			die("pwrite");
		if (mmap(memory + offset, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED,
				 file, offset) == MAP_FAILED)
			die("mmap");
	}
	close(file);
	file_name = strdup(name);
	atexit(remove_file);
}

static void
make_memory(void)
{
	size_t		page = 0;

	memory = mmap(NULL, (size_t) PAGES * PAGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED ||
		madvise(memory, (size_t) PAGES * PAGE, MADV_NOHUGEPAGE) != 0)
		die("mmap");
	while (page < PAGES)
	{
		Contents	what = below(2) == 0 ? WRITTEN : below(UNTOUCHED + 1);
		size_t		length = 1 + below(below(5) == 0 ? 6 : 400);

		for (; length > 0 && page < PAGES; length--, page++)
			contents[page] = what;
	}
	for (page = 0; page < PAGES; page++)
	{
		if (contents[page] != GAP &&
			mprotect(memory + page * PAGE, PAGE, PROT_READ | PROT_WRITE) != 0)
			die("mprotect");
	}
	map_file();
	fill_pages(INHERITED, 0);
}

/* Gives the pages of a process its bytes. */
static void
fill_memory(int process)
{
	fill_pages(WRITTEN, process);
	fill_pages(SWAPPED, process);
}

/* Waits until a process sleeps: until then it might touch pages itself. */
static void
wait_asleep(pid_t pid)
{
	char		line[200];
	char		state = 0;

	while (state != 'S')
	{
		FILE	   *file;

		snprintf(line, sizeof(line), "/proc/%d/stat", (int) pid);
		file = fopen(line, "r");
		if (file == NULL || fscanf(file, "%*s %*s %c", &state) != 1)
			die(line);
		fclose(file);
	}
}

/*
 * What a process has in memory, in kB, by each of the kernel's figures; clean
 * and dirty together, since pages of files are written back meanwhile.
 */
static void
memory_of(pid_t pid, char *figures, size_t size)
{
	char		line[200];
	long		kilobytes;
	long		sums[4] = {0};
	FILE	   *file;

	snprintf(line, sizeof(line), "/proc/%d/smaps_rollup", (int) pid);
	file = fopen(line, "r");
	if (file == NULL)
		die(line);
	while (fgets(line, sizeof(line), file) != NULL)
	{
		if (sscanf(line, "%*s %ld", &kilobytes) != 1)
			continue;
		if (strncmp(line, "Rss:", 4) == 0)
			sums[0] += kilobytes;
		else if (strncmp(line, "Anonymous:", 10) == 0)
			sums[1] += kilobytes;
		else if (strncmp(line, "Private_", 8) == 0)
			sums[2] += kilobytes;
		else if (strncmp(line, "Shared_", 7) == 0)
			sums[3] += kilobytes;
	}
	fclose(file);
	snprintf(figures, size, "in RAM %ld, anonymous %ld, own %ld, shared %ld kB",
			 sums[0], sums[1], sums[2], sums[3]);
}

static void
choose_places(void)
{
	const size_t end = (size_t) PAGES * PAGE - 2 * MEMORY_READER_MAX_MAP;
	enum {UPWARDS, DOWNWARDS, ANYWHERE} order = below(3);
	size_t		at = below(end);

	for (int i = 0; i < PLACES; i++)
	{
		size_t		step = below(6000);

		if (order == ANYWHERE || below(200) == 0)
			at = below(end);
		else
			at = (at + (order == UPWARDS ? step : end - step)) % end;
		places[i].offset = at;
		places[i].length =
			1 + below(below(3) == 0 ? MEMORY_READER_MAX_MAP : 200);
	}
}

/* Returns whether it could be read; ends the program where that is wrong. */
static bool
check_place(MemoryReader *reader, const Place *place, int process)
{
	const unsigned char *bytes;
	char		string[300];
	int			length;
	bool		there = true;
	bool		in_swap = false;

	for (size_t page = place->offset / PAGE;
		 page <= (place->offset + place->length - 1) / PAGE; page++)
	{
		/* Who cannot know is not asked for what would cost memory. */
		if (pages_unknown && contents[page] != WRITTEN && contents[page] != GAP)
			return false;
		if (there && contents[page] == SWAPPED)
			in_swap = true;
		there = there && contents[page] != GAP &&
			contents[page] != UNTOUCHED && contents[page] != SWAPPED;
	}

	bytes = memory_reader_map(reader, (uintptr_t) memory + place->offset,
							  place->length);
	if (bytes == NULL && (reads_fail ? memory_reader_errno(reader) == 0 :
						  memory_reader_errno(reader) !=
						  (in_swap ? EAGAIN : EFAULT)))
	{
		printf("a read fails, and the reason is %s\n",
			   strerror(memory_reader_errno(reader)));
		exit(1);
	}
	if (bytes == NULL && reads_fail)
		return false;
	if ((bytes != NULL) != there)
	{
		printf("contents %d %s\n", contents[place->offset / PAGE],
			   there ? "not read" : "read");
		exit(1);
	}
	for (size_t i = 0; there && i < place->length; i++)
	{
		if (bytes[i] != byte_of(place->offset + i, process))
		{
			printf("a wrong byte was read\n");
			exit(1);
		}
	}

	if (below(10) > 0 || !there)
		return there;
	length = memory_reader_string(reader, (uintptr_t) memory + place->offset,
								  string, sizeof(string));
	for (int i = 0; i < length; i++)
	{
		if ((unsigned char) string[i] != byte_of(place->offset + i, process))
		{
			printf("a wrong string was read\n");
			exit(1);
		}
	}
	return there;
}

int
main(int argc, char **argv)
{
	int			seed = argc > 1 ? atoi(argv[1]) : 1;
	int			rounds = argc > 2 ? atoi(argv[2]) : 40;
	pid_t		pids[PROCESSES];
	char		before[PROCESSES][1000];
	char		after[1000];
	MemoryReader *readers[] = {
		memory_reader_open(MEMORY_READER_WALK),
		memory_reader_open(MEMORY_READER_CHUNKS),
	};
	long		gaps = 0;
	long		there = 0;

	srandom(seed);
	make_memory();
	for (int i = 0; i < PROCESSES; i++)
		pids[i] = start_other(fill_memory, i);
	for (int i = 0; i < PROCESSES; i++)
		wait_asleep(pids[i]);
	for (int i = 0; i < PROCESSES; i++)
		memory_of(pids[i], before[i], sizeof(before[i]));

	for (int round = 0; round < rounds; round++)
	{
		MemoryReader *reader = readers[below(2)];

		if (round % 4 == 0)
			choose_places();
		else
		{
			for (int i = 0; i < PLACES / 20; i++)
				places[below(PLACES)] = places[below(PLACES)];
		}
		reads_fail = below(4) == 0;
		pages_unknown = below(5) == 0;

		for (int look = 0; look < 3; look++)
		{
			int			process = below(PROCESSES);

			memory_reader_attach(reader, pids[process]);
			for (int i = 0; i < PLACES; i++)
			{
				if (below(50) == 0)
					continue;
				if (check_place(reader, &places[i], process))
					there++;
				else if (!reads_fail && !pages_unknown)
					gaps++;
			}
			memory_reader_detach(reader);
		}
	}

	/* Nothing is proven by places of one kind only. */
	printf("%ld places read, %ld that cannot be\n", there, gaps);
	for (int i = 0; i < PROCESSES; i++)
	{
		memory_of(pids[i], after, sizeof(after));
		if (strcmp(before[i], after) != 0)
		{
			printf("the memory of process %d was\n%s\nand now is\n%s\n", i,
				   before[i], after);
			exit(1);
		}
	}
	for (int i = 0; i < PROCESSES; i++)
		end_other(pids[i]);
	return there > 0 && gaps > 0 ? 0 : 1;
}
