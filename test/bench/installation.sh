# shellcheck shell=bash
#
# installation.sh
#	  A private PostgreSQL with the extensions that ours is compared with.
#
# Source it after private_server.sh.  bench_installation stands for
# private_installation and private_install; it sets with_kcache and
# with_sampling to yes where pg_stat_kcache and pg_wait_sampling can be had.

with_kcache=
with_sampling=

bench_installation()
{
	# Before PostgreSQL is copied: these then are in the copy.
	private_choose_major
	private_is_installed "postgresql-$PG_MAJOR" ||
		private_packages "postgresql-$PG_MAJOR" || true
	private_packages "postgresql-plpython3-$PG_MAJOR" || true
	if private_packages "postgresql-$PG_MAJOR-pg-stat-kcache"; then
		with_kcache=yes
	fi
	if private_packages "postgresql-$PG_MAJOR-pg-wait-sampling"; then
		with_sampling=yes
	fi
	private_installation
	private_install
}
