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
		header->length >= sizeof(RecordHeader) + sizeof(RecordFixed) &&
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
	RecordFixed fixed;
	Cursor		cursor = {record, record + MAX_RECORD_BYTES, false};

	memset(&fixed, 0, sizeof(fixed));
	fixed.run = sample->run;
	fixed.at = sample->at;
	fixed.reason = sample->reason;
	fixed.sessions = sample->sessions;
	fixed.active = sample->active;
	fixed.count = sample->count;
	fixed.available_bytes = sample->available_bytes;
	fixed.total_bytes = sample->total_bytes;
	fixed.swap_bytes = sample->swap_bytes;
	fixed.oom_kills = sample->oom_kills;
	fixed.anon_bytes = sample->anon_bytes;
	memcpy(fixed.category_bytes, sample->category_bytes,
		   sizeof(fixed.category_bytes));
	put_bytes(&cursor, &header, sizeof(header));
	put_bytes(&cursor, &fixed, sizeof(fixed));

	for (int i = 0; i < sample->count; i++)
	{
		RecordedSession *session = &sample->largest[i];
		SessionFixed numbers;

		memset(&numbers, 0, sizeof(numbers));
		numbers.pid = session->pid;
		numbers.leader_pid = session->leader_pid;
		numbers.backend_start = session->backend_start;
		numbers.userid = session->userid;
		numbers.databaseid = session->databaseid;
		numbers.query_id = session->query_id;
		numbers.anon_bytes = session->anon_bytes;
		numbers.context_bytes = session->context_bytes;
		memcpy(numbers.category_bytes, session->category_bytes,
			   sizeof(numbers.category_bytes));
		numbers.largest_context_bytes = session->largest_context_bytes;
		put_bytes(&cursor, &numbers, sizeof(numbers));
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
	RecordFixed fixed;
	Cursor		cursor = {unconstify(char *, record), unconstify(char *, record) + length,
	false};

	get_bytes(&cursor, &header, sizeof(header));
	if (cursor.broken || header.magic != RECORD_MAGIC ||
		header.version != RECORD_VERSION || header.length != length ||
		header.crc != record_checksum(record, length))
		return false;
	get_bytes(&cursor, &fixed, sizeof(fixed));
	if (cursor.broken || fixed.count < 0 || fixed.count > RECORDED_SESSIONS)
		return false;
	sample->sequence = header.sequence;
	sample->run = fixed.run;
	sample->at = fixed.at;
	sample->reason = fixed.reason;
	sample->sessions = fixed.sessions;
	sample->active = fixed.active;
	sample->count = fixed.count;
	sample->available_bytes = fixed.available_bytes;
	sample->total_bytes = fixed.total_bytes;
	sample->swap_bytes = fixed.swap_bytes;
	sample->oom_kills = fixed.oom_kills;
	sample->anon_bytes = fixed.anon_bytes;
	memcpy(sample->category_bytes, fixed.category_bytes,
		   sizeof(sample->category_bytes));

	for (int i = 0; i < sample->count; i++)
	{
		RecordedSession *session = &sample->largest[i];
		SessionFixed numbers;

		get_bytes(&cursor, &numbers, sizeof(numbers));
		session->pid = numbers.pid;
		session->leader_pid = numbers.leader_pid;
		session->backend_start = numbers.backend_start;
		session->userid = numbers.userid;
		session->databaseid = numbers.databaseid;
		session->query_id = numbers.query_id;
		session->anon_bytes = numbers.anon_bytes;
		session->context_bytes = numbers.context_bytes;
		memcpy(session->category_bytes, numbers.category_bytes,
			   sizeof(session->category_bytes));
		session->largest_context_bytes = numbers.largest_context_bytes;
		for (int j = 0; j < SESSION_STRINGS; j++)
		{
			Size		size;
			char	   *string = session_string(session, j, &size);

			get_string(&cursor, string, size);
		}
	}
	return !cursor.broken;
}
