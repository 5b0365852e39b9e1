#include "daemon/memory_limit.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

class MemoryStateTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = dir_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void WriteMachine(const std::string& groups) {
    Write("proc/meminfo", "MemTotal:       33554432 kB\nMemFree: 1024 kB\nMemAvailable:   16777216 kB\n");
    Write("proc/self/cgroup", groups);
  }
  uint64_t Available() { return ReadMemoryState(dir_.path()).available; }
  uint64_t Total() { return ReadMemoryState(dir_.path()).total; }

  testing_support::TempDir dir_;
};

TEST_F(MemoryStateTest, IsThatOfTheMachineWithoutCgroupLimits) {
  WriteMachine("0::/user.slice\n");
  Write("sys/fs/cgroup/user.slice/memory.max", "max\n");
  Write("sys/fs/cgroup/user.slice/memory.current", "12345\n");
  EXPECT_EQ(Available(), 16 * kGiB);
  EXPECT_EQ(Total(), 32 * kGiB);
}

TEST_F(MemoryStateTest, IsLimitedByTheLowestGroupOfVersion2) {
  WriteMachine("0::/a.slice/b.service\n");
  Write("sys/fs/cgroup/a.slice/memory.max", "4294967296\n");
  Write("sys/fs/cgroup/a.slice/memory.current", "3221225472\n");
  Write("sys/fs/cgroup/a.slice/memory.stat",
        "anon 1\ninactive_file 1073741824\n");  // can be dropped: counts as free
  Write("sys/fs/cgroup/a.slice/b.service/memory.max", "8589934592\n");
  Write("sys/fs/cgroup/a.slice/b.service/memory.current", "0\n");
  EXPECT_EQ(Available(), 2 * kGiB);
  EXPECT_EQ(Total(), 4 * kGiB);
}

TEST_F(MemoryStateTest, ReadsVersion1AndTheRootOfAContainer) {
  WriteMachine(
      "12:cpu,cpuacct:/x\n4:memory:/docker/abc\n");  // in a container the group itself is mounted at the root
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648\n");
  EXPECT_EQ(Available(), 0u) << "over the limit already";
  EXPECT_EQ(Total(), kGiB);
}

TEST_F(MemoryStateTest, ReadsThePeakOfTheProcess) {
  Write("proc/self/status", "Name:\tx\nVmPeak:\t   900 kB\nVmHWM:\t    12 kB\nVmRSS:\t     8 kB\n");
  EXPECT_EQ(PeakResidentBytes(dir_.path()), 12u * 1024);
  EXPECT_GT(PeakResidentBytes(), 0u);
}

TEST_F(MemoryStateTest, IsThatOfTheMachineWithoutFiles) {
  EXPECT_GT(Available(), 0u);
  EXPECT_LT(Available(), Total());
  EXPECT_GE(Total(), ReadMemoryState().total);  // which may be the limit of a cgroup
}

TEST_F(MemoryStateTest, ThePeakIsZeroWithoutFiles) { EXPECT_EQ(PeakResidentBytes(dir_.path()), 0u); }

}  // namespace
}  // namespace prefixd
