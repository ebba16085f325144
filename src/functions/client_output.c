/*-------------------------------------------------------------------------
 *
 * client_output.c
 *	  What is waiting to be sent to the client.
 *
 * PostgreSQL sends rows when 8 kB of them have come together, or when the
 * statement is complete.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/*
 * libpq.h describes a connection with the types of the libraries for
 * encryption.  Their headers need not be there; no connection is looked at
 * here.
 */
#undef ENABLE_GSS
#undef USE_OPENSSL
#include "libpq/libpq.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"

#include "functions/client_output.h"

void
client_output_send(void)
{
	if (whereToSendOutput == DestRemote)
		(void) pq_flush_if_writable();
}
