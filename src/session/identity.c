/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Who the calling session is, and what it runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/*
 * Port has the same layout with and without these libraries, so that modules
 * can be built where their headers are not installed; see libpq-be.h.
 */
#undef ENABLE_GSS
#undef ENABLE_SSPI
#undef USE_OPENSSL
#include "libpq/libpq-be.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/backend_status.h"

#include "session/identity.h"

void
session_names(NameData *usename, NameData *datname)
{
	memset(usename, 0, sizeof(NameData));
	memset(datname, 0, sizeof(NameData));
	if (MyProcPort == NULL)
		return;
	if (MyProcPort->user_name != NULL)
		strlcpy(NameStr(*usename), MyProcPort->user_name, NAMEDATALEN);
	if (MyProcPort->database_name != NULL)
		strlcpy(NameStr(*datname), MyProcPort->database_name, NAMEDATALEN);
}

void
session_query_text(char *text, Size size)
{
	const char *query = MyBEEntry != NULL ? MyBEEntry->st_activity_raw : NULL;
	Size		length = 0;

	/*
	 * What pg_stat_activity shows: at the end of a command its text is still
	 * there.  The text ends somewhere below track_activity_query_size.
	 */
	if (query != NULL && pgstat_track_activity_query_size > 0)
	{
		length = strnlen(query,
						 Min(size, (Size) pgstat_track_activity_query_size));
		length = pg_mbcliplen(query, (int) length, (int) (size - 1));
		memcpy(text, query, length);
	}
	text[length] = '\0';
}

int64
session_query_id(void)
{
	return MyBEEntry != NULL ? (int64) MyBEEntry->st_query_id : 0;
}
