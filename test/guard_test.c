/*-------------------------------------------------------------------------
 *
 * guard_test.c
 *	  src/watcher/guard.c by itself, on made-up servers.
 *
 *	guard_test DIRECTORY [growth]
 *
 * A server is some sessions that want memory, each after its kind, and a
 * machine on which touching memory takes time.  Memory that is asked for
 * beyond a ceiling is refused; when more is touched than there is, the OOM
 * killer would have come, and the history is lost.  The guard is asked when it
 * wants to be asked, some milliseconds late.
 *
 * check.sh compiles and runs it.  With "growth" it prints from which growth on
 * a reserve no longer holds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>
#include <time.h>

#include "watcher/guard.h"

/* Those of the system: there is no server with its own ones. */
#undef fprintf
#undef printf
#undef snprintf

#define MB		((int64) 1024 * 1024)
#define GB		(1024 * MB)

/* A core touches so much in a millisecond: 2.5 GB a second. */
#define CORE	(2560 * MB / 1000)

/* And the kernel takes back so much of a process. */
#define FREED	(10 * GB / 1000)

#define MOST_SESSIONS	1200

/* ----------------------------------------------------------------------------
 * Sessions
 * ----------------------------------------------------------------------------
 */

typedef enum Growth
{
	IN_STEPS,					/* asks for a step, touches it, ... */
	IN_BLOCKS,					/* the same as fast as can be, and then rests */
	DOUBLING,					/* asks for as much as it has, ... */
	AT_ONCE						/* asks for all, and touches it then */
} Growth;

typedef struct Kind
{
	const char *name;
	Growth		growth;
	int64		step;
	int64		rate;			/* bytes touched in a second at most, 0: any;
								 * or asked for, in blocks */
	int			holds;			/* ms that it keeps what it has got */
	int			pause;			/* ms until the next statement, -1: for good */
	bool		may_fail;		/* by a ceiling or a cancel */
	enum
	{
		OF_SESSION, NEVER_FREED, HEAP_KEPT, SHARED, ELSEWHERE
	}			memory;
	int			workers;
	bool		exempt;
	bool		superuser;
	bool		deaf;			/* to cancels, until it fails */
} Kind;

static const Kind kinds[] = {
	{"ordinary", IN_STEPS, MB, 0, 20, 100, false},
	{"transactions", IN_STEPS, MB / 4, 0, 2, 5, false},
	{"connections", IN_STEPS, MB / 4, 0, 100, 100, false},
	{"idle", IN_STEPS, 0, 0, 0, -1, false},
	{"array", DOUBLING, MB, 0, 100, -1, true},
	{"slow array", DOUBLING, MB, 60 * MB, 100, -1, true},
	{"join", IN_STEPS, 8 * MB, 0, 500, -1, true},
	{"join again", IN_STEPS, 8 * MB, 0, 100, 50, true},
	{"blocks", IN_BLOCKS, 128 * MB, 250 * MB, 100, -1, true, OF_SESSION, 0,
	false, false, true},
	{"prepared", IN_STEPS, 132 * 1024, 100 * MB, 500, -1, true},
	{"growing", IN_STEPS, MB, 20 * MB, 1000, -1, true},
	{"build", AT_ONCE, 0, 0, 1000, -1, true},
	{"build again", AT_ONCE, 0, 0, 20, 20, true},
	{"vacuum", AT_ONCE, 0, MB, 1000, -1, true},
	{"parallel", IN_STEPS, 8 * MB, 0, 500, -1, true, OF_SESSION, 2},
	{"keeper", IN_STEPS, 8 * MB, 0, 60000, -1, true},
	{"hog", IN_STEPS, 8 * MB, 0, 0, -1, true, NEVER_FREED},
	{"super", IN_STEPS, 8 * MB, 0, 60000, -1, true, OF_SESSION, 0,
	false, true},
	{"walsender", IN_STEPS, 8 * MB, 200 * MB, 60000, -1, true, OF_SESSION, 0,
	true},
	{"trimmed", IN_STEPS, 8 * MB, 0, 100, 300, true, HEAP_KEPT},
	{"shared", IN_STEPS, 8 * MB, 1000 * MB, 60000, -1, true, SHARED},
	{"fast shared", IN_STEPS, 8 * MB, 0, 60000, -1, true, SHARED},
	{"elsewhere", IN_STEPS, MB, 100 * MB, 60000, -1, true, ELSEWHERE},
};

typedef enum SessionState
{
	ABSENT,						/* not connected */
	WAITING,					/* idle until a time */
	RUNNING,
	HOLDING,					/* runs, and wants no more, until a time */
	ENDING						/* frees until a time */
} SessionState;

typedef struct Session
{
	const Kind *kind;
	SessionState state;
	int			until;			/* ms */
	int			began;			/* its statement, ms */
	int64		peak;			/* what it wants */
	int64		largest;		/* peak of its largest statement */
	int64		base;			/* what it has without a statement */
	int64		in_use;			/* what its statement has got */
	int64		touched;		/* of that */
	int64		heap;			/* of malloc */
	int64		present;		/* of that, in memory */
	bool		may_fail;
	double		weight;
	int64		own_limit;
	int			leader;			/* index of a session */
	int			statement;
	int			cancel_at;		/* ms, 0: not */
	int			terminate_at;
	int			trim_at;
	int64		ceiling;
	int			index;			/* in what the guard was told last */
	GuardMemory memory;
} Session;

typedef struct Machine
{
	int64		total;
	int64		reserve;
	int64		server_limit;
	int			cores;
	int64		core;			/* bytes a ms that each can touch */
	int64		used;
	int			now;			/* ms */
	int			count;
	Session		sessions[MOST_SESSIONS];
	Guard		guard;
	GuardServer server;
	GuardAction action;
	GuardProcess processes[MOST_SESSIONS];
	int			told;			/* of those */

	/* What has happened. */
	bool		exhausted;
	int64		least;			/* available */
	int			refused;		/* statements of who may fail */
	int			wronged;		/* of others, refused, cancelled, terminated */
	int			done;			/* statements that got all they wanted */
	int			trims;
	int			cancels;
	int			terminations;
	int			ticks;
	char		why[200];
} Machine;

static Machine machine;
static uint64 random_state;
static int	failures;

/* xorshift64*: the same on each machine. */
static uint64
random_below(uint64 bound)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (random_state * UINT64CONST(2685821657736338717) >> 33) % bound;
}

static int64
data_of(const Session *session)
{
	return session->kind->memory >= SHARED ? session->base :
		session->base + session->heap;
}

static bool
is_idle(const Session *session)
{
	return session->state == WAITING;
}

static void
wrong(Machine *m, const Session *session, const char *what)
{
	if (m->wronged++ > 0)
		return;
	snprintf(m->why, sizeof(m->why),
			 "%s %s at %d ms: has %lld MB, ceiling %lld MB, %lld MB left",
			 session->kind->name, what, m->now,
			 (long long) (data_of(session) / MB),
			 (long long) (session->ceiling / MB),
			 (long long) ((m->total - m->used) / MB));
}

/* Changes what is in memory of a session. */
static void
set_present(Machine *m, Session *session, int64 present)
{
	m->used += present - session->present;
	session->present = present;
}

static void
end_statement(Machine *m, Session *session)
{
	session->state = ENDING;
	session->until = m->now + 2;
	session->cancel_at = 0;
}

static void
disconnect(Machine *m, Session *session)
{
	m->used -= session->base;
	set_present(m, session, 0);
	session->state = ABSENT;
	session->heap = session->in_use = session->touched = 0;
	session->until = session->kind->pause < 0 ? INT_MAX :
		m->now + session->kind->pause;
	memset(&session->memory, 0, sizeof(GuardMemory));
	session->ceiling = -1;
	session->cancel_at = session->terminate_at = session->trim_at = 0;
	session->index = -1;
}

static void
connect_session(Machine *m, Session *session)
{
	session->base = 2 * MB + MB / 2;
	m->used += session->base;
	session->ceiling = -1;
	session->state = WAITING;
	session->until = m->now;
}

static void
begin_statement(Machine *m, Session *session)
{
	session->state = RUNNING;
	session->statement++;
	session->began = m->now;
	session->in_use = session->touched = 0;
	session->peak = session->kind->may_fail ? session->largest :
		session->largest / 4 + random_below(session->largest * 3 / 4 + 1);
}

static void
fail(Machine *m, Session *session, const char *how)
{
	if (session->may_fail)
		m->refused++;
	else
		wrong(m, session, how);
	end_statement(m, session);
}

/* Asks for memory as malloc does: first of what the process has. */
static bool
ask(Machine *m, Session *session, int64 bytes)
{
	int64		missing = session->in_use + bytes - session->heap;

	if (missing > 0)
	{
		if (session->ceiling >= 0 && session->kind->memory < SHARED &&
			data_of(session) + missing > session->ceiling)
			return false;
		session->heap += missing;
	}
	session->in_use += bytes;
	return true;
}

static void
run_statement(Machine *m, Session *session, int64 budget)
{
	const Kind *kind = session->kind;

	if (kind->rate > 0 && kind->growth != IN_BLOCKS)
		budget = Min(budget, kind->rate / 1000);
	while (budget > 0)
	{
		int64		bytes = Min(budget, session->in_use - session->touched);

		if (bytes > 0)
		{
			session->touched += bytes;
			budget -= bytes;
			if (session->touched > session->present)
				set_present(m, session, session->touched);
			continue;
		}
		if (kind->growth == IN_BLOCKS &&
			session->in_use > (m->now - session->began) * (kind->rate / 1000))
			return;
		bytes = kind->growth == AT_ONCE ? session->peak :
			kind->growth == DOUBLING ? Max(kind->step, session->in_use) :
			kind->step;
		if (session->in_use + bytes > session->peak)
		{
			session->state = HOLDING;
			session->until = m->now + kind->holds;
			return;
		}
		if (!ask(m, session, bytes))
		{
			fail(m, session, "refused");
			return;
		}
	}
}

/* One millisecond of a session. */
static void
step_session(Machine *m, Session *session, int64 budget)
{
	if (session->terminate_at != 0 && m->now >= session->terminate_at)
	{
		if (!session->may_fail)
			wrong(m, session, "terminated");
		disconnect(m, session);
		session->until = INT_MAX;
		return;
	}
	if (session->trim_at != 0 && m->now >= session->trim_at)
	{
		session->trim_at = 0;
		if (is_idle(session) && session->kind->memory != NEVER_FREED)
			set_present(m, session, session->in_use);
	}
	if (session->cancel_at != 0 && m->now >= session->cancel_at &&
		!session->kind->deaf &&
		(session->state == RUNNING || session->state == HOLDING))
		fail(m, session, "cancelled");
	session->cancel_at = session->cancel_at > m->now ? session->cancel_at : 0;

	switch (session->state)
	{
		case ABSENT:
			if (m->now >= session->until)
				connect_session(m, session);
			break;
		case WAITING:
			if (m->now >= session->until)
				begin_statement(m, session);
			break;
		case RUNNING:
			run_statement(m, session, budget);
			break;
		case HOLDING:
			if (m->now < session->until)
				break;
			m->done++;
			if (session->kind->memory == NEVER_FREED)
			{
				session->state = WAITING;
				session->until = INT_MAX;
			}
			else
				end_statement(m, session);
			break;
		case ENDING:
			if (m->now < session->until)
				break;
			if (session->kind->memory != HEAP_KEPT)
			{
				set_present(m, session, Max(session->present - FREED, 0));
				if (session->present > 0)
					break;
				session->heap = 0;
			}
			else if (random_below(2) == 0)
				set_present(m, session, 0);
			session->in_use = session->touched = 0;
			session->state = WAITING;
			session->until = session->kind->pause < 0 ? INT_MAX :
				m->now + session->kind->pause / 2 +
				random_below(session->kind->pause + 1);
			if (strcmp(session->kind->name, "connections") == 0)
				disconnect(m, session);
			break;
	}
}

/* ----------------------------------------------------------------------------
 * The watcher
 * ----------------------------------------------------------------------------
 */

static void
tell_guard(Machine *m)
{
	m->told = 0;
	for (int i = 0; i < m->count; i++)
	{
		Session    *session = &m->sessions[i];
		GuardProcess *process = &m->processes[m->told];

		session->index = -1;
		if (session->state == ABSENT || session->kind->memory == ELSEWHERE)
			continue;
		memset(process, 0, sizeof(GuardProcess));
		session->index = m->told++;
		process->unit = m->sessions[session->leader].index;
		process->limited = true;
		process->idle = is_idle(session);
		process->exempt = session->kind->exempt;
		process->superuser = session->kind->superuser;
		process->weight = session->weight;
		process->data_bytes = data_of(session);
		process->anon_bytes = session->base;
		if (session->kind->memory == SHARED)
			process->shared_bytes = session->present;
		else
			process->anon_bytes += session->present;
		process->own_limit_bytes = session->own_limit;
		process->statement = session->statement;
		process->memory = session->memory;
	}
	m->server.total_bytes = m->total;
	m->server.available_bytes = m->total - m->used;
	m->server.reserve_bytes = m->reserve;
	m->server.server_limit_bytes = m->server_limit;
	m->server.patience = 2000000;
}

/* What the guard has decided reaches the sessions. */
static void
obey_guard(Machine *m)
{
	for (int i = 0; i < m->count; i++)
	{
		Session    *session = &m->sessions[i];

		if (session->index < 0)
			continue;
		session->ceiling = m->processes[session->index].ceiling_bytes;
		session->memory = m->processes[session->index].memory;
		if (session->index != m->action.process)
			continue;
		if (m->action.kind == GUARD_TRIM)
		{
			m->trims++;
			session->trim_at = m->now + 1 + random_below(10);
		}
		else if (m->action.kind == GUARD_CANCEL)
		{
			m->cancels++;
			session->cancel_at = m->now + 1 + random_below(40);
			for (int j = 0; j < m->count; j++)
			{
				if (m->sessions[j].leader == i)
					m->sessions[j].cancel_at = session->cancel_at;
			}
		}
		else if (m->action.kind == GUARD_TERMINATE)
		{
			m->terminations++;
			for (int j = 0; j < m->count; j++)
			{
				if (m->sessions[j].leader == i)
					m->sessions[j].terminate_at =
						m->now + 1 + random_below(40);
			}
		}
	}
}

/* Asks the guard; returns when it wants to be asked again. */
typedef uint64 (*Decide) (Machine *m, uint64 now);

static uint64
decide(Machine *m, uint64 now)
{
	return guard_decide(&m->guard, &m->server, m->processes, m->told, now,
						&m->action);
}

static void
run(Machine *m, int milliseconds, Decide decide)
{
	uint64		next = 0;

	m->least = m->total;
	for (m->now = 1; m->now <= milliseconds && !m->exhausted; m->now++)
	{
		uint64		now = (uint64) m->now * 1000;
		int			first = random_below(m->count);
		int			busy = 0;
		int64		budget;
		bool		decides = now >= next;

		if (decides)
		{
			tell_guard(m);
			next = now + decide(m, now) + random_below(4) * 1000;
			m->ticks++;
		}
		for (int i = 0; i < m->count; i++)
		{
			if (m->sessions[i].state == RUNNING)
				busy++;
		}
		budget = busy <= m->cores ? m->core : m->core * m->cores / busy;
		for (int i = 0; i < m->count; i++)
			step_session(m, &m->sessions[(first + i) % m->count], budget);
		if (decides)
			obey_guard(m);
		m->least = Min(m->least, m->total - m->used);
		m->exhausted = m->used > m->total;
	}
}

/* ----------------------------------------------------------------------------
 * Histories
 * ----------------------------------------------------------------------------
 */

/*
 * Bytes of "10M", "1w", which is what an ordinary statement takes, or "80%" of
 * what can be had.
 */
static int64
bytes_of(const Machine *m, const char *text)
{
	char	   *unit;
	int64		number = strtoll(text, &unit, 10);

	return *unit == '%' ? (m->total - m->used - m->reserve) / 100 * number :
		*unit == 'w' ? number * Min(m->total / 400 + 3 * MB, 20 * MB) :
		number * MB;
}

static void
add_session(Machine *m, const Kind *kind, int64 bytes, int at, bool may_fail,
			int leader)
{
	Session    *session = &m->sessions[m->count];

	memset(session, 0, sizeof(Session));
	session->kind = kind;
	session->leader = leader < 0 ? m->count : leader;
	session->largest = bytes;
	session->may_fail = may_fail;
	session->weight = 1;
	session->own_limit = -1;
	session->index = -1;
	m->count++;
	if (kind->memory != ELSEWHERE)
		connect_session(m, session);
	session->ceiling = -1;
	session->state = WAITING;
	session->until = at;
	if (kind->step == 0 && kind->growth == IN_STEPS)
	{
		session->until = INT_MAX;
		session->in_use = session->touched = session->heap = bytes;
		set_present(m, session, bytes);
	}
	if (kind->memory == HEAP_KEPT)
		session->heap = bytes;
}

/*
 * Adds sessions as they are described: "20 ordinary 1w, 1 array 300% @500".
 * They begin at a time, or somewhere in the first 200 ms.  Those with a "!"
 * may not fail.
 */
static void
add_sessions(Machine *m, const char *text)
{
	static Machine empty;

	empty = *m;
	while (*text != '\0')
	{
		char		name[32];
		char		size[16];
		int			count;
		int			length;
		int			at = -1;
		bool		must = false;
		const Kind *kind = kinds;

		if (sscanf(text, "%d %31[a-z ]%15[0-9Mw%%]%n", &count, name, size,
				   &length) != 3)
			abort();
		name[strlen(name) - 1] = '\0';
		text += length;
		if (sscanf(text, " @%d%n", &at, &length) == 1)
			text += length;
		if (*text == '!')
		{
			must = true;
			text++;
		}
		text += strspn(text, ", ");
		while (strcmp(kind->name, name) != 0)
		{
			if (++kind == kinds + lengthof(kinds))
				abort();
		}
		for (int i = 0; i < count; i++)
		{
			int			start = at >= 0 ? at : (int) random_below(200);
			int			leader = m->count;
			int64		bytes = bytes_of(&empty, size) / (kind->workers + 1);

			for (int j = 0; j <= kind->workers; j++)
				add_session(m, kind, bytes, start, kind->may_fail && !must,
							j == 0 ? -1 : leader);
		}
	}
}

static void
set_up(Machine *m, int64 total, int64 reserve, int seconds, uint64 seed,
	   const char *text)
{
	memset(m, 0, sizeof(Machine));
	random_state = seed * UINT64CONST(0x9E3779B97F4A7C15) + 1;
	m->total = total;
	m->reserve = reserve >= 0 ? reserve : guard_default_reserve(total);
	m->server_limit = -1;
	m->core = CORE;
	m->cores = Max(2, Min(total / (16 * GB), 16));
	m->used = total - Min(total / 10 * 9,
						  m->reserve / 2 * 5 + seconds * 700 * MB);
	add_sessions(m, text);
}

/* What a history must come to; memory is never exhausted. */
#define CALM	1				/* nobody is refused, cancelled, terminated */
#define ACTS	2				/* somebody is cancelled or terminated */
#define TRIMS	4				/* somebody is trimmed */
#define QUIET	8				/* in the end there is plenty again */
#define HURTS	16				/* more than ceilings can prevent: somebody may
								 * be cancelled, and some ordinary statements,
								 * at most a tenth, fail */
#define LIMITED 32				/* server_limit is half of what can be had */

typedef struct History
{
	const char *name;
	int64		smallest;		/* machine, GB; 0: 512 MB */
	int64		largest;
	int			seconds;
	int			outcome;
	const char *sessions;
} History;

static const History histories[] = {
	{"an array", 0, 256, 6, QUIET, "20 ordinary 1w, 1 array 300%"},
	{"seven arrays", 0, 256, 6, QUIET, "20 ordinary 1w, 7 array 300%"},
	{"seven arrays in one tick", 0, 256, 6, QUIET | HURTS,
	"20 ordinary 1w, 7 array 300% @500"},
	{"seven slow arrays in one tick", 0, 4, 60, QUIET | HURTS,
	"20 ordinary 1w, 7 slow array 300% @500"},
	{"a join", 0, 256, 6, QUIET, "20 ordinary 1w, 1 join 300%"},
	{"thirty joins", 0, 256, 6, QUIET, "20 ordinary 1w, 30 join 300%"},
	{"four ask for large blocks, again and again", 1, 4, 30, QUIET,
	"20 ordinary 1w, 4 blocks 300%"},
	{"sixteen ask for large blocks", 4, 16, 30, HURTS,
	"20 ordinary 1w, 16 blocks 300%"},
	{"prepared statements", 0, 4, 60, QUIET,
	"20 ordinary 1w, 3 prepared 300%"},
	{"thirty grow by 20 MB", 0, 0, 4, 0, "20 ordinary 1w, 30 growing 20M"},
	{"thirty can grow by 20 MB", 1, 256, 4, CALM,
	"20 ordinary 1w, 30 growing 20M!"},
	{"a parallel join", 0, 256, 6, QUIET, "20 ordinary 1w, 1 parallel 300%"},
	{"all at once", 0, 1, 12, QUIET,
	"20 ordinary 1w, 3 array 300%, 2 join 300%, 2 prepared 300%, "
	"1 parallel 300%"},
	{"all and builds at once", 4, 256, 14, QUIET | HURTS,
	"20 ordinary 1w, 2 array 300%, 2 join 300%, 2 prepared 300%, "
	"1 parallel 300%, 2 build 60%"},
	{"two builds in one tick", 1, 256, 12, HURTS,
	"20 ordinary 1w, 2 build 65% @500"},
	{"five builds in one tick", 4, 256, 12, HURTS,
	"20 ordinary 1w, 5 build 65% @500"},
	{"builds again and again", 1, 256, 12, HURTS,
	"20 ordinary 1w, 6 build again 40% @500"},
	{"small builds again and again", 1, 64, 12, HURTS,
	"20 ordinary 1w, 12 build again 20% @500"},
	{"a legal build", 4, 256, 8, CALM, "20 ordinary 1w, 1 build 50% @500!"},
	{"a legal array", 0, 256, 8, CALM, "20 ordinary 1w, 1 array 40% @500!"},
	{"a legal join", 0, 256, 8, CALM, "20 ordinary 1w, 1 join 45% @500!"},
	{"a legal parallel join", 0, 256, 8, CALM,
	"20 ordinary 1w, 1 parallel 40% @500!"},
	{"three legal joins", 0, 256, 8, CALM,
	"20 ordinary 1w, 3 join 13% @500!"},
	{"vacuum of three big tables", 4, 256, 8, CALM,
	"20 ordinary 1w, 3 vacuum 15%!"},
	{"pgbench", 1, 256, 4, CALM, "100 transactions 1M"},
	{"pgbench and a legal join", 4, 256, 8, CALM,
	"100 transactions 1M, 1 join 60%!"},
	{"a thousand idle sessions", 16, 256, 5, CALM,
	"1000 idle 1M, 10 ordinary 1w"},
	{"a thousand idle sessions and an array", 16, 256, 6, QUIET,
	"1000 idle 1M, 10 ordinary 1w, 1 array 300%"},
	{"connections and an array", 0, 256, 6, QUIET,
	"30 connections 1M, 1 array 300%"},
	{"connections beside one who holds", 0, 256, 8, 0,
	"30 connections 1M, 1 keeper 300%"},
	{"three who hold", 0, 256, 20, 0, "20 ordinary 1w, 3 keeper 100%"},
	{"idle hogs", 0, 1, 20, TRIMS | ACTS,
	"20 ordinary 1w, 3 hog 25%, 1 elsewhere 50%"},
	{"one comes back to its untouched memory", 1, 4, 50, ACTS,
	"20 ordinary 1w, 1 trimmed 40% @45000!, 1 keeper 80% @40000"},
	{"three come back to their untouched memory", 0, 256, 20, 0,
	"20 ordinary 1w, 3 trimmed 20% @10000, 1 keeper 300%"},
	{"a parallel hash", 0, 16, 20, HURTS, "20 ordinary 1w, 1 shared 300%"},
	{"another program", 0, 4, 20, HURTS,
	"20 ordinary 1w, 3 join again 30%, 1 elsewhere 60%"},
	{"a walsender", 0, 4, 20, 0,
	"20 ordinary 1w, 1 walsender 100%, 2 join 40%"},
	{"a superuser", 0, 4, 20, 0, "20 ordinary 1w, 1 super 100%, 2 join 40%"},
	{"server_limit", 1, 256, 8, LIMITED, "20 ordinary 1w, 3 join 100%"},
	{"server_limit and a parallel hash", 1, 4, 40, LIMITED | HURTS | ACTS,
	"20 ordinary 1w, 1 shared 60%"},
};

/* What has come of it, for people. */
static void
tell(const History *history, const Machine *m, uint64 seed, const char *what)
{
	printf("%s, %lld MB, seed %d: %s\n"
		   "    %d done, %d refused, %d wronged, %d trims, %d cancels, "
		   "%d terminations, %d ticks, at least %lld MB left\n%s%s%s",
		   history->name, (long long) (m->total / MB), (int) seed, what,
		   m->done, m->refused, m->wronged, m->trims, m->cancels,
		   m->terminations, m->ticks, (long long) (m->least / MB),
		   m->wronged ? "    " : "", m->why, m->wronged ? "\n" : "");
}

static void
check_history(const History *history, int64 total, uint64 seed)
{
	Machine    *m = &machine;
	int			outcome = history->outcome;
	const char *what = NULL;

	set_up(m, total, -1, history->seconds, seed, history->sessions);
	if (outcome & LIMITED)
		m->server_limit = (total - m->used) / 2;
	run(m, history->seconds * 1000, decide);
	if (m->exhausted)
		what = "memory is exhausted";
	else if ((outcome & HURTS) == 0 && m->wronged > 0)
		what = "somebody was wronged";
	else if ((outcome & HURTS) != 0 && m->wronged * 10 > m->done)
		what = "too many were wronged";
	else if ((outcome & CALM) != 0 &&
			 m->refused + m->cancels + m->terminations > 0)
		what = "it was not calm";
	else if ((outcome & CALM) == 0 &&
			 m->refused + m->cancels + m->terminations == 0)
		what = "nothing happened";
	else if ((outcome & ACTS) != 0 && m->cancels + m->terminations == 0)
		what = "nobody was cancelled or terminated";
	else if ((outcome & TRIMS) != 0 && m->trims == 0)
		what = "nobody was trimmed";
	else if ((outcome & QUIET) != 0 && m->guard.state != GUARD_QUIET)
		what = "it is not quiet in the end";
	if (what != NULL)
	{
		failures++;
		tell(history, m, seed, what);
	}
}

static void
check_histories(void)
{
	static const int64 sizes[] = {0, 1, 4, 16, 64, 256};
	int			count = 0;

	for (int i = 0; i < lengthof(histories); i++)
	{
		for (int j = 0; j < lengthof(sizes); j++)
		{
			if (sizes[j] < histories[i].smallest ||
				sizes[j] > histories[i].largest)
				continue;
			for (uint64 seed = 1; seed <= 2; seed++)
			{
				check_history(&histories[i],
							  sizes[j] == 0 ? 512 * MB : sizes[j] * GB, seed);
				count++;
			}
		}
	}
	printf("%d histories, %d failures\n", count, failures);
}

/* ----------------------------------------------------------------------------
 * What must hold at each tick
 * ----------------------------------------------------------------------------
 */

static int	ticks_checked;

static void
violated(const Machine *m, const char *what, int64 first, int64 second)
{
	static const char *told[32];
	int			i = 0;

	failures++;
	while (told[i] != NULL && told[i] != what)
		i++;
	if (told[i] != NULL)
		return;
	told[i] = what;
	printf("at %d ms of %lld MB: %s (%lld, %lld)\n", m->now,
		   (long long) (m->total / MB), what, (long long) first,
		   (long long) second);
}

/* What a process may get beyond what it has, but for its minimum. */
static int64
allowance(const GuardProcess *process, const GuardMemory *before)
{
	int64		data = process->data_bytes;
	int64		anchor = before->known ?
	Min(before->anchor_bytes, data) : data;
	int64		minimum = Max(anchor + 2 * MB,
							  process->memory.first_bytes + 8 * MB);

	return process->ceiling_bytes <= minimum ? 0 :
		process->ceiling_bytes - data;
}

/*
 * If each process with a statement grows as it did in the last tick, as far
 * as its ceiling lets it, and the worst one by all that its ceiling lets it:
 * there is as much.
 */
static void
check_sum(const Machine *m, const GuardProcess *before, int64 left)
{
	int64		promised = 0;
	int64		taken = 0;
	int64		worst = 0;
	int64		bound;

	for (int i = 0; i < m->told; i++)
	{
		const GuardProcess *process = &m->processes[i];
		int64		may = allowance(process, &before[i].memory);
		int64		grown = process->idle || !before[i].memory.known ? 0 :
		Max(process->data_bytes - before[i].memory.data_bytes, 0);

		promised += Max(process->data_bytes - process->anon_bytes, 0) -
			process->memory.rest_bytes;
		if (process->ceiling_bytes < 0)
			continue;
		if (process->own_limit_bytes >= 0)
			may = Min(may, Max(process->own_limit_bytes -
							   process->data_bytes, 0));
		taken += Min(may, grown);
		worst = Max(worst, may - Min(may, grown));
	}

	/*
	 * A part of what is left may be given though all of it is promised; and to
	 * who holds little, what a reserve of the usual size would be for.
	 */
	bound = Max(left - promised, left / 3) +
		Max(guard_default_reserve(m->total) / 4 * 3 - m->reserve, 0);
	if (taken + worst > bound)
		violated(m, "ceilings allow more than there is", taken + worst, bound);
}

static void
check_ceilings(const Machine *m)
{
	int64		little = Min(4 * MB, m->server.available_bytes / 8);

	for (int i = 0; i < m->told; i++)
	{
		const GuardProcess *process = &m->processes[i];
		int64		may = process->ceiling_bytes - process->data_bytes;

		if (!process->limited || process->weight <= 0)
		{
			if (process->ceiling_bytes != -1)
				violated(m, "one that has none has a ceiling", i,
						 process->ceiling_bytes);
			continue;
		}
		if (may < 0)
			violated(m, "a ceiling is below what the process has",
					 process->ceiling_bytes, process->data_bytes);
		if (process->held != (may <= 2 * MB))
			violated(m, "held is not what it is", i, may);
		if (process->data_bytes - process->memory.first_bytes < little &&
			may < little)
			violated(m, "one that begins gets nothing", i, may);
	}
}

/* Nobody is left without its minimum while one that has more could give. */
static void
check_fairness(const Machine *m)
{
	for (int i = 0; i < m->told; i++)
	{
		const GuardProcess *poor = &m->processes[i];

		if (poor->ceiling_bytes < 0 ||
			poor->ceiling_bytes - poor->data_bytes >= 2 * MB)
			continue;
		for (int j = 0; j < m->told; j++)
		{
			const GuardProcess *rich = &m->processes[j];

			if (rich->ceiling_bytes >= 0 && rich->weight <= poor->weight &&
				rich->data_bytes >= poor->data_bytes &&
				rich->ceiling_bytes > rich->memory.first_bytes + 8 * MB &&
				rich->ceiling_bytes - rich->data_bytes > 2 * MB)
				violated(m, "one has no minimum, and a larger one more", i, j);
		}
	}
}

static void
check_action(const Machine *m, const GuardProcess *before, int64 left,
			 int64 room_of_limit)
{
	const GuardAction *action = &m->action;
	const GuardProcess *process = &m->processes[Max(action->process, 0)];
	int64		all = 0;
	int64		unit = 0;

	if (action->kind == GUARD_NOTHING)
	{
		if (action->process != -1)
			violated(m, "nothing is done to somebody", action->process, 0);
		return;
	}
	if (action->process < 0 || action->process >= m->told)
	{
		violated(m, "something is done to nobody", action->process, 0);
		return;
	}
	for (int i = 0; i < m->told; i++)
	{
		const GuardProcess *other = &m->processes[i];
		int64		bytes = other->anon_bytes + other->shared_bytes +
		Max(other->data_bytes - other->anon_bytes, 0) -
		other->memory.rest_bytes;

		all += bytes;
		if (other->unit == action->process)
			unit += bytes;
	}
	if (process->exempt || process->weight <= 0)
		violated(m, "an action on one that is exempt", action->kind, 0);
	if (process->unit != action->process)
		violated(m, "an action on a worker", action->kind, 0);
	if (action->kind == (process->idle ? GUARD_CANCEL : GUARD_TRIM))
		violated(m, "an action that makes no sense", action->kind,
				 process->idle);
	if (action->kind != GUARD_TRIM && left > 2 * m->reserve &&
		room_of_limit > m->server.server_limit_bytes / 200)
		violated(m, "an action though much is left", left, m->reserve);
	if (action->kind == GUARD_TRIM)
	{
		if (left > m->reserve / 5 * 11 &&
			room_of_limit > m->server.server_limit_bytes / 8)
			violated(m, "a trim though much is left", left, m->reserve);
		if (before[action->process].memory.trimmed_at != 0)
			violated(m, "a second trim", 0, 0);
		return;
	}
	if (process->superuser && unit <= all / 2)
		violated(m, "an action on a superuser's small session", unit, all);
	if (before[action->process].memory.acted_at != 0 &&
		process->memory.acted_at - before[action->process].memory.acted_at <
		m->server.patience)
		violated(m, "no patience", process->memory.acted_at,
				 before[action->process].memory.acted_at);
	if (action->kind == GUARD_TERMINATE && !process->idle &&
		before[action->process].memory.action != GUARD_CANCEL)
		violated(m, "terminated before it was cancelled", 0, 0);
}

static void
check_state(const Machine *m, GuardState before, int64 left, bool limited)
{
	GuardState	state = m->guard.state;

	if (left < m->reserve && state != GUARD_UNDER)
		violated(m, "not UNDER", left, m->reserve);
	if (left < 2 * m->reserve && state == GUARD_QUIET)
		violated(m, "QUIET", left, m->reserve);
	if (state < before &&
		left < m->reserve * (state == GUARD_NEAR ? 1.1 : 2.2) - 100)
		violated(m, "a better state too soon", left, m->reserve);
	if (state == before || limited)
		return;
	if (state == GUARD_UNDER && left >= m->reserve)
		violated(m, "UNDER without need", left, m->reserve);
	if (state == GUARD_NEAR && before == GUARD_QUIET && left >= 2 * m->reserve)
		violated(m, "NEAR without need", left, m->reserve);
}

/* Asks the guard, and looks at all that must hold. */
static uint64
checked_decide(Machine *m, uint64 now)
{
	static GuardProcess before[MOST_SESSIONS];
	static GuardProcess others[MOST_SESSIONS];
	Guard		guard = m->guard;
	Guard		other_guard = m->guard;
	GuardServer other_server = m->server;
	GuardAction other_action;
	Size		size = sizeof(GuardProcess) * m->told;
	int64		left = m->server.available_bytes;
	int64		held = 0;
	uint64		wait;

	memcpy(before, m->processes, size);
	wait = decide(m, now);
	ticks_checked++;

	memcpy(others, before, size);
	if (guard_decide(&other_guard, &other_server, others, m->told, now,
					 &other_action) != wait ||
		memcmp(&other_guard, &m->guard, sizeof(Guard)) != 0 ||
		memcmp(others, m->processes, size) != 0 ||
		other_action.kind != m->action.kind ||
		other_action.process != m->action.process)
		violated(m, "the same twice is not the same", 0, 0);

	memcpy(others, before, size);
	other_guard = guard;
	other_server.reserve_bytes += 1 + random_below(m->reserve);
	guard_decide(&other_guard, &other_server, others, m->told, now,
				 &other_action);
	for (int i = 0; i < m->told; i++)
	{
		if (others[i].ceiling_bytes > m->processes[i].ceiling_bytes + 1)
			violated(m, "a larger reserve raises a ceiling",
					 m->processes[i].ceiling_bytes, others[i].ceiling_bytes);
	}

	if (wait < 10000 || wait > 1000000)
		violated(m, "the wait is out of bounds", wait, 0);
	for (int i = 0; i < m->told; i++)
		held += before[i].anon_bytes + before[i].shared_bytes;
	check_ceilings(m);
	check_fairness(m);
	check_sum(m, before, left);
	check_action(m, before, left, m->server_limit < 0 ? INT64CONST(1) << 60 :
				 m->server_limit - held);
	check_state(m, guard.state, left, m->server_limit >= 0);
	return wait;
}

/* A server of some sessions by chance. */
static void
run_random_history(uint64 seed)
{
	static const char *const loads[] = {
		"5 ordinary 1w", "20 transactions 1M", "10 connections 1M",
		"30 idle 5M", "1 array 300%", "3 array 90%", "2 slow array 100%",
		"2 join 50%", "8 join 200%", "2 join again 40%", "2 prepared 100%",
		"20 growing 20M", "1 build 40%", "3 build 30%", "2 vacuum 20%",
		"1 parallel 80%", "1 keeper 60%", "1 hog 60%", "4 hog 15%",
		"1 super 50%", "1 walsender 30%", "2 trimmed 20%", "1 shared 70%",
		"1 elsewhere 70%"
	};
	static const int64 sizes[] = {512, 1024, 2048, 4096, 16384, 262144};
	static const double weights[] = {0, 0.5, 1, 1, 1, 1, 4};
	Machine    *m = &machine;
	char		text[400] = "";
	int64		total;
	int64		reserve;

	random_state = seed * UINT64CONST(0x9E3779B97F4A7C15) + 7;
	for (int i = 2 + random_below(6); i > 0; i--)
	{
		if (text[0] != '\0')
			strcat(text, ", ");
		strcat(text, loads[random_below(lengthof(loads))]);
	}
	total = sizes[random_below(lengthof(sizes))] * MB;
	reserve = random_below(3) != 0 ? -1 :
		total / 100 * (1 + random_below(20));
	set_up(m, total, reserve, 3, seed, text);
	if (random_below(4) == 0)
		m->server_limit = (total - m->used) / (1 + random_below(5));
	for (int i = 0; i < m->count; i++)
	{
		if (random_below(4) == 0)
			m->sessions[i].weight = weights[random_below(lengthof(weights))];
		if (random_below(10) == 0)
			m->sessions[i].own_limit = random_below(total);
	}
	if (m->used < m->total)
		run(m, 3000, checked_decide);
}

/* ----------------------------------------------------------------------------
 * By hand
 * ----------------------------------------------------------------------------
 */

/* A server of 4 GB, 200 MB reserve, and what three sessions have. */
static Guard guard;
static GuardServer server;
static GuardProcess three[3];
static GuardAction action;
static uint64 now;

static void
begin_by_hand(int64 available, int64 first, int64 second, int64 third)
{
	int64		bytes[] = {first, second, third};

	memset(&guard, 0, sizeof(guard));
	memset(three, 0, sizeof(three));
	server.total_bytes = 4096 * MB;
	server.available_bytes = available * MB;
	server.reserve_bytes = 200 * MB;
	server.server_limit_bytes = -1;
	server.patience = 2000000;
	for (int i = 0; i < 3; i++)
	{
		three[i].unit = i;
		three[i].limited = true;
		three[i].weight = 1;
		three[i].data_bytes = three[i].anon_bytes = bytes[i] * MB;
		three[i].own_limit_bytes = -1;
		three[i].statement = 1;
	}
	now = 1;
}

/* One of the three has so many MB now, and the server as much less left. */
static void
come_to(int index, int64 megabytes)
{
	server.available_bytes += three[index].anon_bytes - megabytes * MB;
	three[index].data_bytes = three[index].anon_bytes = megabytes * MB;
}

/* One of the three is gone, and another one that has so many MB in its place. */
static void
connect_anew(int index, int64 megabytes)
{
	memset(&three[index].memory, 0, sizeof(GuardMemory));
	come_to(index, megabytes);
}

/* How many MB one of the three may ask for now. */
static int64
may_grow_by(int index)
{
	return (three[index].ceiling_bytes - three[index].data_bytes) / MB;
}

/*
 * Lets time pass, at most so many milliseconds, until there is an action.
 * Returns after how many.
 */
static int
wait_for_action(int milliseconds)
{
	uint64		start = now;

	do
	{
		now += 10000;
		guard_decide(&guard, &server, three, 3, now, &action);
	} while (action.kind == GUARD_NOTHING &&
			 now - start < (uint64) milliseconds * 1000);
	return (now - start) / 1000;
}

static void
expect(const char *what, int64 is, int64 least, int64 most)
{
	if (is >= least && is <= most)
		return;
	failures++;
	printf("%s: %lld, not %lld to %lld\n", what, (long long) is,
		   (long long) least, (long long) most);
}

static void
expect_action(const char *what, GuardActionKind kind, int process)
{
	if (action.kind == kind && (action.process == process))
		return;
	failures++;
	printf("%s: action %d on %d, not %d on %d\n", what, action.kind,
		   action.process, kind, process);
}

static void
check_by_hand(void)
{
	/* The largest is cancelled, then terminated, each time with patience. */
	begin_by_hand(150, 50, 3000, 100);
	expect("cancelled after ms", wait_for_action(5000), 2000, 2030);
	expect_action("the largest", GUARD_CANCEL, 1);
	expect("terminated after ms", wait_for_action(5000), 2000, 2030);
	expect_action("the largest again", GUARD_TERMINATE, 1);

	/* If the cancel helps, all begins anew. */
	begin_by_hand(150, 50, 2000, 1000);
	wait_for_action(5000);
	expect_action("before it helped", GUARD_CANCEL, 1);
	three[1].anon_bytes = three[1].data_bytes = 10 * MB;
	expect("the next after ms", wait_for_action(5000), 2000, 2030);
	expect_action("after it helped", GUARD_CANCEL, 2);

	/* And if its session goes on with another statement, which is idle. */
	begin_by_hand(150, 50, 3000, 100);
	wait_for_action(5000);
	three[1].statement = 2;
	three[1].idle = true;
	wait_for_action(5000);
	expect_action("what is idle now", GUARD_TRIM, 1);
	expect("terminated after ms", wait_for_action(5000), 1900, 2030);
	expect_action("what keeps it all", GUARD_TERMINATE, 1);

	/* Idle ones first, once asked to trim, and only those that hold much. */
	begin_by_hand(150, 300, 3000, 5);
	three[0].idle = three[2].idle = true;
	expect("trimmed after ms", wait_for_action(5000), 0, 10);
	expect_action("idle and large", GUARD_TRIM, 0);
	wait_for_action(5000);
	expect_action("idle hog", GUARD_TERMINATE, 0);

	/* Also when there was nothing to do for long. */
	begin_by_hand(150, 5, 900, 5);
	three[1].exempt = true;
	wait_for_action(10000);
	expect_action("nothing to do", GUARD_NOTHING, -1);
	three[1].exempt = false;
	three[1].idle = true;
	wait_for_action(100);
	expect_action("idle, late", GUARD_TRIM, 1);
	expect("terminated after ms", wait_for_action(5000), 400, 600);
	expect_action("idle hog, late", GUARD_TERMINATE, 1);

	/* What is exempt, has no weight, or is a superuser's. */
	begin_by_hand(150, 1000, 2000, 900);
	three[0].exempt = true;
	three[1].weight = 0;
	three[2].superuser = true;
	wait_for_action(10000);
	expect_action("nobody is left", GUARD_NOTHING, -1);
	expect("its ceiling", three[1].ceiling_bytes, -1, -1);
	begin_by_hand(150, 50, 3000, 100);
	three[1].superuser = true;
	wait_for_action(5000);
	expect_action("a superuser with nearly all", GUARD_CANCEL, 1);

	/* A unit counts as one, and its leader is told. */
	begin_by_hand(150, 1000, 1500, 1000);
	three[2].unit = 0;
	wait_for_action(5000);
	expect_action("leader and worker", GUARD_CANCEL, 0);

	/* Near, and nobody is idle. */
	begin_by_hand(250, 50, 3000, 100);
	wait_for_action(10000);
	expect_action("near", GUARD_NOTHING, -1);
	expect("state", guard.state, GUARD_NEAR, GUARD_NEAR);

	/* Under, who holds little may grow, and who holds most may not. */
	begin_by_hand(180, 50, 3000, 10);
	wait_for_action(100);
	expect("small one may grow by MB", may_grow_by(2), 40, 100);
	expect("large one is held at", three[1].ceiling_bytes / MB, 3000, 3002);
	expect("held", three[1].held, true, true);
	expect("not held", three[2].held, false, false);

	/* Weights move the level. */
	begin_by_hand(180, 50, 3000, 50);
	three[0].weight = 2;
	wait_for_action(100);
	expect("two parts and one",
		   three[0].ceiling_bytes * 10 / three[2].ceiling_bytes, 15, 20);

	/* A lone giant may ask for half of what is left and more. */
	begin_by_hand(3200, 5, 5, 5);
	wait_for_action(20);
	expect("may ask for MB", three[0].ceiling_bytes / MB, 2000, 2010);

	/* But not when two have just taken much, one after the other. */
	begin_by_hand(3200, 5, 5, 5);
	wait_for_action(20);
	come_to(0, 505);
	wait_for_action(300);
	come_to(1, 505);
	wait_for_action(300);
	expect("one of two may ask for MB", may_grow_by(2), 800, 1050);

	/* That is forgotten, and sooner when they are gone. */
	wait_for_action(25000);
	expect("after a while may ask for MB", may_grow_by(2), 1300, 1340);
	come_to(0, 1005);
	come_to(1, 1005);
	wait_for_action(300);
	expect("one of two again, MB", may_grow_by(2), 100, 500);
	connect_anew(0, 5);
	connect_anew(1, 5);
	wait_for_action(5000);
	expect("without these, MB", may_grow_by(2), 1900, 2010);

	/* Nor when two have just connected, and have much already. */
	begin_by_hand(3200, 5, 5, 5);
	three[0].limited = three[1].limited = false;
	wait_for_action(20);
	connect_anew(0, 505);
	connect_anew(1, 505);
	wait_for_action(300);
	expect("beside two new ones, MB", may_grow_by(2), 800, 1050);

	/* Who was there before the watcher has taken nothing. */
	begin_by_hand(2200, 505, 505, 5);
	wait_for_action(20);
	expect("beside two old ones, MB", may_grow_by(2), 1300, 1340);

	begin_by_hand(3200, 5, 5, 5);
	wait_for_action(20);

	/* What is promised is counted. */
	three[1].data_bytes += 2000 * MB;
	wait_for_action(20);
	expect("may ask for MB", three[0].ceiling_bytes / MB, 300, 700);
	expect("promised MB", guard.promised_bytes / MB, 1700, 2000);

	/* server_limit alone, where memory is not known. */
	begin_by_hand(-1, 50, 3000, 100);
	server.available_bytes = -1;
	wait_for_action(100);
	expect("no ceiling", three[0].ceiling_bytes, -1, -1);
	server.server_limit_bytes = 3000 * MB;
	wait_for_action(5000);
	expect_action("beyond server_limit", GUARD_CANCEL, 1);
}

/* Figures that make no sense, or are as large as can be, do no harm. */
static void
check_garbage(void)
{
	static const int64 bytes[] = {
		0, 1, 4096, 5 * MB, 3 * GB, INT64CONST(1) << 50, PG_INT64_MAX,
		-1, PG_INT64_MIN
	};
	static const double weights[] = {0, 1, -1, 1e300, 1e-300, 0.5, 50};
	static GuardProcess processes[64];
	int			ticks = 0;

#define ANY(array)	((array)[random_below(lengthof(array))])
	random_state = 20;
	for (int round = 0; round < 300; round++)
	{
		memset(&guard, 0, sizeof(guard));
		memset(processes, 0, sizeof(processes));
		now = 1 + random_below(1000);
		for (int tick = 0; tick < 30; tick++)
		{
			int			count = random_below(lengthof(processes) + 1);
			uint64		wait;

			server.total_bytes = ANY(bytes);
			server.available_bytes = ANY(bytes);
			server.reserve_bytes = ANY(bytes);
			server.server_limit_bytes = ANY(bytes);
			server.patience = random_below(3) * 1000000;
			for (int i = 0; i < count; i++)
			{
				processes[i].unit = (int) random_below(80) - 5;
				processes[i].limited = random_below(4) != 0;
				processes[i].idle = random_below(2);
				processes[i].weight =
					random_below(9) == 0 ? NAN : ANY(weights);
				processes[i].data_bytes = ANY(bytes);
				processes[i].anon_bytes = ANY(bytes);
				processes[i].shared_bytes = ANY(bytes);
				processes[i].own_limit_bytes = ANY(bytes);
				processes[i].statement = random_below(3);
			}
			now += random_below(3) * 700000;
			wait = guard_decide(&guard, &server, processes, count, now,
								&action);
			ticks++;
			expect("a wait", wait, 10000, 1000000);
			expect("an index", action.process,
				   action.kind == GUARD_NOTHING ? -1 : 0,
				   action.kind == GUARD_NOTHING ? -1 : count - 1);
			for (int i = 0; i < count; i++)
			{
				if (processes[i].ceiling_bytes != -1)
					expect("a ceiling", processes[i].ceiling_bytes,
						   Min(Max(processes[i].data_bytes, 0),
							   INT64CONST(1) << 50), INT64CONST(1) << 61);
			}
		}
	}
	printf("%d ticks of garbage\n", ticks);
}

/* A thousand sessions that all grow, beside some giants: the most work. */
static void
check_speed(void)
{
	Machine    *m = &machine;
	struct timespec start;
	struct timespec end;
	double		each;
	const int	times = 100;

	set_up(m, 256 * GB, -1, 60, 1, "1000 ordinary 2w, 10 join 50%");
	run(m, 300, decide);
	tell_guard(m);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (int i = 1; i <= times; i++)
	{
		for (int j = 0; j < m->told; j++)
			m->processes[j].data_bytes += MB;
		decide(m, (m->now + i * 10) * 1000);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	each = ((end.tv_sec - start.tv_sec) * 1e6 +
			(end.tv_nsec - start.tv_nsec) / 1e3) / times;
	printf("%.0f us for %d processes\n", each, m->told);

	/* The bound is for a busy machine, and for a compiler that checks all. */
	expect("microseconds", each, 0, 20000);
}

/*
 * Growth that a reserve can hold, on a machine of 4 GB, in GB a second and 20
 * at most: the last one of which twenty histories each were survived.  That of
 * eight is the sum of theirs, that of two and five is what each of them has.
 */
static void
print_growth(void)
{
	static const struct
	{
		const char *name;
		const char *sessions;
	}			growths[] = {
		{"one, ceiling", "10 ordinary 1w, 1 join 300% @100"},
		{"eight, ceiling", "10 ordinary 1w, 8 join 300% @100"},
		{"one doubles", "10 ordinary 1w, 1 array 300% @100"},
		{"eight double", "10 ordinary 1w, 8 array 300% @100"},
		{"two ask for 65 % at once", "10 ordinary 1w, 2 build 65% @100"},
		{"five ask for 65 % at once", "10 ordinary 1w, 5 build 65% @100"},
		{"no ceiling", "10 ordinary 1w, 1 fast shared 300% @100"},
	};
	static const int reserves[] = {50, 100, 200, 400, 800};

	for (int i = 0; i < lengthof(growths); i++)
	{
		printf("%-26s", growths[i].name);
		for (int j = 0; j < lengthof(reserves); j++)
		{
			int			rate;

			for (rate = 1; rate <= 40; rate++)
			{
				bool		held = true;

				for (uint64 seed = 1; seed <= 20 && held; seed++)
				{
					set_up(&machine, 4 * GB, reserves[j] * MB, 4, seed,
						   growths[i].sessions);
					machine.cores = 64;
					machine.core = rate * (GB / 2) / 1000;
					if (strstr(growths[i].name, "eight") != NULL)
						machine.core /= 8;
					run(&machine, 4000, decide);
					held = !machine.exhausted;
				}
				if (!held)
					break;
			}
			printf("  %d MB: %4.1f", reserves[j], (rate - 1) / 2.0);
		}
		printf("\n");
	}
}

int
main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[2], "growth") == 0)
	{
		print_growth();
		return 0;
	}
	check_by_hand();
	check_garbage();
	check_speed();
	check_histories();
	for (uint64 seed = 1; seed <= 1000; seed++)
		run_random_history(seed);
	printf("%d ticks by chance, %d failures\n", ticks_checked, failures);
	return failures > 0;
}
