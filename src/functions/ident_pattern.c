/*-------------------------------------------------------------------------
 *
 * ident_pattern.c
 *	  What idents of contexts have in common: all but their numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "functions/ident_pattern.h"

/*
 * How much there is of the pattern of an ident that was cut.  Idents that
 * differ in how many digits their numbers have were cut at different places:
 * what is left of their patterns is the same as long as that makes up for no
 * more than the rest of IDENT_BYTES.
 */
#define CUT_PATTERN_BYTES	768

/* What stands for a number in a pattern. */
#define NUMBER_MARK			'#'

bool
ident_read(MemoryReader *reader, const ContextNode *node, char *ident)
{
	int			length;

	if (node->ident_address == 0)
		return false;
	length = memory_reader_string(reader, node->ident_address, ident,
								  IDENT_BYTES);
	if (length == IDENT_BYTES - 1)
	{
		length = pg_mbcliplen(ident, length, length);
		ident[length] = '\0';
	}
	return length > 0;
}

void
ident_pattern(const char *ident, char *pattern)
{
	bool		was_cut = strlen(ident) >= IDENT_BYTES - MAX_MULTIBYTE_CHAR_LEN;
	int			length = 0;

	/* Bytes of longer characters are no digits, in any server encoding. */
	for (const char *c = ident; *c != '\0'; c++)
	{
		if (*c < '0' || *c > '9')
			pattern[length++] = *c;
		else if (length == 0 || pattern[length - 1] != NUMBER_MARK ||
				 c[-1] == NUMBER_MARK)
			pattern[length++] = NUMBER_MARK;
	}
	if (was_cut && length > CUT_PATTERN_BYTES)
		length = pg_mbcliplen(pattern, length, CUT_PATTERN_BYTES);
	pattern[length] = '\0';
}
