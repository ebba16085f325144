/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  Who the calling session is, and what it runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_SESSION_IDENTITY_H
#define PGSM_SESSION_IDENTITY_H

/*
 * The names that pg_stat_activity has of the session, cut where they are
 * longer; empty where there is none, as in background workers.  Callbacks too;
 * no error.
 */
extern void session_names(NameData *usename, NameData *datname);

/* The last statement's text, at most size - 1 bytes at a character's end. */
extern void session_query_text(char *text, Size size);

/* Its query id, 0 if it has none. */
extern int64 session_query_id(void);

#endif							/* PGSM_SESSION_IDENTITY_H */
