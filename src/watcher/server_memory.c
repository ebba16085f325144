/*-------------------------------------------------------------------------
 *
 * server_memory.c
 *	  How much memory the server can still have.
 *
 * What is left of the machine is MemAvailable of /proc/meminfo: the kernel's
 * own estimate of what can be had without swapping.
 *
 * What is left of a control group is its limit less what cannot be reclaimed:
 * usage counts pages of files, which the kernel drops before it kills anybody.
 * Pages of shared memory are not among those, though the kernel counts them as
 * cache in other places, so shared buffers that were touched are used memory,
 * as they should be.  The limits of all groups above hold as well; in version
 * 1 only where memory.use_hierarchy says so.
 *
 *		version			2					1
 *		limit			memory.max			memory.limit_in_bytes
 *		usage			memory.current		memory.usage_in_bytes
 *		reclaimable		memory.stat: inactive_file, active_file and
 *						slab_reclaimable	total_inactive_file,
 *											total_active_file
 *		swap			memory.swap.max		memory.memsw.limit_in_bytes
 *						memory.swap.current	memory.memsw.usage_in_bytes
 *		OOM kills		memory.events		memory.oom_control
 *
 * Both versions can be mounted at once; then one of them has the memory
 * controller, and groups of the other one have no such files.  In a container
 * with a namespace of its own, the group's name is that within the container,
 * and groups around it cannot be seen.
 *
 * All files are read with plain system calls into memory of fixed size.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "close_on_exec.h"
#include "watcher/server_memory.h"

/* The longest file but mountinfo: memory.stat has some 2 kB. */
#define FILE_BYTES			8192

/* Version 1 says "no limit" by a number of pages that no machine has. */
#define NO_LIMIT			(INT64CONST(1) << 60)

int
server_memory_read_file(const char *root, const char *path, char *text,
						Size size)
{
	char		full[SERVER_MEMORY_PATH];
	Size		length = 0;
	int			file;

	text[0] = '\0';
	if (strlen(root) + strlen(path) >= sizeof(full))
		return -1;
	strcpy(full, root);
	strcat(full, path);
	file = open(full, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return -1;
	while (length < size - 1)
	{
		ssize_t		got = read(file, text + length, size - 1 - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
		{
			close(file);
			text[0] = '\0';
			return -1;
		}
		if (got == 0)
			break;
		length += got;
	}
	close(file);
	text[length] = '\0';
	return (int) length;
}

/*
 * The number behind a label at the beginning of a line, -1 if there is none.
 */
static int64
number_of(const char *text, const char *label)
{
	Size		length = strlen(label);

	for (const char *line = text; line != NULL; line = strchr(line, '\n'))
	{
		if (*line == '\n')
			line++;
		if (strncmp(line, label, length) == 0 &&
			(line[length] == ' ' || line[length] == '\t'))
		{
			char	   *end;
			int64		number;

			errno = 0;
			number = strtoll(line + length, &end, 10);
			return end == line + length || errno != 0 || number < 0 ?
				-1 : number;
		}
	}
	return -1;
}

/*
 * The one number that a file of a group has: NO_LIMIT for "max" or what is as
 * good as that, -1 if there is no such file or no number in it.
 */
static int64
group_number(const MemorySources *sources, const MemoryGroup *group,
			 const char *name)
{
	char		path[SERVER_MEMORY_PATH];
	char		text[64];
	char	   *end;
	int64		number;

	if (strlen(group->directory) + strlen(name) + 2 > sizeof(path))
		return -1;
	strcpy(path, group->directory);
	strcat(path, "/");
	strcat(path, name);
	if (server_memory_read_file(sources->root, path, text, sizeof(text)) <= 0)
		return -1;
	if (strncmp(text, "max", 3) == 0)
		return NO_LIMIT;
	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno == ERANGE && number > 0)
		return NO_LIMIT;
	if (end == text || errno != 0 || number < 0)
		return -1;
	return Min(number, NO_LIMIT);
}

/* A file of a group with many lines; empty if there is none. */
static void
group_file(const MemorySources *sources, const MemoryGroup *group,
		   const char *name, char *text, Size size)
{
	char		path[SERVER_MEMORY_PATH];

	text[0] = '\0';
	if (strlen(group->directory) + strlen(name) + 2 > sizeof(path))
		return;
	strcpy(path, group->directory);
	strcat(path, "/");
	strcat(path, name);
	(void) server_memory_read_file(sources->root, path, text, size);
}

/* ----------------------------------------------------------------------------
 * Finding the groups
 * ----------------------------------------------------------------------------
 */

/* Copies up to the end of a field, with mountinfo's octal escapes undone. */
static bool
copy_field(const char **from, char *to, Size size)
{
	Size		length = 0;
	const char *c = *from;

	while (*c != '\0' && *c != ' ' && *c != '\n')
	{
		char		byte = *c;

		if (byte == '\\' && c[1] >= '0' && c[1] <= '3' &&
			c[2] >= '0' && c[2] <= '7' && c[3] >= '0' && c[3] <= '7')
		{
			byte = (char) ((c[1] - '0') * 64 + (c[2] - '0') * 8 +
						   (c[3] - '0'));
			c += 3;
		}
		if (length + 1 >= size)
			return false;
		to[length++] = byte;
		c++;
	}
	to[length] = '\0';
	*from = *c == ' ' ? c + 1 : c;
	return true;
}

/* Whether one of the words between commas is this one. */
static bool
has_word(const char *words, const char *end, const char *word)
{
	Size		length = strlen(word);

	while (words < end)
	{
		const char *comma = memchr(words, ',', end - words);
		const char *stop = comma != NULL ? comma : end;

		if ((Size) (stop - words) == length &&
			strncmp(words, word, length) == 0)
			return true;
		words = stop + 1;
	}
	return false;
}

/*
 * The calling process's group of a version, out of /proc/self/cgroup, whose
 * lines are "number:controllers:name".  Version 2 has the number 0 and no
 * controllers.
 */
static bool
name_of_own_group(const char *text, bool unified, char *name, Size size)
{
	while (*text != '\0')
	{
		const char *end = strchr(text, '\n');
		const char *first = strchr(text, ':');
		const char *second;

		if (end == NULL)
			end = text + strlen(text);
		second = first != NULL && first < end ? strchr(first + 1, ':') : NULL;
		if (second != NULL && second < end &&
			(unified ? second == first + 1 :
			 has_word(first + 1, second, "memory")) &&
			second + 1 < end && (Size) (end - second) <= size)
		{
			memcpy(name, second + 1, end - second - 1);
			name[end - second - 1] = '\0';
			return true;
		}
		text = *end == '\0' ? end : end + 1;
	}
	return false;
}

/*
 * Adds the group of this name below a mount point, and all groups above it.
 * mounted is the name of the group that is mounted there.
 */
static void
add_groups(MemorySources *sources, bool unified, const char *mount_point,
		   const char *mounted, const char *name)
{
	char		below[SERVER_MEMORY_PATH];
	Size		length = strlen(mounted);

	/* Names begin with a slash; that of the hierarchy's root has just that. */
	if (strcmp(mounted, "/") == 0)
		length = 0;
	if (strncmp(name, mounted, length) == 0 &&
		(name[length] == '/' || name[length] == '\0') &&
		strstr(name, "/..") == NULL)
		strlcpy(below, name + length, sizeof(below));
	else
		below[0] = '\0';		/* not below it: the mount point is all we see */
	if (strcmp(below, "/") == 0)
		below[0] = '\0';

	while (sources->count < SERVER_MEMORY_GROUPS)
	{
		MemoryGroup *group = &sources->groups[sources->count];
		bool		inner = below[0] != '\0';

		if (strlen(mount_point) + strlen(below) < sizeof(group->directory))
		{
			int64		limit;

			group->unified = unified;
			strcpy(group->directory, mount_point);
			strcat(group->directory, below);
			strlcpy(group->name, length > 0 ? mounted : "",
					sizeof(group->name));
			strlcat(group->name, below, sizeof(group->name));
			if (group->name[0] == '\0')
				strcpy(group->name, "/");
			group->totals = !unified &&
				group_number(sources, group, "memory.use_hierarchy") == 1;
			limit = group_number(sources, group, unified ? "memory.max" :
								 "memory.limit_in_bytes");
			group->limited = limit < NO_LIMIT;
			if (limit >= 0)
				sources->count++;
		}
		if (!inner)
			return;
		*strrchr(below, '/') = '\0';

		/* Without a hierarchy, limits of groups above do not hold. */
		if (!unified && !group->totals)
			return;
	}
}

/*
 * One line of /proc/self/mountinfo: number, parent, device, root, mount point,
 * options, some optional fields, "-", type, source, super options.
 */
static void
look_at_mount(MemorySources *sources, const char *line, const char *own[2])
{
	char		ignored[64];
	char		mounted[SERVER_MEMORY_PATH];
	char		mount_point[SERVER_MEMORY_PATH];
	const char *rest = strstr(line, " - ");
	bool		unified;

	if (rest == NULL)
		return;
	if (strncmp(rest, " - cgroup2 ", 11) == 0)
		unified = true;
	else if (strncmp(rest, " - cgroup ", 10) == 0)
	{
		const char *options = strchr(rest + 10, ' ');

		unified = false;
		if (options == NULL ||
			!has_word(options + 1, options + 1 + strcspn(options + 1, " \n"),
					  "memory"))
			return;
	}
	else
		return;

	for (int i = 0; i < 3; i++)
	{
		if (!copy_field(&line, ignored, sizeof(ignored)))
			return;
	}
	if (copy_field(&line, mounted, sizeof(mounted)) &&
		copy_field(&line, mount_point, sizeof(mount_point)) &&
		own[unified] != NULL)
		add_groups(sources, unified, mount_point, mounted, own[unified]);
}

void
server_memory_find(MemorySources *sources, const char *root)
{
	/* The longest line that is looked at, and what is read at once. */
	static char text[4 * SERVER_MEMORY_PATH];
	static char names[2][SERVER_MEMORY_PATH];
	const char *own[2] = {NULL, NULL};
	bool		seen[2] = {false, false};
	Size		kept = 0;
	int			file;

	sources->root = root;
	sources->count = 0;
	if (server_memory_read_file(root, "/proc/self/cgroup", text,
								sizeof(text)) <= 0)
		return;
	for (int unified = 0; unified < 2; unified++)
	{
		if (name_of_own_group(text, unified, names[unified],
							  sizeof(names[unified])))
			own[unified] = names[unified];
	}

	/* A machine with many containers has a long mountinfo. */
	if (strlen(root) + 32 > sizeof(text))
		return;
	strcpy(text, root);
	strcat(text, "/proc/self/mountinfo");
	file = open(text, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return;
	for (;;)
	{
		ssize_t		got = read(file, text + kept, sizeof(text) - 1 - kept);
		char	   *line = text;
		char	   *end;

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		kept += got;
		text[kept] = '\0';
		while ((end = strchr(line, '\n')) != NULL)
		{
			int			before = sources->count;

			*end = '\0';

			/* The same hierarchy can be mounted twice: once is enough. */
			if (!seen[0] || !seen[1])
				look_at_mount(sources, line, own);
			if (sources->count > before)
			{
				bool		unified = sources->groups[before].unified;

				seen[unified] = true;
				own[unified] = NULL;
			}
			line = end + 1;
		}
		kept = text + kept - line;
		if (kept == sizeof(text) - 1)
			kept = 0;			/* a line that is too long for us */
		memmove(text, line, kept);
	}
	close(file);
}

/* ----------------------------------------------------------------------------
 * Reading the figures
 * ----------------------------------------------------------------------------
 */

/*
 * How much a group of version 2 may still have in swap, of what those around
 * it leave.  Version 1 has no such limit.
 */
static int64
swap_left_of_group(const MemorySources *sources, int index, int64 outer)
{
	const MemoryGroup *group = &sources->groups[index];
	int64		limit;
	int64		usage;

	if (!group->unified)
		return outer;
	limit = group_number(sources, group, "memory.swap.max");
	if (limit < 0 || limit >= NO_LIMIT)
		return outer;
	usage = group_number(sources, group, "memory.swap.current");
	return Min(outer, Max(limit - Max(usage, 0), 0));
}

/*
 * What a group has left, of which swap is known.  Returns false if it has no
 * limit, or does not say.
 */
static bool
read_group(const MemorySources *sources, int index, int64 swap_left,
		   ServerMemory *memory)
{
	const MemoryGroup *group = &sources->groups[index];
	char		stat[FILE_BYTES];
	int64		limit;
	int64		usage;
	int64		reclaimable;

	limit = group_number(sources, group, group->unified ? "memory.max" :
						 "memory.limit_in_bytes");
	if (limit < 0 || limit >= NO_LIMIT)
		return false;
	usage = group_number(sources, group, group->unified ? "memory.current" :
						 "memory.usage_in_bytes");
	if (usage < 0)
		return false;

	group_file(sources, group, "memory.stat", stat, sizeof(stat));
	if (group->totals)
		reclaimable = Max(number_of(stat, "total_inactive_file"), 0) +
			Max(number_of(stat, "total_active_file"), 0);
	else
		reclaimable = Max(number_of(stat, "inactive_file"), 0) +
			Max(number_of(stat, "active_file"), 0);
	if (group->unified)
		reclaimable += Max(number_of(stat, "slab_reclaimable"), 0);
	usage = Max(usage - reclaimable, 0);

	memory->total_bytes = limit;
	memory->available_bytes = Max(limit - usage, 0);
	memory->source = index;
	memory->swap_bytes = swap_left;
	if (!group->unified)
	{
		/* These count memory and swap together. */
		int64		swap_limit = group_number(sources, group,
											  "memory.memsw.limit_in_bytes");
		int64		swap_usage = group_number(sources, group,
											  "memory.memsw.usage_in_bytes");

		if (swap_limit >= 0 && swap_limit < NO_LIMIT && swap_usage >= 0)
		{
			swap_usage = Max(swap_usage - reclaimable, 0);
			memory->swap_bytes = Min(memory->swap_bytes,
									 Max(swap_limit - swap_usage -
										 memory->available_bytes, 0));
		}
	}
	return true;
}

int64
server_memory_read_oom_kills(const MemorySources *sources)
{
	char		text[FILE_BYTES];
	int64		kills = -1;

	for (int i = 0; i < sources->count && kills < 0; i++)
	{
		group_file(sources, &sources->groups[i],
				   sources->groups[i].unified ? "memory.events" :
				   "memory.oom_control", text, sizeof(text));
		kills = number_of(text, "oom_kill");
	}
	if (kills < 0)
	{
		/* Of this file, too, the first kilobytes would not do. */
		static char vmstat[4 * FILE_BYTES];

		(void) server_memory_read_file(sources->root, "/proc/vmstat", vmstat,
									   sizeof(vmstat));
		kills = number_of(vmstat, "oom_kill");
	}
	return kills;
}

bool
server_memory_read(const MemorySources *sources, ServerMemory *memory)
{
	char		text[FILE_BYTES];
	int64		total;
	int64		available;
	int64		swap_free;
	int64		swap_left[SERVER_MEMORY_GROUPS];

	memory->total_bytes = -1;
	memory->available_bytes = -1;
	memory->swap_bytes = -1;
	memory->swap_used_bytes = 0;
	memory->oom_kills = -1;
	memory->source = -1;

	(void) server_memory_read_file(sources->root, "/proc/meminfo", text,
								   sizeof(text));
	total = number_of(text, "MemTotal:");
	available = number_of(text, "MemAvailable:");
	swap_free = number_of(text, "SwapFree:");
	swap_free = swap_free < 0 ? 0 : swap_free * 1024;
	memory->swap_used_bytes =
		Max(number_of(text, "SwapTotal:") * 1024 - swap_free, 0);
	if (total >= 0 && available >= 0)
	{
		memory->total_bytes = total * 1024;
		memory->available_bytes = available * 1024;
		memory->swap_bytes = swap_free;
	}

	/* Groups within others come first, and have no more than those. */
	for (int i = sources->count - 1; i >= 0; i--)
	{
		if (swap_free > 0)
			swap_free = swap_left_of_group(sources, i, swap_free);
		swap_left[i] = swap_free;
	}
	for (int i = 0; i < sources->count; i++)
	{
		ServerMemory group;

		if (sources->groups[i].limited &&
			read_group(sources, i, swap_left[i], &group) &&
			(memory->available_bytes < 0 ||
			 group.available_bytes + group.swap_bytes <
			 memory->available_bytes + memory->swap_bytes))
		{
			memory->total_bytes = group.total_bytes;
			memory->available_bytes = group.available_bytes;
			memory->swap_bytes = group.swap_bytes;
			memory->source = i;
		}
	}
	return memory->available_bytes >= 0;
}

const char *
server_memory_source_name(const MemorySources *sources,
						  const ServerMemory *memory)
{
	return memory->source < 0 ? "machine" :
		sources->groups[memory->source].name;
}
