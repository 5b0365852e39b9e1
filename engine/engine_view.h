// EngineView: what an operator can ask of the engine beside its statistics: the requests that ended last,
// with the place and the reason of their first miss, and the cached prefixes that have saved most. It holds
// ids, hashes, offsets and counts; never a token or a text. Beside that it tells the listener of residency
// the whole tree, when that wants a report, counts which blocks requests took from the cache, and runs jobs
// on the cache.
//
// Threads: any thread calls the members of the first part. The engine thread calls Add and Turn. The mutex is
// held for the copy of a bounded list; nothing waits for the engine thread.
//
// Invariants
//   1. At most kMostRequests requests and kMostPrefixes prefixes are held.
//   2. A turn looks at no more than kNodesPerTurn nodes of the tree for each of the two, and at none when
//      nobody has asked.
//   3. A turn runs one job once. A job does as much each time as a step may wait for.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "cache/prefix_cache.h"
#include "cache/prefix_scan.h"
#include "engine/hot_blocks.h"
#include "engine/request_trace.h"

namespace prefixd {

struct Sequence;

struct PrefixTable {
  double asked = 0;                  // the time of the question that it answers, on the engine's clock
  uint64_t nodes = 0, prefixes = 0;  // of the tree when it was seen to its end; prefixes that were hit
  std::vector<PrefixRow> rows;       // those of greatest worth first
  // Nodes that belong to no row and continue none, by tenant (the high half of its roots); those of tenants
  // without a row together.
  std::map<uint64_t, uint64_t> rest_of_tenants;
  uint64_t rest_of_others = 0;
};

class EngineView {
 public:
  static constexpr size_t kMostRequests = 256;
  static constexpr size_t kMostPrefixes = 100;
  // Some 0.1 ms: a turn costs no step more than that.
  static constexpr uint32_t kNodesPerTurn = 2048;

  // `wake` makes the engine thread take a turn. `residency` and `hot` may be null; otherwise they outlive the
  // view.
  EngineView(std::function<void()> wake, ResidencyListener* residency, HotBlocks* hot = nullptr)
      : wake_(std::move(wake)), residency_(residency), hot_(hot) {}

  // Makes the engine thread take a turn, in which it sees whether the listener of residency wants a report.
  void Wake() { wake_(); }

  // The requests that ended last, the newest first.
  std::vector<RequestTrace> Requests(size_t most) const;
  // Those with this name, the newest first: a request with several choices or prompts has one for each.
  std::vector<RequestTrace> Find(std::string_view name) const;
  // Makes the engine thread look through the tree from its beginning. Later, the answer is in prefixes(),
  // with `asked` at `now` or after it.
  void AskForPrefixes(double now);
  std::optional<PrefixTable> prefixes() const;  // the last answer

  // Has the engine thread call `job` once in each turn until it returns kDone. Jobs run in order, one at a
  // time. One that is left when the engine ends is not run. After kWaits, the next turn comes when there is
  // something else for the engine to do, such as a transfer that has ended.
  enum class JobTurn : uint8_t { kDone, kGoesOn, kWaits };
  using Job = std::function<JobTurn(PrefixCache& cache)>;
  void Do(Job job);

  // The sequence has ended.
  void Add(const Sequence& sequence, FinishReason finish);
  void Turn(PrefixCache& cache);

 private:
  void Report(const PrefixCache& cache);
  void RunJob(PrefixCache& cache);

  const std::function<void()> wake_;
  ResidencyListener* const residency_;
  HotBlocks* const hot_;
  std::atomic<double> asked_{-1};  // below 0: nobody has asked since the last scan began

  // Engine thread.
  std::optional<PrefixScan> scan_;
  double scan_asked_ = 0;
  uint64_t report_ = 0;     // that is under way
  NodeId report_next_ = 0;  // the node that it goes on with

  std::atomic<bool> has_jobs_{false};
  mutable Mutex mutex_;
  std::deque<Job> jobs_ GUARDED_BY(mutex_);
  std::deque<RequestTrace> requests_ GUARDED_BY(mutex_);  // the newest first
  std::optional<PrefixTable> prefixes_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
