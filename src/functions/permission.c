/*-------------------------------------------------------------------------
 *
 * permission.c
 *	  Who may look into a process, and who may ask it for something.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "functions/permission.h"

bool
permission_may_see_role(Oid userid)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		has_privs_of_role(GetUserId(), userid);
}

bool
permission_may_see(const ServerProcess *process)
{
	return process->pid == MyProcPid ||
		permission_may_see_role(process->userid);
}

void
permission_require_see(const ServerProcess *process)
{
	if (!permission_may_see(process))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to examine the memory of process %d",
						process->pid),
				 errdetail("Only roles with privileges of the role whose session it is, or of \"%s\", may see it.",
						   "pg_read_all_stats")));
}

bool
permission_warn_trim(const ServerProcess *process)
{
	if (superuser_arg(process->userid) && !superuser())
	{
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to trim the memory of process %d",
						process->pid),
				 errdetail("Only roles with the %s attribute may trim sessions of roles with the %s attribute.",
						   "SUPERUSER", "SUPERUSER")));
		return false;
	}
	if (!has_privs_of_role(GetUserId(), process->userid) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND))
	{
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to trim the memory of process %d",
						process->pid),
				 errdetail("Only roles with privileges of the role whose session it is, or of \"%s\", may trim it.",
						   "pg_signal_backend")));
		return false;
	}
	return true;
}
