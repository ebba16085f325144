/*-------------------------------------------------------------------------
 *
 * client_output.h
 *	  What is waiting to be sent to the client.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_CLIENT_OUTPUT_H
#define PGSM_CLIENT_OUTPUT_H

/*
 * Sends the rows that are complete, as far as the client takes them without
 * a wait.  Does nothing where no client waits for the output.  From a
 * function; no error.
 */
extern void client_output_send(void);

#endif							/* PGSM_CLIENT_OUTPUT_H */
