#include "daemon/memory_limit.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

#include "base/cgroup.h"

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

// Lowers `state` to the limits of one cgroup.
void ApplyGroup(const CgroupFolder& group, MemoryState* state) {
  const Names& names = group.version == 2 ? kVersion2 : kVersion1;
  const std::optional<uint64_t> limit = ReadNumber(group.path / names.limit);
  const std::optional<uint64_t> usage = ReadNumber(group.path / names.usage);
  if (!limit || !usage) return;
  const uint64_t cache = ReadField(group.path / "memory.stat", names.cache).value_or(0);
  const uint64_t held = *usage - std::min(*usage, cache);
  state->available = std::min(state->available, *limit - std::min(*limit, held));
  state->total = std::min(state->total, *limit);
}

// What the kernel says without files, of the machine. The page cache that it can reclaim is not among it.
MemoryState MachineMemory() {
  struct sysinfo info = {};
  if (sysinfo(&info) != 0) return {};
  return {(info.freeram + info.bufferram) * info.mem_unit, info.totalram * info.mem_unit};
}

}  // namespace

MemoryState ReadMemoryState(const fs::path& root) {
  const std::optional<uint64_t> available = ReadField(root / "proc/meminfo", "MemAvailable:");
  const std::optional<uint64_t> total = ReadField(root / "proc/meminfo", "MemTotal:");
  if (!available || !total) return MachineMemory();
  MemoryState state{*available * 1024, *total * 1024};  // the file is in KiB
  for (const CgroupFolder& group : CgroupFolders(root, "memory")) ApplyGroup(group, &state);
  return state;
}

uint64_t PeakResidentBytes(const fs::path& root) {
  return ReadField(root / "proc/self/status", "VmHWM:").value_or(0) * 1024;  // the file is in kB
}

}  // namespace prefixd
