#include "daemon/remote_tier.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/background_thread.h"
#include "base/log.h"

namespace prefixd {
namespace {

constexpr std::chrono::milliseconds kAskTick{500};
constexpr int64_t kUsageNanos = 5'000'000'000;  // from one look at what the server holds to the next
constexpr int64_t kFullNanos = 10'000'000'000;
constexpr std::chrono::milliseconds kRateTick{20};
constexpr double kBurstSeconds = 0.5;

Status LeftAlone() { return Unavailable("the remote cache has failed, and is left alone for a while"); }

}  // namespace

RemoteTier::RemoteTier(Options options)
    : options_(std::move(options)),
      clock_(*options_.store.clock),
      store_(options_.store),
      leases_(options_.leases, &store_, options_.store.clock) {
  stats_.on = true;
  asks_ = std::thread([this] { Ask(); });
  pthread_setname_np(asks_.native_handle(), "prefixd-ask");
  writes_ = std::thread([this] { Write(); });
  pthread_setname_np(writes_.native_handle(), "prefixd-remote");
}

RemoteTier::~RemoteTier() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  asks_.join();
  writes_.join();
}

void RemoteTier::SetWake(std::function<void()> wake) {
  MutexLock lock(mutex_);
  wake_ = std::move(wake);
}

// --- The circuit breaker ---

// A store that is full, or lacks a record, works.
void RemoteTier::Note(const Status& status, int64_t began) {
  const bool failed = status.code() == Code::kIo || status.code() == Code::kUnavailable;
  // One server of several that fails is left alone by the store itself.
  const bool fails = failed && !store_.WorksInPart();
  if (!fails && !pause_.IsOn(clock_)) pause_.Succeeded();
  if (fails) pause_.Failed(began, clock_.NowNanos());
  MutexLock lock(mutex_);
  if (failed) ++stats_.failures;
  if (fails && failure_.empty())
    Log(LogLevel::kError, "the remote cache fails; requests are served without it",
        {{"store", options_.store.address.Name()}, {"error", status.message()}});
  if (!fails && !failure_.empty() && !pause_.IsOn(clock_)) {
    failure_.clear();
    fails_ = false;
    Log(LogLevel::kInfo, "the remote cache works again", {{"store", options_.store.address.Name()}});
  }
  if (fails) failure_ = status.message();
  if (fails) fails_ = true;
}

// --- BlockStore ---

Result<std::string> RemoteTier::Get(const BlockKey& key) {
  if (IsPaused()) return LeftAlone();
  const int64_t began = clock_.NowNanos();
  Result<std::string> record = store_.Get(key);
  Note(record.status(), began);
  return record;
}

bool RemoteTier::Contains(const BlockKey& key) const { return !IsPaused() && store_.Contains(key); }

Status RemoteTier::Delete(const BlockKey& key) {
  {
    MutexLock lock(mutex_);
    const auto waiting = std::ranges::find(queue_, key, &StoreEntry::key);
    if (waiting != queue_.end()) {
      queued_bytes_ -= waiting->record.size();
      queued_.erase(key);
      queue_.erase(waiting);
    }
    if (writing_ == key) writing_dropped_ = true;
  }
  if (store_.Knows(key) == false && !store_.IsLeftAlone(key)) return Status::Ok();
  if (IsPaused()) return LeftAlone();
  const int64_t began = clock_.NowNanos();
  const Status status = store_.Delete(key);
  Note(status, began);
  return status;
}

Status RemoteTier::ScanUntil(const Visitor& visitor, const std::atomic<bool>* stop) {
  std::vector<std::pair<BlockKey, std::string>> heads;
  {
    MutexLock lock(mutex_);
    for (const StoreEntry& entry : queue_)
      heads.emplace_back(entry.key, entry.record.substr(0, kRecordHeaderBytes));
    if (writing_) heads.emplace_back(*writing_, writing_head_);
  }
  for (const auto& [key, head] : heads)
    if (!visitor(key, head)) return Status::Ok();
  if (IsPaused()) return LeftAlone();
  const int64_t began = clock_.NowNanos();
  const Status status = store_.ScanUntil(visitor, stop);
  Note(status, began);
  return status;
}

// --- Questions ---

RemoteAnswer RemoteTier::Find(const RemoteQuestion& question) {
  if (IsPaused()) return RemoteAnswer::kKnown;
  size_t first = question.first;
  std::optional<bool> known;
  while (first < question.keys.size() && (known = store_.Knows(question.keys[first])) == true) ++first;
  if (first == question.keys.size()) return RemoteAnswer::kKnown;
  const BlockKey& next = question.keys[first];
  if (leases_.IsComputedElsewhere(next)) return RemoteAnswer::kComputed;
  const size_t base = question.first - question.first % kRemoteSegment;
  {
    MutexLock lock(mutex_);
    if (asked_.contains(next) || std::ranges::find(answering_, next) != answering_.end())
      return RemoteAnswer::kAsked;
    if (known == false || questions_.size() >= kMostQuestions) return RemoteAnswer::kKnown;
    asked_.insert(next);
    const auto keys = question.keys.subspan(base);
    questions_.push_back({.keys = {keys.begin(), keys.end()},
                          .base = base,
                          .first = first - base,
                          .seconds = question.seconds,
                          .asker = question.asker});
  }
  changed_.NotifyAll();
  return RemoteAnswer::kAsked;
}

void RemoteTier::End(uint64_t asker, size_t computed, RemoteEnd end) {
  leases_.End(asker, computed, end);
  if (leases_.due() == INT64_MAX) return;
  MutexLock lock(mutex_);  // so that the thread that asks is not between its look at the time and its wait
  changed_.NotifyAll();
}

void RemoteTier::Wake() {
  MutexLock lock(mutex_);
  if (wake_) wake_();
}

void RemoteTier::Answer(RemoteLeases::Question question) {
  const BlockKey first = question.keys[question.first];
  const int64_t began = clock_.NowNanos();
  if (!IsPaused()) {
    Status status = store_.Find(std::span(question.keys).subspan(question.first));
    if (status.ok()) status = leases_.Take(std::move(question));
    Note(status, began);
  }
  MutexLock lock(mutex_);
  asked_.erase(first);
  answering_.clear();
  if (wake_) wake_();
}

void RemoteTier::WorkOnLeases() {
  const int64_t began = clock_.NowNanos();
  if (!IsPaused()) Note(leases_.Work([this] { Wake(); }), began);
  // While the store is left alone, nobody waits for what others may write there.
  if (IsPaused() && leases_.Forget()) Wake();
}

void RemoteTier::AskUsage() {
  const int64_t began = clock_.NowNanos();
  const Status status = store_.AskUsage();
  const Result<RedisStore::Traffic> traffic = status.ok() ? store_.AskTraffic() : status;
  Note(status, began);
  if (!traffic.ok()) return;
  MutexLock lock(mutex_);
  const bool was_low = economy_.IsLow();
  economy_.Add(traffic->received, traffic->sent);
  if (economy_.IsLow() && !was_low)
    Log(LogLevel::kInfo, "the remote cache is seldom read, and gets blocks at a tenth of the rate",
        {{"store", options_.store.address.Name()}, {"read_per_written", *economy_.ratio()}});
}

void RemoteTier::Ask() {
  int64_t usage_at = 0;
  while (true) {
    const int64_t now = clock_.NowNanos();
    if (leases_.due() <= now) WorkOnLeases();
    RemoteLeases::Question question;
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      const bool looks = !pause_.IsOn(clock_) && (now >= usage_at || fails_);
      if (questions_.empty() && !looks) {
        const int64_t left = std::max<int64_t>(leases_.due() - now, 0);
        changed_.WaitFor(mutex_,
                         std::min<std::chrono::nanoseconds>(kAskTick, std::chrono::nanoseconds(left)));
        continue;
      }
      if (!questions_.empty()) {
        question = std::move(questions_.front());
        questions_.pop_front();
        answering_ = question.keys;
        ++stats_.finds;
      }
    }
    if (!question.keys.empty()) {
      Answer(std::move(question));
      continue;
    }
    AskUsage();
    usage_at = now + kUsageNanos;
  }
}

// --- Writes ---

bool RemoteTier::Wants(const BlockKey& key) const {
  if (IsPaused() || store_.Contains(key)) return false;
  MutexLock lock(mutex_);
  return !queued_.contains(key);
}

void RemoteTier::Count(RemoteWrite result) {
  MutexLock lock(mutex_);
  ++stats_.writes[static_cast<size_t>(result)];
}

// kResourceExhausted: some of them are dropped.
Status RemoteTier::PutBatch(std::vector<StoreEntry> batch) {
  const bool paused = IsPaused();
  bool dropped = false;
  for (StoreEntry& entry : batch) {
    const bool present = store_.Contains(entry.key);
    const uint64_t bytes = entry.record.size();
    MutexLock lock(mutex_);
    if (!present && queued_.contains(entry.key)) {
      if (!entry.used_again) WriteFirst(entry.key);
      continue;
    }
    if (!present && !paused && MakeRoom(entry)) {
      queued_.insert(entry.key);
      queued_bytes_ += bytes;
      // What another daemon waits for does not wait behind what may be slowed.
      const auto at =
          entry.used_again ? queue_.end() : std::ranges::find(queue_, true, &StoreEntry::used_again);
      queue_.insert(at, std::move(entry));
      continue;
    }
    const RemoteWrite result = present  ? RemoteWrite::kPresent
                               : paused ? RemoteWrite::kFailed
                                        : RemoteWrite::kQueue;
    ++stats_.writes[static_cast<size_t>(result)];
    dropped = dropped || !present;
  }
  changed_.NotifyAll();
  return dropped ? ResourceExhausted("the remote cache takes no more records now") : Status::Ok();
}

// Moves a record of the queue before those that may be slowed.
void RemoteTier::WriteFirst(const BlockKey& key) {
  const auto slowed = std::ranges::find(queue_, true, &StoreEntry::used_again);
  const auto entry = std::ranges::find(queue_, key, &StoreEntry::key);
  if (entry == queue_.end()) return;  // it is being written
  entry->used_again = false;
  if (slowed < entry) std::rotate(slowed, entry, entry + 1);
}

bool RemoteTier::MakeRoom(const StoreEntry& entry) {
  while (queued_bytes_ > 0 && queued_bytes_ + entry.record.size() > options_.queue_bytes) {
    if (entry.used_again || queue_.empty() || !queue_.back().used_again) return false;
    queued_bytes_ -= queue_.back().record.size();
    queued_.erase(queue_.back().key);
    queue_.pop_back();
    ++stats_.writes[static_cast<size_t>(RemoteWrite::kQueue)];
  }
  return true;
}

// A record leaves the queue when it may be written: while it waits for that, another one may come before it.
void RemoteTier::Write() {
  RunInBackground();
  while (true) {
    StoreEntry entry;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && (queue_.empty() || !MayWrite(queue_.front()))) {
        if (queue_.empty()) {
          changed_.Wait(mutex_);
        } else {
          changed_.WaitFor(mutex_, kRateTick);
        }
      }
      if (stopping_) return;
      entry = std::move(queue_.front());
      queue_.pop_front();
      writing_ = entry.key;
      writing_head_.assign(entry.record, 0, kRecordHeaderBytes);
      writing_dropped_ = false;
    }
    WriteOne(entry);
    MutexLock lock(mutex_);
    writing_.reset();
    queued_.erase(entry.key);
    queued_bytes_ -= entry.record.size();
  }
}

bool RemoteTier::IsDropped() const {
  MutexLock lock(mutex_);
  return writing_dropped_;
}

void RemoteTier::WriteOne(const StoreEntry& entry) {
  if (IsPaused() || store_.IsLeftAlone(entry.key)) return Count(RemoteWrite::kFailed);
  int64_t began = clock_.NowNanos();
  const Status found = store_.Find(std::span(&entry.key, 1));
  Note(found, began);
  if (!found.ok()) return Count(RemoteWrite::kFailed);
  if (store_.Contains(entry.key)) return Count(RemoteWrite::kPresent);
  {
    MutexLock lock(mutex_);
    if (clock_.NowNanos() < full_until_) {
      ++stats_.writes[static_cast<size_t>(RemoteWrite::kFull)];
      return;
    }
    if (writing_dropped_) return;
    allowance_ -= static_cast<double>(entry.record.size());
  }
  began = clock_.NowNanos();
  const Status put = store_.Put(entry.key, entry.record);
  Note(put, began);
  if (IsDropped()) return Note(store_.Delete(entry.key), clock_.NowNanos());
  MutexLock lock(mutex_);
  const bool is_full = put.code() == Code::kResourceExhausted;
  const RemoteWrite result = put.ok()  ? RemoteWrite::kWritten
                             : is_full ? RemoteWrite::kFull
                                       : RemoteWrite::kFailed;
  ++stats_.writes[static_cast<size_t>(result)];
  if (put.ok()) stats_.written_bytes += entry.record.size();
  if (is_full) full_until_ = clock_.NowNanos() + kFullNanos;
}

uint64_t RemoteTier::WriteRate(bool used_again) const {
  const bool slow = economy_.IsLow() && used_again && !options_.leases.all_wanted;
  return slow ? std::max<uint64_t>(options_.write_rate / WriteEconomy::kSlower, 1) : options_.write_rate;
}

// What was not written in the last half second may be written at once; a record goes when the allowance is
// above 0, which it then takes below.
bool RemoteTier::MayWrite(const StoreEntry& entry) {
  const auto rate = static_cast<double>(WriteRate(entry.used_again));
  const int64_t now = clock_.NowNanos();
  allowance_ += static_cast<double>(now - allowed_nanos_) * 1e-9 * rate;
  allowance_ = std::min(allowance_, kBurstSeconds * rate);
  allowed_nanos_ = now;
  return allowance_ > 0;
}

// --- What a fleet uses most ---

Result<std::vector<std::string>> RemoteTier::GetHeads(std::span<const BlockKey> keys, size_t bytes) {
  if (IsPaused()) return LeftAlone();
  const int64_t began = clock_.NowNanos();
  Result<std::vector<std::string>> heads = store_.GetHeads(keys, bytes);
  Note(heads.status(), began);
  return heads;
}

Result<std::string> RemoteTier::GetHotList(size_t most_bytes) {
  if (IsPaused()) return LeftAlone();
  const int64_t began = clock_.NowNanos();
  Result<std::string> list = store_.GetHotList(most_bytes);
  Note(list.status(), began);
  return list;
}

Status RemoteTier::PutHotList(std::string_view value) {
  if (IsPaused()) return LeftAlone();
  const int64_t began = clock_.NowNanos();
  const Status status = store_.PutHotList(value);
  Note(status, began);
  return status;
}

// --- Figures ---

double RemoteTier::ProbeRead(uint64_t bytes) {
  const int64_t began = clock_.NowNanos();
  const Result<double> seconds = store_.ProbeRead(bytes);
  Note(seconds.status(), began);
  return seconds.ok() ? *seconds : 0;
}

RemoteTierStats RemoteTier::stats() const {
  MutexLock lock(mutex_);
  RemoteTierStats stats = stats_;
  stats.leases = leases_.stats();
  stats.write_rate = WriteRate(/*used_again=*/true);
  stats.read_per_written = economy_.ratio().value_or(0);
  stats.failure = failure_;
  if (failure_.empty() && store_.WorksInPart()) stats.failure = "a server of the cluster; the others work";
  stats.bytes = store_.bytes();
  stats.capacity = store_.capacity() == UINT64_MAX ? 0 : store_.capacity();
  return stats;
}

}  // namespace prefixd
