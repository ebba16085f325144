/*-------------------------------------------------------------------------
 *
 * limit_languages.c
 *	  Notices when a session first uses a procedural language.
 *
 * libperl and libpython crash, and the server with them, if they get no memory
 * while they begin.  So who limits a session's memory wants to know before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/syscache.h"

#include "session/limit_languages.h"

/* Languages that a session is known to have used. */
#define KNOWN_LANGUAGES	16

static bool (*language_begins) (void) = NULL;
static int	languages;			/* that were used, known ones below */
static Oid	known_languages[KNOWN_LANGUAGES];
static needs_fmgr_hook_type previous_needs_fmgr_hook = NULL;
static object_access_hook_type previous_object_access_hook = NULL;

/*
 * The language by which a function is executed, if it is one that may have an
 * interpreter: not one of PostgreSQL's own.  A language's handler for DO is
 * taken for a language.
 */
static Oid
language_of_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc procedure;
	Oid			language;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	procedure = (Form_pg_proc) GETSTRUCT(tuple);
	language = procedure->prolang;
	if (language == ClanguageId && procedure->prorettype == VOIDOID &&
		procedure->pronargs == 1 &&
		procedure->proargtypes.values[0] == INTERNALOID)
		language = function;
	ReleaseSysCache(tuple);
	return language < FirstNormalObjectId ? InvalidOid : language;
}

/*
 * A function is about to be called, and its language's library loaded.
 */
static void
function_is_used(Oid function)
{
	Oid			language;

	if (function < FirstNormalObjectId)
		return;
	language = language_of_function(function);
	if (!OidIsValid(language))
		return;
	for (int i = 0; i < Min(languages, KNOWN_LANGUAGES); i++)
	{
		if (known_languages[i] == language)
			return;
	}
	if (language_begins())
		known_languages[languages++ % KNOWN_LANGUAGES] = language;
}

/* needs_fmgr_hook: triggers, and DO. */
static bool
function_is_looked_up(Oid function)
{
	function_is_used(function);
	return previous_needs_fmgr_hook && previous_needs_fmgr_hook(function);
}

/* object_access_hook: functions in queries, of SECURITY DEFINER, too. */
static void
object_is_used(ObjectAccessType access, Oid class, Oid object, int part,
			   void *arg)
{
	if (access == OAT_FUNCTION_EXECUTE)
		function_is_used(object);
	if (previous_object_access_hook)
		previous_object_access_hook(access, class, object, part, arg);
}

/*
 * Each call of a function pays for the hooks: they are installed where there
 * is a limit.
 */
void
limit_languages_watch(bool (*begins) (void))
{
	if (language_begins != NULL)
		return;
	language_begins = begins;
	previous_needs_fmgr_hook = needs_fmgr_hook;
	needs_fmgr_hook = function_is_looked_up;
	previous_object_access_hook = object_access_hook;
	object_access_hook = object_is_used;
}
