# shellcheck shell=bash
#
# memory_group.sh
#	  A control group with a memory limit, for a server that may be killed.
#
# Source it from a bash script, after private_server.sh.
#
#	memory_group_make BYTES		makes one; false, with memory_group_why set, if
#								that cannot be done here
#	memory_group_start NAME [SET=VALUE..]	private_start, with the library
#								preloaded, in it
#	memory_group_runaway		a statement that takes all there is, until the
#								kernel ends its session and the server is up again;
#								prints the session's pid
#	memory_group_wait TIME		until the server has started anew after that time
#	memory_group_remove			when nothing runs in it any more
#
# The kernel ends a process of the group when it has more than BYTES, and no
# other of the machine.  Needs root, and a memory controller that root may use:
# not so in most containers.

memory_group=
memory_group_why=

memory_group_make()
{
	local bytes=$1 parent file

	if [[ $(id -u) -ne 0 ]]; then
		memory_group_why="only root can make a control group"
		return 1
	fi
	for parent in /sys/fs/cgroup/memory /sys/fs/cgroup; do
		memory_group=$parent/pg_session_memory.$$
		# Version 2 gives groups only what the one above hands on.
		if [[ -f $parent/cgroup.subtree_control ]]; then
			echo +memory >"$parent/cgroup.subtree_control"
		fi 2>/dev/null
		mkdir "$memory_group" 2>/dev/null || continue
		for file in memory.max memory.limit_in_bytes; do
			if [[ -f $memory_group/$file ]] &&
				echo "$bytes" >"$memory_group/$file" 2>/dev/null; then
				# No swap: it would only take longer.
				for file in memory.swap.max memory.memsw.limit_in_bytes; do
					[[ ! -f $memory_group/$file ]] || {
						if [[ $file == memory.swap.max ]]; then
							echo 0
						else
							echo "$bytes"
						fi >"$memory_group/$file"
					} 2>/dev/null || true
				done
				return 0
			fi
		done
		rmdir "$memory_group"
	done
	memory_group=
	memory_group_why="this machine has no memory controller that root may use"
	return 1
}

memory_group_start()
{
	(
		echo "$BASHPID" >"$memory_group/cgroup.procs"
		private_start "$@" shared_preload_libraries=pg_session_memory \
			shared_buffers=32MB jit=off log_line_prefix='%m [%p] %b '
		printf '%s\n' "${private_servers[@]}" >"$PRIVATE_DIR/$1.servers"
	)
	# The shell that has started it is not the one that stops it.
	mapfile -t private_servers <"$PRIVATE_DIR/$1.servers"
	private_use "$1"
}

memory_group_runaway()
{
	local started output=$PRIVATE_DIR/runaway.output

	started=$(private_psql -A -t -c 'SELECT clock_timestamp()')
	private_run psql -X -q -A -t -U app -c 'SELECT pg_backend_pid()' \
		-c "/* takes all */ SELECT array_length(array_agg(repeat(md5(i::text), 10)), 1)
		FROM (SELECT generate_series(1, 100000000) AS i) AS s" \
		>"$output" 2>/dev/null || true
	memory_group_wait "$started"
	head -n 1 "$output"
}

memory_group_wait()
{
	local started=$1 try

	for ((try = 0; try < 1800; try++)); do
		[[ $(private_run psql -X -A -t -c \
			"SELECT count(*) FROM pg_session_memory_history
			WHERE at > '$started' AND reason = 'start'" 2>/dev/null) != [1-9]* ]] ||
			break
		sleep 0.1
	done
}

memory_group_remove()
{
	local try

	[[ -n $memory_group ]] || return 0
	# A process that has just ended may still be in it.
	for try in {1..50}; do
		rmdir "$memory_group" 2>/dev/null && break
		sleep 0.1
	done
	memory_group=
}
