/*-------------------------------------------------------------------------
 *
 * environment.h
 *	  What decides whether this server survives running out of memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_ENVIRONMENT_H
#define PGSM_ENVIRONMENT_H

/* How a fact is to be taken. */
typedef enum EnvironmentVerdict
{
	ENVIRONMENT_OK,
	ENVIRONMENT_NOTE,			/* it may be meant so; read the advice */
	ENVIRONMENT_DANGER			/* the server may go down because of it */
} EnvironmentVerdict;

#define ENVIRONMENT_VALUE_BYTES	256

typedef struct EnvironmentFact
{
	const char *item;
	char		value[ENVIRONMENT_VALUE_BYTES];
	EnvironmentVerdict verdict;
	const char *advice;			/* NULL: none */
} EnvironmentFact;

/* What the server itself knows. */
typedef struct EnvironmentServer
{
	int			postmaster_pid;
	int			session_pid;
	bool		is_preloaded;
	bool		jit;
	int64		limit_bytes;	/* process_limit, -1: none */
	const char *guard;			/* the setting: off, log or on */
	int64		reserve_bytes;	/* guard_reserve, -1: its default */
	int64		server_limit_bytes; /* server_limit, -1: none */
	bool		moves_limits;	/* prlimit(2) on another process works */
	int			max_connections;
	int			sessions;		/* client backends */
	int64		session_bytes;	/* anonymous memory of all of them, -1 */
} EnvironmentServer;

/* More facts than there are. */
#define ENVIRONMENT_FACTS		16

/*
 * Fills in all facts that can be found out and returns how many.  root stands
 * before /proc and the control groups' directories: "" for the machine's own.
 * No allocation, no error.
 */
extern int	environment_read(const char *root, const EnvironmentServer *server,
							 EnvironmentFact *facts);

/* A verdict's name, as the function shows it. */
extern const char *environment_verdict_name(EnvironmentVerdict verdict);

#endif							/* PGSM_ENVIRONMENT_H */
