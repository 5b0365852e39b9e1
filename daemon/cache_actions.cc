#include "daemon/cache_actions.h"

#include <algorithm>
#include <chrono>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/log.h"

namespace prefixd {
namespace {

using Scope = PrefixCache::PurgeScope;
using JobTurn = EngineView::JobTurn;

std::string Count(uint64_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string_view NameOf(Scope::Kind kind) {
  return kind == Scope::Kind::kPrefix ? "prefix" : kind == Scope::Kind::kTenant ? "tenant" : "model";
}

struct Record {
  BlockKey parent, key;
  friend auto operator<=>(const Record&, const Record&) = default;
};

// Adds those that continue what is in `keys`. Returns whether there were any.
bool AddDescendants(std::vector<Record> records, std::unordered_set<BlockKey>* keys) {
  std::ranges::sort(records);
  std::vector<BlockKey> added(keys->begin(), keys->end());
  const size_t known = added.size();
  for (size_t i = 0; i < added.size(); ++i) {
    for (const Record& record : std::ranges::equal_range(records, added[i], {}, &Record::parent))
      if (keys->insert(record.key).second) added.push_back(record.key);
  }
  return added.size() > known;
}

std::string PurgedText(const PrefixCache::Purged& purged, uint64_t records) {
  std::string text = "Purged " + Count(purged.blocks[0], "block") + " from the device, " +
                     Count(purged.blocks[1], "block") + " from host memory and " + Count(records, "record") +
                     " from the disk.";
  if (purged.in_use > 0)
    text += " " + Count(purged.in_use, "block") +
            " in use by requests or transfers will go when these end; no new request takes them.";
  return text;
}

std::string PinnedText(const PrefixCache::Pinned& pinned, bool pin) {
  const auto of = [](uint64_t all, uint64_t most) {
    return std::to_string(all) + " of at most " + std::to_string(most);
  };
  std::string text = pin ? "Pinned " + std::to_string(pinned.blocks[0]) + " of the " +
                               Count(pinned.prefix_blocks, "block") + " on the device and " +
                               std::to_string(pinned.blocks[1]) + " in host memory."
                         : "Unpinned the prefix of " + Count(pinned.prefix_blocks, "block") + ".";
  if (pinned.refused[0] + pinned.refused[1] > 0)
    text += " The budget had no room for " + std::to_string(pinned.refused[0]) + " on the device and " +
            std::to_string(pinned.refused[1]) + " in host memory.";
  return text + " Pinned now: " + of(pinned.all[0], pinned.most[0]) + " blocks on the device, " +
         of(pinned.all[1], pinned.most[1]) + " in host memory.";
}

Status UnknownPrefix() {
  return NotFound("The cache has no such prefix any more; look at the prefixes again.");
}

}  // namespace

std::optional<Result<std::string>> CacheActions::Action::result() const {
  MutexLock lock(mutex_);
  return result_;
}

void CacheActions::Action::Set(Result<std::string> result) {
  MutexLock lock(mutex_);
  result_ = std::move(result);
}

CacheActions::~CacheActions() {
  stop_ = true;
  std::thread last;
  {
    MutexLock lock(mutex_);
    last = std::move(thread_);
  }
  if (last.joinable()) last.join();
}

std::shared_ptr<const CacheActions::Action> CacheActions::Purge(const Scope& scope,
                                                                const std::string& request_id) {
  MutexLock lock(mutex_);
  if (std::exchange(purging_, true)) return nullptr;
  if (thread_.joinable()) thread_.join();  // it holds the lock no more, and has nothing else to do
  auto action = std::make_shared<Action>();
  thread_ = std::thread([this, scope, request_id, action] {
    RunPurge(scope, request_id, action.get());
    MutexLock ended(mutex_);
    purging_ = false;
  });
  return action;
}

bool CacheActions::RunOnEngine(EngineView::Job job) {
  // The engine may be left with the job, which then owns what it needs.
  struct End {
    Mutex mutex;
    CondVar changed;
    bool done GUARDED_BY(mutex) = false;
  };
  const auto end = std::make_shared<End>();
  view_.Do([end, job = std::move(job)](PrefixCache& cache) {
    const JobTurn turn = job(cache);
    if (turn != JobTurn::kDone) return turn;
    MutexLock lock(end->mutex);
    end->done = true;
    end->changed.NotifyAll();
    return turn;
  });
  MutexLock lock(end->mutex);
  while (!end->done && !stop_) end->changed.WaitFor(end->mutex, std::chrono::milliseconds(20));
  return end->done;
}

void CacheActions::RunPurge(const Scope& scope, const std::string& request_id, Action* action) {
  const double begun = clock_.NowSeconds();
  struct State {
    bool begun = false, unknown = false;
    PrefixCache::PurgedNames names;
    PrefixCache::Purged purged;
  };
  const auto state = std::make_shared<State>();
  const bool in_memory = RunOnEngine([scope, state](PrefixCache& cache) {
    state->unknown = !state->begun && !cache.BeginPurge(scope);
    if (state->unknown) return JobTurn::kDone;
    state->begun = true;
    if (!cache.ContinuePurge(EngineView::kNodesPerTurn)) return JobTurn::kGoesOn;
    state->names = cache.TakePurgedNames();
    return JobTurn::kDone;
  });
  if (!in_memory) return action->Set(Unavailable("The daemon ends."));
  if (state->unknown) return action->Set(UnknownPrefix());
  // They are many, so the engine thread must not be the last that has them.
  const PrefixCache::PurgedNames names = std::move(state->names);
  const Result<uint64_t> records = PurgeDisk(scope, names);
  const bool ended = RunOnEngine([state](PrefixCache& cache) {
    state->purged = cache.EndPurge();
    return JobTurn::kDone;
  });
  if (!ended) return action->Set(Unavailable("The daemon ends."));
  const PrefixCache::Purged& purged = state->purged;
  Log(records.ok() ? LogLevel::kInfo : LogLevel::kError, "an operator purged a part of the cache",
      {{"request_id", request_id},
       {"what", NameOf(scope.kind)},
       {"device_blocks", purged.blocks[0]},
       {"host_blocks", purged.blocks[1]},
       {"disk_records", records.ok() ? std::to_string(*records) : records.status().ToString()},
       {"in_use", purged.in_use},
       {"seconds", clock_.NowSeconds() - begun}});
  if (records.ok()) return action->Set(PurgedText(purged, *records));
  action->Set(Unavailable("Memory is purged, but not all records (" + records.status().message() +
                          "). Purge again when /ready says that it works."));
}

Result<uint64_t> CacheActions::PurgeDisk(const Scope& scope, const PrefixCache::PurgedNames& names) {
  if (scope.kind != Scope::Kind::kPrefix) {
    return delete_records_(
        [&](const RecordHead& head) {
          return scope.kind == Scope::Kind::kAll || head.root.high == scope.tenant;
        },
        stop_);
  }
  // What continues the prefix is known by what precedes it. Records come in any order: what one look has
  // passed too early, the next one deletes.
  std::unordered_set<BlockKey> keys(names.keys.begin(), names.keys.end());
  uint64_t all = 0;
  while (true) {
    std::vector<Record> others;
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t deleted,
                             delete_records_(
                                 [&](const RecordHead& head) {
                                   if (head.root != names.root) return false;
                                   if (keys.contains(head.key) || keys.contains(head.parent)) {
                                     keys.insert(head.key);
                                     return true;
                                   }
                                   others.push_back({.parent = head.parent, .key = head.key});
                                   return false;
                                 },
                                 stop_));
    all += deleted;
    if (!AddDescendants(std::move(others), &keys)) return all;
  }
}

std::shared_ptr<const CacheActions::Action> CacheActions::Pin(NodeId node, const BlockKey& key, bool pin,
                                                              const std::string& request_id) {
  auto action = std::make_shared<Action>();
  auto pinning = std::make_shared<PrefixCache::Pinning>();
  pinning->node = node;
  pinning->key = key;
  pinning->pin = pin;
  view_.Do([action, pinning, request_id](PrefixCache& cache) {
    if (!cache.Pin(pinning.get(), EngineView::kNodesPerTurn)) return JobTurn::kGoesOn;
    if (!pinning->result) {
      action->Set(UnknownPrefix());
      return JobTurn::kDone;
    }
    const PrefixCache::Pinned& pinned = *pinning->result;
    Log(LogLevel::kInfo, pinning->pin ? "an operator pinned a prefix" : "an operator unpinned a prefix",
        {{"request_id", request_id}, {"device_blocks", pinned.all[0]}, {"host_blocks", pinned.all[1]}});
    action->Set(PinnedText(pinned, pinning->pin));
    return JobTurn::kDone;
  });
  return action;
}

}  // namespace prefixd
