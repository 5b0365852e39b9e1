// CacheActions: what operators do to the cache of a running daemon: purge a prefix, a tenant or all
// of it from every tier, and pin prefixes in memory (PrefixCache has the meaning of both).
//
//   Purge:   engine thread: BeginPurge, ContinuePurge in each turn     nobody uses it any more
//            a thread of its own: records are deleted from the disk    it may hang with the disk
//            engine thread: EndPurge
//   Pin:     engine thread: a part of the prefix in each turn
//
// Threads: any thread may call the members. The destructor ends a purge that is under way, and waits for the
// disk. The engine and what deletes records outlive it.
//
// Invariant: at most one purge is under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"
#include "engine/engine_view.h"
#include "storage/record.h"

namespace prefixd {

class CacheActions {
 public:
  // An action under way, or done.
  class Action {
   public:
    // What was done, as a sentence; kNotFound: there is no such prefix. Nothing: it is not done yet.
    std::optional<Result<std::string>> result() const EXCLUDES(mutex_);
    void Set(Result<std::string> result) EXCLUDES(mutex_);

   private:
    mutable Mutex mutex_;
    std::optional<Result<std::string>> result_ GUARDED_BY(mutex_);
  };

  // Tiers::DeleteRecords.
  using DeleteRecords = std::function<Result<uint64_t>(const std::function<bool(const RecordHead&)>& matches,
                                                       const std::atomic<bool>& stop)>;
  CacheActions(EngineView* view, DeleteRecords delete_records, const Clock* clock)
      : view_(*view), delete_records_(std::move(delete_records)), clock_(*clock) {}
  ~CacheActions();

  // `request_id` is for the log. Null when a purge is under way.
  std::shared_ptr<const Action> Purge(const PrefixCache::PurgeScope& scope, const std::string& request_id)
      EXCLUDES(mutex_);
  std::shared_ptr<const Action> Pin(NodeId node, const BlockKey& key, bool pin,
                                    const std::string& request_id);

 private:
  void RunPurge(const PrefixCache::PurgeScope& scope, const std::string& request_id, Action* action);
  // Has the engine thread run `job` to its end. Returns false when this object is being destroyed.
  bool RunOnEngine(EngineView::Job job);
  Result<uint64_t> PurgeDisk(const PrefixCache::PurgeScope& scope, const PrefixCache::PurgedNames& names);

  EngineView& view_;
  const DeleteRecords delete_records_;
  const Clock& clock_;
  std::atomic<bool> stop_{false};
  Mutex mutex_;
  bool purging_ GUARDED_BY(mutex_) = false;
  std::thread thread_ GUARDED_BY(mutex_);  // of the last purge
};

}  // namespace prefixd
