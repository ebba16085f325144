/*-------------------------------------------------------------------------
 *
 * recorded_sample.h
 *	  A sample of the server's memory, and the same as bytes: a record.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_RECORDED_SAMPLE_H
#define PGSM_RECORDED_SAMPLE_H

#include "datatype/timestamp.h"
#include "port/pg_crc32c.h"

#include "reading/context_category.h"

/* A sample tells of so many sessions, and so much of each. */
#define RECORDED_SESSIONS		10
#define RECORDED_NAME_BYTES		64
#define RECORDED_QUERY_BYTES	1024

/* Why a sample was taken. */
typedef enum SampleReason
{
	SAMPLE_START,				/* the recorder has begun */
	SAMPLE_INTERVAL,			/* record_interval is over */
	SAMPLE_GROWTH,				/* a process is larger than any before */
	SAMPLE_PRESSURE				/* memory is short */
} SampleReason;

#define SAMPLE_REASON_COUNT		(SAMPLE_PRESSURE + 1)

/* One of the largest processes.  Bytes; -1 where not known.  Figures first. */
typedef struct RecordedSession
{
	int32		pid;
	int32		leader_pid;		/* of a parallel worker, 0: none */
	TimestampTz backend_start;
	Oid			userid;			/* 0: no session */
	Oid			databaseid;
	int64		query_id;		/* 0: none */
	int64		anon_bytes;
	int64		context_bytes;
	int64		category_bytes[CONTEXT_CATEGORY_COUNT];
	int64		largest_context_bytes;	/* all contexts of that name */
	char		backend_type[RECORDED_NAME_BYTES];
	char		usename[RECORDED_NAME_BYTES];
	char		datname[RECORDED_NAME_BYTES];
	char		application_name[RECORDED_NAME_BYTES];
	char		state[RECORDED_NAME_BYTES];
	char		largest_context[RECORDED_NAME_BYTES];
	char		query[RECORDED_QUERY_BYTES];
} RecordedSession;

/* The server at one moment.  Bytes; -1 where not known. */
typedef struct RecordedSample
{
	uint64		sequence;		/* counts up from 1, in the file */
	int64		run;			/* tells one run of the server from another */
	TimestampTz at;
	int32		reason;			/* SampleReason */
	int32		sessions;		/* client backends */
	int32		active;			/* those of them that run a statement */
	int32		count;			/* of largest[] */
	int64		available_bytes;
	int64		total_bytes;
	int64		swap_bytes;
	int64		oom_kills;		/* that the kernel has counted */
	int64		anon_bytes;		/* of all processes */
	int64		category_bytes[CONTEXT_CATEGORY_COUNT]; /* of all sessions */
	RecordedSession largest[RECORDED_SESSIONS]; /* largest first */
} RecordedSample;

/* Changes with everything that is in the file. */
#define RECORD_VERSION		1

/* What a record begins with. */
typedef struct RecordHeader
{
	uint32		magic;
	pg_crc32c	crc;			/* of all that follows, up to length */
	uint32		length;			/* of the record, this header included */
	uint32		version;
	uint64		sequence;
} RecordHeader;

/*
 * What a record has of a sample as it is in memory: all figures, one after the
 * other.  Of a session too, and its strings follow: a length each, and bytes.
 */
#define SAMPLE_FIGURES_BYTES	\
	(offsetof(RecordedSample, largest) - offsetof(RecordedSample, run))
#define SESSION_FIGURES_BYTES	offsetof(RecordedSession, backend_type)

/* The longest record. */
#define MAX_RECORD_BYTES	\
	(sizeof(RecordHeader) + SAMPLE_FIGURES_BYTES + RECORDED_SESSIONS * \
	 (SESSION_FIGURES_BYTES + 6 * (sizeof(uint16) + RECORDED_NAME_BYTES) + \
	  sizeof(uint16) + RECORDED_QUERY_BYTES))

/* What a record's layout depends on: differs where another build's would. */
#define RECORD_LAYOUT		\
	((uint32) (SAMPLE_FIGURES_BYTES * 65536 + SESSION_FIGURES_BYTES))

/*
 * The checksum of length bytes, without a magic number and this checksum at
 * their beginning.
 */
extern pg_crc32c record_checksum(const char *from, Size length);

/*
 * Whether a record may begin so.  That it is one, its checksum tells.
 */
extern bool record_header_is_good(const RecordHeader *header);

/* Puts the sample into record, of MAX_RECORD_BYTES; returns its length. */
extern Size record_encode(RecordedSample *sample, char *record);

/*
 * The sample in length bytes of record.  Returns false if it is none; there may
 * be something in *sample then.
 */
extern bool record_decode(const char *record, Size length,
						  RecordedSample *sample);

#endif							/* PGSM_RECORDED_SAMPLE_H */
