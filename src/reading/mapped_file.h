/*-------------------------------------------------------------------------
 *
 * mapped_file.h
 *	  What another process has mapped of a file and has not touched.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_MAPPED_FILE_H
#define PGSM_MAPPED_FILE_H

/*
 * If the process pid has a file mapped at address, for itself, copies length
 * bytes from there out of the file, and returns true.  What the process has
 * written to there is not in the file: for pages that it does not have in
 * memory.  What is behind the end of the file is zero, as it would be there.
 * Raises what AllocateFile raises.
 */
extern bool mapped_file_read(int pid, uintptr_t address, char *to,
							 Size length);

#endif							/* PGSM_MAPPED_FILE_H */
