#!/usr/bin/env bash
#
# fresh-machine.sh
#	  The first commands of the README on machines that are not ours: what they
#	  need they install or name, and nothing of them is left behind.
#
#	test/fresh-machine.sh [SUITE...] [SITUATION...]
#
# Suites of Debian: bookworm trixie forky without one.  For each of them, in a
# chroot made with debootstrap (debian_chroot.sh), these situations, all of
# them without one that is named:
#
#	nothing			a minimal system, as root
#	client			with PostgreSQL's client only
#	server			with its server only, which has no cluster
#	running			with a server that is at work, on which nothing may change
#	user			as a user who may not install packages: told all of them in
#					one line, then with these packages
#	sudo			as a user who may by way of sudo, and one who may not
#	packages		interrupted while packages are downloaded and installed
#	work			interrupted at each stage of the work, as root and as a user
#	newcomer		from the README's first line to an answer: its Install and its
#					question of 3 a.m. as they stand, by the clock; nothing is
#					installed
#	newcomer_client	the same with the client, newcomer_running with a server at work
#
# In each but a newcomer's, test/demo.sh and test/check.sh (build and regress,
# and in `nothing` the client that is written in Java) must come to their end, or
# end as the signal says, and leave no file, no process and no shared memory.
#
# Needs root, debootstrap, namespaces, overlayfs, and the network.  A situation
# takes one to five minutes.  PGSM_CHROOT_DIR and PGSM_DEBIAN_MIRROR are those
# of test/versions.sh.  Each use of a chroot has a layer of its own, in memory.
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail
umask 022

source "$(dirname "${BASH_SOURCE[0]}")/debian_chroot.sh"
source "$(dirname "${BASH_SOURCE[0]}")/newcomer.sh"

readonly SUITES="bookworm trixie forky"
readonly SITUATIONS="nothing client server running user sudo packages work
	newcomer newcomer_client newcomer_running"

# ---------------------------------------------------------------------------
# In the chroot, as root: the script calls itself there with --inside
# ---------------------------------------------------------------------------

# A situation's results, as lines that the script outside counts
pass() { printf 'ok %s: %s\n' "$situation" "$*"; }
fail() { printf 'not ok %s: %s\n' "$situation" "$*"; }

# check NAME COMMAND...
check()
{
	local name=$1

	shift
	if "$@"; then pass "$name"; else fail "$name"; fi
}

# quietly COMMAND...: shows what it prints only if it fails
quietly()
{
	local status=0

	"$@" >/quietly.output 2>&1 </dev/null || status=$?
	[[ $status -eq 0 ]] || tail -n 30 /quietly.output
	return "$status"
}

get()
{
	quietly apt-get -q update
	quietly env DEBIAN_FRONTEND=noninteractive apt-get -qy install "$@"
}

# The packages that a machine of this kind has from Debian, newest PostgreSQL
major_here()
{
	apt-cache depends postgresql |
		sed -n 's/^ *Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
}

# What must be the same before and after: files, clusters, what packages may
# start, shared memory, processes.  Directories by name only, since one in which
# a file came and went has another time.
state()
{
	local process name

	# Some of these need not exist, and what is found may go meanwhile.  Some
	# directories are systemd-tmpfiles', which packages may bring with them.
	find /tmp /var/tmp /dev/shm /home /root /project \
		! -path '/tmp/.*-unix' ! -path /root/.ssh \
		\( -type d -printf '%p\n' -o -printf '%p %M %u %s %T@\n' \) \
		2>/dev/null || true
	find /etc/postgresql-common/createcluster.d /usr/sbin/policy-rc.d \
		/etc/postgresql ! -type d -printf '%p %s %T@\n' 2>/dev/null || true
	find /var/lib/postgresql -mindepth 1 -maxdepth 2 -printf '%p\n' \
		2>/dev/null || true
	tail -n +2 /proc/sysvipc/shm | wc -l
	# Of a server that is at work the number of workers may vary.
	for process in /proc/[0-9]*; do
		name=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline") || continue
		case $name in
			"bash /project/test/fresh-machine.sh "* | *unshare* | "tr "* | '') ;;
			"postgres: "*) ;;
			"bash -c "* | "/bin/bash /project/test/fresh-machine.sh"*) ;;
			*) printf 'process: %s\n' "$name" ;;
		esac
	done
}

# What packages brought is not of interest, but for what they leave in /tmp.
remember_state()
{
	state | LC_ALL=C sort -u >/state.before
}

same_state()
{
	local try

	# A process that was sent a signal may need a moment.
	for try in {1..50}; do
		state | LC_ALL=C sort -u >/state.after
		cmp -s /state.before /state.after && return
		sleep 0.2
	done
	diff /state.before /state.after
}

healthy_packages()
{
	[[ -z $(dpkg --audit) ]] && quietly apt-get check
}

# The commands, by a word each
run_demo()
{
	local status=0 page

	"$@" test/demo.sh >/output 2>&1 </dev/null || status=$?
	# Its last step, and the page that it leaves and names
	page=$(sed -n 's/^Nothing is left but the page, //p' /output)
	if [[ $status -ne 0 || ! -s $page ]] ||
		! grep -q '^--> The server restarted' /output; then
		echo "status $status"
		tail -n 30 /output
		return 1
	fi
	grep -q '</html>' "$page"
	rm "$page"
}

run_check()
{
	local status=0

	"$@" test/check.sh build regress >/output 2>&1 </dev/null || status=$?
	if [[ $status -ne 0 ]] || ! tail -n 1 /output | grep -qE '^[1-9][0-9]* passed, 0 failed$'; then
		echo "status $status"
		tail -n 60 /output
		return 1
	fi
}

# both AS WHAT: the two commands come to their end and leave nothing.  AS is a
# prefix to each, as as_user below.
both()
{
	local what=$1

	shift
	remember_state
	check "test/demo.sh $what" run_demo "$@"
	check "test/demo.sh $what leaves nothing behind" same_state
	remember_state
	check "test/check.sh $what" run_check "$@"
	check "test/check.sh $what leaves nothing behind" same_state
}

# A command, since interrupted() needs one
readonly AS_USER="setpriv --reuid=dba --regid=dba --init-groups --reset-env --"

as_user()
{
	$AS_USER "$@"
}

add_user()
{
	useradd -m dba
}

# ---------------------------------------------------------------------------

nothing()
{
	both "on a machine without PostgreSQL" env
	remember_state
	check "the client in Java" quietly test/clients/run recipe_hikari
	check "the client in Java leaves nothing behind" same_state
}

client()
{
	get postgresql-client
	both "beside the client's package" env
}

server()
{
	quietly apt-get -q update
	mkdir -p /etc/postgresql-common
	echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	get "postgresql-$(major_here)"
	both "beside the server's package" env
}

# A value of the server at work
value()
{
	as_postgres env PGAPPNAME=question psql -XAt -c "$1"
}

as_postgres()
{
	setpriv --reuid=postgres --regid=postgres --init-groups --reset-env -- "$@"
}

# What a server at work is: its process, its data, and how many have connected
server_state()
{
	head -n 4 "/var/lib/postgresql/$1/main/postmaster.pid"
	value "SELECT pg_postmaster_start_time(), md5(string_agg(t::text, ''))
		FROM precious AS t"
	grep 'connection authorized' "/var/log/postgresql/postgresql-$1-main.log" |
		grep -v -c 'application_name=question' || true
	what_it_has
}

# Its port, its databases and what is installed into it
what_it_has()
{
	value 'SHOW port'
	value "SELECT datname FROM pg_database ORDER BY 1"
	value "SELECT extname FROM pg_extension ORDER BY 1"
	as_postgres ls "/usr/lib/postgresql/$(major_here)/lib" |
		grep -c session_memory || true
}

running()
{
	local major before after

	quietly apt-get -q update
	get "postgresql-$(major_here)"
	major=$(major_here)
	pg_ctlcluster "$major" main start 2>/dev/null || true
	value 'ALTER SYSTEM SET log_connections = on' >/dev/null
	value 'SELECT pg_reload_conf()' >/dev/null
	value 'CREATE TABLE precious AS SELECT g FROM generate_series(1, 1000) AS g' \
		>/dev/null
	sleep 1
	before=$(server_state "$major")
	both "beside a server at work" env
	after=$(server_state "$major")
	check "the server at work is the same, and nobody has connected" \
		diff <(sed '7,$d' <<<"$before") <(sed '7,$d' <<<"$after")
	check "its port, databases and libraries are the same" \
		diff <(sed '1,6d' <<<"$before") <(sed '1,6d' <<<"$after")
	pg_ctlcluster "$major" main stop -m immediate
}

# told COMMAND...: one line names packages; sets told to them
told()
{
	local status=0

	"$@" >/output 2>&1 </dev/null || status=$?
	told=$(sed -n 's/.*As root, run: apt-get install //p' /output)
	if [[ $status -eq 0 || $(grep -c 'apt-get install' /output) -ne 1 ||
		-z $told ]]; then
		echo "status $status"
		tail -n 20 /output
		return 1
	fi
}

names()
{
	local package

	for package in "$@"; do
		[[ " $told " == *" $package "* ]] || {
			echo "$package is not in: $told"
			return 1
		}
	done
}

user()
{
	local told='' major

	add_user
	remember_state
	check "without any list of packages: one line" told as_user test/demo.sh
	check "it names all that the demonstration wants" names make gcc libc6-dev \
		postgresql postgresql-server-dev-all python3 python3-psycopg2
	quietly apt-get -q update
	major=$(major_here)
	check "all tests: one line" told as_user test/check.sh
	check "it names all that they want" names make gcc libc6-dev \
		"postgresql-$major" "postgresql-server-dev-$major" cppcheck \
		pg-bsd-indent libipc-run-perl pgbouncer "postgresql-$major-cron" \
		default-jdk-headless python3-psycopg2
	check "nothing is left behind" same_state
	check "the demonstration: one line" told as_user test/demo.sh
	check "it names all that it wants" names make gcc libc6-dev \
		"postgresql-$major" "postgresql-server-dev-$major" python3-psycopg2
	# shellcheck disable=SC2086
	check "these packages can be installed" get $told
	both "as a user, with the packages that were named" as_user
	check "no package is missing then" test -z "$(grep 'apt-get install' /output)"
}

sudo()
{
	local told=''

	get sudo
	add_user
	remember_state
	check "may not, without a terminal: one line" told as_user test/demo.sh
	check "nothing is left behind" same_state
	echo 'dba ALL = NOPASSWD: ALL' >/etc/sudoers.d/dba
	both "as a user who may install packages" as_user
}

# ---------------------------------------------------------------------------

# interrupted SIGNAL STAGE COMMAND...: sends the signal to all of the command's
# process group, as a terminal does, when the function STAGE is true.
interrupted()
{
	local signal=$1 stage=$2 status=0 number pid
	shift 2

	number=$(kill -l "$signal")
	: >/output
	setsid env --default-signal=INT,QUIT,HUP,TERM "$@" >/output 2>&1 </dev/null &
	pid=$!
	while ! "$stage" && kill -0 "$pid" 2>/dev/null; do
		sleep 0.02
	done
	kill -s "$signal" -- "-$pid" 2>/dev/null || {
		echo "it ended before it was interrupted"
		tail -n 20 /output
		wait "$pid" || true
		return 1
	}
	wait "$pid" || status=$?
	if [[ $status -ne $((128 + number)) ]]; then
		echo "status $status"
		tail -n 20 /output
		return 1
	fi
}

# Stages: what can be seen of how far it is
stage_start() { compgen -G '/tmp/pgsm.*' >/dev/null; }
stage_update() { compgen -G '/tmp/pgsm-apt.*' >/dev/null; }
stage_download() { grep -q '^Installing: ' /output; }
stage_install() { compgen -G '/var/lib/dpkg/updates/*' >/dev/null; }
stage_build() { compgen -G '/tmp/pgsm.*/tree/src/module.o' >/dev/null; }
stage_server() { compgen -G '/tmp/pgsm.*/*.socket/.s.*' >/dev/null; }
stage_pool() { grep -q '^Putting a pool' /output && sleep 0.5; }
stage_regress() { compgen -G '/tmp/pgsm.*/tree/results/*.out' >/dev/null; }
stage_tap() { compgen -G '/tmp/pgsm.*/tree/tmp_check/t_*/*/*.pid' >/dev/null ||
	compgen -G '/tmp/pgsm.*/tree/tmp_check/*/pgdata/postmaster.pid' >/dev/null; }
stage_stress() { grep -q '^=== Stress' /output && stage_server; }

# cut_off SIGNAL STAGE COMMAND...: and nothing is left
cut_off()
{
	local what="$1 at ${2#stage_}: ${*:3}"

	what=${what/"$AS_USER"/as a user:}
	remember_state
	check "$what: ends" interrupted "$@"
	check "$what: leaves nothing behind" same_state
}

packages()
{
	local signal

	get "postgresql-client"
	rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
	for signal in INT TERM HUP; do
		cut_off "$signal" stage_start test/demo.sh
		cut_off "$signal" stage_update test/demo.sh
		cut_off "$signal" stage_download test/demo.sh
	done
	check "no package was installed" test -z \
		"$(dpkg-query -W -f '${db:Status-Status}' gcc 2>/dev/null)"
	for signal in INT TERM HUP; do
		cut_off "$signal" stage_install test/check.sh style regress
		check "$signal at install: what was begun is complete" healthy_packages
		quietly apt-get -qy purge make cppcheck
	done
	check "what was begun had been installed" test -x /usr/bin/gcc
}

work()
{
	local signal as

	get make gcc libc6-dev python3-psycopg2 libipc-run-perl \
		"postgresql-$(apt-get -q update >/dev/null && major_here)" \
		"postgresql-server-dev-$(major_here)"
	add_user
	for as in env "$AS_USER"; do
		# shellcheck disable=SC2086
		for signal in INT TERM HUP; do
			cut_off "$signal" stage_build $as test/demo.sh
			cut_off "$signal" stage_server $as test/demo.sh
			cut_off "$signal" stage_pool $as test/demo.sh
			cut_off "$signal" stage_build $as test/check.sh build
			cut_off "$signal" stage_regress $as test/check.sh regress
			cut_off "$signal" stage_tap $as test/check.sh tap
			cut_off "$signal" stage_stress $as test/check.sh stress
		done
	done
}

# What the README asks at 3 a.m. of a server that is alive: the session that has
# most memory comes first.
answer()
{
	local holder answer now

	as_postgres psql -XAtq >/dev/null 2>&1 <<-'END' &
		SET application_name = 'hog';
		SELECT set_config('a.b', repeat('x', 30000000), false) IS NULL;
		SELECT pg_sleep(1000);
	END
	holder=$!
	for _ in {1..300}; do
		now=$(value "SELECT query FROM pg_stat_activity
			WHERE application_name = 'hog'") || return 1
		[[ $now != "SELECT pg_sleep"* ]] || break
		sleep 0.1
	done
	answer=$(as_postgres psql -XAt -c "$(readme_block sql \
		'SELECT s.pid, s.usename AS role')") || return 1
	kill "$holder"
	value "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE application_name = 'hog'" >/dev/null
	head -n 1 <<<"$answer"
	[[ $(head -n 1 <<<"$answer" | cut -d '|' -f 2,3) == "postgres|hog" ]]
}

# newcomer_with KIND PACKAGE...
newcomer_with()
{
	local kind=$1 began=$SECONDS major

	shift
	quietly apt-get -q update
	major=$(major_here)
	if [[ $# -gt 0 ]]; then
		get "${@//NN/$major}"
		pg_ctlcluster "$major" main start 2>/dev/null || true
		began=$SECONDS
	fi
	get git
	newcomer_begin /home
	check "$kind: README's Install" \
		quietly newcomer_types "$major" 'sudo apt install git '
	pg_ctlcluster "$major" main start 2>/dev/null || true
	check "$kind: CREATE EXTENSION" quietly as_postgres psql -X -c \
		"$(readme_block sql 'CREATE EXTENSION')"
	if answer; then
		pass "$kind: from the first line to the answer in $((SECONDS - began)) s"
	else
		fail "$kind: the answer"
	fi
	pg_ctlcluster "$major" main stop -m immediate
}

newcomer() { newcomer_with "nothing installed"; }
newcomer_client() { newcomer_with "the client" postgresql-client; }
newcomer_running() { newcomer_with "a server at work" postgresql-NN; }

inside()
{
	situation=$1
	cd /project
	# A situation that ends early has not said all that it should.
	trap '[[ $? -eq 0 ]] || fail "ended early"' EXIT
	"$situation"
}

# ---------------------------------------------------------------------------
# Outside
# ---------------------------------------------------------------------------

# Changes with everything that decides how a chroot comes out
recipe_of()
{
	{
		declare -f bootstrap_chroot
		echo "$1"
	} | sha256sum | cut -d ' ' -f 1
}

# make_fresh SUITE MIRROR RECIPE
make_fresh()
{
	set -euo pipefail
	local root=$PGSM_CHROOT_DIR/fresh-$1

	bootstrap_chroot "$1" "$root.new" "$2"
	rm -rf "$root.new"/var/lib/apt/lists/* "$root.new"/var/cache/apt/archives/*.deb
	echo "$3" >"$root.new/.complete"
	rm -rf --one-file-system "$root"
	mv "$root.new" "$root"
}

# use_fresh SUITE TREE SITUATION
use_fresh()
{
	set -euo pipefail
	local root=$PGSM_CHROOT_DIR/mnt/root

	mount_layer "$PGSM_CHROOT_DIR/fresh-$1" "$2"
	# The first does not matter where there is no terminal.
	exec chroot "$root" /usr/bin/env -i -C /project HOME=/root TERM=dumb \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		bash /project/test/fresh-machine.sh --inside "$3"
}

export -f make_fresh use_fresh

passed=0
failed=0
completed=

cleanup()
{
	local status=$?

	trap - EXIT
	end_child
	if [[ -z $completed ]]; then
		printf 'not ok the run itself: it ended early with status %s\n' "$status"
		failed=$((failed + 1))
	fi
	printf '\n%d passed, %d failed\n' "$passed" "$failed"
}

need_fresh()
{
	local suite=$1 root=$PGSM_CHROOT_DIR/fresh-$1 mirror

	[[ $(cat "$root/.complete" 2>/dev/null) != "$(recipe_of "$suite")" ]] || return 0
	mirror=$(find_mirror "$suite") ||
		die "this machine's apt knows no Debian mirror with $suite; name one in PGSM_DEBIAN_MIRROR"
	say "making a chroot of Debian $suite"
	run_child namespaces make_fresh "$suite" "$mirror" "$(recipe_of "$suite")" \
		>"$root.create.log" 2>&1 || {
		tail -n 20 "$root.create.log" >&2
		die "could not make a chroot of Debian $suite"
	}
}

main()
{
	local suites=() situations=() word suite situation output lock status follower

	for word in "$@"; do
		if [[ " ${SITUATIONS//[[:space:]]/ } " == *" $word "* ]]; then
			situations+=("$word")
		else
			[[ $word =~ ^[a-z]+$ ]] || die "\"$word\" is no suite and no situation"
			suites+=("$word")
		fi
	done
	[[ ${#suites[@]} -gt 0 ]] || read -r -a suites <<<"$SUITES"
	[[ ${#situations[@]} -gt 0 ]] || read -r -d "" -a situations <<<"$SITUATIONS" || true
	for word in debootstrap unshare setpriv flock; do
		command -v "$word" >/dev/null || die "this needs $word"
	done
	((EUID == 0)) || die "this needs root, for chroots"

	mkdir -p "$PGSM_CHROOT_DIR/mnt"
	export_tree
	output=$scratch/output
	for suite in "${suites[@]}"; do
		exec {lock}>"$PGSM_CHROOT_DIR/fresh-$suite.lock"
		flock -x "$lock"
		need_fresh "$suite"
		flock -s "$lock"
		for situation in "${situations[@]}"; do
			say "$suite: $situation"
			status=0
			# shown as it comes
			: >"$output"
			tail -q -n +1 -s 0.2 -f --pid=$$ "$output" &
			follower=$!
			run_child namespaces use_fresh "$suite" "$scratch/tree.tar" \
				"$situation" >"$output" 2>&1 || status=$?
			sleep 0.5
			kill "$follower" 2>/dev/null || true
			passed=$((passed + $(grep -c '^ok ' "$output" || true)))
			failed=$((failed + $(grep -c '^not ok ' "$output" || true)))
			if [[ $status -ne 0 ]] && ! grep -q '^not ok ' "$output" ||
				! grep -q '^ok ' "$output"; then
				printf 'not ok %s: ended with status %s\n' "$situation" "$status"
				failed=$((failed + 1))
			fi
		done
		flock -u "$lock"
	done
	completed=yes
	((failed == 0))
}

case ${1:-} in
	--inside)
		shift
		inside "$@"
		;;
	-h | --help) sed -n '3,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
	*)
		trap cleanup EXIT
		scratch=$(mktemp -d)
		main "$@"
		;;
esac
