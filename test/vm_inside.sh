#!/usr/bin/env bash
#
# vm_inside.sh
#	  What the virtual machine of vm.sh asks: Yama, swap and cgroup v2.
#
# It changes settings of the kernel that it runs on, so it is for that machine
# alone.  Prints "ok NAME", "not ok NAME: WHY" and "skip NAME: REASON", and at
# last "complete".

set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/private_server.sh"
source "$(dirname "${BASH_SOURCE[0]}")/memory_group.sh"

is()
{
	if [[ $2 == "$3" ]]; then
		printf 'ok %s\n' "$1"
	else
		printf 'not ok %s: got "%s", expected "%s"\n' "$1" "$2" "$3"
	fi
}

# like NAME GOT REGULAR-EXPRESSION
like()
{
	if [[ $2 =~ $3 ]]; then
		printf 'ok %s\n' "$1"
	else
		printf 'not ok %s: got "%s", expected "%s"\n' "$1" "$2" "$3"
	fi
}

# The rows of a query, in one line
answer()
{
	private_psql -A -t -c "$1" 2>&1 | tr '\n' ' ' | sed 's/ $//'
}

yama()
{
	echo "$1" >/proc/sys/kernel/yama/ptrace_scope
}

# open_session NAME: an idle session that is called so, fed by file descriptor
# $fed; with SERVER_PID set to its process
open_session()
{
	local try

	mkfifo "$PRIVATE_DIR/$1.fifo"
	private_run env PGAPPNAME="$1" psql -X -q -A -t \
		<"$PRIVATE_DIR/$1.fifo" >"$PRIVATE_DIR/$1.output" 2>&1 &
	exec {fed}>"$PRIVATE_DIR/$1.fifo"
	SERVER_PID=
	for ((try = 0; try < 600; try++)); do
		SERVER_PID=$(answer "SELECT pid FROM pg_stat_activity
			WHERE application_name = '$1' AND state = 'idle'")
		[[ -z $SERVER_PID ]] || return 0
		sleep 0.1
	done
	printf 'not ok session %s: it did not start\n' "$1"
}

# feed SQL: to the session that $fed leads to; waits for its end
feed()
{
	local try

	printf '%s;\n' "$1" >&"$fed"
	for ((try = 0; try < 300; try++)); do
		sleep 0.1
		[[ $(answer "SELECT query = \$feed\$$1;\$feed\$ AND state = 'idle'
			FROM pg_stat_activity WHERE pid = $SERVER_PID") != t ]] || return 0
	done
	printf 'not ok "%s": it did not end\n' "$1"
}

# ---------------------------------------------------------------------------
# Reading a process, without PostgreSQL
# ---------------------------------------------------------------------------

# PID, ADDRESS and BYTES; says what process_vm_readv(2) made of it
write_reader()
{
	cat >/tmp/reader.pl <<'END_OF_READER'
my ($pid, $address, $bytes) = @ARGV;
my $read = 0;
for (my $at = 0; $at < $bytes; $at += 65536)
{
	my $buffer = "\0" x 65536;
	my $here = pack("QQ", unpack("Q", pack("p", $buffer)), 65536);
	my $there = pack("QQ", $address + $at, 65536);
	my $got = syscall(310, $pid + 0, $here, 1, $there, 1, 0);
	if ($got < 0) { print "$!\n" if $read == 0; last; }
	$read += $got;
}
print "read\n" if $read > 0;
END_OF_READER
	chmod 755 /tmp/reader.pl
}

# The heap of a process, as the reader wants it.  What has been added since the
# fork is a mapping of its own, next to the first.
heap_of()
{
	perl -ne 'next unless /^([0-9a-f]+)-([0-9a-f]+) .*\[heap\]/;
		$from //= hex $1; $to = hex $2;
		END { printf "%d %d\n", $from, $to - $from }' "/proc/$1/maps"
}

# The same, as a program that the server itself starts
read_by_server()
{
	answer "CREATE TEMP TABLE said (line text);
		COPY said FROM PROGRAM 'perl /tmp/reader.pl $1';
		SELECT line FROM said"
}

# ---------------------------------------------------------------------------
# Yama
# ---------------------------------------------------------------------------

error_of_contexts()
{
	private_run psql -X -q -v VERBOSITY=verbose \
		-c "SELECT count(*) FROM pg_session_memory_contexts($1)" 2>&1 |
		tr '\n' ' ' || true
}

test_without_preloading()
{
	local pid first

	private_start plain autovacuum=off
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	open_session other
	pid=$SERVER_PID
	first=$fed

	yama 0
	is "ptrace_scope 0, not preloaded: all processes are live" \
		"$(answer 'SELECT DISTINCT source FROM pg_session_memory')" live
	yama 1
	is "ptrace_scope 1, not preloaded: other processes are unavailable" \
		"$(answer "SELECT DISTINCT source FROM pg_session_memory
			WHERE pid <> pg_backend_pid()")" unavailable
	is "ptrace_scope 1, not preloaded: the own session is live" \
		"$(answer "SELECT source, contexts > 50 FROM pg_session_memory
			WHERE pid = pg_backend_pid()")" 'live|t'
	is "ptrace_scope 1, not preloaded: what the kernel counts is there" \
		"$(answer "SELECT anon_bytes > 0, contexts IS NULL
			FROM pg_session_memory WHERE pid = $pid
			UNION ALL SELECT rss_bytes > 0, true
			FROM pg_session_memory_process($pid)")" 't|t t|t'
	like "ptrace_scope 1, not preloaded: the error says so, and what to do" \
		"$(error_of_contexts "$pid")" \
		"ERROR:  42501: could not read memory of process $pid: Operation not permitted.*HINT:  Add pg_session_memory to shared_preload_libraries.*ptrace_scope"
	is "ptrace_scope 1, not preloaded: the environment has a note" \
		"$(answer "SELECT value, verdict, advice
			FROM pg_session_memory_environment() WHERE item LIKE '%ptrace_scope'")" \
		"1|note|Sessions can be read only where pg_session_memory is in shared_preload_libraries."
	open_session loaded
	feed "LOAD 'pg_session_memory'"
	is "ptrace_scope 1: a session that has loaded the library is live" \
		"$(answer "SELECT application_name, source FROM pg_session_memory
			WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
			ORDER BY 1")" 'loaded|live other|unavailable'
	exec {fed}>&- {first}>&-
}

# A server that watches, and an idle session $pid of it
start_watched()
{
	private_start watched autovacuum=off \
		shared_preload_libraries=pg_session_memory \
		pg_session_memory.record_interval=1s pg_session_memory.idle_delay=1h
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	rm -f "$PRIVATE_DIR/watched.fifo"
	open_session watched
	pid=$SERVER_PID
}

test_preloaded()
{
	local heap

	start_watched
	is "ptrace_scope 1, preloaded: a session that has done nothing is live" \
		"$(answer "SELECT source, contexts > 30 FROM pg_session_memory
			WHERE pid = $pid")" 'live|t'
	feed 'SELECT 1'
	is "ptrace_scope 1, preloaded: and one that has" \
		"$(answer "SELECT source, contexts > 30 FROM pg_session_memory
			WHERE pid = $pid")" 'live|t'
	is "ptrace_scope 1, preloaded: auxiliary processes are unavailable" \
		"$(answer "SELECT backend_type, source FROM pg_session_memory
			WHERE backend_type IN ('checkpointer', 'background writer',
				'walwriter') ORDER BY 1")" \
		'background writer|unavailable checkpointer|unavailable walwriter|unavailable'
	is "ptrace_scope 1, preloaded: all of its contexts" \
		"$(answer "SELECT count(*) > 30, bool_or(name = 'TopMemoryContext')
			FROM pg_session_memory_contexts($pid)")" 't|t'
	is "ptrace_scope 1, preloaded: the environment is content" \
		"$(answer "SELECT value, verdict FROM pg_session_memory_environment()
			WHERE item LIKE '%ptrace_scope'")" '1|ok'

	# Running statements in the history are read by the watcher.
	printf '%s\n' "WITH a AS MATERIALIZED (SELECT array_agg(i)
			FROM generate_series(1, 2000000) AS i)
		SELECT /* grown */ pg_sleep(10), array_length(a.array_agg, 1) FROM a;" \
		>&"$fed"
	is "ptrace_scope 1, preloaded: the watcher reads a running statement" \
		"$(wait_for "SELECT true FROM pg_session_memory_history_sessions
			WHERE pid = $pid AND state = 'active' AND execution_bytes > 10000000
			LIMIT 1")" t
	feed 'SELECT 2'

	# Who else may read it
	heap=$(heap_of "$pid")
	is "the grant: root may read it" "$(perl /tmp/reader.pl "$pid" $heap)" read
	is "the grant: what its own server starts may read it" \
		"$(read_by_server "$pid $heap")" read
	is "the grant: the server's user may not" \
		"$(private_run perl /tmp/reader.pl "$pid" $heap)" \
		'Operation not permitted'
	is "the grant: another user may not" \
		"$(setpriv --reuid=nobody --regid=nogroup --clear-groups \
			perl /tmp/reader.pl "$pid" $heap)" 'Operation not permitted'
	private_start other shared_preload_libraries=pg_session_memory
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	is "the grant: another server of the same user may not" \
		"$(read_by_server "$pid $heap")" 'Operation not permitted'
	like "another server of the same user does not even know it" \
		"$(answer "SELECT count(*) FROM pg_session_memory_contexts($pid)")" \
		"WARNING:  PID $pid is not a PostgreSQL server process 0"
	private_stop other
	private_use watched

	yama 0
	is "ptrace_scope 0: without Yama every process of the server's user may" \
		"$(private_run perl /tmp/reader.pl "$pid" $heap)" read
	is "ptrace_scope 0: another user may not" \
		"$(setpriv --reuid=nobody --regid=nogroup --clear-groups \
			perl /tmp/reader.pl "$pid" $heap)" 'Operation not permitted'
	yama 2
	is "ptrace_scope 2, preloaded: what the session has published" \
		"$(answer "SELECT source, contexts > 30 FROM pg_session_memory
			WHERE pid = $pid")" 'published|t'
	like "ptrace_scope 2, preloaded: the error is the same" \
		"$(error_of_contexts "$pid")" \
		"ERROR:  42501: could not read memory of process $pid"
	like "ptrace_scope 2, preloaded: the environment has a note" \
		"$(answer "SELECT value, verdict, advice
			FROM pg_session_memory_environment() WHERE item LIKE '%ptrace_scope'")" \
		'2\|note\|No process may read'
	yama 1
	exec {fed}>&-
	private_stop watched
}

test_yama()
{
	test_without_preloading
	private_stop plain
	test_preloaded
}

# wait_for SQL: its answer, as soon as there is one
wait_for()
{
	local try got=

	for ((try = 0; try < 200; try++)); do
		got=$(answer "$1")
		[[ -z $got ]] || break
		sleep 0.1
	done
	printf '%s' "$got"
}

# ---------------------------------------------------------------------------
# Swap
# ---------------------------------------------------------------------------

# A figure of /proc/PID/status, in kB
status_of()
{
	sed -n "s/^$2:[[:blank:]]*\([0-9]*\) kB/\1/p" "/proc/$1/status"
}

test_swap()
{
	local group=/sys/fs/cgroup/swapped before after resident

	start_watched
	feed "DO \$\$BEGIN FOR i IN 1 .. 3000 LOOP EXECUTE format('PREPARE p%s AS SELECT relname, %s FROM pg_class', i, i); END LOOP; END\$\$"
	private_psql -c 'CHECKPOINT'
	mkdir "$group"
	echo "$pid" >"$group/cgroup.procs"
	# It has to be what this group was charged for: its memory, not the past.
	feed "DO \$\$BEGIN FOR i IN 3001 .. 8000 LOOP EXECUTE format('PREPARE p%s AS SELECT relname, %s FROM pg_class', i, i); END LOOP; END\$\$"
	echo 200M >"$group/memory.reclaim" 2>/dev/null || true
	before=$(status_of "$pid" VmSwap)
	resident=$(status_of "$pid" RssAnon)
	is "swap: most of a session was swapped out" \
		"$((before > 20000 ? 1 : 0))" 1
	is "swap: the view has it" \
		"$(answer "SELECT swap_bytes / 1024 = $before, source <> 'unavailable'
			FROM pg_session_memory WHERE pid = $pid")" 't|t'
	answer "SELECT count(*) FROM pg_session_memory_contexts($pid)" >/dev/null
	answer "SELECT count(*) FROM pg_session_memory_categories($pid)" >/dev/null
	answer "SELECT count(*) FROM pg_session_memory_idents($pid, 10)" >/dev/null
	answer "SELECT count(*) FROM pg_session_memory_snapshot($pid)" >/dev/null
	# The watcher looks, too.
	sleep 3
	after=$(status_of "$pid" VmSwap)
	is "swap: looking at it reads no page back in" "$after" "$before"
	after=$(status_of "$pid" RssAnon)
	is "swap: and makes no page" "$after" "$resident"
	is "swap: what could not be seen is said" \
		"$(answer "SELECT coalesce(bool_or(approximate), true)
			FROM pg_session_memory_contexts($pid)")" t
	# Who reads as if nothing were swapped out has the kernel read it all.
	perl /tmp/reader.pl "$pid" $(heap_of "$pid") >/dev/null
	after=$(status_of "$pid" VmSwap)
	is "swap: a look that does not ask first would have" \
		"$((after < before / 2 ? 1 : after))" 1
	echo "$pid" >/sys/fs/cgroup/cgroup.procs
	exec {fed}>&-
	private_stop watched
}

# ---------------------------------------------------------------------------
# Huge pages
# ---------------------------------------------------------------------------

test_huge_pages()
{
	local pages=/proc/sys/vm/nr_hugepages

	echo 3 >/proc/sys/vm/drop_caches
	echo 1 >/proc/sys/vm/compact_memory
	echo 100 >"$pages"
	if [[ $(<"$pages") -lt 100 ]]; then
		echo "skip huge pages: the kernel has found room for $(<"$pages") only"
		echo 0 >"$pages"
		return
	fi
	private_start huge shared_preload_libraries=pg_session_memory \
		shared_buffers=96MB huge_pages=on
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	# The kernel has set them aside: they are not available to anybody.
	is "huge pages: shared buffers in them are not promised once more" \
		"$(answer 'SELECT untouched_bytes FROM pg_session_memory_server')" 0
	near "huge pages: available is what the kernel calls so" "$(available)" \
		"$(awk '$1 == "MemAvailable:" { print $2 * 1024 }' /proc/meminfo)"
	is "huge pages: sessions are read as ever" \
		"$(answer "SELECT count(*) > 50 FROM pg_session_memory_contexts()")" t
	private_stop huge
	echo 0 >"$pages"
}

# ---------------------------------------------------------------------------
# cgroup v2
# ---------------------------------------------------------------------------

# How much is left of the group by its own files
left_of()
{
	local group=$1

	awk -v limit="$(<"$group/memory.max")" -v usage="$(<"$group/memory.current")" '
		$1 == "inactive_file" || $1 == "active_file" ||
			$1 == "slab_reclaimable" { usage -= $2 }
		END { printf "%d\n", limit - usage }' "$group/memory.stat"
}

# near NAME GOT EXPECTED: within 16 MB, since the server goes on meanwhile
near()
{
	local difference=$(($2 - $3))

	if ((difference < 16777216 && difference > -16777216)); then
		printf 'ok %s\n' "$1"
	else
		printf 'not ok %s: got %s, expected %s\n' "$1" "$2" "$3"
	fi
}

available()
{
	answer 'SELECT available_bytes FROM pg_session_memory_server'
}

test_group()
{
	local outer=/sys/fs/cgroup/outer inner=/sys/fs/cgroup/outer/inner before

	mkdir "$outer"
	echo +memory >"$outer/cgroup.subtree_control"
	mkdir "$inner"
	echo 600M >"$outer/memory.max"
	echo 100M >"$outer/memory.swap.max"
	(
		echo "$BASHPID" >"$inner/cgroup.procs"
		private_start grouped autovacuum=off shared_buffers=64MB \
			shared_preload_libraries=pg_session_memory
	)
	private_servers+=(grouped)
	private_use grouped
	private_psql -c 'CREATE EXTENSION pg_session_memory'

	is "cgroup v2: the limit of a group above is the one that holds" \
		"$(answer 'SELECT limit_source, total_bytes, swap_bytes
			FROM pg_session_memory_server')" \
		"/outer|$((600 * 1024 * 1024))|$((100 * 1024 * 1024))"
	near "cgroup v2: available_bytes are those of its files" \
		"$(available)" "$(left_of "$outer")"
	echo 500M >"$inner/memory.max"
	is "cgroup v2: then that of its own group" \
		"$(answer 'SELECT limit_source, total_bytes
			FROM pg_session_memory_server')" \
		"/outer/inner|$((500 * 1024 * 1024))"
	near "cgroup v2: with what is left of that" \
		"$(available)" "$(left_of "$inner")"

	before=$(available)
	(
		echo "$BASHPID" >"$inner/cgroup.procs"
		dd if=/dev/zero of="$PRIVATE_DIR/file" bs=1M count=200 2>/dev/null
	)
	sync
	is "cgroup v2: a file of 200 MB is in the page cache" \
		"$(awk '$1 == "file" { print ($2 > 150 * 1024 * 1024) }' \
			"$inner/memory.stat")" 1
	near "cgroup v2: and takes nothing away" "$(available)" "$before"
	rm "$PRIVATE_DIR/file"

	before=$(available)
	# Not by CREATE TABLE AS, which keeps to some buffers.
	private_psql -c "CREATE TABLE filler (line text)" -c "INSERT INTO filler
		SELECT repeat('x', 1000) FROM generate_series(1, 40000)"
	near "cgroup v2: shared buffers that were touched are used memory" \
		"$((before - $(available)))" "$((40000 / 7 * 8192))"

	is "cgroup v2: the environment names the group" \
		"$(answer "SELECT verdict, value ~ '^[0-9]+ of 500 MB available, control group /outer/inner$'
			FROM pg_session_memory_environment() WHERE item = 'memory'")" 'ok|t'
	is "cgroup v2: one process is ended at a time" \
		"$(answer "SELECT verdict, value FROM pg_session_memory_environment()
			WHERE item = 'memory.oom.group'")" 'ok|0 (/outer)'
	echo 1 >"$inner/memory.oom.group"
	is "cgroup v2: all of them, as in Kubernetes" \
		"$(answer "SELECT verdict, value FROM pg_session_memory_environment()
			WHERE item = 'memory.oom.group'")" 'danger|1 (/outer/inner)'
	is "the environment knows of swap" \
		"$(answer "SELECT verdict, value FROM pg_session_memory_environment()
			WHERE item = 'swap'")" 'ok|100 MB'
	private_stop grouped
}

# A real OOM kill
test_oom()
{
	bash test/oom.sh | grep -E '^(ok|not ok|skip) ' || true
}

# ---------------------------------------------------------------------------
# The guard
# ---------------------------------------------------------------------------

test_guard()
{
	local started

	if ! memory_group_make $((512 * 1024 * 1024)); then
		printf 'not ok guard: %s\n' "$memory_group_why"
		return
	fi
	memory_group_start guarded pg_session_memory.guard=on
	private_psql -c 'CREATE EXTENSION pg_session_memory'
	open_session bystander
	started=$(answer 'SELECT pg_postmaster_start_time()')
	like "guard: a runaway is refused, and its session lives" \
		"$(private_run psql -X -q -A -t -c "SELECT array_length(
			array_agg(repeat(md5(i::text), 10)), 1)
			FROM (SELECT generate_series(1, 100000000) AS i) AS s" -c "SELECT 'lives'" 2>&1 |
			tr '\n' ' ')" 'ERROR:  (out of memory|canceling statement).* lives'
	is "guard: nothing was restarted" \
		"$(grep -c 'terminated by signal' "$PRIVATE_DIR/guarded.log" || true) $(
			answer 'SELECT pg_postmaster_start_time()')" "0 $started"
	feed "SELECT 'still here'"
	is "guard: another session has not noticed" \
		"$(tail -n 1 "$PRIVATE_DIR/bystander.output")" 'still here'
	exec {fed}>&-
	private_stop guarded
	memory_group_remove
}

main()
{
	local fed='' pid='' part SERVER_PID=''

	private_prepare
	private_installation
	write_reader
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	yama 1
	is "the machine has Yama, swap and cgroup v2" \
		"$(cat /proc/sys/kernel/yama/ptrace_scope) $(awk '/SwapTotal/ { print ($2 > 0) }' \
			/proc/meminfo) $(stat -f -c %T /sys/fs/cgroup)" '1 1 cgroup2fs'
	for part in "$@"; do
		"test_$part"
	done
	echo complete
}

main "$@"
