/*-------------------------------------------------------------------------
 *
 * constant_memory.h
 *	  Memory that is the same in all processes of the server.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CONSTANT_MEMORY_H
#define PGSM_CONSTANT_MEMORY_H

/*
 * Whether address lies in a read-only segment of the postgres executable:
 * what is there is the same in all processes of the server and never goes.
 */
extern bool constant_memory_has(uintptr_t address);

#endif							/* PGSM_CONSTANT_MEMORY_H */
