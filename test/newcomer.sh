# shellcheck shell=bash
#
# newcomer.sh
#	  Somebody who does what the README says, in a chroot of packages.sh or
#	  fresh-machine.sh, as root.
#
# Source it from a bash script.
#
#	newcomer_begin DIRECTORY		a machine on which apt asks nothing and that
#									has sudo, and the project to clone from; needs
#									git
#	readme_block LANGUAGE BEGINNING	prints the README's first block that begins so
#	newcomer_types MAJOR BEGINNING	runs such a block of commands, with this
#									version for 15 and this machine's architecture

newcomer_begin()
{
	newcomer_directory=$1
	mkdir -p "$newcomer_directory/newcomer" "$newcomer_directory/origin"
	tar -C /project --exclude=./.git -c . | tar -C "$newcomer_directory/origin" -x
	git -C "$newcomer_directory/origin" -c init.defaultBranch=main init -q
	git -C "$newcomer_directory/origin" add -A
	git -C "$newcomer_directory/origin" -c user.name=test \
		-c user.email=test@localhost commit -q -m test
	type -P sudo >/dev/null ||
		install -m 755 /dev/stdin /usr/local/bin/sudo <<<$'#!/bin/sh\nexec "$@"'
	echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/newcomer
}

readme_block()
{
	local block

	block=$(awk -v language="$1" -v beginning="$2" '/^```/ { shown = 0 }
		$0 == "```" language { getline; shown = !done && index($0, beginning) == 1
			done = done || shown }
		shown' /project/README.md)
	[[ -n $block ]] || { echo "the README has no such block" >&2; return 1; }
	printf '%s\n' "$block"
}

newcomer_types()
{
	local block

	block=$(readme_block sh "$2") || return
	block=${block//postgresql-15/postgresql-$1}
	(
		cd "$newcomer_directory/newcomer" &&
			URL=$newcomer_directory/origin DEBIAN_FRONTEND=noninteractive \
				bash -exc "${block//_amd64/_$(dpkg --print-architecture)}"
	)
}
