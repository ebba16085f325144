/*-------------------------------------------------------------------------
 *
 * recorded_sample.c
 *	  A sample of the server's memory, and the same as bytes: a record.
 *
 * A record is its header, the figures of the sample, and those of each of its
 * sessions with their strings behind them, which take only what they have.
 * All of it is of this machine's layout: a file has RECORD_LAYOUT in front.
 *
 * Who writes may neither fail nor allocate: memory of fixed size.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "watcher/recorded_sample.h"

#define RECORD_MAGIC		0x53475350

#define SESSION_STRINGS		7

pg_crc32c
record_checksum(const char *from, Size length)
{
	pg_crc32c	crc;
	Size		begin = sizeof(uint32) + sizeof(pg_crc32c);

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, from + begin, length - begin);
	FIN_CRC32C(crc);
	return crc;
}

bool
record_header_is_good(const RecordHeader *header)
{
	return header->magic == RECORD_MAGIC &&
		header->version == RECORD_VERSION &&
		header->length >= sizeof(RecordHeader) + SAMPLE_FIGURES_BYTES &&
		header->length <= MAX_RECORD_BYTES && header->sequence != 0;
}

/* Where in a record the next bytes go, or come from. */
typedef struct Cursor
{
	char	   *at;
	char	   *end;
	bool		broken;			/* there was no room, or not enough bytes */
} Cursor;

static void
put_bytes(Cursor *cursor, const void *from, Size length)
{
	if (cursor->broken || (Size) (cursor->end - cursor->at) < length)
	{
		cursor->broken = true;
		return;
	}
	memcpy(cursor->at, from, length);
	cursor->at += length;
}

static void
get_bytes(Cursor *cursor, void *to, Size length)
{
	if (cursor->broken || (Size) (cursor->end - cursor->at) < length)
	{
		cursor->broken = true;
		memset(to, 0, length);
		return;
	}
	memcpy(to, cursor->at, length);
	cursor->at += length;
}

static void
put_string(Cursor *cursor, const char *string, Size size)
{
	uint16		length = (uint16) strnlen(string, size - 1);

	put_bytes(cursor, &length, sizeof(length));
	put_bytes(cursor, string, length);
}

static void
get_string(Cursor *cursor, char *string, Size size)
{
	uint16		length;

	get_bytes(cursor, &length, sizeof(length));
	if (length >= size)
	{
		cursor->broken = true;
		length = 0;
	}
	get_bytes(cursor, string, length);
	string[length] = '\0';
}

/* The strings of a session in their order. */
static char *
session_string(RecordedSession *session, int i, Size *size)
{
	*size = i == 6 ? RECORDED_QUERY_BYTES : RECORDED_NAME_BYTES;
	switch (i)
	{
		case 0:
			return session->backend_type;
		case 1:
			return session->usename;
		case 2:
			return session->datname;
		case 3:
			return session->application_name;
		case 4:
			return session->state;
		case 5:
			return session->largest_context;
		default:
			return session->query;
	}
}

Size
record_encode(RecordedSample *sample, char *record)
{
	RecordHeader header = {RECORD_MAGIC, 0, 0, RECORD_VERSION, sample->sequence};
	Cursor		cursor = {record, record + MAX_RECORD_BYTES, false};

	put_bytes(&cursor, &header, sizeof(header));
	put_bytes(&cursor, (char *) sample + offsetof(RecordedSample, run),
			  SAMPLE_FIGURES_BYTES);
	for (int i = 0; i < sample->count; i++)
	{
		RecordedSession *session = &sample->largest[i];

		put_bytes(&cursor, session, SESSION_FIGURES_BYTES);
		for (int j = 0; j < SESSION_STRINGS; j++)
		{
			Size		size;
			char	   *string = session_string(session, j, &size);

			put_string(&cursor, string, size);
		}
	}
	Assert(!cursor.broken);

	header.length = (uint32) (cursor.at - record);
	memcpy(record, &header, sizeof(header));
	header.crc = record_checksum(record, header.length);
	memcpy(record, &header, sizeof(header));
	return header.length;
}

bool
record_decode(const char *record, Size length, RecordedSample *sample)
{
	RecordHeader header;
	char	   *begin = unconstify(char *, record);
	Cursor		cursor = {begin, begin + length, false};

	get_bytes(&cursor, &header, sizeof(header));
	if (cursor.broken || !record_header_is_good(&header) ||
		header.length != length ||
		header.crc != record_checksum(record, length))
		return false;
	sample->sequence = header.sequence;
	get_bytes(&cursor, (char *) sample + offsetof(RecordedSample, run),
			  SAMPLE_FIGURES_BYTES);
	if (cursor.broken || sample->count < 0 ||
		sample->count > RECORDED_SESSIONS)
		return false;
	for (int i = 0; i < sample->count; i++)
	{
		RecordedSession *session = &sample->largest[i];

		get_bytes(&cursor, session, SESSION_FIGURES_BYTES);
		for (int j = 0; j < SESSION_STRINGS; j++)
		{
			Size		size;
			char	   *string = session_string(session, j, &size);

			get_string(&cursor, string, size);
		}
	}
	return !cursor.broken;
}
