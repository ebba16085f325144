#!/usr/bin/env bash
#
# packages.sh
#	  The packages on the Debians that they are for, and PGXN's and RPM's.
#
#	test/packages.sh [SUITE...]
#
# Suites of Debian: bookworm trixie forky without one.  For each, in a chroot
# made with debootstrap (debian_chroot.sh): the packages are built by `make deb`,
# twice and in two directories, and are the same; lintian has nothing to say;
# autopkgtest passes; one is installed with apt beside a server at work,
# upgraded, and purged, and nothing of it stays.  `make dist` gives the same zip
# twice, which pgxnclient installs and removes; `make rpm` gives a package.
#
# Needs root, debootstrap, namespaces, overlayfs and the network.  A suite takes
# five to ten minutes, most of it for its chroot, which is kept.  PGSM_CHROOT_DIR
# and PGSM_DEBIAN_MIRROR are those of test/versions.sh.  Each use of a chroot
# has a layer of its own, in memory.
#
# The last line is "N passed, M failed", and the status is zero only if M is.

set -euo pipefail
umask 022

source "$(dirname "${BASH_SOURCE[0]}")/debian_chroot.sh"
source "$(dirname "${BASH_SOURCE[0]}")/newcomer.sh"

readonly SUITES="bookworm trixie forky"

# What is left out of lintian's advice: the authors have no mailbox, and the
# package has not been uploaded to Debian, where a first upload closes a bug.
readonly LINTIAN_LEFT_OUT=bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs

# ---------------------------------------------------------------------------
# In the chroot, as root: the script calls itself there with --inside
# ---------------------------------------------------------------------------

pass() { printf 'ok %s: %s\n' "$suite" "$*"; }
fail() { printf 'not ok %s: %s\n' "$suite" "$*"; }

# check NAME COMMAND...: shows what it prints only if it fails
check()
{
	local name=$1 status=0

	shift
	"$@" >/output 2>&1 </dev/null || status=$?
	if [[ $status -eq 0 ]]; then
		pass "$name"
	else
		tail -n 40 /output
		fail "$name"
	fi
}

same_files()
{
	local file count=0

	for file in "$1"/$3; do
		cmp "$file" "$2/${file##*/}" || return
		count=$((count + 1))
	done
	# An empty directory is like any other.
	[[ -f $file && $count -gt 0 ]]
}

lintian_is_content()
{
	lintian --allow-root --fail-on error,warning --suppress-tags "$LINTIAN_LEFT_OUT" \
		"$1"/*.changes
}

# What apt and dpkg leave of a package is none of its own files; clusters are
# their owners'.
state()
{
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp \
		-o -path /project -o -path /elsewhere -o -path /var/lib/dpkg \
		-o -path /var/lib/apt -o -path /var/cache -o -path /var/log \
		-o -path /var/lib/postgresql -o -path /run -o -path /root \
		-o -path /etc/postgresql -o -path /output -o -path '/state.*' \) \
		-prune -o \( -type d -printf '%p\n' -o -printf '%p %s\n' \) |
		LC_ALL=C sort
}

as_postgres()
{
	setpriv --reuid=postgres --regid=postgres --init-groups --reset-env -- "$@"
}

sql()
{
	as_postgres psql -XAtq -v ON_ERROR_STOP=1 -c "$1"
}

# is EXPECTED SQL
is()
{
	local got

	got=$(sql "$2") || return
	[[ $got == "$1" ]] || { echo "got \"$got\", expected \"$1\""; return 1; }
}

has_none()
{
	! find / -xdev -path /project -prune -o -path /elsewhere -prune \
		-o -path /proc -prune -o -name '*pg[_-]session[_-]memory*' \
		! -path '/var/lib/dpkg/*' ! -path '/var/lib/postgresql/*' \
		! -path '/var/cache/*' ! -path '/root/*' ! -path '/tmp/*' -print | grep .
}

get()
{
	DEBIAN_FRONTEND=noninteractive apt-get -qy -o Dpkg::Use-Pty=0 "$@"
}

# A second package of the same sources, as an upgrade is
next_revision()
{
	cp -a /project /elsewhere/next
	cat - /project/debian/changelog >/elsewhere/next/debian/changelog <<-'END'
		pg-session-memory (1.0.0-2) unstable; urgency=medium

		  * The same again.

		 -- pg_session_memory authors <pg_session_memory@localhost>  Sun, 29 Nov 2026 00:00:00 +0000

	END
	/elsewhere/next/debian/build.sh /elsewhere/next/dist
}

test_debian()
{
	local major package

	check "make deb" make -C /project deb
	mkdir /elsewhere
	cp -a /project /elsewhere/project
	rm -rf /elsewhere/project/dist
	check "make deb in another directory" make -C /elsewhere/project deb
	check "both are the same" same_files /project/dist /elsewhere/project/dist '*.deb'
	check "lintian" lintian_is_content /project/dist
	check "an upgrade" next_revision

	major=$(ls /usr/lib/postgresql | sort -n | tail -n 1)
	package=postgresql-$major-pg-session-memory
	pg_createcluster "$major" main >/output 2>&1
	pg_ctlcluster "$major" main start
	check "a newcomer's machine" newcomer_begin /elsewhere
	# Unlike the chroot's packages, with its documents
	sed -i '\|/usr/share/doc/|d' /etc/dpkg/dpkg.cfg.d/chroot
	state >/state.before

	check "the README's commands install $package" \
		newcomer_types "$major" 'sudo apt install git '
	check "the README's links lead somewhere" test \
		-f "/usr/share/doc/$package/README.md" -a \
		-f "/usr/share/doc/$package/doc/causes.md"
	check "CREATE EXTENSION" sql 'CREATE EXTENSION pg_session_memory'
	check "it looks at sessions" is t \
		'SELECT count(*) > 0 FROM pg_session_memory WHERE contexts > 50'
	check "preloading" sql "ALTER SYSTEM SET shared_preload_libraries = 'pg_session_memory'"
	check "restart" pg_ctlcluster "$major" main restart
	check "it watches" is 1 \
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_session_memory%'"
	check "apt upgrades $package" get install /elsewhere/next/dist/"${package}"_*.deb
	check "the server at work goes on" is t \
		'SELECT count(*) > 0 FROM pg_session_memory WHERE contexts > 50'
	check "restart with what was upgraded" pg_ctlcluster "$major" main restart
	check "it looks at sessions, upgraded" is t \
		'SELECT count(*) > 0 FROM pg_session_memory WHERE contexts > 50'

	check "DROP EXTENSION" sql 'DROP EXTENSION pg_session_memory'
	check "no preloading" sql 'ALTER SYSTEM RESET shared_preload_libraries'
	check "restart without it" pg_ctlcluster "$major" main restart
	check "the README's command purges it" newcomer_types "$major" 'sudo apt purge '
	state >/state.after
	check "nothing of it stays" diff /state.before /state.after
	check "no file of its name stays" has_none
	check "restart after all" pg_ctlcluster "$major" main restart
	check "the server is as it was" is 0 \
		"SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_session_memory'"
	pg_ctlcluster "$major" main stop

	# Last, since it leaves traces of its own.
	check "autopkgtest" run_autopkgtest
	get purge 'postgresql-*-pg-session-memory' >/output 2>&1
}

# The source as it is unpacked on Debian's own machines, packages as installed
run_autopkgtest()
{
	(cd /elsewhere/project &&
		PG_SUPPORTED_VERSIONS=$(ls /usr/lib/postgresql) pg_buildext updatecontrol)
	autopkgtest --no-built-binaries /elsewhere/next/dist/*memory_*.deb \
		/elsewhere/project -- null
}

test_pgxn()
{
	local config

	cd /project
	git init -q
	git add -A
	git -c user.name=test -c user.email=test@localhost commit -q -m test
	git clone -q /project /elsewhere/clone
	check "make dist" make -C /project dist
	check "make dist in another directory" make -C /elsewhere/clone dist
	check "both zips are the same" same_files /project/dist /elsewhere/clone/dist '*.zip'
	if perl -MPGXN::Meta::Validator -e1 2>/dev/null; then
		check "META.json is valid" perl -MPGXN::Meta::Validator -e \
			'my $v = PGXN::Meta::Validator->load_file("META.json");
			print "$_\n" foreach $v->errors; exit !$v->is_valid'
	else
		printf 'skip %s: META.json is valid: there is no PGXN::Meta::Validator\n' "$suite"
	fi
	config=$(ls -d /usr/lib/postgresql/*/bin/pg_config | tail -n 1)
	check "pgxn installs the zip" pgxn install --yes --pg_config "$config" \
		/project/dist/pg_session_memory-*.zip
	check "what it installed works" pg_virtualenv -t -v \
		"$(sed 's|.*/\([0-9]*\)/.*|\1|' <<<"$config")" \
		psql -XAtq -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION pg_session_memory' \
		-c 'SELECT 1 / count(*) FROM pg_session_memory WHERE contexts > 50'
	check "pgxn uninstalls it" pgxn uninstall --yes --pg_config "$config" \
		/project/dist/pg_session_memory-*.zip
	check "nothing stays of it" has_none
}

rpm_has_all()
{
	local files name

	files=$(rpm -qlp /project/dist/pg_session_memory_*.x86_64.rpm) || return
	for name in pg_session_memory.so pg_session_memory.control \
		pg_session_memory--1.0.sql LICENSE README.md causes.md; do
		grep "/$name\$" <<<"$files" || { echo "without $name"; return 1; }
	done
}

test_rpm()
{
	check "make rpm" make -C /project rpm \
		"PG_CONFIG=$(ls -d /usr/lib/postgresql/*/bin/pg_config | tail -n 1)"
	check "it has all that it should" rpm_has_all
}

inside()
{
	suite=$1
	trap '[[ $? -eq 0 ]] || fail "ended early"' EXIT
	test_debian
	test_pgxn
	test_rpm
}

# ---------------------------------------------------------------------------
# Outside
# ---------------------------------------------------------------------------

packages_of()
{
	echo build-essential debhelper fakeroot lintian autopkgtest \
		postgresql postgresql-server-dev-all libipc-run-perl procps \
		git rpm elfutils pgxnclient unzip python3-setuptools libjson-perl libsemver-perl
}

# Changes with everything that decides how a chroot comes out
recipe_of()
{
	{
		declare -f make_chroot bootstrap_chroot mount_devices packages_of
		echo "$1"
	} | sha256sum | cut -d ' ' -f 1
}

# make_chroot SUITE MIRROR RECIPE
make_chroot()
{
	set -euo pipefail
	local root=$PGSM_CHROOT_DIR/packages-$1

	bootstrap_chroot "$1" "$root.new" "$2"
	printf '#!/bin/sh\nexit 101\n' >"$root.new/usr/sbin/policy-rc.d"
	chmod 755 "$root.new/usr/sbin/policy-rc.d"
	mkdir -p "$root.new/etc/postgresql-common"
	echo 'create_main_cluster = false' \
		>"$root.new/etc/postgresql-common/createcluster.conf"
	mount_devices "$root.new"
	export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
	chroot "$root.new" apt-get -q update
	# shellcheck disable=SC2046
	chroot "$root.new" apt-get -qy -o Dpkg::Options::=--force-confold \
		-o Dpkg::Use-Pty=0 install $(packages_of)
	chroot "$root.new" apt-get clean
	echo "$3" >"$root.new/.complete"
	rm -rf --one-file-system "$root"
	mv "$root.new" "$root"
}

# use_chroot SUITE TREE
use_chroot()
{
	set -euo pipefail
	local root=$PGSM_CHROOT_DIR/mnt/root

	mount_layer "$PGSM_CHROOT_DIR/packages-$1" "$2"
	exec chroot "$root" /usr/bin/env -i -C /project HOME=/root TERM=dumb \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		LANG=C.UTF-8 bash /project/test/packages.sh --inside "$1"
}

export -f make_chroot use_chroot packages_of

passed=0
failed=0
skipped=0
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
	printf '\n%d passed, %d failed' "$passed" "$failed"
	[[ $skipped -eq 0 ]] || printf ', %d skipped' "$skipped"
	printf '\n'
}

need_chroot()
{
	local suite=$1 root=$PGSM_CHROOT_DIR/packages-$1 mirror

	[[ $(cat "$root/.complete" 2>/dev/null) != "$(recipe_of "$suite")" ]] || return 0
	mirror=$(find_mirror "$suite") ||
		die "this machine's apt knows no Debian mirror with $suite; name one in PGSM_DEBIAN_MIRROR"
	say "making a chroot of Debian $suite"
	run_child namespaces make_chroot "$suite" "$mirror" "$(recipe_of "$suite")" \
		>"$root.create.log" 2>&1 || {
		tail -n 20 "$root.create.log" >&2
		die "could not make a chroot of Debian $suite"
	}
}

main()
{
	local suites=("$@") suite output lock status follower word

	[[ ${#suites[@]} -gt 0 ]] || read -r -a suites <<<"$SUITES"
	for word in debootstrap unshare setpriv flock; do
		command -v "$word" >/dev/null || die "this needs $word"
	done
	((EUID == 0)) || die "this needs root, for chroots"

	mkdir -p "$PGSM_CHROOT_DIR/mnt"
	export_tree
	output=$scratch/output
	for suite in "${suites[@]}"; do
		exec {lock}>"$PGSM_CHROOT_DIR/packages-$suite.lock"
		flock -x "$lock"
		need_chroot "$suite"
		flock -s "$lock"
		say "$suite"
		status=0
		# shown as it comes
		: >"$output"
		tail -q -n +1 -s 0.2 -f --pid=$$ "$output" &
		follower=$!
		run_child namespaces use_chroot "$suite" "$scratch/tree.tar" \
			>"$output" 2>&1 || status=$?
		sleep 0.5
		kill "$follower" 2>/dev/null || true
		passed=$((passed + $(grep -c '^ok ' "$output" || true)))
		failed=$((failed + $(grep -c '^not ok ' "$output" || true)))
		skipped=$((skipped + $(grep -c '^skip ' "$output" || true)))
		if [[ $status -ne 0 ]] && ! grep -q '^not ok ' "$output" ||
			! grep -q '^ok ' "$output"; then
			printf 'not ok %s: ended with status %s\n' "$suite" "$status"
			failed=$((failed + 1))
		fi
		flock -u "$lock"
	done
	completed=yes
	((failed == 0))
}

case ${1:-} in
	--inside) inside "$2" ;;
	-h | --help) sed -n '3,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
	-*) die "unknown option $1; see test/packages.sh --help" ;;
	*)
		for word in "$@"; do
			[[ $word =~ ^[a-z]+$ ]] || die "\"$word\" is no suite"
		done
		trap cleanup EXIT
		scratch=$(mktemp -d)
		main "$@"
		;;
esac
