#include "base/usable_cpus.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>

#include "base/cgroup.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostCpus = size_t{1} << 20;  // far more than a kernel supports

// The kernel rejects a set that is smaller than its own, which may exceed the 1024 CPUs of a plain cpu_set_t.
std::optional<int> CountAffinity(const AffinityReader& affinity) {
  for (size_t cpus = CPU_SETSIZE; cpus <= kMostCpus; cpus *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(cpus),
                                                               [](cpu_set_t* s) { CPU_FREE(s); });
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    CPU_ZERO_S(bytes, set.get());
    if (affinity(bytes, set.get()) == 0) return std::max(1, CPU_COUNT_S(bytes, set.get()));
    if (errno != EINVAL) break;
  }
  return std::nullopt;
}

// The CPU time that a group may use in each period, as a number of CPUs; nothing without a limit.
std::optional<double> ReadQuota(const CgroupFolder& group) {
  double quota = 0, period = 0;
  if (group.version == 2) {
    std::ifstream(group.path / "cpu.max") >> quota >> period;  // "max 100000" without a limit
  } else {
    std::ifstream(group.path / "cpu.cfs_quota_us") >> quota;  // -1 without a limit
    std::ifstream(group.path / "cpu.cfs_period_us") >> period;
  }
  if (!(quota > 0 && period > 0)) return std::nullopt;
  return quota / period;
}

std::string Text(double cpus) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", cpus);
  return text;
}

}  // namespace

int ReadAffinity(size_t bytes, cpu_set_t* set) { return sched_getaffinity(0, bytes, set); }

UsableCpus CountUsableCpus(const fs::path& root, const AffinityReader& affinity) {
  const std::optional<int> allowed = CountAffinity(affinity);
  UsableCpus usable{allowed.value_or(1), allowed ? "CPU affinity" : "CPU affinity, which cannot be read"};
  double lowest = usable.count;
  for (const CgroupFolder& group : CgroupFolders(root, "cpu")) {
    const std::optional<double> quota = ReadQuota(group);
    if (!quota || *quota >= lowest) continue;
    lowest = *quota;
    usable.count = std::max(1, static_cast<int>(std::lround(lowest)));
    usable.source = "CPU quota of " + Text(lowest) + " in " + group.path.string();
  }
  return usable;
}

}  // namespace prefixd
