/*-------------------------------------------------------------------------
 *
 * server_memory_test.c
 *	  src/watcher/server_memory.c by itself, on made-up /proc and cgroup trees.
 *
 *	server_memory_test DIRECTORY
 *
 * Each case below writes some files below DIRECTORY, which has to be empty,
 * and says what server_memory_read has to make of them.  check.sh compiles and
 * runs it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "made_up_tree.h"
#include "watcher/server_memory.h"

#define MB		((int64) 1024 * 1024)

static int	cases;
static int	failures;

/* What every machine has. */
static void
begin(void)
{
	begin_tree(++cases);
	put("/proc/meminfo",
		"MemTotal:       16777216 kB\n"
		"MemFree:         1048576 kB\n"
		"MemAvailable:    8388608 kB\n"
		"SwapTotal:             0 kB\n"
		"SwapFree:              0 kB\n");
	put("/proc/vmstat", "nr_free_pages 1\noom_kill 7\n");
}

static void
expect(const char *name, const char *source, int64 total, int64 available,
	   int64 swap, int64 oom_kills)
{
	static MemorySources sources;
	ServerMemory memory;
	const char *found;

	server_memory_find(&sources, root);
	(void) server_memory_read(&sources, &memory);
	memory.oom_kills = server_memory_read_oom_kills(&sources);
	found = server_memory_source_name(&sources, &memory);
	if (strcmp(found, source) == 0 && memory.total_bytes == total &&
		memory.available_bytes == available && memory.swap_bytes == swap &&
		memory.oom_kills == oom_kills)
		return;
	failures++;
	printf("%s: %s, total %lld, available %lld, swap %lld, OOM kills %lld\n"
		   "    instead of %s, %lld, %lld, %lld, %lld\n", name, found,
		   (long long) memory.total_bytes, (long long) memory.available_bytes,
		   (long long) memory.swap_bytes, (long long) memory.oom_kills, source,
		   (long long) total, (long long) available, (long long) swap,
		   (long long) oom_kills);
}

/* A group of version 2: limit and usage in MB, of which a part is files'. */
static void
put_unified(const char *path, const char *limit, int usage, int inactive_file,
			int active_file)
{
	char		name[SERVER_MEMORY_PATH];
	char		text[512];

	snprintf(name, sizeof(name), "%s/memory.max", path);
	put(name, limit);
	snprintf(name, sizeof(name), "%s/memory.current", path);
	snprintf(text, sizeof(text), "%lld\n", (long long) (usage * MB));
	put(name, text);
	snprintf(name, sizeof(name), "%s/memory.stat", path);
	snprintf(text, sizeof(text),
			 "anon 1\nfile 99999999999\nshmem 99999999999\n"
			 "inactive_anon 5\ninactive_file %lld\nactive_file %lld\n"
			 "slab_reclaimable %lld\n",
			 (long long) (inactive_file * MB), (long long) (active_file * MB),
			 (long long) MB);
	put(name, text);
}

/* The same of version 1, where children are counted if totals. */
static void
put_version1(const char *path, const char *limit, int usage, bool hierarchy,
			 int own_file, int total_file)
{
	char		name[SERVER_MEMORY_PATH];
	char		text[512];

	snprintf(name, sizeof(name), "%s/memory.limit_in_bytes", path);
	put(name, limit);
	snprintf(name, sizeof(name), "%s/memory.usage_in_bytes", path);
	snprintf(text, sizeof(text), "%lld\n", (long long) (usage * MB));
	put(name, text);
	snprintf(name, sizeof(name), "%s/memory.use_hierarchy", path);
	put(name, hierarchy ? "1\n" : "0\n");
	snprintf(name, sizeof(name), "%s/memory.stat", path);
	snprintf(text, sizeof(text),
			 "cache 1\nshmem 99999999999\ninactive_file %lld\nactive_file 0\n"
			 "total_inactive_file 0\ntotal_active_file %lld\n",
			 (long long) (own_file * MB), (long long) (total_file * MB));
	put(name, text);
}

#define NO_LIMIT_V1		"9223372036854771712\n"

#define MOUNT_UNIFIED \
	"25 1 0:22 / /proc rw - proc proc rw\n" \
	"31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,memory_recursiveprot\n"

#define MOUNT_VERSION1 \
	"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" \
	"32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" \
	"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"

static void
test_machine(void)
{
	begin();
	expect("no cgroup at all", "machine", 16384 * MB, 8192 * MB, 0, 7);

	begin();
	put("/proc/meminfo", "MemTotal: 1024 kB\nMemAvailable: 512 kB\n"
		"SwapFree: 256 kB\n");
	expect("swap", "machine", MB, MB / 2, MB / 4, 7);

	begin();
	put("/proc/meminfo", "MemTotal: 1024 kB\nMemFree: 512 kB\n");
	put("/proc/vmstat", "");
	expect("a kernel without MemAvailable", "machine", -1, -1, -1, -1);

	begin();
	put("/proc/meminfo", "MemTotal: many kB\nMemAvailable: -5 kB\n");
	expect("garbage in meminfo", "machine", -1, -1, -1, 7);
}

static void
test_unified(void)
{
	begin();
	put("/proc/self/cgroup", "0::/pg.slice/pg.service\n");
	put("/proc/self/mountinfo", MOUNT_UNIFIED);
	put_unified("/sys/fs/cgroup/pg.slice/pg.service", "max\n", 600, 0, 0);
	put_unified("/sys/fs/cgroup/pg.slice", "max\n", 700, 0, 0);
	expect("version 2, \"max\"", "machine", 16384 * MB, 8192 * MB, 0, 7);

	put_unified("/sys/fs/cgroup/pg.slice/pg.service", "1073741824\n", 600,
				100, 50);
	put("/sys/fs/cgroup/pg.slice/pg.service/memory.events",
		"low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n");
	expect("version 2, limit at the leaf", "/pg.slice/pg.service",
		   1024 * MB, (1024 - 600 + 150 + 1) * MB, 0, 1);

	put_unified("/sys/fs/cgroup/pg.slice", "2147483648\n", 2000, 10, 20);
	expect("version 2, limit at an ancestor", "/pg.slice",
		   2048 * MB, (2048 - 2000 + 30 + 1) * MB, 0, 1);

	put("/sys/fs/cgroup/pg.slice/memory.max", "4 GB?\n");
	put("/sys/fs/cgroup/pg.slice/memory.stat", "\n\ninactive_file x\n");
	expect("version 2, garbage", "/pg.slice", 4, 0, 0, 1);

	put("/sys/fs/cgroup/pg.slice/memory.max", "none\n");
	expect("version 2, garbage for a limit", "/pg.slice/pg.service",
		   1024 * MB, (1024 - 600 + 150 + 1) * MB, 0, 1);

	put("/sys/fs/cgroup/pg.slice/pg.service/memory.current", "");
	expect("version 2, no usage", "machine", 16384 * MB, 8192 * MB, 0, 1);

	begin();
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", MOUNT_UNIFIED);
	put_unified("/sys/fs/cgroup", "536870912\n", 100, 0, 0);
	put("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n"
		"SwapFree: 1048576 kB\n");
	put("/sys/fs/cgroup/memory.swap.max", "104857600\n");
	put("/sys/fs/cgroup/memory.swap.current", "4194304\n");
	expect("version 2, a container's own namespace, swap", "/",
		   512 * MB, (512 - 100 + 1) * MB, 96 * MB, 7);

	put("/sys/fs/cgroup/memory.swap.max", "max\n");
	expect("version 2, swap as the machine has it", "/",
		   512 * MB, (512 - 100 + 1) * MB, 1024 * MB, 7);

	/* What a group may swap, the groups around it may limit further. */
	put("/proc/self/cgroup", "0::/pg/leaf\n");
	put_unified("/sys/fs/cgroup/pg/leaf", "209715200\n", 100, 0, 0);
	put_unified("/sys/fs/cgroup/pg", "314572800\n", 100, 0, 0);
	put("/sys/fs/cgroup/pg/leaf/memory.swap.max", "max\n");
	put("/sys/fs/cgroup/pg/memory.swap.max", "104857600\n");
	expect("version 2, swap limited by a group above", "/pg/leaf",
		   200 * MB, (200 - 100 + 1) * MB, 100 * MB, 7);
	put("/sys/fs/cgroup/pg/memory.max", "max\n");
	expect("version 2, by one that has no other limit", "/pg/leaf",
		   200 * MB, (200 - 100 + 1) * MB, 100 * MB, 7);
	put("/proc/self/cgroup", "0::/\n");

	put("/sys/fs/cgroup/memory.current", "99999999999999\n");
	expect("version 2, more used than the limit", "/", 512 * MB, 0, 1024 * MB,
		   7);

	begin();
	put("/proc/self/cgroup", "0::/../other\n");
	put("/proc/self/mountinfo", MOUNT_UNIFIED);
	put_unified("/sys/fs/cgroup", "536870912\n", 100, 0, 0);
	expect("version 2, a group outside of the namespace", "/",
		   512 * MB, (512 - 100 + 1) * MB, 0, 7);

	begin();
	put("/proc/self/cgroup", "0::/a b/c\n");
	put("/proc/self/mountinfo",
		"31 23 0:28 / /mnt/c\\040group rw - cgroup2 none rw\n");
	put_unified("/mnt/c group/a b/c", "536870912\n", 100, 0, 0);
	expect("version 2, spaces in names", "/a b/c",
		   512 * MB, (512 - 100 + 1) * MB, 0, 7);
}

static void
test_version1(void)
{
	begin();
	put("/proc/self/cgroup",
		"9:name=systemd:/\n5:cpu,cpuacct:/x\n4:blkio,memory:/pg/leaf\n0::/\n");
	put("/proc/self/mountinfo", MOUNT_VERSION1);
	put_version1("/sys/fs/cgroup/memory/pg/leaf", NO_LIMIT_V1, 600, true, 5,
				 100);
	put_version1("/sys/fs/cgroup/memory/pg", NO_LIMIT_V1, 600, true, 5, 100);
	put_version1("/sys/fs/cgroup/memory", NO_LIMIT_V1, 600, true, 5, 100);
	expect("version 1, no limit", "machine", 16384 * MB, 8192 * MB, 0, 7);

	put_version1("/sys/fs/cgroup/memory/pg/leaf", "1073741824\n", 600, true,
				 5, 100);
	put("/sys/fs/cgroup/memory/pg/leaf/memory.oom_control",
		"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
	expect("version 1, limit at the leaf", "/pg/leaf",
		   1024 * MB, (1024 - 600 + 100) * MB, 0, 3);

	put_version1("/sys/fs/cgroup/memory/pg", "734003200\n", 690, true, 5, 10);
	expect("version 1, limit at an ancestor", "/pg",
		   700 * MB, (700 - 690 + 10) * MB, 0, 3);

	put("/sys/fs/cgroup/memory/pg/leaf/memory.use_hierarchy", "0\n");
	expect("version 1, without a hierarchy", "/pg/leaf",
		   1024 * MB, (1024 - 600 + 5) * MB, 0, 3);

	put("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n"
		"SwapFree: 1048576 kB\n");
	put("/sys/fs/cgroup/memory/pg/leaf/memory.memsw.limit_in_bytes",
		"1174405120\n");
	put("/sys/fs/cgroup/memory/pg/leaf/memory.memsw.usage_in_bytes",
		"629145600\n");
	expect("version 1, memory and swap together", "/pg/leaf",
		   1024 * MB, (1024 - 600 + 5) * MB, 96 * MB, 3);

	begin();
	put("/proc/self/cgroup", "4:memory:/docker/1234\n");
	put("/proc/self/mountinfo",
		"35 31 0:32 /docker/1234 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
	put_version1("/sys/fs/cgroup/memory", "1073741824\n", 600, true, 5, 100);
	expect("version 1, a container", "/docker/1234",
		   1024 * MB, (1024 - 600 + 100) * MB, 0, 7);
}

static void
test_both(void)
{
	begin();
	put("/proc/self/cgroup", "4:memory:/leaf\n0::/user.slice\n");
	put("/proc/self/mountinfo", MOUNT_VERSION1
		"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/unified/user.slice/cgroup.procs", "1\n");
	put_version1("/sys/fs/cgroup/memory/leaf", "1073741824\n", 600, true, 5,
				 100);
	expect("both mounted, version 1 has the controller", "/leaf",
		   1024 * MB, (1024 - 600 + 100) * MB, 0, 7);
}

/* A line that is longer than what is read at once, and very many lines. */
static void
test_long_mountinfo(void)
{
	static char text[400000];
	char	   *end = text;

	begin();
	put("/proc/self/cgroup", "0::/g\n");
	for (int i = 0; i < 2000; i++)
		end += sprintf(end, "%d 1 0:22 / /var/lib/containers/%d/merged rw - overlay overlay rw\n",
					   i, i);
	end += sprintf(end, "7 1 0:22 / /");
	memset(end, 'x', 20000);
	end += 20000;
	end += sprintf(end, " rw - cgroup2 none rw\n" MOUNT_UNIFIED);
	put("/proc/self/mountinfo", text);
	put_unified("/sys/fs/cgroup/g", "536870912\n", 100, 0, 0);
	expect("a long mountinfo", "/g", 512 * MB, (512 - 100 + 1) * MB, 0, 7);
}

int
main(int argc, char **argv)
{
	static MemorySources sources;
	ServerMemory memory;

	if (argc != 2)
	{
		fprintf(stderr, "usage: server_memory_test DIRECTORY\n");
		return 2;
	}
	trees = argv[1];
	test_machine();
	test_unified();
	test_version1();
	test_both();
	test_long_mountinfo();

	/* And what this machine has. */
	server_memory_find(&sources, "");
	if (server_memory_read(&sources, &memory))
	{
		if (memory.total_bytes <= 0 ||
			memory.available_bytes > memory.total_bytes)
			failures++;
		printf("%s: %lld of %lld MB available\n",
			   server_memory_source_name(&sources, &memory),
			   (long long) (memory.available_bytes / MB),
			   (long long) (memory.total_bytes / MB));
	}
	printf("%d trees, %d failures\n", cases, failures);
	return failures > 0;
}
