#include "tests/sim/timed_port.h"

#include <algorithm>
#include <limits>

namespace prefixd::sim {

TimedPort::TimedPort(uint64_t seed, const TimedConditions* conditions)
    : conditions_(*conditions), random_(seed) {
  for (size_t i = 0; i < kTiers; ++i) {
    loads_[i].workers.resize(static_cast<size_t>(conditions->tiers[i].workers));
    spills_[i].workers.resize(1);
  }
}

double TimedPort::NextEnd() const {
  double next = std::numeric_limits<double>::infinity();
  for (const Running& running : running_) next = std::min(next, running.ends);
  return next;
}

// A transfer waits for a worker, for the medium, and for its share of the bandwidth, and longer while the
// medium hangs.
double TimedPort::EndOf(const TierConditions& tier, Lane* lane) const {
  const auto worker = std::ranges::min_element(lane->workers);
  const double begin = std::max(now_, *worker);
  const double factor = tier.block_seconds.At(begin) / tier.block_seconds.base();
  const double moves = std::max(begin + tier.latency * factor, lane->bandwidth);
  double end = moves + tier.block_seconds.At(moves);
  for (const TierConditions::Hang& hang : tier.hangs) {
    if (begin < hang.to && end > hang.from) end += hang.to - std::max(begin, hang.from);
  }
  return *worker = lane->bandwidth = end;
}

void TimedPort::Start(const Transfer& transfer) {
  const bool load = transfer.to == Tier::kDevice;
  const Tier medium = std::max(transfer.from, transfer.to);  // the slower one
  const TierConditions& tier = conditions_.tiers[static_cast<size_t>(medium)];
  Lane& lane = (load ? loads_ : spills_)[static_cast<size_t>(medium)];
  Running running{.finished = {.id = transfer.id}, .ends = now_, .lane = &lane};
  if (tier.most_waiting > 0 && lane.running >= lane.workers.size() + tier.most_waiting) {
    running.finished.result = TransferResult::kFailed;
    refused += load ? 1 : 0;
  } else {
    running.ends = running.finished.ended = EndOf(tier, &lane);
    running.finished.bytes = 1;
    if (load) Read(tier, transfer, &running.finished);
    if (transfer.to == Tier::kDisk) {
      running.writes = transfer.key;
      running.finished.work_seconds = conditions_.spill_work;
      running.tokens.assign(transfer.tokens.begin(), transfer.tokens.end());
    }
  }
  ++lane.running;
  running_.push_back(std::move(running));
}

void TimedPort::Read(const TierConditions& tier, const Transfer& transfer, FinishedTransfer* finished) {
  if (random_.Chance(tier.fails)) {
    finished->result = TransferResult::kFailed;
    ++failed;
  } else if (transfer.from == Tier::kDisk && random_.Chance(tier.loses)) {
    finished->result = random_.Chance(0.5) ? TransferResult::kMissing : TransferResult::kCorrupt;
    records_.erase(transfer.key);
    ++lost;
  } else if (transfer.from == Tier::kDisk) {
    const auto record = records_.find(transfer.key);
    if (record == records_.end()) {
      finished->result = TransferResult::kMissing;
    } else {
      finished->tokens = record->second;
    }
  }
  if (finished->result != TransferResult::kOk) finished->bytes = 0;
}

void TimedPort::Poll(std::vector<FinishedTransfer>* finished) {
  std::ranges::sort(running_, {}, &Running::ends);
  size_t ended = 0;
  for (; ended < running_.size() && running_[ended].ends <= now_; ++ended) {
    Running& running = running_[ended];
    --running.lane->running;
    if (running.writes) records_[*running.writes] = std::move(running.tokens);
    finished->push_back(std::move(running.finished));
  }
  running_.erase(running_.begin(), running_.begin() + static_cast<ptrdiff_t>(ended));
}

}  // namespace prefixd::sim
