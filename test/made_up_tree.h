/*-------------------------------------------------------------------------
 *
 * made_up_tree.h
 *	  Files as a kernel would show them, below a directory of one's own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef MADE_UP_TREE_H
#define MADE_UP_TREE_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Those of the system: there is no server with its own ones. */
#undef fprintf
#undef printf
#undef snprintf
#undef vsnprintf

static const char *trees;		/* the directory of all trees */
static char root[1024];			/* of the present one */

/* A tree of its own, with nothing in it. */
static void
begin_tree(int number)
{
	snprintf(root, sizeof(root), "%s/%d", trees, number);
}

/* Writes root/path, with the directories that it is in. */
static void
put(const char *path, const char *text)
{
	char		full[2048];
	int			file;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/'))
	{
		*slash = '\0';
		(void) mkdir(full, 0700);
		*slash = '/';
	}
	file = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (file < 0 || write(file, text, strlen(text)) < 0)
	{
		perror(full);
		exit(2);
	}
	close(file);
}

#endif							/* MADE_UP_TREE_H */
