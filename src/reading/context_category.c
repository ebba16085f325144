/*-------------------------------------------------------------------------
 *
 * context_category.c
 *	  What a memory context is for: its category, out of its name.
 *
 * A session has between one hundred and tens of thousands of contexts, under
 * some of several hundred names that only PostgreSQL's source explains.  What
 * somebody with a bloated session wants to know is what kind of memory it is
 * and what gives it back, and for that ten kinds are enough.
 *
 * The table holds a name in two cases only:
 *
 * - The server makes the context directly below TopMemoryContext.  All of
 *	 these are here, so that a child of TopMemoryContext which is not here was
 *	 made by an extension.  The walker calls it "other"; it must not pass for
 *	 something that every session has.
 *
 * - The context begins something else than what is around it: an executor
 *	 below a portal, a plan among the catalog caches, a function call below
 *	 the transaction.  What a caller builds in a passing context and moves to
 *	 its place when it is complete is here too.
 *
 * Every other name is left out on purpose and belongs to its parent.  That is
 * what makes names right that are used all over the server: "ExprContext",
 * "expanded array", "tuplestore tuples", "SRF multi-call context" and the like
 * are memory of whatever they hang from.
 *
 * A hash table made with hash_create() has a context called "dynahash" on all
 * versions, with the table's name as its ident.  The caller asks for the
 * table's name, which is why names of hash tables stand beside names of
 * contexts here; no name is both.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "reading/context_category.h"

typedef struct NameCategory
{
	const char *name;
	ContextCategory category;
} NameCategory;

/* Files are those below src/backend unless src or contrib is given. */
static const NameCategory names[] = {

	/*
	 * What every process has from its start, or as soon as it does anything.
	 * utils/mmgr/mcxt.c, access/transam/xact.c, tcop/postgres.c and
	 * utils/init/postinit.c; "Postmaster" is deleted in sessions and remains
	 * in the postmaster.
	 */
	{"TopMemoryContext", CATEGORY_BASE},
	{"ErrorContext", CATEGORY_BASE},
	{"TransactionAbortContext", CATEGORY_BASE},
	{"RowDescriptionContext", CATEGORY_BASE},
	{"Postmaster", CATEGORY_BASE},

	/*
	 * Settings, time zones, libraries and compiled regular expressions:
	 * utils/misc/guc.c, src/timezone/pgtz.c, utils/fmgr/dfmgr.c,
	 * utils/misc/injection_point.c (test builds), utils/adt/regexp.c.  In 15
	 * settings and regular expressions are malloc'ed outside every context.
	 */
	{"GUCMemoryContext", CATEGORY_BASE},
	{"Timezones", CATEGORY_BASE},
	{"Rendezvous variable hash", CATEGORY_BASE},
	{"InjectionPoint cache hash", CATEGORY_BASE},
	{"RegexpCacheMemoryContext", CATEGORY_BASE},

	/*
	 * Buffers pinned, files opened, locks held, WAL under construction:
	 * storage/buffer/bufmgr.c, storage/smgr, storage/sync/sync.c,
	 * storage/lmgr, access/transam/xlog.c and xloginsert.c.  The lock table
	 * serves transactions, but a table that has grown does not shrink when
	 * the transaction ends, so it is not the transaction's memory.
	 */
	{"PrivateRefCount", CATEGORY_BASE},
	{"smgr relation table", CATEGORY_BASE},
	{"MdSmgr", CATEGORY_BASE},
	{"Pending ops context", CATEGORY_BASE},
	{"LOCALLOCK hash", CATEGORY_BASE},
	{"LWLock stats", CATEGORY_BASE},
	{"WAL record construction", CATEGORY_BASE},
	{"WAL Debug", CATEGORY_BASE},

	/*
	 * Session state of single features: references to shared statistics in
	 * utils/activity, last values of sequences in commands/sequence.c,
	 * channels listened on in commands/async.c (19; earlier a list in
	 * TopMemoryContext itself).
	 */
	{"PgStat Pending", CATEGORY_BASE},
	{"PgStat Shared Ref", CATEGORY_BASE},
	{"PgStat Shared Ref Hash", CATEGORY_BASE},
	{"Sequence values", CATEGORY_BASE},
	{"Local Listen Channels", CATEGORY_BASE},

	/*
	 * The contexts in which processes other than sessions do their work:
	 * postmaster/, and for recovery access/transam/xlogutils.c,
	 * xlogprefetcher.c, storage/ipc/standby.c and the index access methods.
	 */
	{"Autovacuum Launcher", CATEGORY_BASE},
	{"Autovacuum worker", CATEGORY_BASE},
	{"TOAST to main relid map", CATEGORY_BASE},
	{"Background Writer", CATEGORY_BASE},
	{"Checkpointer", CATEGORY_BASE},
	{"Wal Writer", CATEGORY_BASE},
	{"Wal Summarizer", CATEGORY_BASE},	/* 17 and later */
	{"archiver", CATEGORY_BASE},	/* not in 15 */
	{"XLOG invalid-page table", CATEGORY_BASE},
	{"XLogPrefetcherFilterTable", CATEGORY_BASE},
	{"RecoveryLockLists", CATEGORY_BASE},	/* 15 */
	{"RecoveryLockHash", CATEGORY_BASE},	/* not in 15 */
	{"RecoveryLockXidHash", CATEGORY_BASE}, /* not in 15 */
	{"Btree recovery temporary context", CATEGORY_BASE},
	{"GIN recovery temporary context", CATEGORY_BASE},
	{"SP-GiST temporary context", CATEGORY_BASE},

	/*
	 * Copies of catalog rows, and what is derived from them for each table,
	 * index, partition, type, operator or role that the session has touched:
	 * utils/cache, and caches kept by their users in catalog/namespace.c (17
	 * and later), access/common/heaptuple.c, optimizer/util/predtest.c,
	 * parser/parse_oper.c and utils/adt/pg_locale.c (its name has a small
	 * letter from 18 on).  All grow with the number of objects touched.
	 */
	{"CacheMemoryContext", CATEGORY_CATALOG_CACHE},
	{"Relcache by OID", CATEGORY_CATALOG_CACHE},
	{"Operator class cache", CATEGORY_CATALOG_CACHE},
	{"Operator lookup cache", CATEGORY_CATALOG_CACHE},
	{"Btree proof lookup cache", CATEGORY_CATALOG_CACHE},
	{"Type information cache", CATEGORY_CATALOG_CACHE},
	{"Record information cache", CATEGORY_CATALOG_CACHE},
	{"Map from relid to OID of cached composite type", CATEGORY_CATALOG_CACHE},
	{"Attopt cache", CATEGORY_CATALOG_CACHE},
	{"TableSpace cache", CATEGORY_CATALOG_CACHE},
	{"Missing Values Cache", CATEGORY_CATALOG_CACHE},
	{"search_path processing cache", CATEGORY_CATALOG_CACHE},
	{"Collation cache", CATEGORY_CATALOG_CACHE},
	{"collation cache", CATEGORY_CATALOG_CACHE},
	{"Tsearch parser cache", CATEGORY_CATALOG_CACHE},
	{"Tsearch dictionary cache", CATEGORY_CATALOG_CACHE},
	{"Tsearch configuration cache", CATEGORY_CATALOG_CACHE},

	/* Descriptions of foreign keys, utils/adt/ri_triggers.c */
	{"RI constraint cache", CATEGORY_CATALOG_CACHE},
	{"RI compare cache", CATEGORY_CATALOG_CACHE},
	{"RI fast-path finfo scratch", CATEGORY_CATALOG_CACHE}, /* 19 */

	/*
	 * What hangs from CacheMemoryContext for one object each: relcache.c,
	 * partcache.c, typcache.c and ts_cache.c in utils/cache,
	 * partitioning/partdesc.c and commands/policy.c.  Most are built in a
	 * context of the statement or of the transaction and moved when complete.
	 */
	{"index info", CATEGORY_CATALOG_CACHE},
	{"relation rules", CATEGORY_CATALOG_CACHE},
	{"row security descriptor", CATEGORY_CATALOG_CACHE},
	{"partition key", CATEGORY_CATALOG_CACHE},
	{"partition descriptor", CATEGORY_CATALOG_CACHE},
	{"partition constraint", CATEGORY_CATALOG_CACHE},
	{"Domain constraints", CATEGORY_CATALOG_CACHE},
	{"TS dictionary", CATEGORY_CATALOG_CACHE},

	/*
	 * Statements kept with their parse trees and plans.  The three of
	 * utils/cache/plancache.c hang from CacheMemoryContext once they are
	 * saved, as does "SPI Plan" of executor/spi.c, under which the statements
	 * of functions of every language are kept.  The tables that find them:
	 * commands/prepare.c and, for the queries of foreign keys,
	 * utils/adt/ri_triggers.c.
	 */
	{"CachedPlanSource", CATEGORY_CACHED_PLANS},
	{"CachedPlanQuery", CATEGORY_CACHED_PLANS},
	{"CachedPlan", CATEGORY_CACHED_PLANS},
	{"SPI Plan", CATEGORY_CACHED_PLANS},
	{"Prepared Queries", CATEGORY_CACHED_PLANS},
	{"RI query cache", CATEGORY_CACHED_PLANS},

	/*
	 * A call of a function that talks to the server, executor/spi.c.  Also
	 * made by the server's own users of SPI, such as foreign keys.
	 */
	{"SPI Proc", CATEGORY_FUNCTIONS},
	{"SPI Exec", CATEGORY_FUNCTIONS},

	/*
	 * C and SQL functions: utils/fmgr/fmgr.c, executor/functions.c,
	 * utils/cache/funccache.c (18 and later, SQL and PL/pgSQL).  Until 17 an
	 * SQL function is forgotten with the statement that called it; from 18 on
	 * "SQL function" stays below CacheMemoryContext.
	 */
	{"CFuncHash", CATEGORY_FUNCTIONS},
	{"SQL function", CATEGORY_FUNCTIONS},
	{"SQL function execution", CATEGORY_FUNCTIONS}, /* 18 and later */
	{"Cached function hash", CATEGORY_FUNCTIONS},

	/*
	 * src/pl/plpgsql.  Until 17 a function hangs from TopMemoryContext, from
	 * 18 on from CacheMemoryContext.  "CachedExpression" is plancache.c's,
	 * but PL/pgSQL's casts are its only users.
	 */
	{"PL/pgSQL function", CATEGORY_FUNCTIONS},
	{"PL/pgSQL inline code context", CATEGORY_FUNCTIONS},
	{"PLpgSQL function hash", CATEGORY_FUNCTIONS},	/* until 17 */
	{"PLpgSQL cast cache", CATEGORY_FUNCTIONS},
	{"PLpgSQL cast expressions", CATEGORY_FUNCTIONS},
	{"PLpgSQL private cast cache", CATEGORY_FUNCTIONS},
	{"CachedExpression", CATEGORY_FUNCTIONS},

	/*
	 * src/pl/plpython, src/pl/plperl, src/pl/tcl.  The statements that they
	 * prepare are "SPI Plan" above, what they need to find them is here, and
	 * what the interpreters themselves allocate is in no context at all.
	 */
	{"PL/Python function", CATEGORY_FUNCTIONS},
	{"PL/Python procedures", CATEGORY_FUNCTIONS},
	{"PL/Python plan context", CATEGORY_FUNCTIONS},
	{"PL/Python scratch context", CATEGORY_FUNCTIONS},
	{"PL/Python temporary context", CATEGORY_FUNCTIONS},
	{"PL/Python temp context", CATEGORY_FUNCTIONS},
	{"PL/Python SPI exceptions", CATEGORY_FUNCTIONS},
	{"__plpython_inline_block", CATEGORY_FUNCTIONS},
	{"PL/Perl function", CATEGORY_FUNCTIONS},
	{"PL/Perl procedures", CATEGORY_FUNCTIONS},
	{"PL/Perl interpreters", CATEGORY_FUNCTIONS},
	{"PL/Perl queries", CATEGORY_FUNCTIONS},
	{"PL/Perl spi_prepare query", CATEGORY_FUNCTIONS},
	{"PL/Perl spi_prepare workspace", CATEGORY_FUNCTIONS},
	{"PL/Perl return_next temporary cxt", CATEGORY_FUNCTIONS},
	{"PL/Tcl function", CATEGORY_FUNCTIONS},
	{"PL/Tcl functions", CATEGORY_FUNCTIONS},
	{"PL/Tcl interpreters", CATEGORY_FUNCTIONS},
	{"PL/Tcl spi_prepare query", CATEGORY_FUNCTIONS},

	/*
	 * utils/mmgr/portalmem.c, and PL/Python's cursor objects.  Every
	 * statement runs in a portal, but only a cursor's outlives it; the
	 * executor below is execution's, an open cursor's too.
	 */
	{"TopPortalContext", CATEGORY_CURSORS},
	{"PortalContext", CATEGORY_CURSORS},
	{"PortalHoldContext", CATEGORY_CURSORS},
	{"Portal hash", CATEGORY_CURSORS},
	{"PL/Python cursor context", CATEGORY_CURSORS},

	/*
	 * access/transam/xact.c, and what else is deleted at the end of the
	 * transaction without hanging from it: large objects opened
	 * (libpq/be-fsstubs.c), statistics looked at (utils/activity/pgstat.c and
	 * backend_status.c), predicate locks (storage/lmgr/predicate.c).
	 * "CurTransactionContext", the trigger queue, combo command ids and
	 * notifications are below TopTransactionContext, which 17 and later keep,
	 * empty, between transactions.
	 */
	{"TopTransactionContext", CATEGORY_TRANSACTION},
	{"Filesystem", CATEGORY_TRANSACTION},
	{"PgStat Snapshot", CATEGORY_TRANSACTION},
	{"Backend Status Snapshot", CATEGORY_TRANSACTION},
	{"Local predicate lock", CATEGORY_TRANSACTION},

	/*
	 * The statement that runs.  MessageContext (tcop/postgres.c) exists from
	 * the start, but what is in it is the statement's text, its parse tree,
	 * its plan and all that the planner needs to make one, until the next
	 * message from the client.  executor/execUtils.c makes the executor's,
	 * from which sorts and hash tables hang; utils/sort/tuplesort.c is also
	 * used outside of it, to build indexes.  access/transam/parallel.c: the
	 * work of a parallel worker, and messages from one (Handle until 17,
	 * Process from 18 on), or from the worker of REPACK (19).
	 */
	{"MessageContext", CATEGORY_EXECUTION},
	{"ExecutorState", CATEGORY_EXECUTION},
	{"TupleSort main", CATEGORY_EXECUTION},
	{"Parallel worker", CATEGORY_EXECUTION},
	{"HandleParallelMessages", CATEGORY_EXECUTION},
	{"ProcessParallelMessages", CATEGORY_EXECUTION},
	{"ProcessRepackMessages", CATEGORY_EXECUTION},	/* 19 */

	/*
	 * What the planner builds for a statement of many tables or partitions:
	 * partitioning/partdesc.c, catalog/pg_inherits.c, optimizer/.  It plans
	 * in the context of whoever asks for a plan.
	 */
	{"partition directory", CATEGORY_EXECUTION},
	{"find_all_inheritors temporary table", CATEGORY_EXECUTION},
	{"JoinRelHashTable", CATEGORY_EXECUTION},
	{"GEQO", CATEGORY_EXECUTION},

	/*
	 * Commands that are not planned run without an executor, directly in the
	 * portal or in the function that called them: commands/.  Only what can
	 * grow with the data or with the number of objects is here.
	 */
	{"COPY", CATEGORY_EXECUTION},
	{"COPY TO", CATEGORY_EXECUTION},
	{"Vacuum", CATEGORY_EXECUTION},
	{"Autovacuum Portal", CATEGORY_EXECUTION},
	{"Analyze", CATEGORY_EXECUTION},
	{"Cluster", CATEGORY_EXECUTION},	/* until 18 */
	{"Repack", CATEGORY_EXECUTION}, /* 19 */
	{"Reindex", CATEGORY_EXECUTION},
	{"ReindexConcurrent", CATEGORY_EXECUTION},
	{"ReindexMultipleTables", CATEGORY_EXECUTION},
	{"validateForeignKeyConstraint", CATEGORY_EXECUTION},
	{"AttachPartitionEnsureIndexes", CATEGORY_EXECUTION},
	{"execute_sql_string per-statement context", CATEGORY_EXECUTION},
	{"explain analyze planner context", CATEGORY_EXECUTION},
	{"event trigger context", CATEGORY_EXECUTION},
	{"event trigger state", CATEGORY_EXECUTION},

	/*
	 * Building, cleaning and rewriting tables and indexes, access/ and
	 * contrib/bloom; also run by those commands.  "GiST temporary context" is
	 * recovery's as well.
	 */
	{"Table rewrite", CATEGORY_EXECUTION},
	{"TID storage", CATEGORY_EXECUTION},	/* 17 and later */
	{"Bloom build temporary context", CATEGORY_EXECUTION},
	{"Gin build temporary context", CATEGORY_EXECUTION},
	{"Gin build temporary context for user-defined function",
	CATEGORY_EXECUTION},
	{"Gin vacuum temporary context", CATEGORY_EXECUTION},
	{"GIN insert cleanup temporary context", CATEGORY_EXECUTION},
	{"GiST temporary context", CATEGORY_EXECUTION},
	{"GiST VACUUM page set context", CATEGORY_EXECUTION},
	{"gistbuildbuffers", CATEGORY_EXECUTION},
	{"gistbuild parent map", CATEGORY_EXECUTION},
	{"SP-GiST build temporary context", CATEGORY_EXECUTION},

	/* storage/buffer/localbuf.c */
	{"LocalBufferContext", CATEGORY_TEMP_TABLES},
	{"Local Buffer Lookup Table", CATEGORY_TEMP_TABLES},

	/*
	 * replication/.  A walsender's commands (below MessageContext until 17),
	 * logical decoding wherever it runs, with its reorder buffer and output
	 * plugin below it; the apply workers, their launcher, and the maps that
	 * they keep in CacheMemoryContext.
	 */
	{"Replication command context", CATEGORY_REPLICATION},
	{"incremental backup information", CATEGORY_REPLICATION},
	{"libpqrcv query result context", CATEGORY_REPLICATION},
	{"Logical decoding context", CATEGORY_REPLICATION},
	{"ApplyContext", CATEGORY_REPLICATION},
	{"HandleParallelApplyMessages", CATEGORY_REPLICATION},	/* until 17 */
	{"ProcessParallelApplyMessages", CATEGORY_REPLICATION}, /* 18 and later */
	{"Logical Replication Launcher sublist", CATEGORY_REPLICATION},
	{"slot sync retry context", CATEGORY_REPLICATION},	/* 19 */
	{"Logical replication table sync worker start times",
	CATEGORY_REPLICATION},
	{"LogicalRepRelMapContext", CATEGORY_REPLICATION},
	{"LogicalRepPartMapContext", CATEGORY_REPLICATION},

	/*
	 * The server's own, of no category: a base backup made with
	 * pg_backup_start(), access/transam/xlogfuncs.c; libxml's memory in debug
	 * builds, utils/adt/xml.c.
	 */
	{"on-line backup context", CATEGORY_OTHER},
	{"Libxml context", CATEGORY_OTHER}
};

/*
 * Finds a name in the table: positions in names[], counted from 1, hashed by
 * name, each in the first free slot from its hash on.  0 is a free slot.
 *
 * The first lookup in a process fills it, so that the table above can stand
 * in the order in which it is understood instead of one that a search needs
 * and that somebody would break.  Filling it again changes nothing.
 */
#define NAME_SLOTS	512

static uint8 name_slots[NAME_SLOTS];
static bool name_slots_filled = false;

StaticAssertDecl(lengthof(names) <= PG_UINT8_MAX,
				 "positions in names[] must fit into name_slots[]");
StaticAssertDecl(lengthof(names) <= NAME_SLOTS / 2,
				 "name_slots[] must have room to end a search early");

typedef struct CategoryText
{
	const char *name;
	const char *explanation;	/* what the memory is and why it stays */
} CategoryText;

static const CategoryText category_texts[] = {
	[CATEGORY_BASE] = {
		"base",
		"What every session has: settings, tables of locks, open files and "
		"statistics, buffers for talking to the client. Normally less than "
		"one megabyte. Some of it grows with the number of tables and locks "
		"that the session has used, and none of it shrinks before the session "
		"ends. A large TopMemoryContext usually means that an extension "
		"allocates there."
	},
	[CATEGORY_CATALOG_CACHE] = {
		"catalog cache",
		"The session's own copies of catalog rows and its descriptions of "
		"every table, index, partition, type and operator that it has used. "
		"They make the next statement fast, and PostgreSQL has no limit for "
		"them: apart from what DDL makes obsolete, they stay until the "
		"session ends. A query over a thousand partitions with two indexes "
		"each leaves three thousand descriptions behind, in every session of "
		"the pool. DISCARD ALL does not touch them."
	},
	[CATEGORY_CACHED_PLANS] = {
		"cached plans",
		"Statements kept for repeated execution, each with its parse tree "
		"and often a plan: prepared with PREPARE, by a driver, or inside a "
		"function. A prepared statement stays until it is deallocated, a "
		"function's until the session ends or the function is called after "
		"it was redefined. DISCARD PLANS and changes of tables only mark "
		"plans as outdated; an outdated plan keeps its memory until its "
		"statement is used again. A driver that caches statements must not "
		"have them deallocated behind its back: limit its cache instead."
	},
	[CATEGORY_FUNCTIONS] = {
		"functions",
		"Functions as the session has compiled them, and what they need "
		"while they run. In PL/pgSQL a polymorphic function is compiled once "
		"for each combination of argument types, a trigger function once for "
		"each trigger, on a partitioned table once for each partition. What "
		"is compiled stays until the session ends, or until the function is "
		"called after it was redefined; what a call needs goes when the call "
		"ends. Memory of the Python, Perl and Tcl interpreters is not "
		"included, because it is in no memory context."
	},
	[CATEGORY_CURSORS] = {
		"cursors",
		"Open cursors, and the statement that is running. A cursor declared "
		"WITH HOLD stays open after its transaction and keeps its rows, in "
		"memory up to work_mem and in temporary files beyond. What the plan "
		"of an open cursor needs is counted as execution."
	},
	[CATEGORY_TRANSACTION] = {
		"transaction",
		"What the current transaction has to remember: savepoints and "
		"exception blocks, triggers still to be fired, rows changed more "
		"than once, notifications, large objects opened, statistics looked "
		"at. It goes when the transaction ends, not before."
	},
	[CATEGORY_EXECUTION] = {
		"execution",
		"The statement that is running: its text, parse tree and plan, its "
		"sorts and hash tables, the rows it is working on. Each sort may use "
		"work_mem and each hash table work_mem times hash_mem_multiplier, "
		"in every process of a parallel plan. It is freed when the statement "
		"ends or its cursor is closed, but the process may keep the memory "
		"instead of giving it back to the operating system: then it is no "
		"longer in any context."
	},
	[CATEGORY_TEMP_TABLES] = {
		"temporary tables",
		"Buffers for the pages of the session's temporary tables, up to "
		"temp_buffers. They are allocated as they are needed and then kept, "
		"also when the tables are dropped: DISCARD TEMP and DISCARD ALL drop "
		"the tables and leave the buffers. temp_buffers can be changed "
		"only before the session's first access to a temporary table."
	},
	[CATEGORY_REPLICATION] = {
		"replication",
		"A walsender, logical decoding or an apply worker: the changes of "
		"transactions that are not complete yet, up to "
		"logical_decoding_work_mem, and descriptions of the replicated "
		"tables. The changes go with their transaction, the rest with the "
		"decoding or the worker."
	},
	[CATEGORY_OTHER] = {
		"other",
		"Memory that PostgreSQL itself has no name for: nearly always that "
		"of an extension, which decides how long it is kept."
	}
};

StaticAssertDecl(lengthof(category_texts) == CONTEXT_CATEGORY_COUNT,
				 "every category must have its texts");

static uint32
name_slot(const char *name)
{
	return hash_bytes((const unsigned char *) name, (int) strlen(name)) %
		NAME_SLOTS;
}

static void
fill_name_slots(void)
{
	for (int i = 0; i < lengthof(names); i++)
	{
		uint32		slot = name_slot(names[i].name);

		while (name_slots[slot] != 0 && name_slots[slot] != i + 1)
		{
			/* A name that stands here twice would count the first time. */
			Assert(strcmp(names[name_slots[slot] - 1].name,
						  names[i].name) != 0);
			slot = (slot + 1) % NAME_SLOTS;
		}
		name_slots[slot] = i + 1;
	}
	name_slots_filled = true;
}

int
context_category_of_name(const char *name)
{
	if (!name_slots_filled)
		fill_name_slots();

	for (uint32 slot = name_slot(name);
		 name_slots[slot] != 0;
		 slot = (slot + 1) % NAME_SLOTS)
	{
		const NameCategory *entry = &names[name_slots[slot] - 1];

		if (strcmp(entry->name, name) == 0)
			return entry->category;
	}
	return CATEGORY_OF_PARENT;
}

const char *
context_category_name(ContextCategory category)
{
	Assert((uint32) category < lengthof(category_texts));
	return category_texts[category].name;
}

const char *
context_category_explanation(ContextCategory category)
{
	Assert((uint32) category < lengthof(category_texts));
	return category_texts[category].explanation;
}
