/*-------------------------------------------------------------------------
 *
 * read_permission.h
 *	  Who may read the memory of this process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_READ_PERMISSION_H
#define PGSM_READ_PERMISSION_H

/*
 * Where Linux's Yama lets only ancestors read a process's memory: permits it
 * to the postmaster and its descendants.  The kernel forgets the permission
 * with this process.  No error.
 */
extern void read_permission_grant_server(void);

#endif							/* PGSM_READ_PERMISSION_H */
