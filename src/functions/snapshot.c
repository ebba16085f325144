/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  pg_session_memory_snapshot(pid): a session's memory, to be kept.
 *
 * Contexts are grouped by their path, the names of all contexts from below
 * TopMemoryContext down to them, so that a session of tens of thousands of
 * contexts makes some hundred entries.  A context that hangs from one of the
 * same name, as those of nested savepoints do, is of the same path.
 *
 * A snapshot is limited in size whatever the session has: there are bounds
 * for the length of a path, for its depth and for the number of paths, and
 * what is beyond them is counted with what it hangs from.
 *
 * The text of the jsonb is written here and read by PostgreSQL's own input
 * function: its builder has other functions in each version.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "functions/foreign_text.h"
#include "functions/observed_process.h"
#include "functions/tuple_writer.h"
#include "reading/context_tally.h"
#include "reading/process_memory.h"

PG_FUNCTION_INFO_V1(pg_session_memory_snapshot);
PG_FUNCTION_INFO_V1(pg_session_memory_snapshot_paths);

/* What tells a snapshot from other JSON, and this layout from later ones. */
#define SNAPSHOT_FORMAT			"pg_session_memory snapshot"
#define SNAPSHOT_VERSION		1

#define PATH_SEPARATOR			" > "

/* An entry takes some 70 bytes and its path: less than 100 kB in all. */
#define MAX_PATHS				400
#define MAX_PATH_LEVELS			16
#define MAX_PATH_BYTES			160

/* What a snapshot knows of the process beyond its contexts. */
#define PATH_OUTSIDE			"outside contexts"

#define PATHS_COLUMNS			4

typedef struct SnapshotWalk
{
	ContextTally paths;
	int64		contexts;
	int64		bytes;
} SnapshotWalk;

static void
begin_snapshot(void *arg)
{
	SnapshotWalk *walk = arg;

	context_tally_begin(&walk->paths);
	walk->contexts = 0;
	walk->bytes = 0;
}

/* Bytes of a path, with a separator behind each name. */
static Size
path_bytes(const ContextTally *paths, int sum)
{
	Size		bytes = 0;

	/* The root, of level 1, stands in no path but its own. */
	for (; paths->sums[sum].level > 1; sum = paths->sums[sum].parent)
		bytes += strlen(paths->sums[sum].name) + strlen(PATH_SEPARATOR);
	return bytes;
}

/*
 * The path of a context below another one.  All contexts of a path have the
 * same category, so it need not be looked at.
 */
static int
find_path(ContextTally *paths, int above, const char *name)
{
	if (above >= 0)
	{
		if (strcmp(paths->sums[above].name, name) == 0)
			return above;
		if (!context_tally_has(paths, above, CATEGORY_OTHER, name, NULL) &&
			(paths->count >= MAX_PATHS ||
			 paths->sums[above].level >= MAX_PATH_LEVELS ||
			 path_bytes(paths, above) + strlen(name) > MAX_PATH_BYTES))
			return above;
	}
	return context_tally_find(paths, above, CATEGORY_OTHER, name, NULL);
}

static void
add_to_snapshot(const ContextNode *node, void *arg)
{
	SnapshotWalk *walk = arg;
	ContextTally *paths = &walk->paths;
	int			sum;

	sum = find_path(paths, context_tally_above(paths, node->level),
					node->name);
	paths->sums[sum].contexts++;
	paths->sums[sum].bytes += node->total_bytes;
	context_tally_set_level(paths, node->level, sum);
	walk->contexts++;
	walk->bytes += node->total_bytes;
}

/* Appends the names from below the root down to this one. */
static void
append_path(StringInfo path, const ContextTally *paths, int sum)
{
	int			parent = paths->sums[sum].parent;

	if (parent >= 0 && paths->sums[parent].parent >= 0)
	{
		append_path(path, paths, parent);
		appendStringInfoString(path, PATH_SEPARATOR);
	}
	appendStringInfoString(path, paths->sums[sum].name);
}

static void
append_time(StringInfo json, const char *key, TimestampTz time)
{
	char		buffer[MAXDATELEN + 1];

	JsonEncodeDateTime(buffer, TimestampTzGetDatum(time), TIMESTAMPTZOID,
					   NULL);
	appendStringInfo(json, "\"%s\": \"%s\", ", key, buffer);
}

/* An amount, null where it is not known. */
static void
append_bytes(StringInfo json, const char *key, int64 bytes)
{
	if (bytes < 0)
		appendStringInfo(json, "\"%s\": null, ", key);
	else
		appendStringInfo(json, "\"%s\": " INT64_FORMAT ", ", key, bytes);
}

static void
append_paths(StringInfo json, const ContextTally *paths)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfoString(json, "\"paths\": {");
	for (int i = 0; i < paths->count; i++)
	{
		resetStringInfo(&path);
		append_path(&path, paths, i);
		if (i > 0)
			appendStringInfoString(json, ", ");
		escape_json(json,
					text_to_cstring(text_of_foreign(path.data, path.len)));
		appendStringInfo(json, ": {\"contexts\": " INT64_FORMAT
						 ", \"bytes\": " INT64_FORMAT "}",
						 paths->sums[i].contexts, paths->sums[i].bytes);
	}
	appendStringInfoString(json, "}");
}

/*
 * pg_session_memory_snapshot(pid int)
 *
 * A jsonb of less than 100 kB.  For a pid that is none of a server process,
 * or ends while it is read: a WARNING and NULL.  Raises
 * insufficient_privilege for sessions of other roles, and where the operating
 * system refuses to read.
 */
Datum
pg_session_memory_snapshot(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	ObservedProcess observed;
	SnapshotWalk walk;
	ContextVisitor visitor = {begin_snapshot, add_to_snapshot, &walk};
	ContextWalkResult result;
	ProcessMemory memory;
	StringInfoData json;
	MemoryContext work;
	MemoryContext caller;

	work = AllocSetContextCreate(CurrentMemoryContext,
								 "pg_session_memory snapshot",
								 ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	if (!observed_process_open(pid, MEMORY_READER_WALK, &observed))
	{
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(work);
		PG_RETURN_NULL();
	}
	context_tally_create(&walk.paths);
	result = observed_process_walk(&observed, &visitor);
	process_memory_read(pid, &memory);
	if (result == WALK_UNREADABLE ||
		(!observed.self && !server_process_is_alive(&observed.process)))
	{
		server_process_warn_unknown(pid);
		MemoryContextSwitchTo(caller);
		MemoryContextDelete(work);
		PG_RETURN_NULL();
	}

	MemoryContextSwitchTo(caller);
	initStringInfo(&json);
	appendStringInfo(&json, "{\"format\": \"%s\", \"version\": %d, ",
					 SNAPSHOT_FORMAT, SNAPSHOT_VERSION);
	appendStringInfo(&json, "\"server_version_num\": %d, ", PG_VERSION_NUM);
	append_time(&json, "at", GetCurrentTimestamp());
	appendStringInfo(&json, "\"pid\": %d, ", pid);
	append_time(&json, "backend_start", observed.process.start);
	append_bytes(&json, "contexts", walk.contexts);
	append_bytes(&json, "context_bytes", walk.bytes);
	append_bytes(&json, "anon_bytes", memory.anon_bytes);
	append_bytes(&json, "swap_bytes", memory.swap_bytes);
	appendStringInfo(&json, "\"approximate\": %s, ",
					 result == WALK_APPROXIMATE ? "true" : "false");
	append_paths(&json, &walk.paths);
	appendStringInfoChar(&json, '}');
	MemoryContextDelete(work);

	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}

/* Raises that something is not a snapshot. */
static void
refuse_snapshot(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("this is not a snapshot of a session's memory"),
			 errdetail_internal("%s", detail),
			 errhint("Pass what pg_session_memory_snapshot() has returned.")));
}

/*
 * The value of a key, which must be of this type.  Raises
 * invalid_parameter_value if it is not, or is not there.
 */
static const JsonbValue *
snapshot_value(JsonbContainer *object, const char *key, enum jbvType type)
{
	const JsonbValue *value = getKeyJsonValueFromContainer(object, key,
														   strlen(key), NULL);

	if (value != NULL && value->type == type)
		return value;
	refuse_snapshot(psprintf("Its \"%s\" is missing, or not what it is in a snapshot.",
							 key));
	return NULL;
}

/* The same for a number from 0 on. */
static int64
snapshot_number(JsonbContainer *object, const char *key)
{
	Datum		number;
	double		approximately;

	number = NumericGetDatum(snapshot_value(object, key,
											jbvNumeric)->val.numeric);
	approximately =
		DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
										   number));
	if (!(approximately >= 0 && approximately < 1e18))
		refuse_snapshot(psprintf("Its \"%s\" is not a possible number.", key));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
}

/* The same for a number that may be null; then -1. */
static int64
snapshot_number_or_null(JsonbContainer *object, const char *key)
{
	const JsonbValue *value = getKeyJsonValueFromContainer(object, key,
														   strlen(key), NULL);

	if (value != NULL && value->type == jbvNull)
		return -1;
	return snapshot_number(object, key);
}

/* The same for an object. */
static JsonbContainer *
snapshot_object(JsonbContainer *object, const char *key)
{
	JsonbContainer *value;

	value = snapshot_value(object, key, jbvBinary)->val.binary.data;
	if (!JsonContainerIsObject(value))
		refuse_snapshot(psprintf("Its \"%s\" is not a JSON object.", key));
	return value;
}

/*
 * Raises invalid_parameter_value if this is not a snapshot, or one of another
 * format version.
 */
static void
check_snapshot(Jsonb *snapshot)
{
	const JsonbValue *format;
	int64		version;

	if (!JB_ROOT_IS_OBJECT(snapshot))
		refuse_snapshot("It is not a JSON object.");
	format = snapshot_value(&snapshot->root, "format", jbvString);
	if (format->val.string.len != strlen(SNAPSHOT_FORMAT) ||
		memcmp(format->val.string.val, SNAPSHOT_FORMAT,
			   strlen(SNAPSHOT_FORMAT)) != 0)
		refuse_snapshot(psprintf("Its \"format\" is not \"%s\".",
								 SNAPSHOT_FORMAT));
	version = snapshot_number(&snapshot->root, "version");
	if (version != SNAPSHOT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot read a snapshot of format version %lld",
						(long long) version),
				 errdetail("This version of pg_session_memory reads format version %d.",
						   SNAPSHOT_VERSION),
				 errhint("Compare snapshots of the same version of the extension.")));
}

static void
put_path(ReturnSetInfo *rsinfo, Datum path, int64 contexts, int64 bytes,
		 bool approximate)
{
	Datum		values[PATHS_COLUMNS];
	bool		nulls[PATHS_COLUMNS] = {false};

	values[0] = path;
	values[1] = Int64GetDatum(contexts);
	nulls[1] = contexts < 0;
	values[2] = Int64GetDatum(bytes);
	values[3] = BoolGetDatum(approximate);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * pg_session_memory_snapshot_paths(snapshot jsonb)
 *
 * A row for each path, and one for what the process has outside of contexts,
 * if that is known.  Raises invalid_parameter_value for other JSON and for
 * snapshots of another format version.
 */
Datum
pg_session_memory_snapshot_paths(PG_FUNCTION_ARGS)
{
	Jsonb	   *snapshot = PG_GETARG_JSONB_P(0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	Datum		path = (Datum) 0;
	bool		approximate;
	int64		context_bytes;
	int64		anon_bytes;
	int64		swap_bytes;

	check_snapshot(snapshot);
	approximate = snapshot_value(&snapshot->root, "approximate",
								 jbvBool)->val.boolean;
	InitMaterializedSRF(fcinfo, 0);
	tuple_writer_require_columns(rsinfo->setDesc, PATHS_COLUMNS);

	iterator = JsonbIteratorInit(snapshot_object(&snapshot->root, "paths"));
	(void) JsonbIteratorNext(&iterator, &value, false);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			path = PointerGetDatum(cstring_to_text_with_len(value.val.string.val,
															value.val.string.len));
		else if (token == WJB_VALUE)
		{
			JsonbContainer *entry = value.val.binary.data;

			if (value.type != jbvBinary || !JsonContainerIsObject(entry))
				refuse_snapshot("A path in it is not a JSON object.");
			put_path(rsinfo, path, snapshot_number(entry, "contexts"),
					 snapshot_number(entry, "bytes"), approximate);
		}
	}

	context_bytes = snapshot_number(&snapshot->root, "context_bytes");
	anon_bytes = snapshot_number_or_null(&snapshot->root, "anon_bytes");
	swap_bytes = snapshot_number_or_null(&snapshot->root, "swap_bytes");
	if (anon_bytes >= 0)
		put_path(rsinfo, CStringGetTextDatum(PATH_OUTSIDE), -1,
				 Max(anon_bytes + Max(swap_bytes, 0) - context_bytes, 0),
				 approximate);
	return (Datum) 0;
}
