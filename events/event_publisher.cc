#include "events/event_publisher.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace prefixd {
namespace {

using std::chrono::milliseconds;

constexpr size_t kBatchBytes = 64 << 10;
constexpr size_t kMostRun = 512;  // blocks of one event
// After the first change: the engine tells all of a step at once, so that an event has a whole prompt.
constexpr milliseconds kGather{2};

}  // namespace

EventPublisher::EventPublisher(Options options, SequenceFile sequence, EventSockets* sockets,
                               ResidencyQueue* queue)
    : options_(std::move(options)),
      sockets_(sockets),
      queue_(queue),
      sequence_(std::move(sequence)),
      index_(options_.most_blocks),
      thread_([this] { Run(); }) {}

EventPublisher::~EventPublisher() {
  stopping_ = true;
  sockets_->Wake();
  thread_.join();
  if (const Status closed = sequence_.Close(); !closed.ok())
    Log(LogLevel::kWarning, "the sequence of KV events is not kept over a restart",
        {{"error", closed.message()}});
}

EventStats EventPublisher::stats() const {
  return {.batches = counters_.batches,
          .stored = counters_.stored,
          .removed = counters_.removed,
          .cleared = counters_.cleared,
          .lost = queue_->lost(),
          .snapshots = counters_.snapshots,
          .replays = counters_.replays};
}

void EventPublisher::Run() {
  SendCleared();
  while (!stopping_) {
    std::optional<milliseconds> most;
    if (asked_)
      most = milliseconds(std::max(0, static_cast<int>(1e3 * (last_snapshot_ + kSnapshotSeconds - Now()))));
    const EventSockets::Incoming incoming = sockets_->Wait(most);
    asked_ = asked_ || incoming.subscriptions > 0;
    std::this_thread::sleep_for(kGather);
    TakeChanges();
    for (const EventSockets::ReplayRequest& request : incoming.replays) Replay(request);
    if (asked_ && report_ == 0 && Now() >= last_snapshot_ + kSnapshotSeconds) SendSnapshot();
  }
  SendCleared();
}

void EventPublisher::TakeChanges() {
  ResidencyQueue::Taken taken = queue_->Take();
  if (taken.lost) {
    index_.Clear();
    SendCleared();
    report_ = queue_->WantReport();
    Log(LogLevel::kWarning, "KV events were lost; all blocks are announced again",
        {{"lost", queue_->lost()}});
  }
  for (ResidencyChange& change : taken.changes) Apply(std::move(change));
  Flush();
  Send();
  if (report_ != 0) options_.wake();  // it goes on now that there is room in the queue
}

void EventPublisher::Apply(ResidencyChange change) {
  switch (change.kind) {
    case ResidencyChange::Kind::kStored:
      return Store(std::move(change));
    case ResidencyChange::Kind::kRemoved:
      if (!stored_.empty() || tier_ != change.tier) Flush();  // before an entry goes
      tier_ = change.tier;
      if (index_.Remove(change.key, change.tier) && report_ == 0) removed_.push_back(change.key);
      return;
    case ResidencyChange::Kind::kReported:
      if (change.report != report_) return;
      report_ = 0;
      SendSnapshot();
  }
}

void EventPublisher::Store(ResidencyChange change) {
  const BlockIndex::Entry* entry = index_.Add(
      change.key, {.parent = change.parent, .root = change.root, .tokens = std::move(change.tokens)},
      change.tier);
  if (entry == nullptr || report_ != 0) return;
  if (entry->second.told) return Gather(entry, change.tier);
  for (const BlockIndex::Entry* told : index_.Tell(entry->first)) {
    for (int t = 0; t < kTiers; ++t)
      if ((told->second.tiers >> t & 1) != 0) Gather(told, static_cast<Tier>(t));
  }
}

void EventPublisher::Gather(const BlockIndex::Entry* entry, Tier tier) {
  const bool follows = !stored_.empty() && tier_ == tier && stored_.size() < kMostRun &&
                       stored_.back()->first == entry->second.parent;
  if (!follows) Flush();
  tier_ = tier;
  stored_.push_back(entry);
}

void EventPublisher::Flush() {
  if (!stored_.empty()) {
    batch_.AddStored(stored_, tier_, options_.shared_root);
    ++counters_.stored;
  }
  if (!removed_.empty()) {
    batch_.AddRemoved(removed_, tier_);
    ++counters_.removed;
  }
  stored_.clear();
  removed_.clear();
  if (batch_.bytes() >= kBatchBytes) Send();
}

void EventPublisher::Send() {
  if (batch_.events() > 0) SendPayload(batch_.Finish(static_cast<double>(options_.clock->UnixSeconds())));
}

void EventPublisher::SendPayload(std::string payload) {
  const uint64_t sequence = sequence_.Take();
  sockets_->Publish(options_.topic, sequence, payload);
  ++counters_.batches;
  buffered_bytes_ += payload.size();
  buffered_.push_back({sequence, std::move(payload)});
  while (buffered_.size() > kMostBuffered || buffered_bytes_ > kMostBufferedBytes) {
    buffered_bytes_ -= buffered_.front().payload.size();
    buffered_.pop_front();
  }
}

void EventPublisher::SendCleared() {
  Flush();
  Send();
  batch_.AddCleared();
  ++counters_.cleared;
  Send();
}

std::vector<std::string> EventPublisher::Snapshot(size_t batch_bytes) const {
  const auto seconds = static_cast<double>(options_.clock->UnixSeconds());
  std::vector<std::string> payloads;
  EventBatch batch;
  batch.AddCleared();
  index_.VisitRuns([&](std::span<const BlockIndex::Entry* const> run) {
    for (size_t begin = 0; begin < run.size(); begin += kMostRun) {
      const auto part = run.subspan(begin, std::min(kMostRun, run.size() - begin));
      for (int t = 0; t < kTiers; ++t) {
        if ((run[0]->second.tiers >> t & 1) != 0)
          batch.AddStored(part, static_cast<Tier>(t), options_.shared_root);
      }
      if (batch.bytes() >= batch_bytes) payloads.push_back(batch.Finish(seconds));
    }
  });
  if (batch.events() > 0) payloads.push_back(batch.Finish(seconds));
  return payloads;
}

void EventPublisher::SendSnapshot() {
  Flush();
  Send();
  index_.TellAll();
  for (std::string& payload : Snapshot(kBatchBytes)) SendPayload(std::move(payload));
  asked_ = false;
  last_snapshot_ = Now();
  ++counters_.snapshots;
}

void EventPublisher::Replay(const EventSockets::ReplayRequest& request) {
  ++counters_.replays;
  const uint64_t end = sequence_.next();
  const uint64_t first = buffered_.empty() ? end : buffered_.front().sequence;
  uint64_t next = request.start;
  if (next < end && next < first && end - next <= kMostReplayed) {
    std::vector<std::string> payloads = Snapshot(kBatchBytes);
    if (payloads.size() > end - next) payloads = Snapshot(SIZE_MAX);
    for (const std::string& payload : payloads)
      sockets_->Answer(request.identity, options_.topic, next++, payload);
    EventBatch empty;
    const std::string nothing = empty.Finish(static_cast<double>(options_.clock->UnixSeconds()));
    while (next < end) sockets_->Answer(request.identity, options_.topic, next++, nothing);
  } else if (next >= first) {
    for (const Buffered& batch : buffered_)
      if (batch.sequence >= next)
        sockets_->Answer(request.identity, options_.topic, batch.sequence, batch.payload);
  }
  sockets_->EndAnswer(request.identity);
}

}  // namespace prefixd
