/*-------------------------------------------------------------------------
 *
 * recorder.h
 *	  A history of the server's memory, in a file that outlives a crash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_RECORDER_H
#define PGSM_RECORDER_H

#include "watcher/recorded_sample.h"

/*
 * Below the data directory.  What is in that directory pg_basebackup and
 * pg_rewind leave out, and PostgreSQL leaves alone.
 */
#define RECORDER_PATH			"pg_stat_tmp/pg_session_memory.history"

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
