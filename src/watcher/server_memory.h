/*-------------------------------------------------------------------------
 *
 * server_memory.h
 *	  How much memory the server can still have.
 *
 * The machine has a limit, and so has each control group that the server is
 * in, and each group around it.  The one that has least left is the one at
 * which the kernel's OOM killer sets in.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SERVER_MEMORY_H
#define PGSM_SERVER_MEMORY_H

/* A group has few ancestors; containers within containers some more. */
#define SERVER_MEMORY_GROUPS	16

/* The name of a group, and the path of a file in it; longer ones are left. */
#define SERVER_MEMORY_PATH		1024

/* A control group whose limit holds for the server. */
typedef struct MemoryGroup
{
	bool		unified;		/* of version 2 */
	bool		totals;			/* version 1: memory.stat sums its children */
	bool		limited;		/* had a limit when it was found */
	char		directory[SERVER_MEMORY_PATH];
	char		name[SERVER_MEMORY_PATH];	/* as in /proc/PID/cgroup */
} MemoryGroup;

/* Where the figures come from; see server_memory_find. */
typedef struct MemorySources
{
	const char *root;			/* what stands before /proc and other paths */
	int			count;
	MemoryGroup groups[SERVER_MEMORY_GROUPS];
} MemorySources;

/* Bytes; -1 where the operating system does not tell. */
typedef struct ServerMemory
{
	int64		total_bytes;	/* all that the server may ever have */
	int64		available_bytes;	/* what is free or can be made so */
	int64		swap_bytes;		/* what could go to swap beyond that, or 0 */
	int			source;			/* index of the group, -1 the machine */
	int64		swap_used_bytes;	/* what is in the machine's swap, or 0 */
	int64		oom_kills;		/* processes that the OOM killer has ended; by
								 * server_memory_read_oom_kills */
} ServerMemory;

/*
 * Finds the control groups of the calling process, of version 1 and 2, out of
 * root/proc/self/cgroup and root/proc/self/mountinfo.  root is "" for the
 * machine's own; tests have others.  A process can be moved to another group,
 * so this is to be called again now and then.  No allocation, no error.
 */
extern void server_memory_find(MemorySources *sources, const char *root);

/*
 * Reads how much there is: the smallest of what the machine and each group
 * have left.  Returns false, with all figures -1, where not even /proc/meminfo
 * can be read.  A group that had no limit when it was found is not asked again.
 * No allocation, no error.
 */
extern bool server_memory_read(const MemorySources *sources,
							   ServerMemory *memory);

/*
 * Reads how many processes the OOM killer has ended in the server's own group,
 * or on the machine where no group counts them; -1: not known.  No allocation,
 * no error.
 */
extern int64 server_memory_read_oom_kills(const MemorySources *sources);

/* "machine", or the name of the group that has least left. */
extern const char *server_memory_source_name(const MemorySources *sources,
											 const ServerMemory *memory);

/*
 * Reads root/path, of which the first size - 1 bytes are wanted, into text and
 * ends it with a zero byte.  Returns the length, -1 if there is no such file.
 */
extern int	server_memory_read_file(const char *root, const char *path,
									char *text, Size size);

#endif							/* PGSM_SERVER_MEMORY_H */
