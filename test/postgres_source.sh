# shellcheck shell=bash
#
# postgres_source.sh
#	  The source of the PostgreSQL under test, by way of apt-get source.
#
# Source it after private_server.sh.
#
#	get_source						unpacks it, below the work directory, and sets
#									source_tree; after private_installation or
#									private_choose_major
#	build_server FLAGS [OPTION..]	builds a server of it, with assertions, in the
#									place of private_installation
#	use_server PREFIX				takes a copy of one that was built before
#
# Set by the caller, optional:
#	PGSM_POSTGRES_SOURCE	an unpacked source tree to use instead of apt's

source_tree=

# The machine's own lists of packages, as lists of sources.
write_source_lists()
{
	local directory=$1 list=/dev/null parts=/dev/null variables file

	mkdir -p "$directory/parts" "$directory/lists/partial" \
		"$directory/cache/archives/partial"
	variables=$(apt-config shell list Dir::Etc::sourcelist/f \
		parts Dir::Etc::sourceparts/d)
	eval "$variables"
	for file in "$list" "$parts"/*; do
		[[ -f $file && -r $file ]] || continue
		case $file in
			*.sources)
				sed -E 's/^Types:.*/Types: deb-src/' "$file"
				;;
			*.list)
				sed -nE 's/^[[:blank:]]*deb[[:blank:]]/deb-src /p' "$file"
				;;
			*) continue ;;
		esac >"$directory/parts/${file##*/}"
	done
}

# A program of apt with those lists, in the work directory alone.
with_source_lists()
{
	local apt=$PRIVATE_DIR/apt program=$1

	shift
	private_run env -C "$PRIVATE_DIR/source" "$program" -q \
		-o Acquire::Retries=3 \
		-o Dir::Etc::sourcelist=/dev/null \
		-o Dir::Etc::sourceparts="$apt/parts" \
		-o Dir::State::lists="$apt/lists" \
		-o Dir::Cache="$apt/cache" "$@"
}

source_apt_get()
{
	with_source_lists apt-get "$@"
}

# The versions of which the lists have the source, newest first.
source_versions()
{
	with_source_lists apt-cache showsrc --only-source "$1" 2>/dev/null |
		sed -n 's/^Version: //p' | sort -u -V -r
}

# Sets source_tree.
get_source()
{
	local package=postgresql-$PG_MAJOR installed version log

	mkdir -p "$PRIVATE_DIR/source"
	if [[ -n ${PGSM_POSTGRES_SOURCE:-} ]]; then
		source_tree=$PRIVATE_DIR/source/postgresql
		cp -R "$(cd "$PGSM_POSTGRES_SOURCE" && pwd -P)" "$source_tree"
		private_give_away
		return
	fi

	private_packages dpkg-dev xz-utils bzip2 ||
		private_die "dpkg-source is needed to unpack PostgreSQL's source"
	installed=$(dpkg-query -W -f '${source:Version}' "$package" 2>/dev/null) ||
		installed=
	log=$PRIVATE_DIR/source.output
	write_source_lists "$PRIVATE_DIR/apt"
	private_give_away
	# A list without sources of its own is no reason to give up.
	source_apt_get update >"$log" 2>&1 || true

	# A mirror may not have all that its lists name.  The tests of another
	# minor version will do: both runs have the same.
	for version in $installed $(source_versions "$package" |
		grep -v -x -F -e "$installed"); do
		if source_apt_get source "$package=$version" >>"$log" 2>&1; then
			private_say "The source is $package $version"
			break
		fi
		private_say "warning: could not get the source of $package $version"
		version=
	done
	if [[ -z ${version:-} ]]; then
		tail -n 60 "$log" >&2
		private_die "could not get the source of $package"
	fi
	for source_tree in "$PRIVATE_DIR"/source/postgresql-*/; do
		source_tree=${source_tree%/}
	done
	[[ -f $source_tree/src/test/regress/parallel_schedule ]] ||
		private_die "the source of $package has no regression tests"
}

# What private_installation sets, for a server in the work directory.
choose_server()
{
	PRIVATE_BINDIR=$1/bin
	PRIVATE_PG_CONFIG=$PRIVATE_BINDIR/pg_config
	PRIVATE_PGXS=$("$PRIVATE_PG_CONFIG" --pgxs)
	PRIVATE_PGXS=${PRIVATE_PGXS%/makefiles/pgxs.mk}
	export PRIVATE_BINDIR PRIVATE_PG_CONFIG PRIVATE_PGXS
}

use_server()
{
	local prefix=$PRIVATE_DIR/postgresql

	private_packages make gcc libc6-dev ||
		private_die "the extension cannot be built without them"
	cp -a "$(cd "$1" && pwd -P)" "$prefix"
	private_give_away
	choose_server "$prefix"
}

# build_server FLAGS [OPTION..]: the C compiler's flags, options of configure
build_server()
{
	local prefix=$PRIVATE_DIR/postgresql log=$PRIVATE_DIR/build_server.output
	local flags=$1

	shift
	private_packages make gcc libc6-dev bison flex perl ||
		private_die "PostgreSQL cannot be built without them"
	# The prefix has "postgresql" in it, since Debian's patches would otherwise
	# have it install libraries where the package's own are.  -O1: a build with
	# none is too slow for the suites, and one with more leaves less for a
	# debugger.  contrib has a library that tests load beside ours.
	private_run env -C "$source_tree" bash -c "set -e
		./configure -q --prefix='$prefix' --enable-cassert --enable-debug \
			--without-readline --without-zlib --without-icu $* \
			CFLAGS='-O1 -g $flags'
		make -s -j$(nproc) -C src all
		make -s -C src install
		make -s -C contrib/pg_stat_statements install" \
		</dev/null >"$log" 2>&1 || {
		tail -n 60 "$log" >&2
		private_die "could not build PostgreSQL"
	}
	choose_server "$prefix"
}
