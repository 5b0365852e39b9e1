// Counts CPUs in planted cgroup folders and with a planted affinity mask.
#include "base/usable_cpus.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>

#include "base/cgroup.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

// A kernel for `possible` CPUs that lets this process run on the last `allowed` of them.
AffinityReader Kernel(int possible, int allowed) {
  return [=](size_t bytes, cpu_set_t* set) {
    errno = EINVAL;
    if (bytes * 8 < static_cast<size_t>(possible)) return -1;
    CPU_ZERO_S(bytes, set);
    for (int cpu = possible - allowed; cpu < possible; ++cpu) CPU_SET_S(cpu, bytes, set);
    return 0;
  };
}

class UsableCpusTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const fs::path file = dir_.path() / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void WriteVersion1(const std::string& folder, const std::string& quota, const std::string& period) {
    Write(folder + "/cpu.cfs_quota_us", quota + "\n");
    Write(folder + "/cpu.cfs_period_us", period + "\n");
  }
  UsableCpus Count(int allowed = 8) { return CountUsableCpus(dir_.path(), Kernel(64, allowed)); }
  std::string Path(const std::string& path) { return (dir_.path() / path).string(); }

  testing_support::TempDir dir_;
};

TEST_F(UsableCpusTest, CountsMoreCpusThanAPlainSetHolds) {
  for (const int allowed : {1, 1023, 1024, 1025, 1500, 5000, 8192})
    EXPECT_EQ(CountUsableCpus(dir_.path(), Kernel(8192, allowed)).count, allowed);
  EXPECT_EQ(Count().source, "CPU affinity");
}

TEST_F(UsableCpusTest, IsOneWhenTheAffinityCannotBeRead) {
  for (const int error : {EINVAL, ENOSYS}) {
    int calls = 0;
    const UsableCpus usable = CountUsableCpus(dir_.path(), [&](size_t, cpu_set_t*) {
      ++calls;
      errno = error;
      return -1;
    });
    EXPECT_EQ(usable.count, 1);
    EXPECT_EQ(usable.source, "CPU affinity, which cannot be read");
    EXPECT_EQ(calls, error == EINVAL ? 11 : 1) << "only a larger set can help, up to 2^20 CPUs";
  }
}

TEST_F(UsableCpusTest, FollowsTheAffinityOfTheProcess) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  EXPECT_EQ(CountUsableCpus(dir_.path()).count, CPU_COUNT(&before));
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(CountUsableCpus(dir_.path()).count, 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST_F(UsableCpusTest, TheLowestQuotaOnThePathOfVersion2Counts) {
  Write("proc/self/cgroup", "0::/a.slice/b.slice/c.service\n");
  Write("sys/fs/cgroup/a.slice/cpu.max", "400000 100000\n");
  Write("sys/fs/cgroup/a.slice/b.slice/cpu.max", "100000 50000\n");
  Write("sys/fs/cgroup/a.slice/b.slice/c.service/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/z.slice/cpu.max", "100000 100000\n");  // not of this process
  EXPECT_EQ(Count().count, 2);
  EXPECT_EQ(Count().source, "CPU quota of 2.00 in " + Path("sys/fs/cgroup/a.slice/b.slice"));
  EXPECT_EQ(Count(2).source, "CPU affinity") << "the quota does not lower it";
  Write("sys/fs/cgroup/a.slice/cpu.max", "100000 100000\n");
  EXPECT_EQ(Count().source, "CPU quota of 1.00 in " + Path("sys/fs/cgroup/a.slice"));
}

TEST_F(UsableCpusTest, AQuotaIsRounded) {
  Write("proc/self/cgroup", "0::/\n");
  const std::pair<const char*, int> kCases[] = {{"1000", 1},   {"50000", 1},  {"149999", 1}, {"150000", 2},
                                                {"240000", 2}, {"700000", 7}, {"750000", 8}, {"900000", 8}};
  for (const auto& [quota, count] : kCases) {
    Write("sys/fs/cgroup/cpu.max", std::string(quota) + " 100000\n");
    EXPECT_EQ(Count().count, count) << quota;
  }
}

TEST_F(UsableCpusTest, ReadsVersion1) {
  Write("proc/self/cgroup", "12:memory:/x\n4:cpu,cpuacct:/docker/abc\n0::/x\n");
  WriteVersion1("sys/fs/cgroup/cpu,cpuacct", "300000", "100000");  // a container: its group is at the root
  EXPECT_EQ(Count().count, 3);
  WriteVersion1("sys/fs/cgroup/cpu/docker", "200000", "100000");
  WriteVersion1("sys/fs/cgroup/cpu/docker/abc", "-1", "100000");
  EXPECT_EQ(Count().count, 2) << "the usual name comes first";
  EXPECT_EQ(Count().source, "CPU quota of 2.00 in " + Path("sys/fs/cgroup/cpu/docker"));
  WriteVersion1("sys/fs/cgroup/cpu/docker", "-1", "100000");
  EXPECT_EQ(Count().source, "CPU affinity");
}

TEST_F(UsableCpusTest, FilesThatAreNoQuotaAreIgnored) {
  Write("proc/self/cgroup", "nonsense\n0::/a\n1:cpu:/b\n");
  for (const char* text :
       {"", "max\n", "max 100000\n", "100000\n", "0 100000\n", "100000 0\n", "-5 -5\n", "x y\n"}) {
    Write("sys/fs/cgroup/a/cpu.max", text);
    EXPECT_EQ(Count().count, 8) << text;
  }
  Write("sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "100000\n");  // without a period
  EXPECT_EQ(Count().count, 8);
}

TEST_F(UsableCpusTest, FoldersGoFromTheGroupToTheRootOfEachHierarchy) {
  Write("proc/self/cgroup", "3:cpuset:/s\n2:cpu:/a/b\n1:name=systemd:/n\n0::/../c\n");
  Write("sys/fs/cgroup/cpu/tasks", "");
  std::string paths;
  for (const CgroupFolder& folder : CgroupFolders(dir_.path(), "cpu"))
    paths +=
        std::to_string(folder.version) + " " + folder.path.lexically_relative(dir_.path()).string() + "\n";
  EXPECT_EQ(paths,
            "1 sys/fs/cgroup/cpu/a/b\n1 sys/fs/cgroup/cpu/a\n1 sys/fs/cgroup/cpu\n"
            "2 sys/fs/cgroup\n2 sys/fs/cgroup/unified\n");
}

}  // namespace
}  // namespace prefixd
