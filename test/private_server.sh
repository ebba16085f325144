# shellcheck shell=bash
#
# private_server.sh
#	  A PostgreSQL of one's own, for the time of one script.
#
# Source it from a bash script that has set -euo pipefail:
#
#	private_prepare					work directory, copy of the sources
#	private_installation [PACKAGE..]	copy of PostgreSQL, packages for it
#	private_install					build the extension into that copy
#	private_extensions				of packages installed since, into that copy
#	private_start NAME [SET=VALUE..]	a temporary server; sets PGHOST and so on
#	private_use NAME				points PGHOST and so on at another one again
#	private_restart NAME			for settings that need it
#	private_stop NAME				that server and its files
#	private_psql ...				psql on the server in use
#	private_make ...				make in the copied sources
#	private_run COMMAND...			any command, as the unprivileged user
#	private_packages PACKAGE...		Debian packages that must be there
#	private_progress TEXT COMMAND...	says the text, and dots while it takes long
#
# Nothing of the machine is changed but for packages that were missing: the
# extension is installed into a copy of PostgreSQL below a work directory, and
# it is built in a copy of the sources there, so that the checkout stays as it
# is and may even be read-only.  Servers listen on a socket in that directory
# and on no port.  When the script ends, or is interrupted, the servers are
# stopped and the directory goes.
#
# PostgreSQL refuses to run as root.  For root, everything below
# private_run happens as the user postgres, or nobody where there is none.
#
# Set by the caller, all optional:
#	PG_MAJOR		major version; default: the newest that is installed, else
#					the one that the distribution's package postgresql stands for
#	KEEP			not empty: leave the work directory for a look at it
#	TMPDIR			where the work directory is made
#
# Set for the caller: PG_MAJOR, PRIVATE_SOURCE (the checkout), PRIVATE_DIR (the
# work directory), PRIVATE_TREE (the copied sources), PRIVATE_USER, and after
# private_installation PRIVATE_BINDIR, PRIVATE_PG_CONFIG, PRIVATE_PGXS.
#
# A script started by a script that has prepared (through the environment)
# shares its work directory and its installation.

PRIVATE_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
source "$PRIVATE_SOURCE/test/source_list.sh"

private_owner=					# this shell made the work directory
private_servers=()				# that this shell has started
private_child=					# what private_wait waits for
private_policy=()				# files that are there during apt-get install
private_apt=					# apt-get, while it runs
private_apt_installs=			# it does, rather than download
private_apt_directory=			# its place for temporary files
private_ticker=					# a process that writes dots
private_installed=()			# packages, by this script

private_say()
{
	printf '%s\n' "$*" >&2
}

private_die()
{
	private_say "error: $*"
	exit 1
}

# private_progress TEXT COMMAND...: says what is being done, a dot each two
# seconds that it takes, and how long it took if there were any.
private_progress()
{
	local status=0 started=$SECONDS

	printf '%s ...' "$1" >&2
	shift
	private_tick
	"$@" || status=$?
	private_end_tick
	if [[ $((SECONDS - started)) -ge 2 ]]; then
		printf ' %d s' $((SECONDS - started)) >&2
	fi
	printf '\n' >&2
	return "$status"
}

# It ends by itself when the script does not.
private_tick()
{
	perl -e 'my $parent = getppid;
		$| = 1;
		while (sleep 2) { exit if getppid != $parent; print "." }' >&2 &
	private_ticker=$!
}

private_end_tick()
{
	[[ -n $private_ticker ]] || return 0
	kill "$private_ticker" 2>/dev/null || true
	wait "$private_ticker" 2>/dev/null || true
	private_ticker=
}

# ---------------------------------------------------------------------------
# Packages
# ---------------------------------------------------------------------------

private_is_installed()
{
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

private_as_root()
{
	if [[ $(id -u) -eq 0 ]]; then
		"$@"
	elif [[ -t 0 ]]; then
		sudo "$@"
	else
		# Without a terminal a question for a password would wait for ever.
		sudo -n "$@"
	fi
}

# Whether packages can be installed at all.  With a terminal sudo may ask for a
# password; without one it must not have to.
private_may_install()
{
	[[ -z ${PRIVATE_NOT_INSTALLED:-} ]] && command -v apt-get >/dev/null &&
		{ [[ $(id -u) -eq 0 ]] || command -v sudo >/dev/null; } &&
		private_as_root true 2>/dev/null
}

# private_apt_get LOG ARGUMENT...: apt-get, in a process group of its own, which
# the ^C of a terminal does not reach: dpkg would be ended in the middle of a
# package.  private_end_apt does that instead, and knows better.  What apt and
# the packages' own programs write to /tmp goes to a directory of ours.
private_apt_get()
{
	local log=$1 status=0

	shift
	if [[ -z $private_apt_directory ]]; then
		private_apt_directory=$(private_as_root mktemp -d /tmp/pgsm-apt.XXXXXX)
		private_as_root chmod 1777 "$private_apt_directory"
	fi
	set -m
	private_as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
		TMPDIR="$private_apt_directory" JAVA_TOOL_OPTIONS=-XX:-UsePerfData \
		apt-get -q -y -o DPkg::Lock::Timeout=300 \
		-o Acquire::Retries=3 "$@" </dev/null >"$log" 2>&1 &
	private_apt=$!
	set +m
	wait "$private_apt" || status=$?
	private_apt=
	return "$status"
}

# Ends an apt-get that an interrupt has left alone: what it downloads at once,
# what it installs when that is complete.
private_end_apt()
{
	if [[ -n $private_apt ]]; then
		if [[ -n $private_apt_installs ]]; then
			private_say "Packages are being installed; waiting for dpkg to finish ..."
		else
			private_as_root kill -TERM -- "-$private_apt" 2>/dev/null
		fi
		wait "$private_apt" 2>/dev/null
		private_apt=
	fi
	private_remove_policy
	if [[ -n $private_apt_directory ]]; then
		private_as_root rm -rf "$private_apt_directory"
		private_apt_directory=
	fi
}

# apt-get update, once for a script and those that it starts.
private_update_lists()
{
	[[ -z ${PRIVATE_LISTS_UPDATED:-} ]] || return 0
	# Old lists may still do, so a failure is not the end.
	private_apt_get /dev/null update ||
		private_say "warning: apt-get update failed, going on with the old lists"
	export PRIVATE_LISTS_UPDATED=1
}

# Says, in one line and only once, what this user cannot install.
private_say_missing()
{
	local package new=()

	for package in "$@"; do
		[[ " ${PRIVATE_NOT_INSTALLED:-} " == *" $package "* ]] ||
			new+=("$package")
	done
	export PRIVATE_NOT_INSTALLED="${PRIVATE_NOT_INSTALLED:-} $*"
	[[ ${#new[@]} -eq 0 ]] ||
		private_say "Missing, and user $(id -un) may not install packages. As root, run: apt-get install ${new[*]}"
}

private_remove_policy()
{
	local file

	for file in "${private_policy[@]}"; do
		private_as_root rm -f "$file"
		# Only if it was ours, that is, if nothing else is in it.
		private_as_root rmdir "$(dirname "$file")" 2>/dev/null || true
	done
	private_policy=()
}

# How much apt would install for these, in words; nothing if it cannot say.
private_size_of_packages()
{
	local list

	list=$(apt-get -qq -s --no-install-recommends install "$@" 2>/dev/null |
		sed -nE 's/^Inst ([^ ]+)( \[[^]]*\])? \(([^ ]+) .*/\1=\3/p') || true
	[[ -n $list ]] || return 0
	# shellcheck disable=SC2086
	apt-cache show $list 2>/dev/null | awk '
		/^Package:/ { number++ }
		/^Size:/ { fetched += $2 / 1e6 }
		/^Installed-Size:/ { installed += $2 / 1e3 }
		END { printf " (%d packages, %.0f MB to fetch, %.0f MB on disk)",
			number, fetched, installed }'
}

# Installs those of the named Debian packages that are missing.  Returns false,
# having said why, where that cannot be done.
private_packages()
{
	local missing=() package log directory status=0

	for package in "$@"; do
		private_is_installed "$package" || missing+=("$package")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0

	if ! private_may_install; then
		private_say_missing "${missing[@]}"
		return 1
	fi
	private_update_lists
	log=$(mktemp -p "$PRIVATE_DIR")
	printf 'Installing: %s%s ...' "${missing[*]}" \
		"$(private_size_of_packages "${missing[@]}")" >&2
	private_tick
	private_apt_get "$log" --no-install-recommends --download-only \
		install "${missing[@]}" || status=$?

	# Debian makes and starts a cluster for each server package that is
	# installed.  Nobody asked for one: a file beside the configuration, for
	# the time of the install, tells it not to.
	if [[ $status -eq 0 && " ${missing[*]}" == *" postgresql"* ]]; then
		directory=/etc/postgresql-common/createcluster.d
		private_policy+=("$directory/private-$$.conf")
		private_as_root mkdir -p "$directory"
		private_as_root sh -c \
			"echo 'create_main_cluster = false' >$directory/private-$$.conf"
	fi
	# Poolers and exporters are services, and would be started.  Where there
	# is such a file already, it is the machine's own decision.
	if [[ $status -eq 0 && ! -e /usr/sbin/policy-rc.d &&
		! -L /usr/sbin/policy-rc.d ]]; then
		private_policy+=(/usr/sbin/policy-rc.d)
		private_as_root sh -c "printf '#!/bin/sh\nexit 101\n' \
			>/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d"
	fi
	if [[ $status -eq 0 ]]; then
		private_apt_installs=yes
		private_apt_get "$log" --no-install-recommends --no-download \
			install "${missing[@]}" || status=$?
		private_apt_installs=
	fi
	private_remove_policy
	private_end_tick
	printf '\n' >&2
	private_installed+=("${missing[@]}")
	if [[ $status -ne 0 ]]; then
		tail -n 30 "$log" >&2
		private_say "Could not install ${missing[*]}"
	fi
	rm -f "$log"
	return "$status"
}

# ---------------------------------------------------------------------------
# Running commands
# ---------------------------------------------------------------------------

# Waits for a background job.  A trap runs at once while bash waits, but only
# after the end of a command in the foreground; hence this detour for
# everything that takes long.
private_wait()
{
	local status=0

	private_child=$1
	wait "$1" || status=$?
	private_child=
	return "$status"
}

# Runs a command as the unprivileged user, in the copied sources, with the
# private PostgreSQL's programs first in PATH.
private_run()
{
	# bash has background jobs ignore SIGINT, and what they start inherits it:
	# some tests send that signal.  What an outer make passes on to inner
	# makes would overrule our own arguments to them.
	(
		cd "$PRIVATE_TREE" || exit
		exec env --default-signal=INT,QUIT \
			-u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES \
			HOME="$PRIVATE_DIR/home" TMPDIR="$PRIVATE_DIR/tmp" \
			USER="$PRIVATE_USER" LOGNAME="$PRIVATE_USER" LC_ALL=C.UTF-8 \
			PATH="${PRIVATE_BINDIR:+$PRIVATE_BINDIR:}$PATH" \
			"${private_drop[@]}" "$@"
	) <&0 &
	private_wait $!
}

# Runs a command whose output is of interest only if it fails.
private_quietly()
{
	local log status=0

	log=$(mktemp -p "$PRIVATE_DIR")
	"$@" >"$log" 2>&1 || status=$?
	[[ $status -eq 0 ]] || cat "$log" >&2
	rm -f "$log"
	return "$status"
}

# ---------------------------------------------------------------------------
# The work directory
# ---------------------------------------------------------------------------

# Decides who runs servers and builds.  Debian's server package makes the user
# postgres, so this is asked again after it was installed.
private_choose_user()
{
	private_drop=()
	PRIVATE_USER=$(id -un)
	if [[ $(id -u) -eq 0 ]]; then
		PRIVATE_USER=postgres
		id "$PRIVATE_USER" >/dev/null 2>&1 || PRIVATE_USER=nobody
		private_drop=(setpriv "--reuid=$PRIVATE_USER"
			"--regid=$(id -gn "$PRIVATE_USER")" --init-groups --)
	fi
	export PRIVATE_USER
}

# Makes the work directory and copies the sources into it.
private_prepare()
{
	local parent variable

	# Settings of the caller's own servers are none of ours.
	for variable in "${!PG@}"; do
		[[ $variable != PG[A-Z]* || $variable == PGSM_* ]] || unset "$variable"
	done

	private_choose_user
	[[ -z ${PRIVATE_DIR:-} ]] || return 0

	# The path of a socket has little room, and the user must get there.
	parent=${TMPDIR:-/tmp}
	if [[ ${#parent} -gt 40 ]] ||
		! "${private_drop[@]}" test -w "$parent" -a -x "$parent"; then
		parent=/tmp
	fi
	private_owner=yes
	PRIVATE_DIR=$(mktemp -d "$parent/pgsm.XXXXXX")
	PRIVATE_TREE=$PRIVATE_DIR/tree
	export PRIVATE_DIR PRIVATE_TREE

	mkdir "$PRIVATE_TREE" "$PRIVATE_DIR/home" "$PRIVATE_DIR/tmp"
	list_source "$PRIVATE_SOURCE" |
		tar -C "$PRIVATE_SOURCE" --null --no-recursion -T - -cf - |
		tar -C "$PRIVATE_TREE" --no-same-owner -xf -
	chmod -R u+w "$PRIVATE_TREE"
	private_give_away
}

private_give_away()
{
	if [[ $(id -u) -eq 0 ]]; then
		chown -R "$PRIVATE_USER:" "$PRIVATE_DIR"
	fi
}

# Ends every process of ours and removes the work directory.  A caller with
# something to do after that defines a function private_at_exit; it is given
# the script's exit status.
private_cleanup()
{
	local status=$?
	local name

	trap '' HUP INT TERM
	trap - EXIT
	set +e
	# Who is in the work directory is ended.
	cd /

	private_end_tick
	private_end_apt
	if [[ -n $private_child ]]; then
		kill -TERM "$private_child" 2>/dev/null
	fi
	if [[ -n $private_owner && -n ${PRIVATE_DIR:-} ]]; then
		private_end_processes
		if [[ -n ${KEEP:-} ]]; then
			private_say "The work directory was kept: $PRIVATE_DIR"
		else
			rm -rf "$PRIVATE_DIR"
		fi
	else
		for name in "${private_servers[@]}"; do
			private_stop "$name"
		done
	fi
	if [[ -n $private_child ]]; then
		wait "$private_child" 2>/dev/null
	fi
	if declare -F private_at_exit >/dev/null; then
		private_at_exit "$status"
	fi
	exit "$status"
}

# Ends the processes whose program or current directory lies in the work
# directory: they can only be ours.  A postmaster gets SIGINT, its signal for a
# fast shutdown, ends its children by itself, and gets SIGQUIT after 3 s: a
# process that ends at once may just have made dynamic shared memory that nobody
# knows of yet.  Everything else gets SIGTERM, and all get time, since after
# SIGKILL shared memory would stay.  Asked as the user whose processes they are:
# not every root may look at others.
private_end_processes()
{
	(
		cd /
		exec "${private_drop[@]}" perl -e '
			use strict;
			use warnings;

			my $directory = shift;

			sub is_postmaster
			{
				my ($pid, $data) = @_;
				open(my $file, "<", "$data/postmaster.pid") or return 0;
				return (<$file> // "") =~ /^$pid$/;
			}

			sub parent
			{
				my ($pid) = @_;
				open(my $file, "<", "/proc/$pid/stat") or return 0;
				return (<$file> // "") =~ /^.*\) \S (\d+)/ ? $1 : 0;
			}

			foreach my $round (0 .. 130)
			{
				my $found = 0;
				my $fast = $round < 30;
				foreach my $process (glob "/proc/[0-9]*")
				{
					my $exe = readlink("$process/exe") // next;
					my $cwd = readlink("$process/cwd") // "";
					next unless grep { index("$_/", "$directory/") == 0 } $exe, $cwd;
					my ($pid) = $process =~ /(\d+)$/;
					$found++;
					next if $fast && is_postmaster(parent($pid), $cwd);
					kill($round >= 110 ? "KILL"
						: !is_postmaster($pid, $cwd) ? "TERM"
						: $fast ? "INT" : "QUIT", $pid);
				}
				last unless $found;
				select(undef, undef, undef, 0.1);
			}' "$PRIVATE_DIR"
	)
}

# ---------------------------------------------------------------------------
# The installation
# ---------------------------------------------------------------------------

private_has_server()
{
	[[ -x /usr/lib/postgresql/$1/bin/postgres ]]
}

private_has_headers()
{
	# The client's package has pg_config and PGXS as well.
	[[ -x /usr/lib/postgresql/$1/bin/pg_config &&
		-f /usr/lib/postgresql/$1/lib/pgxs/src/makefiles/pgxs.mk &&
		-f /usr/include/postgresql/$1/server/postgres.h ]]
}

# Sets PG_MAJOR where the caller has not.  Packages that are wanted beside
# PostgreSQL are only named to a user who cannot install any.
private_choose_major()
{
	local directory major with_server='' with_headers='' package wanted=()

	if [[ -z ${PG_MAJOR:-} ]]; then
		for directory in $(printf '%s\n' /usr/lib/postgresql/* | sort -V); do
			major=${directory##*/}
			if [[ $major =~ ^[0-9]+$ ]] && private_has_server "$major"; then
				with_server=$major
				! private_has_headers "$major" || with_headers=$major
			fi
		done
		PG_MAJOR=${with_headers:-$with_server}
	fi
	if [[ -z $PG_MAJOR ]]; then
		! private_may_install || private_update_lists
		PG_MAJOR=$(apt-cache depends postgresql 2>/dev/null |
			sed -n 's/^ *Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1) || true
		# apt may have no lists yet, and this user none to get.
		if [[ -z $PG_MAJOR ]] && ! private_may_install; then
			for package in "$@"; do
				[[ $package == *MAJOR* ]] || wanted+=("$package")
			done
			private_packages make gcc libc6-dev postgresql \
				postgresql-server-dev-all "${wanted[@]}" || true
			private_die "there is no PostgreSQL to work with"
		fi
		[[ -n $PG_MAJOR ]] ||
			private_die "found no PostgreSQL and no package of it; set PG_MAJOR"
	fi
	export PG_MAJOR
}

# A directory of the system that the copy's pg_config expects below the work
# directory, and into which nothing of an extension is ever installed.
private_link()
{
	local system copy

	system=$("/usr/lib/postgresql/$PG_MAJOR/bin/pg_config" "$1")
	copy=$("$PRIVATE_PG_CONFIG" "$1")
	if [[ $copy == "$PRIVATE_DIR"/* && ! -e $copy && -d $system ]]; then
		mkdir -p "$(dirname "$copy")"
		ln -s "$system" "$copy"
	fi
}

# Copies PostgreSQL, with its headers and PGXS, into the work directory.
# PostgreSQL finds its directories from where its programs lie, so the copy is
# complete in itself, and make install reaches nothing else.
#
# The arguments are packages that the caller is going to ask for: so all that is
# missing is installed at once, or named at once to a user who may not.  MAJOR
# in a name stands for PostgreSQL's version.  Whether the caller's packages are
# there then is for the caller to ask.
private_installation()
{
	local usr=$PRIVATE_DIR/usr packages=(make gcc libc6-dev) wanted file

	if [[ -n ${PRIVATE_PGXS:-} ]]; then
		return 0
	fi

	private_choose_major "$@"
	private_has_server "$PG_MAJOR" || packages+=("postgresql-$PG_MAJOR")
	private_has_headers "$PG_MAJOR" || packages+=("postgresql-server-dev-$PG_MAJOR")
	wanted=("${@//MAJOR/$PG_MAJOR}")
	private_packages "${packages[@]}" "${wanted[@]}" ||
		private_packages "${packages[@]}" ||
		private_die "PostgreSQL $PG_MAJOR and a compiler are needed"
	private_choose_user

	PRIVATE_BINDIR=$usr/lib/postgresql/$PG_MAJOR/bin
	PRIVATE_PG_CONFIG=$PRIVATE_BINDIR/pg_config
	export PRIVATE_BINDIR PRIVATE_PG_CONFIG

	mkdir -p "$usr"/{lib,share,include}/postgresql
	cp -a "/usr/lib/postgresql/$PG_MAJOR" "$usr/lib/postgresql/"
	cp -a "/usr/share/postgresql/$PG_MAJOR" "$usr/share/postgresql/"
	cp -a "/usr/include/postgresql/$PG_MAJOR" "$usr/include/postgresql/"
	# libpq's headers lie beside those directories, and are not a version's.
	for file in /usr/include/postgresql/*; do
		[[ ${file##*/} =~ ^[0-9]+$ ]] || cp -a "$file" "$usr/include/postgresql/"
	done
	private_link --libdir
	private_link --localedir
	private_give_away

	PRIVATE_PGXS=$("$PRIVATE_PG_CONFIG" --pgxs)
	case $PRIVATE_PGXS in
		"$PRIVATE_DIR"/*) ;;
		*) private_die "the copied PostgreSQL $PG_MAJOR looks for its files in" \
			"$PRIVATE_PGXS instead of in the copy" ;;
	esac
	PRIVATE_PGXS=${PRIVATE_PGXS%/makefiles/pgxs.mk}
	export PRIVATE_PGXS
}

# Extensions out of packages that were installed after the copy was made.
private_extensions()
{
	local usr=$PRIVATE_DIR/usr directory

	# They are Debian's, for Debian's server.
	[[ -d $usr ]] || return 0
	for directory in "lib/postgresql/$PG_MAJOR/lib" \
		"share/postgresql/$PG_MAJOR/extension"; do
		cp -au "/usr/$directory/." "$usr/$directory/"
	done
}

# make for the copied sources and the copied PostgreSQL
private_make()
{
	private_run make PG_CONFIG="$PRIVATE_PG_CONFIG" "$@"
}

# Builds the extension and installs it into the private PostgreSQL.  Once is
# enough for scripts that share it.
private_install()
{
	[[ -z ${PRIVATE_INSTALLED:-} ]] || return 0
	private_quietly private_make -s "-j$(nproc)" all ||
		private_die "could not build the extension"
	private_quietly private_make -s install ||
		private_die "could not install the extension"
	export PRIVATE_INSTALLED=1
}

# ---------------------------------------------------------------------------
# Servers
# ---------------------------------------------------------------------------

# private_start NAME [SETTING=VALUE...]
#
# Makes a cluster NAME and starts its server, and points PGHOST and the rest
# at it.  Its log is $PRIVATE_DIR/NAME.log.
private_start()
{
	local name=$1 data=$PRIVATE_DIR/$1.data socket=$PRIVATE_DIR/$1.socket
	local setting

	shift
	private_run mkdir -m 700 "$socket"
	private_quietly private_run initdb -D "$data" -U postgres -A trust \
		-E UTF8 --no-locale --no-sync
	{
		# Nothing here outlives the script, so nothing has to reach the disk.
		printf '%s\n' "listen_addresses = ''" \
			"unix_socket_directories = '$socket'" \
			"fsync = off" "full_page_writes = off" \
			"log_line_prefix = '%m [%p] %q%u@%d/%a '"
		for setting in "$@"; do
			printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"
		done
	} | private_run tee -a "$data/postgresql.conf" >/dev/null

	private_servers+=("$name")
	if ! private_run pg_ctl -s -w -D "$data" -l "$PRIVATE_DIR/$name.log" start; then
		tail -n 30 "$PRIVATE_DIR/$name.log" >&2
		private_die "the server did not start"
	fi
	private_use "$name"
}

# Points PGHOST and the rest at a server that was started before.
private_use()
{
	export PGHOST=$PRIVATE_DIR/$1.socket PGPORT=5432
	export PGUSER=postgres PGDATABASE=postgres
}

# Restarts a server, for settings that need it.
private_restart()
{
	private_run pg_ctl -s -w -m fast -D "$PRIVATE_DIR/$1.data" \
		-l "$PRIVATE_DIR/$1.log" restart
}

# Stops a server at once and removes its files.
private_stop()
{
	local name

	# It may not even have started.
	private_run pg_ctl -s -w -m immediate -D "$PRIVATE_DIR/$1.data" stop \
		2>/dev/null || true
	rm -rf "${PRIVATE_DIR:?}/$1.data" "$PRIVATE_DIR/$1.socket"
	for name in "${!private_servers[@]}"; do
		[[ ${private_servers[$name]} != "$1" ]] ||
			unset "private_servers[$name]"
	done
}

# psql, without the user's own psqlrc, ending at the first error.
private_psql()
{
	private_run psql -X -q -v ON_ERROR_STOP=1 "$@"
}

# A caller without standard input (a CI, say) has none to pass on.
if ! { : <&0; } 2>/dev/null; then
	exec </dev/null
fi

trap private_cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
