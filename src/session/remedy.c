/*-------------------------------------------------------------------------
 *
 * remedy.c
 *	  What gives memory back, by what it is.
 *
 * The log's hint, the view of bloat, the errors of check() and recycle() and
 * pg_session_memory_categories() all take their words from here, so that they
 * cannot say different things of the same memory.
 *
 * Each cause has two texts.  One is for the session itself, which can free
 * what it has made.  The other is for somebody who looks at the session from
 * outside and can only ask it for a trim, or end it: where nothing else
 * helps, the text says so, and that a pooler's RECONNECT does it for a whole
 * pool.  test/t/017_remedies.pl does what the texts say and measures.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "session/remedy.h"

typedef struct Remedy
{
	const char *own;			/* at most 200 characters */
	const char *other;			/* the same; %1$d is the session's pid */
	bool		trims;			/* whether the first of it is a trim */
} Remedy;

static const Remedy remedies[] = {
	[CATEGORY_BASE] = {
		"This memory only goes when the session ends: reconnect, or call "
		"pg_session_memory_recycle(). If TopMemoryContext is large, suspect "
		"an extension.",
		"This memory only goes when the session ends: "
		"pg_terminate_backend(%1$d), or a pooler's RECONNECT. If "
		"TopMemoryContext is large, suspect an extension."
	},
	[CATEGORY_CATALOG_CACHE] = {
		"pg_session_memory_trim() empties these caches and gives part of the "
		"memory back, a new connection all of it; DISCARD ALL gives back "
		"none. Let a session use fewer tables and partitions.",
		"pg_session_memory_trim(%1$d) empties these caches and gives part of "
		"the memory back, pg_terminate_backend(%1$d) all of it; DISCARD ALL "
		"gives back none. Let a session use fewer tables and partitions.",
		true
	},
	[CATEGORY_CACHED_PLANS] = {
		"DEALLOCATE ALL or DISCARD ALL frees prepared statements; limit the "
		"driver's statement cache. DISCARD PLANS frees nothing at once.",
		"Its client frees prepared statements with DEALLOCATE ALL or DISCARD "
		"ALL; limit the driver's statement cache. From outside only "
		"pg_terminate_backend(%1$d) frees them, or a pooler's RECONNECT."
	},
	[CATEGORY_FUNCTIONS] = {
		"Compiled functions stay until the session ends; neither DISCARD ALL "
		"nor pg_session_memory_trim() frees them. Reconnect, or call "
		"pg_session_memory_recycle().",
		"Compiled functions stay until the session ends; no trim frees them. "
		"What does is pg_terminate_backend(%1$d), or a pooler's RECONNECT."
	},
	[CATEGORY_CURSORS] = {
		"CLOSE the cursor; CLOSE ALL and DISCARD ALL close every cursor. The "
		"end of the transaction closes all but those declared WITH HOLD.",
		"Its client has to CLOSE the cursor, or to end the transaction if it "
		"was not declared WITH HOLD. From outside only "
		"pg_terminate_backend(%1$d) closes it."
	},
	[CATEGORY_TRANSACTION] = {
		"COMMIT or ROLLBACK frees this memory. Keep transactions short, "
		"with fewer rows for deferred triggers and fewer savepoints; "
		"idle_in_transaction_session_timeout ends forgotten ones.",
		"COMMIT or ROLLBACK by its client frees this memory, or "
		"pg_terminate_backend(%1$d). idle_in_transaction_session_timeout "
		"ends forgotten transactions."
	},
	[CATEGORY_EXECUTION] = {
		"This memory is freed when the statement ends or its cursor is "
		"closed. Lower work_mem if it is too much; pg_session_memory_trim() "
		"gives back what the process keeps afterwards.",
		"This memory is freed when the statement ends or its cursor is "
		"closed: pg_cancel_backend(%1$d) cancels a statement. Lower work_mem "
		"if it is too much."
	},
	[CATEGORY_TEMP_TABLES] = {
		"Buffers of temporary tables stay until the session ends, even if "
		"the tables are dropped: reconnect, and set temp_buffers lower "
		"before the first temporary table is used.",
		"Buffers of temporary tables stay until the session ends: "
		"pg_terminate_backend(%1$d), or a pooler's RECONNECT. Set "
		"temp_buffers lower."
	},
	[CATEGORY_REPLICATION] = {
		"This memory goes when decoding or the replication connection ends. "
		"Lower logical_decoding_work_mem, avoid very large transactions, or "
		"restart the subscriber or consumer.",
		"This memory goes when decoding or the replication connection ends. "
		"Lower logical_decoding_work_mem, avoid very large transactions, or "
		"restart the subscriber or consumer."
	},
	[CATEGORY_OTHER] = {
		"Look at the names in pg_session_memory_contexts(): an extension "
		"made these contexts and decides when they go. Ending the session "
		"always frees them.",
		"Look at the names in pg_session_memory_contexts(%1$d): an extension "
		"made these contexts and decides when they go. "
		"pg_terminate_backend(%1$d) always frees them."
	},
	[CAUSE_EMPTY_CACHES] = {
		"Most of this is free already: the session uses it again for its "
		"caches, and neither a trim nor DISCARD ALL gives it back. Only a new "
		"connection does: reconnect, or call pg_session_memory_recycle().",
		"Most of this is free already, and no trim gives it back: the session "
		"uses it again for its caches. What does is "
		"pg_terminate_backend(%1$d), or a pooler's RECONNECT."
	},
	[CAUSE_FUNCTION_STATEMENTS] = {
		"Most of these are statements inside functions: they stay until the "
		"session ends, whatever DEALLOCATE, DISCARD ALL and a trim do. "
		"Reconnect, or call pg_session_memory_recycle().",
		"Most of these are statements inside functions: they stay until the "
		"session ends, whatever DEALLOCATE and a trim do. What frees them is "
		"pg_terminate_backend(%1$d), or a pooler's RECONNECT."
	},
	[CAUSE_MALLOC_FREE] = {
		"Most of it has been freed and is kept by malloc: "
		"pg_session_memory_trim(false) gives it back and drops nothing, "
		"pg_session_memory.trim_when_idle does so in idle sessions. DISCARD "
		"ALL gives back none.",
		"Most of it has been freed and is kept by malloc: "
		"pg_session_memory_trim(%1$d) gives it back, "
		"pg_session_memory.trim_when_idle does so in all idle sessions. "
		"DISCARD ALL gives back none.",
		true
	},
	[CAUSE_OUTSIDE_CONTEXTS] = {
		"Most of it is outside of all memory contexts and in use: libraries, "
		"JIT, PL/Python, PL/Perl, dblink. A trim does not free it. Reconnect, "
		"or call pg_session_memory_recycle().",
		"Most of it is outside of all memory contexts and in use: libraries, "
		"JIT, PL/Python, PL/Perl, dblink. No trim frees it. What does is "
		"pg_terminate_backend(%1$d), or a pooler's RECONNECT."
	},
	[CAUSE_OUTSIDE_OR_FREE] = {
		"It is outside of all memory contexts: pg_session_memory_trim(false) "
		"gives back what malloc keeps of it, reconnecting everything.",
		"It is outside of all memory contexts: pg_session_memory_trim(%1$d) "
		"gives back what malloc keeps of it. The rest goes with the session: "
		"pg_terminate_backend(%1$d), or a pooler's RECONNECT.",
		true
	}
};

StaticAssertDecl(lengthof(remedies) == MEMORY_CAUSE_COUNT,
				 "every cause must have its remedy");

MemoryCause
memory_cause(ContextCategory category, int64 bytes, int64 free_bytes,
			 bool of_functions)
{
	if (category == CATEGORY_CATALOG_CACHE && free_bytes > bytes / 2)
		return CAUSE_EMPTY_CACHES;
	if (category == CATEGORY_CACHED_PLANS && of_functions)
		return CAUSE_FUNCTION_STATEMENTS;
	return (MemoryCause) category;
}

const char *
remedy_text(int cause, int pid, bool in_transaction, char *text)
{
	const Remedy *remedy;

	Assert(cause >= 0 && cause < MEMORY_CAUSE_COUNT);
	remedy = &remedies[cause];
	if (pid == 0)
		strlcpy(text, remedy->own, REMEDY_BYTES);
	else
		snprintf(text, REMEDY_BYTES, remedy->other, pid);
	if (pid != 0 && in_transaction && remedy->trims)
		strlcat(text, " It is in a transaction, and trims when that has ended.",
				REMEDY_BYTES);
	return text;
}
