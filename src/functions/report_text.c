/*-------------------------------------------------------------------------
 *
 * report_text.c
 *	  pg_session_memory_report_text(text, length): text for an HTML page.
 *
 * Names and statements come from users, and some of them are made to look
 * like a part of the page.  What leaves this function is printable ASCII
 * without any of < > & " ' and backslash, whatever goes in, and whatever the
 * encodings of database and client are: every other character is a reference
 * by its number.  So it can stand between tags as well as in attributes, and
 * psql, COPY and a client in another encoding pass it on as it is.
 *
 * White space becomes a space.  Control characters become their pictures, and
 * so does what would turn the direction of the text that follows; what is no
 * character becomes U+FFFD.  No more than length characters are taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "pg_compat.h"

PG_FUNCTION_INFO_V1(pg_session_memory_report_text);

#define REPLACEMENT_CHARACTER	0xFFFD
#define CONTROL_PICTURES		0x2400	/* one for each of 0 to 31 */
#define DELETE_PICTURE			0x2421
#define ELLIPSIS				0x2026

/* A character has at most so many bytes, in any encoding of a server. */
#define MAX_CHARACTER_BYTES		4

/*
 * Takes a character off the front of a text in UTF-8, which may be anything:
 * its number, or REPLACEMENT_CHARACTER and one byte.
 */
static uint32
take_character(const unsigned char **text, const unsigned char *end)
{
	static const uint32 smallest[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *byte = *text;
	uint32		character = *byte;
	int			more;

	(*text)++;
	if (character < 0x80)
		return character;
	if ((character & 0xE0) == 0xC0)
		more = 1;
	else if ((character & 0xF0) == 0xE0)
		more = 2;
	else if ((character & 0xF8) == 0xF0)
		more = 3;
	else
		return REPLACEMENT_CHARACTER;
	if (end - byte <= more)
		return REPLACEMENT_CHARACTER;
	character &= 0x3F >> more;
	for (int i = 1; i <= more; i++)
	{
		if ((byte[i] & 0xC0) != 0x80)
			return REPLACEMENT_CHARACTER;
		character = character << 6 | (byte[i] & 0x3F);
	}
	if (character < smallest[more] || character > 0x10FFFF ||
		(character >= 0xD800 && character <= 0xDFFF))
		return REPLACEMENT_CHARACTER;
	*text = byte + more + 1;
	return character;
}

/* What stands for a character on the page. */
static uint32
shown_character(uint32 character)
{
	if (character == '\t' || character == '\n' || character == '\v' ||
		character == '\f' || character == '\r')
		return ' ';
	if (character < ' ')
		return CONTROL_PICTURES + character;
	if (character == 0x7F)
		return DELETE_PICTURE;
	if ((character >= 0x80 && character <= 0x9F) ||
		(character >= 0x200E && character <= 0x200F) ||
		(character >= 0x2028 && character <= 0x202E) ||
		(character >= 0x2066 && character <= 0x2069) ||
		(character >= 0xFDD0 && character <= 0xFDEF) ||
		(character & 0xFFFE) == 0xFFFE)
		return REPLACEMENT_CHARACTER;
	return character;
}

static void
append_character(StringInfo html, uint32 character)
{
	if (character >= 0x80 || strchr("<>&\"'\\", (int) character) != NULL)
		appendStringInfo(html, "&#%u;", character);
	else
		appendStringInfoChar(html, (char) character);
}

/*
 * The text in UTF-8, and its length.  What has no counterpart there is one
 * byte that is not valid.  A database without an encoding is taken to be
 * UTF-8, byte for byte.
 */
static const unsigned char *
to_utf8(const unsigned char *text, int *length)
{
	int			encoding = GetDatabaseEncoding();
	Oid			conversion;
	StringInfoData utf8;
	unsigned char *converted;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return text;
	conversion = FindDefaultConversionProc(encoding, PG_UTF8);
	initStringInfo(&utf8);
	converted = palloc(*length * MAX_CONVERSION_GROWTH + 1);
	for (int done = 0; done < *length;)
	{
		int			taken = 0;

		if (OidIsValid(conversion))
		{
			converted[0] = '\0';
			taken = pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8,
												  unconstify(unsigned char *, text) + done,
												  *length - done, converted,
												  *length * MAX_CONVERSION_GROWTH + 1,
												  true);
			appendStringInfoString(&utf8, (char *) converted);
		}
		else if (!IS_HIGHBIT_SET(text[done]))
		{
			appendStringInfoChar(&utf8, (char) text[done]);
			taken = 1;
		}
		done += taken;
		if (taken == 0)
		{
			appendStringInfoChar(&utf8, (char) 0xFF);
			done++;
		}
	}
	*length = utf8.len;
	return (const unsigned char *) utf8.data;
}

/*
 * pg_session_memory_report_text(text, int)
 *
 * The first so many characters, as described above, with an ellipsis where
 * there are more.  Memory and time are those of what is shown, however long
 * the text is.
 */
Datum
pg_session_memory_report_text(PG_FUNCTION_ARGS)
{
	int32		characters = Min(Max(PG_GETARG_INT32(1), 0), 100000);
	text	   *whole = PG_GETARG_TEXT_P_SLICE(0, 0,
											   (characters + 1) *
											   MAX_CHARACTER_BYTES);
	int			length = VARSIZE_ANY_EXHDR(whole);
	const unsigned char *rest;
	const unsigned char *end;
	StringInfoData html;

	rest = to_utf8((unsigned char *) VARDATA_ANY(whole), &length);
	end = rest + length;
	initStringInfo(&html);
	for (int i = 0; i < characters && rest < end; i++)
		append_character(&html,
						 shown_character(take_character(&rest, end)));
	if (rest < end)
		append_character(&html, ELLIPSIS);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(html.data, html.len));
}
