#include "kernels/registry.h"

#include <sched.h>

#include "kernels/ref/ref_backend.h"

namespace prefixd {
namespace {

struct Entry {
  std::string_view name;
  bool (*runs_here)();
  std::string_view needs;  // said when it does not run here
  std::unique_ptr<Backend> (*create)(int threads);
};

constexpr Entry kBackends[] = {
    {"ref", [] { return true; }, "", [](int) { return CreateRefBackend(); }},
};

int UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return CPU_COUNT(&set);
}

std::string Names() {
  std::string names = "auto";
  for (const Entry& entry : kBackends) names.append(", ").append(entry.name);
  return names;
}

}  // namespace

std::vector<BackendInfo> ListBackends() {
  std::vector<BackendInfo> list;
  for (const Entry& entry : kBackends) {
    const bool runs = entry.runs_here();
    list.push_back({entry.name, runs, runs ? "" : std::string(entry.needs)});
  }
  return list;
}

Result<std::unique_ptr<Backend>> CreateBackend(std::string_view name, int threads) {
  PREFIXD_CHECK(threads >= 0) << threads;
  const Entry* chosen = nullptr;
  for (const Entry& entry : kBackends) {
    if (name == "auto" ? entry.runs_here() : name == entry.name) chosen = &entry;
  }
  if (chosen == nullptr) return NotFound("no backend '" + std::string(name) + "'; there are: " + Names());
  if (!chosen->runs_here()) {
    return Unsupported("backend '" + std::string(name) + "' does not run here: " + std::string(chosen->needs));
  }
  return chosen->create(threads == 0 ? UsableCpus() : threads);
}

}  // namespace prefixd
