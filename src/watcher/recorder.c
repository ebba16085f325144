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

#include "close_on_exec.h"
#include "watcher/recorder.h"

#define BLOCK_BYTES			512
#define FIRST_RECORD		(2 * BLOCK_BYTES)

#define FILE_MAGIC			0x4d475350	/* "PSGM" */
#define RUN_MAGIC			0x52475350

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
 * Reading
 * ----------------------------------------------------------------------------
 */

bool
recorder_read(int file, const RecordPlace *place, RecordedSample *sample)
{
	if (place->length < 0 || (Size) place->length > sizeof(record) ||
		read_some(file, record, place->length, place->offset) != place->length)
		return false;
	return record_decode(record, place->length, sample) &&
		sample->sequence == place->sequence;
}

/* Reads the file's header; false if it is none of ours. */
static bool
read_file_header(int file, FileHeader *header)
{
	return read_some(file, (char *) header, sizeof(FileHeader), 0) ==
		sizeof(FileHeader) &&
		header->magic == FILE_MAGIC && header->version == RECORD_VERSION &&
		header->layout == RECORD_LAYOUT &&
		header->crc == record_checksum((char *) header, sizeof(FileHeader));
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
			if (!record_header_is_good(&begin))
				continue;
			if (read_some(file, record, begin.length, offset + i) !=
				(ssize_t) begin.length ||
				memcmp(record, &begin, sizeof(begin)) != 0 ||
				begin.crc != record_checksum(record, begin.length))
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

	run.crc = record_checksum((char *) &run, sizeof(run));
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
	FileHeader	header = {FILE_MAGIC, 0, RECORD_VERSION, RECORD_LAYOUT, size};
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
	header.crc = record_checksum((char *) &header, sizeof(header));
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
		last.crc != record_checksum((char *) &last, sizeof(last)))
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
	length = record_encode(sample, record);
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
