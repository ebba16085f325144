/*-------------------------------------------------------------------------
 *
 * recorder.h
 *	  A history of the server's memory, in a file that outlives a crash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_RECORDER_H
#define PGSM_RECORDER_H

#include "datatype/timestamp.h"

#include "reading/context_category.h"

/*
 * Below the data directory.  What is in that directory pg_basebackup and
 * pg_rewind leave out, and PostgreSQL leaves alone.
 */
#define RECORDER_PATH			"pg_stat_tmp/pg_session_memory.history"

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

/* One of the largest processes.  Bytes; -1 where not known. */
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

/* The file as its one writer has it; all zero before recorder_open. */
typedef struct Recorder
{
	int			file;			/* descriptor, -1: none */
	int			error;			/* errno of the last failure, 0: none */
	int64		size;			/* of the file, bytes */
	int64		position;		/* of the next record */
	uint64		sequence;		/* of the last record, 0: there is none */
	int64		run;
} Recorder;

/* What recorder_open has found. */
typedef enum RecorderFound
{
	RECORDER_FAILED,			/* it can't be used: see error */
	RECORDER_NEW,				/* there was none */
	RECORDER_REPLACED,			/* what was there is none of ours */
	RECORDER_SAME_RUN,			/* of this very run of the server */
	RECORDER_STOPPED,			/* of a run that was shut down */
	RECORDER_CRASHED			/* of a run that was not */
} RecorderFound;

/*
 * Opens the file for writing, makes it if it is not there, and says what it
 * found of the last run.  size is how many bytes it is to have; of a file of
 * another size the latest records that fit are taken over.  No error: what
 * fails is told by RECORDER_FAILED and errno in recorder->error.
 */
extern RecorderFound recorder_open(Recorder *recorder, const char *path,
								   int64 size, int64 run);

/*
 * Writes a sample, whose sequence and run are set here.  Returns false, with
 * errno in recorder->error, if that failed; the file is as good as before.
 */
extern bool recorder_write(Recorder *recorder, RecordedSample *sample);

/*
 * Notes that the server is being shut down.  Nothing but one pwrite(2): may be
 * called in a signal handler.
 */
extern void recorder_stopped(const Recorder *recorder);

extern void recorder_close(Recorder *recorder);

/* Where a record lies in the file. */
typedef struct RecordPlace
{
	uint64		sequence;
	int64		offset;
	int32		length;
} RecordPlace;

/*
 * Finds all records of the file, latest first.  Returns how many, or -1 with
 * errno if there is no file that can be read; with 0 if it is none of ours.
 * The array is palloc'd.  Only where errors may be raised: out-of-memory, and
 * what CHECK_FOR_INTERRUPTS raises.
 */
extern int	recorder_find(int file, RecordPlace **places);

/*
 * Reads a record.  Returns false if it is not what it was any more, or never
 * was one.  No allocation, no error.
 */
extern bool recorder_read(int file, const RecordPlace *place,
						  RecordedSample *sample);

/* A reason's name, as the view shows it. */
extern const char *recorder_reason_name(int reason);

#endif							/* PGSM_RECORDER_H */
