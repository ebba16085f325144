/*-------------------------------------------------------------------------
 *
 * foreign_text.c
 *	  Text that comes from another session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "functions/foreign_text.h"
#include "pg_compat.h"

struct varlena *
text_of_foreign(const char *string, int length)
{
	int			encoding = GetDatabaseEncoding();
	text	   *result = cstring_to_text_with_len(string, length);
	char	   *rest = VARDATA(result);

	while (length > 0)
	{
		int			valid = pg_encoding_verifymbstr(encoding, rest, length);

		rest += valid;
		length -= valid;
		if (length > 0)
		{
			*rest++ = '?';
			length--;
		}
	}
	return result;
}
