/*-------------------------------------------------------------------------
 *
 * recorder_test.c
 *	  src/watcher/recorder.c by itself: what was written is read back, whatever
 *	  happens to the file.
 *
 *	recorder_test DIRECTORY [SEED]
 *
 * check.sh compiles it with sanitizers and runs it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "watcher/recorder.h"

/* Those of the system: there is no server with its own ones. */
#undef fprintf
#undef printf
#undef snprintf

#define MB		((int64) 1024 * 1024)

static char path[MAXPGPATH];
static RecordedSample sample;
static RecordedSample back;

#define CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			printf("line %d: %s\n", __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

/* ----------------------------------------------------------------------------
 * What the recorder needs of a server
 * ----------------------------------------------------------------------------
 */

volatile sig_atomic_t InterruptPending;

void
ProcessInterrupts(void)
{
}

void *
palloc(Size size)
{
	return malloc(size);
}

void *
repalloc(void *pointer, Size size)
{
	return realloc(pointer, size);
}

void
ExceptionalCondition(const char *condition,
#if PG_VERSION_NUM < 160000
					 const char *type,
#endif
					 const char *file, int line)
{
	printf("%s:%d: %s\n", file, line, condition);
	abort();
}

/* ----------------------------------------------------------------------------
 * Samples that can be told apart
 * ----------------------------------------------------------------------------
 */

static void
fill_text(char *text, size_t size, uint64 number)
{
	size_t		length = number * 7919 % size;

	for (size_t i = 0; i < length; i++)
		text[i] = (char) (1 + (number + i) % 255);
	text[length] = '\0';
}

/* The content follows from the sequence number alone. */
static void
fill(RecordedSample *s, uint64 number)
{
	memset(s, 0, sizeof(*s));
	s->at = number * 1000;
	s->reason = number % SAMPLE_REASON_COUNT;
	s->sessions = number % 1000;
	s->active = number % 10;
	s->count = number % (RECORDED_SESSIONS + 1);
	s->available_bytes = number * 3;
	s->total_bytes = -1;
	s->anon_bytes = number * 5;
	for (int i = 0; i < CONTEXT_CATEGORY_COUNT; i++)
		s->category_bytes[i] = number * i;
	for (int i = 0; i < s->count; i++)
	{
		RecordedSession *session = &s->largest[i];

		session->pid = number + i;
		session->query_id = -(int64) number;
		session->anon_bytes = number << 20;
		session->category_bytes[i % CONTEXT_CATEGORY_COUNT] = number;
		fill_text(session->usename, sizeof(session->usename), number + i);
		fill_text(session->query, sizeof(session->query), number + 3 * i);
		fill_text(session->state, sizeof(session->state), number + 5 * i);
	}
}

static bool
equal(const RecordedSample *s, uint64 number)
{
	static RecordedSample expected;

	fill(&expected, number);
	if (s->at != expected.at || s->reason != expected.reason ||
		s->sessions != expected.sessions || s->active != expected.active ||
		s->count != expected.count || s->total_bytes != -1 ||
		s->anon_bytes != expected.anon_bytes ||
		s->available_bytes != expected.available_bytes ||
		memcmp(s->category_bytes, expected.category_bytes,
			   sizeof(s->category_bytes)) != 0)
		return false;
	for (int i = 0; i < s->count; i++)
	{
		const RecordedSession *one = &s->largest[i];
		const RecordedSession *other = &expected.largest[i];

		if (one->pid != other->pid || one->query_id != other->query_id ||
			one->anon_bytes != other->anon_bytes ||
			strcmp(one->usename, other->usename) != 0 ||
			strcmp(one->query, other->query) != 0 ||
			strcmp(one->state, other->state) != 0)
			return false;
	}
	return true;
}

/* Writes the samples of these numbers. */
static void
write_samples(Recorder *recorder, uint64 from, uint64 to)
{
	for (uint64 i = from; i <= to; i++)
	{
		fill(&sample, i);
		CHECK(recorder_write(recorder, &sample));
		CHECK(sample.sequence == i);
	}
}

/*
 * Reads all records back.  Those that there are have to be right and in
 * order; returns how many, and the latest one's number.
 */
static int
read_samples(uint64 *latest, uint64 *earliest)
{
	RecordPlace *places;
	int			file = open(path, O_RDONLY);
	int			count;
	int			good = 0;

	*latest = *earliest = 0;
	CHECK(file >= 0);
	count = recorder_find(file, &places);
	if (count < 0)
	{
		close(file);
		return count;
	}
	for (int i = 0; i < count; i++)
	{
		CHECK(i == 0 || places[i].sequence < places[i - 1].sequence);
		CHECK(recorder_read(file, &places[i], &back));
		CHECK(equal(&back, back.sequence));
		good++;
		if (i == 0)
			*latest = back.sequence;
		*earliest = back.sequence;
	}
	free(places);
	close(file);
	return good;
}

static void
overwrite(int64 offset, int64 length)
{
	int			file = open(path, O_WRONLY);

	for (int64 i = 0; i < length; i++)
	{
		char		byte = (char) random();

		CHECK(pwrite(file, &byte, 1, offset + i) == 1);
	}
	close(file);
}

int
main(int argc, char **argv)
{
	Recorder	recorder = {0};
	struct stat status;
	uint64		latest;
	uint64		earliest;
	int			count;

	if (argc < 2)
	{
		fprintf(stderr, "usage: recorder_test DIRECTORY [SEED]\n");
		return 2;
	}
	snprintf(path, sizeof(path), "%s/history", argv[1]);
	srandom(argc > 2 ? atoi(argv[2]) : 1);

	/* A new file, and the same run again. */
	CHECK(recorder_open(&recorder, path, MB, 1) == RECORDER_NEW);
	CHECK(stat(path, &status) == 0 && status.st_size == MB &&
		  (status.st_mode & 0777) == 0600);
	CHECK(read_samples(&latest, &earliest) == 0);
	write_samples(&recorder, 1, 20);
	CHECK(read_samples(&latest, &earliest) == 20 && latest == 20 &&
		  earliest == 1);
	recorder_close(&recorder);
	CHECK(recorder_open(&recorder, path, MB, 1) == RECORDER_SAME_RUN);
	CHECK(recorder.sequence == 20);

	/* Around the ring, many times: the latest are there, without a gap. */
	write_samples(&recorder, 21, 5000);
	count = read_samples(&latest, &earliest);
	CHECK(latest == 5000 && count == (int) (latest - earliest + 1) &&
		  count > 100);
	printf("%d records of %d kB each fill %d kB\n", count, 1024 / count, 1024);

	/* A crash; then a shutdown. */
	recorder_close(&recorder);
	CHECK(recorder_open(&recorder, path, MB, 2) == RECORDER_CRASHED);
	write_samples(&recorder, 5001, 5010);
	recorder_stopped(&recorder);
	recorder_close(&recorder);
	CHECK(recorder_open(&recorder, path, MB, 3) == RECORDER_STOPPED);
	write_samples(&recorder, 5011, 5020);
	CHECK(read_samples(&latest, &earliest) >= 100 && latest == 5020);
	recorder_close(&recorder);

	/* Larger, and smaller: what fits stays, the latest of it. */
	CHECK(recorder_open(&recorder, path, 2 * MB, 3) == RECORDER_SAME_RUN);
	count = read_samples(&latest, &earliest);
	CHECK(latest == 5020 && count == (int) (latest - earliest + 1));
	write_samples(&recorder, 5021, 5400);
	recorder_close(&recorder);
	CHECK(recorder_open(&recorder, path, MB / 4, 3) == RECORDER_SAME_RUN);
	CHECK(stat(path, &status) == 0 && status.st_size == MB / 4);
	count = read_samples(&latest, &earliest);
	CHECK(latest == 5400 && count == (int) (latest - earliest + 1) &&
		  count > 20);
	write_samples(&recorder, 5401, 5410);
	CHECK(read_samples(&latest, &earliest) > 20 && latest == 5410);
	recorder_close(&recorder);

	/* Damage anywhere: no record is wrong, and most are still there. */
	for (int round = 0; round < 200; round++)
	{
		int64		offset = 1024 + random() % (MB / 4 - 1024 - 300);

		overwrite(offset, 1 + random() % 300);
		count = read_samples(&latest, &earliest);
		CHECK(count >= 0);
	}
	CHECK(recorder_open(&recorder, path, MB / 4, 3) == RECORDER_SAME_RUN);
	CHECK(recorder.sequence == latest);
	write_samples(&recorder, latest + 1, latest + 200);
	CHECK(read_samples(&latest, &earliest) > 20);

	/* Cut while it is open, and read so: what is there is right. */
	CHECK(truncate(path, MB / 8 + 77) == 0);
	CHECK(read_samples(&latest, &earliest) > 5);
	recorder_close(&recorder);
	CHECK(recorder_open(&recorder, path, MB / 4, 3) == RECORDER_SAME_RUN);
	CHECK(stat(path, &status) == 0 && status.st_size == MB / 4);
	write_samples(&recorder, recorder.sequence + 1, recorder.sequence + 100);
	recorder_close(&recorder);

	/* No room: that is told, and the file stays as good as it was. */
	CHECK(recorder_open(&recorder, path, MB / 4, 3) == RECORDER_SAME_RUN);
	count = read_samples(&latest, &earliest);
	{
		struct rlimit limit = {100000, RLIM_INFINITY};
		int			failed = 0;

		signal(SIGXFSZ, SIG_IGN);
		CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
		for (int i = 0; i < 300; i++)
		{
			fill(&sample, recorder.sequence + 1);
			if (!recorder_write(&recorder, &sample))
			{
				failed++;
				CHECK(recorder.error == EFBIG);
			}
		}
		limit.rlim_cur = RLIM_INFINITY;
		CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
		CHECK(failed > 0);
		CHECK(read_samples(&latest, &earliest) > 5);
	}
	recorder_close(&recorder);

	/* Of another version, full of random bytes, empty: kept aside. */
	overwrite(8, 4);
	CHECK(read_samples(&latest, &earliest) == 0);
	CHECK(recorder_open(&recorder, path, MB / 4, 4) == RECORDER_REPLACED);
	write_samples(&recorder, 1, 10);
	recorder_close(&recorder);
	overwrite(0, MB / 4);
	CHECK(read_samples(&latest, &earliest) == 0);
	CHECK(recorder_open(&recorder, path, MB / 4, 5) == RECORDER_REPLACED);
	recorder_close(&recorder);
	CHECK(truncate(path, 0) == 0);
	CHECK(read_samples(&latest, &earliest) == 0);
	CHECK(recorder_open(&recorder, path, MB / 4, 6) == RECORDER_REPLACED);
	recorder_close(&recorder);

	/* A directory in its place, a pipe, no directory, a small size. */
	CHECK(unlink(path) == 0 && mkdir(path, 0700) == 0);
	CHECK(recorder_open(&recorder, path, MB, 7) == RECORDER_FAILED);
	CHECK(recorder.error == EISDIR && recorder.file < 0);
	CHECK(!recorder_write(&recorder, &sample));
	CHECK(read_samples(&latest, &earliest) == -1);
	CHECK(rmdir(path) == 0 && mkfifo(path, 0600) == 0);
	CHECK(recorder_open(&recorder, path, MB, 7) == RECORDER_FAILED);
	CHECK(unlink(path) == 0);
	CHECK(recorder_open(&recorder, path, 1, 7) == RECORDER_NEW);
	write_samples(&recorder, 1, 100);
	CHECK(read_samples(&latest, &earliest) >= 1 && latest == 100);
	recorder_close(&recorder);
	snprintf(path, sizeof(path), "%s/missing/history", argv[1]);
	CHECK(recorder_open(&recorder, path, MB, 7) == RECORDER_FAILED);
	CHECK(recorder.error == ENOENT);
	return 0;
}
