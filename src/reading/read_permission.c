/*-------------------------------------------------------------------------
 *
 * read_permission.c
 *	  Who may read the memory of this process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "miscadmin.h"

#include "reading/read_permission.h"

void
read_permission_grant_server(void)
{
#if defined(__linux__) && defined(PR_SET_PTRACER)
	/* Fails where there is no Yama, and then it is not needed. */
	if (PostmasterPid > 0)
		(void) prctl(PR_SET_PTRACER, (unsigned long) PostmasterPid, 0, 0, 0);
#endif
}
