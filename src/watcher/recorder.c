/*-------------------------------------------------------------------------
 *
 * recorder.c
 *	  A history of the server's memory, in a file that outlives a crash.
 *
 * When the kernel's OOM killer ends a process of the server, the postmaster
 * ends all others and makes shared memory anew, and what was in it is lost.
 * What was written to a file is not, even without fsync: the kernel has it.
 *
 * The file is a ring of a fixed size:
 *
 *		block 0			what it is: magic, version, layout, size
 *		block 1			which run of the server writes it, and whether that
 *						run was shut down
 *		blocks 2 ..		records, one after the other, from the beginning again
 *						when the end is reached
 *
 * A record begins at a block of 512 bytes, with a magic number, its length, a
 * checksum of all that follows and a sequence number.  It has no pointer to
 * any other record, so nothing that is cut, overwritten or damaged makes more
 * unreadable than itself: who reads looks at every block whether a record
 * begins there, believes it if the checksum is right, and sorts by sequence
 * numbers.  So a reader needs no lock, and a crash in the middle of a record
 * loses that record alone.
 *
 * A sample has 2 to 10 kB, since its strings take only what they have.
 *
 * There is one writer, the watcher, and it may neither fail nor allocate: all
 * is done with plain system calls and memory of fixed size.  A descriptor is
 * kept open; that the file was removed or replaced is noticed by the caller's
 * opening it anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port/pg_crc32c.h"

#include "close_on_exec.h"
#include "watcher/recorder.h"

#define BLOCK_BYTES			512
#define FIRST_RECORD		(2 * BLOCK_BYTES)

#define FILE_MAGIC			0x4d475350	/* "PSGM" */
#define RUN_MAGIC			0x52475350
#define RECORD_MAGIC		0x53475350

/* Changes with everything that is written below. */
#define FILE_VERSION		1

/* What a file is made of, so that another build's is not misread. */
#define FILE_LAYOUT			\
	((uint32) (sizeof(RecordFixed) * 65536 + sizeof(SessionFixed)))

typedef struct FileHeader
{
	uint32		magic;
	pg_crc32c	crc;			/* of all that follows */
	uint32		version;
	uint32		layout;
	int64		size;
} FileHeader;

typedef struct RunHeader
{
	uint32		magic;
	pg_crc32c	crc;
	int64		run;
	int64		stopped;		/* whether it was shut down */
} RunHeader;

typedef struct RecordHeader
{
	uint32		magic;
	pg_crc32c	crc;			/* of all that follows, up to length */
	uint32		length;			/* of the record, this header included */
	uint32		version;
	uint64		sequence;
} RecordHeader;

/* A sample without its sessions. */
typedef struct RecordFixed
{
	int64		run;
	TimestampTz at;
	int32		reason;
	int32		sessions;
	int32		active;
	int32		count;
	int64		available_bytes;
	int64		total_bytes;
	int64		swap_bytes;
	int64		oom_kills;
	int64		anon_bytes;
	int64		category_bytes[CONTEXT_CATEGORY_COUNT];
} RecordFixed;

/* A session without its strings, which follow: a length each, and bytes. */
typedef struct SessionFixed
{
	int32		pid;
	int32		leader_pid;
	TimestampTz backend_start;
	Oid			userid;
	Oid			databaseid;
	int64		query_id;
	int64		anon_bytes;
	int64		context_bytes;
	int64		category_bytes[CONTEXT_CATEGORY_COUNT];
	int64		largest_context_bytes;
} SessionFixed;

#define SESSION_STRINGS		7

/* The longest record. */
#define MAX_RECORD_BYTES	\
	(sizeof(RecordHeader) + sizeof(RecordFixed) + RECORDED_SESSIONS * \
	 (sizeof(SessionFixed) + 6 * (sizeof(uint16) + RECORDED_NAME_BYTES) + \
	  sizeof(uint16) + RECORDED_QUERY_BYTES))

/* The smallest ring that is worth it. */
#define MIN_FILE_BYTES		(FIRST_RECORD + 2 * (int64) MAX_RECORD_BYTES)

/* What recorder_find reads at once. */
#define CHUNK_BYTES			(128 * BLOCK_BYTES)

/* A record that is being written or read. */
static char record[MAX_RECORD_BYTES];

static const char *const reason_names[SAMPLE_REASON_COUNT] = {
	"start", "interval", "growth", "pressure"
};

const char *
recorder_reason_name(int reason)
{
	return reason >= 0 && reason < SAMPLE_REASON_COUNT ?
		reason_names[reason] : "unknown";
}

/* The checksum of what follows it, from, up to length bytes. */
static pg_crc32c
checksum(const char *from, Size length)
{
	pg_crc32c	crc;
	Size		begin = sizeof(uint32) + sizeof(pg_crc32c);

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, from + begin, length - begin);
	FIN_CRC32C(crc);
	return crc;
}

/* All of it, or false with errno. */
static bool
write_all(int file, const char *from, Size length, int64 offset)
{
	while (length > 0)
	{
		ssize_t		wrote;

		errno = 0;
		wrote = pwrite(file, from, length, offset);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
		{
			if (errno == 0)
				errno = ENOSPC;
			return false;
		}
		from += wrote;
		offset += wrote;
		length -= wrote;
	}
	return true;
}

/* As much as there is; -1 with errno. */
static ssize_t
read_some(int file, char *to, Size length, int64 offset)
{
	Size		done = 0;

	while (done < length)
	{
		ssize_t		got = pread(file, to + done, length - done, offset + done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		done += got;
	}
	return done;
}

/* ----------------------------------------------------------------------------
 * A sample as bytes
 * ----------------------------------------------------------------------------
 */

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

/* Puts the sample into record and returns its length. */
static Size
encode(RecordedSample *sample)
{
	RecordHeader header = {RECORD_MAGIC, 0, 0, FILE_VERSION, sample->sequence};
	RecordFixed fixed;
	Cursor		cursor = {record, record + sizeof(record), false};

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
	header.crc = checksum(record, header.length);
	memcpy(record, &header, sizeof(header));
	return header.length;
}

/* The sample in the first length bytes of record; false if it is none. */
static bool
decode(Size length, RecordedSample *sample)
{
	RecordHeader header;
	RecordFixed fixed;
	Cursor		cursor = {record, record + length, false};

	get_bytes(&cursor, &header, sizeof(header));
	if (cursor.broken || header.magic != RECORD_MAGIC ||
		header.version != FILE_VERSION || header.length != length ||
		header.crc != checksum(record, length))
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

/* ----------------------------------------------------------------------------
 * Reading
 * ----------------------------------------------------------------------------
 */

bool
recorder_read(int file, const RecordPlace *place, RecordedSample *sample)
{
	if (place->length < 0 || (Size) place->length > sizeof(record) ||
		read_some(file, record, place->length, place->offset) != place->length)
		return false;
	return decode(place->length, sample) &&
		sample->sequence == place->sequence;
}

/* Reads the file's header; false if it is none of ours. */
static bool
read_file_header(int file, FileHeader *header)
{
	return read_some(file, (char *) header, sizeof(FileHeader), 0) ==
		sizeof(FileHeader) &&
		header->magic == FILE_MAGIC && header->version == FILE_VERSION &&
		header->layout == FILE_LAYOUT &&
		header->crc == checksum((char *) header, sizeof(FileHeader));
}

/*
 * Calls found for each record of the file, in the order of their places, until
 * it returns false.  Returns false with errno if the file can't be read.
 */
static bool
scan(int file, bool (*found) (const RecordPlace *place, void *arg), void *arg)
{
	static char chunk[CHUNK_BYTES];
	FileHeader	header;

	if (!read_file_header(file, &header))
	{
		/* A directory, say, or a disk that fails. */
		return read_some(file, chunk, 1, 0) >= 0;
	}
	for (int64 offset = FIRST_RECORD;; offset += CHUNK_BYTES)
	{
		ssize_t		length = read_some(file, chunk, sizeof(chunk), offset);

		if (length < 0)
			return false;
		for (int64 i = 0; i + (int64) sizeof(RecordHeader) <= length;
			 i += BLOCK_BYTES)
		{
			RecordHeader begin;
			RecordPlace place;

			memcpy(&begin, chunk + i, sizeof(begin));
			if (begin.magic != RECORD_MAGIC || begin.version != FILE_VERSION ||
				begin.length < sizeof(RecordHeader) + sizeof(RecordFixed) ||
				begin.length > sizeof(record) || begin.sequence == 0)
				continue;
			if (read_some(file, record, begin.length, offset + i) !=
				(ssize_t) begin.length ||
				memcmp(record, &begin, sizeof(begin)) != 0 ||
				begin.crc != checksum(record, begin.length))
				continue;
			place.sequence = begin.sequence;
			place.offset = offset + i;
			place.length = (int32) begin.length;
			if (!found(&place, arg))
				return true;
		}
		if (length < (ssize_t) sizeof(chunk))
			return true;
	}
}

typedef struct FoundPlaces
{
	RecordPlace *places;
	int			count;
	int			size;
} FoundPlaces;

static bool
add_place(const RecordPlace *place, void *arg)
{
	FoundPlaces *found = arg;

	CHECK_FOR_INTERRUPTS();
	if (found->count == found->size)
	{
		found->size *= 2;
		found->places = repalloc(found->places,
								 found->size * sizeof(RecordPlace));
	}
	found->places[found->count++] = *place;
	return true;
}

static int
later_first(const void *a, const void *b)
{
	uint64		one = ((const RecordPlace *) a)->sequence;
	uint64		other = ((const RecordPlace *) b)->sequence;

	return one > other ? -1 : one < other;
}

int
recorder_find(int file, RecordPlace **places)
{
	FoundPlaces found = {NULL, 0, 64};

	found.places = palloc(found.size * sizeof(RecordPlace));
	*places = NULL;
	if (!scan(file, add_place, &found))
		return -1;
	qsort(found.places, found.count, sizeof(RecordPlace), later_first);
	*places = found.places;
	return found.count;
}

/* ----------------------------------------------------------------------------
 * Writing
 * ----------------------------------------------------------------------------
 */

static bool
write_run(const Recorder *recorder, bool stopped)
{
	RunHeader	run = {RUN_MAGIC, 0, recorder->run, stopped};

	run.crc = checksum((char *) &run, sizeof(run));
	return write_all(recorder->file, (char *) &run, sizeof(run), BLOCK_BYTES);
}

void
recorder_stopped(const Recorder *recorder)
{
	int			saved_errno = errno;

	if (recorder->file >= 0)
		(void) write_run(recorder, true);
	errno = saved_errno;
}

void
recorder_close(Recorder *recorder)
{
	if (recorder->file >= 0)
		close(recorder->file);
	recorder->file = -1;
}

/*
 * Makes an empty file.  Its room is reserved where the file system can do that:
 * memory often gets short when disks do.
 */
static int
make_file(const char *path, int64 size)
{
	FileHeader	header = {FILE_MAGIC, 0, FILE_VERSION, FILE_LAYOUT, size};
	int			file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
							S_IRUSR | S_IWUSR);

	if (file < 0)
		return -1;
#ifdef HAVE_POSIX_FALLOCATE
	if (posix_fallocate(file, 0, size) != 0)
#endif
	{
		/* It has to have its size all the same; records may fail later. */
		if (ftruncate(file, size) != 0)
		{
			int			saved_errno = errno;

			close(file);
			(void) unlink(path);
			errno = saved_errno;
			return -1;
		}
	}
	header.crc = checksum((char *) &header, sizeof(header));
	if (!write_all(file, (char *) &header, sizeof(header), 0))
	{
		int			saved_errno = errno;

		close(file);
		(void) unlink(path);
		errno = saved_errno;
		return -1;
	}
	return file;
}

/* What a scan for the ring's end notes. */
typedef struct RingEnd
{
	RecordPlace latest;
	int64		bytes;			/* of all records, in whole blocks */
} RingEnd;

static int64
whole_blocks(int64 length)
{
	return (length + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static bool
note_end(const RecordPlace *place, void *arg)
{
	RingEnd    *end = arg;

	if (place->sequence > end->latest.sequence)
		end->latest = *place;
	end->bytes += whole_blocks(place->length);
	return true;
}

/* Records on their way into another file, the earliest first. */
typedef struct TakeOver
{
	int			from;
	int			to;
	int64		position;		/* in the other file */
	int64		excess;			/* bytes that have no room there */
	int64		latest_offset;	/* of the latest one, in this file */
	bool		before_latest;	/* this scan is for those in front of it */
	bool		failed;
} TakeOver;

static bool
take_over_record(const RecordPlace *place, void *arg)
{
	TakeOver   *take = arg;
	int64		bytes = whole_blocks(place->length);

	if ((place->offset <= take->latest_offset) != take->before_latest)
		return true;
	if (take->excess > 0)
	{
		take->excess -= bytes;
		return true;
	}
	if (read_some(take->from, record, place->length, place->offset) !=
		place->length)
		return true;
	take->failed = !write_all(take->to, record, place->length,
							  take->position);
	take->position += bytes;
	return !take->failed;
}

/*
 * Takes over the latest records that fit into another file.  What lies behind
 * the latest one in the ring is the earliest.
 */
static bool
take_over(int from, int to, int64 size)
{
	RingEnd		end = {{0}};
	TakeOver	take = {from, to, FIRST_RECORD};

	if (!scan(from, note_end, &end))
		return false;
	take.excess = FIRST_RECORD + end.bytes - size;
	take.latest_offset = end.latest.offset;
	if (!scan(from, take_over_record, &take))
		return false;
	take.before_latest = true;
	return !take.failed && scan(from, take_over_record, &take) &&
		!take.failed;
}

RecorderFound
recorder_open(Recorder *recorder, const char *path, int64 size, int64 run)
{
	char		other[MAXPGPATH];
	FileHeader	header;
	RunHeader	last;
	struct stat status;
	RingEnd		end = {{0}};
	RecorderFound found;

	recorder->size = Max(size / BLOCK_BYTES * BLOCK_BYTES, MIN_FILE_BYTES);
	recorder->run = run;
	recorder->error = 0;
	recorder->sequence = 0;
	recorder->position = FIRST_RECORD;
	snprintf(other, sizeof(other), "%s.new", path);
	(void) unlink(other);

	/* O_NONBLOCK: should somebody have made it a pipe. */
	recorder->file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (recorder->file < 0 && errno == ENOENT)
	{
		recorder->file = make_file(path, recorder->size);
		if (recorder->file < 0 || !write_run(recorder, false))
			goto failed;
		return RECORDER_NEW;
	}
	if (recorder->file < 0 || fstat(recorder->file, &status) != 0)
		goto failed;
	if (!S_ISREG(status.st_mode))
	{
		errno = EINVAL;
		goto failed;
	}

	if (!read_file_header(recorder->file, &header))
	{
		/* Not ours, of another version, or cut: keep it aside. */
		recorder_close(recorder);
		snprintf(other, sizeof(other), "%s.old", path);
		if (rename(path, other) != 0)
			goto failed;
		recorder->file = make_file(path, recorder->size);
		if (recorder->file < 0 || !write_run(recorder, false))
			goto failed;
		return RECORDER_REPLACED;
	}

	if (read_some(recorder->file, (char *) &last, sizeof(last),
				  BLOCK_BYTES) != sizeof(last) ||
		last.magic != RUN_MAGIC ||
		last.crc != checksum((char *) &last, sizeof(last)))
		found = RECORDER_STOPPED;	/* not known: nothing to tell */
	else if (last.run == run)
		found = RECORDER_SAME_RUN;
	else
		found = last.stopped ? RECORDER_STOPPED : RECORDER_CRASHED;

	/* Only its owner has to know what is in it. */
	if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		(void) fchmod(recorder->file, S_IRUSR | S_IWUSR);

	if (header.size != recorder->size || status.st_size != recorder->size)
	{
		int			resized = make_file(other, recorder->size);

		if (resized < 0)
			goto failed;
		if (!take_over(recorder->file, resized, recorder->size) ||
			rename(other, path) != 0)
		{
			int			saved_errno = errno;

			close(resized);
			(void) unlink(other);
			errno = saved_errno;
			goto failed;
		}
		recorder_close(recorder);
		recorder->file = resized;
	}

	if (!scan(recorder->file, note_end, &end) ||
		!write_run(recorder, false))
		goto failed;
	if (end.latest.sequence != 0)
	{
		recorder->sequence = end.latest.sequence;
		recorder->position = end.latest.offset +
			whole_blocks(end.latest.length);
	}
	return found;

failed:
	recorder->error = errno != 0 ? errno : EIO;
	recorder_close(recorder);
	return RECORDER_FAILED;
}

bool
recorder_write(Recorder *recorder, RecordedSample *sample)
{
	Size		length;

	if (recorder->file < 0)
		return false;
	sample->sequence = recorder->sequence + 1;
	sample->run = recorder->run;
	length = encode(sample);
	if (recorder->position + (int64) length > recorder->size)
		recorder->position = FIRST_RECORD;
	if (!write_all(recorder->file, record, length, recorder->position))
	{
		recorder->error = errno;
		return false;
	}
	recorder->error = 0;
	recorder->sequence++;
	recorder->position += whole_blocks(length);
	return true;
}
