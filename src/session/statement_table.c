/*-------------------------------------------------------------------------
 *
 * statement_table.c
 *	  What statements took, by query id, in shared memory.
 *
 * The table has a fixed number of entries, pg_session_memory.max_statements,
 * and chains of them by hash value.  Nothing in it is ever allocated.
 *
 * Locking.  The table's LWLock is held in shared mode to find an entry and to
 * read entries, exclusively to make one, let one give way, or forget all.  The
 * counters of an entry change under its spinlock while the LWLock is held in
 * shared mode, so sessions that count different statements do not wait for
 * each other.  Nothing is looked up, allocated or raised under either; the
 * text of a statement is cut before.
 *
 * Giving way.  An entry's usage is the sum of what its executions took, in
 * statement_floor's order of magnitude, MB.  When the table is full, a hand
 * goes round.  For each new entry it looks at the next CANDIDATES, makes their
 * usage a little less, and the one of the least usage gives way.  So a nightly
 * report of 10 GB stays for weeks beside a flood of statements of 1 MB that
 * each come once, and nobody ever sorts or walks over the whole table.
 *
 * Only executions of statement_floor and more come here, so a lock is rare.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"

#include "pg_compat.h"
#include "reading/process_memory.h"
#include "session/statement_table.h"
#include "settings.h"

/* As in pg_stat_statements, but for CANDIDATES entries at a time. */
#define USAGE_DECREASE	0.99
#define CANDIDATES		16

typedef struct StatementEntry
{
	StatementKey key;
	int			next;			/* of the same bucket, -1: none */
	uint32		bucket;
	double		usage;			/* under the spinlock, as the counters */
	slock_t		mutex;
	StatementCounters counters;
} StatementEntry;

/*
 * In one piece of shared memory: this, a number for each process slot, the
 * buckets, the entries.
 */
typedef struct StatementTable
{
	LWLock	   *lock;
	int			size;			/* entries that there can be */
	int			count;			/* those in use are the first ones */
	int			hand;			/* the next candidate to give way */
	int			buckets;		/* a power of 2 */
	int64		birth_bytes;	/* anonymous memory of the postmaster */
} StatementTable;

static StatementTable *table = NULL;
static pg_atomic_uint64 *worker_bytes;	/* by process slot of the leader */

/* This process's own, once it is known: until then one that stays 0. */
static pg_atomic_uint64 no_workers;
pg_atomic_uint64 *statement_table_my_workers = &no_workers;
static int *buckets;			/* first entry of each, -1: none */
static StatementEntry *entries;

static int
bucket_count(void)
{
	int			count = 64;

	while (count < setting_max_statements)
		count *= 2;
	return count;
}

static Size
workers_size(void)
{
	return MAXALIGN(mul_size(sizeof(pg_atomic_uint64), pgsm_process_slots()));
}

Size
statement_table_shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(StatementTable));

	size = add_size(size, workers_size());
	size = add_size(size, MAXALIGN(mul_size(sizeof(int), bucket_count())));
	return add_size(size, mul_size(sizeof(StatementEntry),
								   setting_max_statements));
}

void
statement_table_shmem_startup(void)
{
	ProcessMemory memory;
	bool		found;
	char	   *place;

	table = ShmemInitStruct("pg_session_memory statements",
							statement_table_shmem_size(), &found);
	place = (char *) table + MAXALIGN(sizeof(StatementTable));
	worker_bytes = (pg_atomic_uint64 *) place;
	place += workers_size();
	buckets = (int *) place;
	place += MAXALIGN(sizeof(int) * bucket_count());
	entries = (StatementEntry *) place;
	if (found)
		return;

	table->lock = &GetNamedLWLockTranche(STATEMENT_TABLE_TRANCHE)->lock;
	table->size = setting_max_statements;
	table->count = 0;
	table->hand = 0;
	table->buckets = bucket_count();
	process_memory_read(MyProcPid, &memory);
	table->birth_bytes = Max(memory.anon_bytes, 0);
	for (int i = 0; i < pgsm_process_slots(); i++)
		pg_atomic_init_u64(&worker_bytes[i], 0);
	for (int i = 0; i < table->buckets; i++)
		buckets[i] = -1;
	for (int i = 0; i < table->size; i++)
		SpinLockInit(&entries[i].mutex);
}

static uint32
bucket_of(const StatementKey *key)
{
	uint32		hash = murmurhash32(key->userid);

	hash = hash_combine(hash, murmurhash32(key->dbid));
	hash = hash_combine(hash, murmurhash32((uint32) key->queryid));
	hash = hash_combine(hash, murmurhash32((uint32) (key->queryid >> 32)));
	return (hash + key->toplevel) & (table->buckets - 1);
}

/* The entry of a key, NULL if there is none; under the lock. */
static StatementEntry *
find_entry(const StatementKey *key, uint32 bucket)
{
	for (int i = buckets[bucket]; i >= 0; i = entries[i].next)
	{
		const StatementKey *other = &entries[i].key;

		if (other->queryid == key->queryid && other->userid == key->userid &&
			other->dbid == key->dbid && other->toplevel == key->toplevel)
			return &entries[i];
	}
	return NULL;
}

/*
 * Takes the least useful of the next entries out of its chain; under the lock,
 * exclusively, so that nobody has a spinlock.
 */
static int
let_one_give_way(void)
{
	int			victim = -1;
	int		   *link;

	for (int i = 0; i < Min(CANDIDATES, table->size); i++)
	{
		StatementEntry *entry = &entries[table->hand];

		entry->usage *= USAGE_DECREASE;
		if (victim < 0 || entry->usage < entries[victim].usage)
			victim = table->hand;
		table->hand = (table->hand + 1) % table->size;
	}

	link = &buckets[entries[victim].bucket];
	while (*link != victim)
		link = &entries[*link].next;
	*link = entries[victim].next;
	return victim;
}

/* A new entry for a key; under the lock, exclusively. */
static StatementEntry *
make_entry(const StatementKey *key, uint32 bucket)
{
	int			place = table->count < table->size ? table->count++ :
	let_one_give_way();
	StatementEntry *entry = &entries[place];

	entry->key = *key;
	entry->bucket = bucket;
	entry->next = buckets[bucket];
	buckets[bucket] = place;
	entry->usage = 0;
	memset(&entry->counters, 0, sizeof(entry->counters));
	return entry;
}

static void
add_figure(StatementFigure *figure, int64 bytes, bool again)
{
	if (bytes < 0)
		return;
	figure->max = Max(figure->max, bytes);
	if (again)
		return;
	figure->sum += bytes;
	figure->count++;
}

static void
add_news(StatementEntry *entry, const StatementNews *news)
{
	StatementCounters *counters = &entry->counters;
	bool		is_largest = false;

	if (news->is_call)
		counters->calls++;
	if (news->limited)
		counters->limited++;
	if (news->sampled)
		counters->sampled++;
	if (news->is_call)
		entry->usage += Max(news->took_bytes, 0) / (1024.0 * 1024.0);
	add_figure(&counters->plan, news->plan_bytes, false);
	add_figure(&counters->exec, news->exec_bytes, false);
	add_figure(&counters->peak, news->peak_bytes, news->peak_again);
	counters->max_worker_bytes = Max(counters->max_worker_bytes,
									 news->worker_bytes);
	counters->left_bytes += news->left_bytes;
	counters->max_left_bytes = Max(counters->max_left_bytes,
								   news->left_bytes);
	if (news->took_bytes >= counters->max_bytes || counters->max_at == 0)
	{
		counters->max_bytes = news->took_bytes;
		counters->max_at = news->at;
		is_largest = true;
	}

	/* The text can come later than the figures, or not at all. */
	if (news->query != NULL && (is_largest || counters->query[0] == '\0'))
	{
		memcpy(counters->query, news->query, news->query_length);
		counters->query[news->query_length] = '\0';
	}
}

void
statement_table_add(const StatementKey *key, const StatementNews *news)
{
	StatementEntry *entry;
	uint32		bucket;

	if (table == NULL || table->size == 0)
		return;
	Assert(news->query == NULL || news->query_length < STATEMENT_QUERY_BYTES);

	bucket = bucket_of(key);
	LWLockAcquire(table->lock, LW_SHARED);
	entry = find_entry(key, bucket);
	if (entry == NULL)
	{
		LWLockRelease(table->lock);
		LWLockAcquire(table->lock, LW_EXCLUSIVE);
		/* Another session may have made it meanwhile. */
		entry = find_entry(key, bucket);
		if (entry == NULL)
			entry = make_entry(key, bucket);
	}
	SpinLockAcquire(&entry->mutex);
	add_news(entry, news);
	SpinLockRelease(&entry->mutex);
	LWLockRelease(table->lock);
}

int
statement_table_read(int *next, StatementRow *rows, int count)
{
	int			copied = 0;

	if (table == NULL)
		return 0;
	LWLockAcquire(table->lock, LW_SHARED);
	while (copied < count && *next < table->count)
	{
		StatementEntry *entry = &entries[(*next)++];

		rows[copied].key = entry->key;
		SpinLockAcquire(&entry->mutex);
		memcpy(&rows[copied].counters, &entry->counters,
			   sizeof(StatementCounters));
		SpinLockRelease(&entry->mutex);
		copied++;
	}
	LWLockRelease(table->lock);
	return copied;
}

void
statement_table_reset(void)
{
	if (table == NULL)
		return;
	LWLockAcquire(table->lock, LW_EXCLUSIVE);
	for (int i = 0; i < table->buckets; i++)
		buckets[i] = -1;
	table->count = 0;
	table->hand = 0;
	LWLockRelease(table->lock);
}

void
statement_table_add_worker(int leader_slot, int64 bytes)
{
	if (table != NULL && leader_slot >= 0 &&
		leader_slot < pgsm_process_slots())
		pg_atomic_fetch_add_u64(&worker_bytes[leader_slot], bytes);
}

void
statement_table_forget_workers(void)
{
	int			slot = pgsm_my_process_slot();

	if (table == NULL || slot < 0)
		return;
	statement_table_my_workers = &worker_bytes[slot];
	pg_atomic_write_u64(statement_table_my_workers, 0);
}

int64
statement_table_birth_bytes(void)
{
	return table == NULL ? 0 : table->birth_bytes;
}
