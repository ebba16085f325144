/*-------------------------------------------------------------------------
 *
 * refused_files.c
 *	  Makes the files whose paths contain REFUSED impossible to open.
 *
 * A library for LD_PRELOAD.  It takes the place of what opens files, under
 * each of the names by which compilers and libc call it; ERROR_NUMBER is what
 * they say then.  SessionMemoryTest.pm builds it.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

extern long syscall(long number, ...);

static int
is_refused(const char *path)
{
	if (strstr(path, REFUSED) == NULL)
		return 0;
	errno = ERROR_NUMBER;
	return 1;
}

static int
open_it(const char *path, int flags, int mode)
{
	return is_refused(path) ? -1 :
		syscall(SYS_openat, -100, path, flags, mode);
}

#define OPEN(name) \
int \
name(const char *path, int flags, ...) \
{ \
	va_list	rest; \
	int		mode; \
\
	va_start(rest, flags); \
	mode = va_arg(rest, int); \
	va_end(rest); \
	return open_it(path, flags, mode); \
}

OPEN(open)
OPEN(open64)

int
__open_2(const char *path, int flags)
{
	return open_it(path, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
	return open_it(path, flags, 0);
}

#define FOPEN(name) \
FILE * \
name(const char *path, const char *mode) \
{ \
	FILE	   *(*real) (const char *, const char *) = dlsym(RTLD_NEXT, #name); \
\
	return is_refused(path) ? NULL : real(path, mode); \
}

FOPEN(fopen)
FOPEN(fopen64)
