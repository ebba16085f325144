/*-------------------------------------------------------------------------
 *
 * limit_languages.h
 *	  Notices when a session first uses a procedural language.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGSM_LIMIT_LANGUAGES_H
#define PGSM_LIMIT_LANGUAGES_H

/*
 * From here on calls this function when the session is about to use a language
 * that it has not used before, and whose library may begin an interpreter.  If
 * the function returns false, it is called again at the next use.
 */
extern void limit_languages_watch(bool (*begins) (void));

#endif							/* PGSM_LIMIT_LANGUAGES_H */
