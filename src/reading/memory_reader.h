/*-------------------------------------------------------------------------
 *
 * memory_reader.h
 *	  Reads bytes of this process, or of another process from outside.
 *
 * Knows processes and pages, not memory contexts.  A reader of this process
 * hands out the addresses themselves; a reader of another one copies pages
 * into a cache of a fixed size.  The other process executes nothing, takes no
 * lock and is not interrupted, and has afterwards the memory that it had
 * before: a page that is not in RAM is not read.
 *
 * memory_reader_open can run out of memory.  Reading another process can raise
 * the error that this process has too many files open.  Nothing else here
 * raises an error: what cannot be read is NULL or false, and
 * memory_reader_errno says why.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_MEMORY_READER_H
#define PGSM_MEMORY_READER_H

typedef struct MemoryReader MemoryReader;

/* What a reader is for, on which the size of its cache depends. */
typedef enum MemoryReaderUse
{
	/*
	 * A walk goes through the memory once, mostly in order: 2 MB, which is
	 * more than a fresh session has, and stays in the processor's own cache.
	 */
	MEMORY_READER_WALK,

	/*
	 * Free chunks are scattered over all blocks of a context, and are read
	 * much faster where these fit in: 8 MB.
	 */
	MEMORY_READER_CHUNKS
} MemoryReaderUse;

/* The most bytes that one memory_reader_map call may ask for. */
#define MEMORY_READER_MAX_MAP	1024

/*
 * The reader of this process.  Static, needs no closing.
 * May be used anywhere, callbacks included.
 */
extern MemoryReader *memory_reader_self(void);

/*
 * A reader for other processes, allocated in the current memory context; it
 * goes with that context.  May raise out-of-memory.  Not for callbacks.
 */
extern MemoryReader *memory_reader_open(MemoryReaderUse use);

/*
 * Points an opened reader at the process pid, forgetting all that it has
 * cached.  The pid may be one's own: then the process reads itself as it
 * would read another one, and a wrong address is no harm.
 */
extern void memory_reader_attach(MemoryReader *reader, int pid);

/*
 * The look is over: closes the files of the process.  To be called after an
 * error, too.  Nothing can be read before the next attach.
 */
extern void memory_reader_detach(MemoryReader *reader);

/* Forgets what is cached, so that what follows is read anew. */
extern void memory_reader_forget(MemoryReader *reader);

/*
 * Forgets len bytes at address, and what is cached with them: a page and
 * whether it is there.
 */
extern void memory_reader_forget_range(MemoryReader *reader,
									   uintptr_t address, Size len);

/* Whether this reader reads the calling process. */
extern bool memory_reader_is_self(const MemoryReader *reader);

/*
 * The errno of the last read that failed, or 0.  EFAULT where nothing is,
 * EAGAIN where reading would bring a page back from swap.
 */
extern int	memory_reader_errno(const MemoryReader *reader);

/* How many system calls of the reader have read pages: for tests. */
extern uint64 memory_reader_calls(const MemoryReader *reader);

/*
 * A pointer to len bytes (at most MEMORY_READER_MAX_MAP) at address, valid
 * until the next call on this reader, or NULL if they cannot be read.
 */
extern const void *memory_reader_map_other(MemoryReader *reader,
										   uintptr_t address, Size len);

/*
 * Copies the string at address, at most size - 1 bytes of it, and ends it
 * with a zero byte.  Returns its length, or -1 if it can't be read.
 */
extern int	memory_reader_string(MemoryReader *reader, uintptr_t address,
								 char *buffer, Size size);

extern MemoryReader memory_reader_of_self;

/*
 * Has the processor fetch the cache line at an address of this process, which
 * may be wrong: only a hint.
 */
static inline void
memory_prefetch(uintptr_t address)
{
#ifdef __GNUC__
	__builtin_prefetch((const void *) address);
#endif
}

static inline const void *
memory_reader_map(MemoryReader *reader, uintptr_t address, Size len)
{
	if (reader == &memory_reader_of_self)
		return (const void *) address;
	return memory_reader_map_other(reader, address, len);
}

#endif							/* PGSM_MEMORY_READER_H */
