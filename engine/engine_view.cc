#include "engine/engine_view.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/sequence.h"

namespace prefixd {

std::vector<RequestTrace> EngineView::Requests(size_t most) const {
  MutexLock lock(mutex_);
  const auto end = requests_.begin() + static_cast<ptrdiff_t>(std::min(most, requests_.size()));
  return {requests_.begin(), end};
}

std::vector<RequestTrace> EngineView::Find(std::string_view name) const {
  std::vector<RequestTrace> found;
  MutexLock lock(mutex_);
  std::ranges::copy_if(requests_, std::back_inserter(found),
                       [&](const RequestTrace& trace) { return trace.name == name; });
  return found;
}

void EngineView::AskForPrefixes(double now) {
  asked_.store(now);
  wake_();
}

std::optional<PrefixTable> EngineView::prefixes() const {
  MutexLock lock(mutex_);
  return prefixes_;
}

void EngineView::Add(const Sequence& s, FinishReason finish) {
  RequestTrace trace{.name = s.request.name,
                     .id = s.id,
                     .root = s.keys.root(),
                     .prompt_tokens = s.prompt_tokens,
                     .generated_tokens = s.generated(),
                     .usage = s.usage,
                     .miss_tokens = s.miss_tokens,
                     .first_miss = s.first_miss,
                     .times = s.times,
                     .finish = finish};
  if (hot_ != nullptr) hot_->Add(s.keys, s.usage.cached());
  MutexLock lock(mutex_);
  requests_.push_front(std::move(trace));
  if (requests_.size() > kMostRequests) requests_.pop_back();
}

void EngineView::Report(const PrefixCache& cache) {
  const uint64_t wanted = residency_ == nullptr ? 0 : residency_->WantedReport();
  if (wanted == 0) return;
  if (std::exchange(report_, wanted) != wanted) report_next_ = 0;
  if (!cache.Report(&report_next_, kNodesPerTurn)) return wake_();
  residency_->OnReported(wanted);
}

void EngineView::Do(Job job) {
  {
    MutexLock lock(mutex_);
    jobs_.push_back(std::move(job));
    has_jobs_ = true;
  }
  wake_();
}

void EngineView::RunJob(PrefixCache& cache) {
  if (!has_jobs_.load(std::memory_order_relaxed)) return;
  Job job;
  {
    MutexLock lock(mutex_);
    job = std::move(jobs_.front());
    jobs_.pop_front();
    has_jobs_ = !jobs_.empty();
  }
  const JobTurn turn = job(cache);
  if (turn != JobTurn::kDone) {
    MutexLock lock(mutex_);
    jobs_.push_front(std::move(job));
    has_jobs_ = true;
  }
  if (turn != JobTurn::kWaits) wake_();  // to go on, or because requests may go on
}

void EngineView::Turn(PrefixCache& cache) {
  RunJob(cache);
  Report(cache);
  if (!scan_) {
    if (asked_.load(std::memory_order_relaxed) < 0) return;
    scan_asked_ = asked_.exchange(-1);
    scan_.emplace(kMostPrefixes);
  }
  if (!cache.Scan(&*scan_, kNodesPerTurn)) return wake_();
  PrefixTable table{.asked = scan_asked_,
                    .nodes = cache.nodes(),
                    .prefixes = scan_->prefixes,
                    .rows = scan_->Rows(),
                    .rest_of_tenants = scan_->rest_of_tenants(),
                    .rest_of_others = scan_->rest_of_others()};
  scan_.reset();
  MutexLock lock(mutex_);
  prefixes_ = std::move(table);
}

}  // namespace prefixd
