#include "daemon/memory_limit.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace prefixd {
namespace {

namespace fs = std::filesystem;

std::optional<uint64_t> ReadNumber(const fs::path& path) {
  std::ifstream in(path);
  uint64_t value = 0;
  if (!(in >> value)) return std::nullopt;  // also for "max"
  return value;
}

// A number from a file of lines "name value".
std::optional<uint64_t> ReadField(const fs::path& path, const std::string& name) {
  std::ifstream in(path);
  std::string word;
  for (std::string line; in >> word && std::getline(in, line);) {
    if (word == name) return std::strtoull(line.c_str(), nullptr, 10);
  }
  return std::nullopt;
}

struct Names {
  const char* limit;
  const char* usage;
  const char* cache;  // field of memory.stat: page cache that the kernel can reclaim
};
constexpr Names kVersion2 = {"memory.max", "memory.current", "inactive_file"};
constexpr Names kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

// Lowers `state` to the limits of the cgroup `group` below `mount` and of its parents.
void ApplyGroups(const fs::path& mount, fs::path group, const Names& names, MemoryState* state) {
  for (;; group = group.parent_path()) {
    const fs::path folder = group.empty() ? mount : mount / group;
    const std::optional<uint64_t> limit = ReadNumber(folder / names.limit);
    const std::optional<uint64_t> usage = ReadNumber(folder / names.usage);
    if (limit && usage) {
      const uint64_t cache = ReadField(folder / "memory.stat", names.cache).value_or(0);
      const uint64_t held = *usage - std::min(*usage, cache);
      state->available = std::min(state->available, *limit - std::min(*limit, held));
      state->total = std::min(state->total, *limit);
    }
    if (group.empty()) return;
  }
}

}  // namespace

MemoryState ReadMemoryState(const fs::path& root) {
  const std::optional<uint64_t> available = ReadField(root / "proc/meminfo", "MemAvailable:");
  const std::optional<uint64_t> total = ReadField(root / "proc/meminfo", "MemTotal:");
  if (!available || !total) return {};
  MemoryState state{*available * 1024, *total * 1024};  // the file is in KiB
  std::ifstream groups(root / "proc/self/cgroup");      // lines "0::/group" (v2) or "4:memory:/group" (v1)
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const fs::path group = fs::path(line.substr(second + 1)).relative_path();
    const fs::path mounts = root / "sys/fs/cgroup";
    if (controllers == ",,") ApplyGroups(mounts, group, kVersion2, &state);
    if (controllers.find(",memory,") != std::string::npos)
      ApplyGroups(mounts / "memory", group, kVersion1, &state);
  }
  return state;
}

}  // namespace prefixd
