/*-------------------------------------------------------------------------
 *
 * permission.h
 *	  Who may look into a process, and who may ask it for something.
 *
 * Both rules are PostgreSQL's own: what pg_stat_activity shows, and what
 * pg_cancel_backend permits.  All functions here ask for the current user,
 * which in a function with its owner's rights is that owner, and need a
 * transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_PERMISSION_H
#define PGSM_PERMISSION_H

#include "reading/server_process.h"

/*
 * Whether the current user may see the memory of the process: its own
 * session, one of a role whose privileges the user has, or any with those of
 * pg_read_all_stats.
 */
extern bool permission_may_see(const ServerProcess *process);

/* The same of a session of this role that is not the own one. */
extern bool permission_may_see_role(Oid userid);

/* Raises insufficient_privilege (42501) if the current user may not. */
extern void permission_require_see(const ServerProcess *process);

/*
 * Whether the current user may cancel queries of the process, and so ask it
 * for a trim; if not, a WARNING of insufficient_privilege (42501) says why.
 * An error would end a statement over many sessions at the first of them.
 */
extern bool permission_warn_trim(const ServerProcess *process);

#endif							/* PGSM_PERMISSION_H */
