#include "daemon/remote_leases.h"

#include <algorithm>
#include <utility>

namespace prefixd {
namespace {

constexpr int64_t kMilli = 1'000'000, kSecond = 1'000'000'000;
constexpr int64_t kMargin = 50 * kMilli;     // before its end, in which it is left alone
constexpr int64_t kWantedMillis = 2'000;     // that the mark of who waits lasts
constexpr int64_t kWriteTick = 20 * kMilli;  // between looks whether all is written
constexpr int64_t kLongestTick = 250 * kMilli;
constexpr std::string_view kLeaseKind = "lease", kWantedKind = "wanted";
constexpr size_t kRemembered = 64;  // askers that have ended

constexpr double kLongestSeconds = 1e6;

int64_t Nanos(double seconds) { return static_cast<int64_t>(std::min(seconds, kLongestSeconds) * 1e9); }
std::string Hex(uint64_t number) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (int shift = 60; shift >= 0; shift -= 4) hex += kDigits[number >> shift & 15];
  return hex;
}

// The value of a lease: HOLDER:ASKER, then a space and 16 digits for each block.
constexpr size_t kHeadBytes = 33, kBlockBytes = 17;

// How many blocks from number `from` of the segment on are in both.
size_t CommonBlocks(std::string_view ours, std::string_view theirs, size_t from) {
  size_t at = kHeadBytes + from * kBlockBytes;
  size_t blocks = 0;
  for (; at + kBlockBytes <= std::min(ours.size(), theirs.size()); at += kBlockBytes, ++blocks)
    if (ours.substr(at, kBlockBytes) != theirs.substr(at, kBlockBytes)) break;
  return blocks;
}

}  // namespace

RemoteLeases::RemoteLeases(const Options& options, RedisStore* store, const Clock* clock)
    : options_(options), store_(store), clock_(*clock) {}

// --- What the engine asks ---

bool RemoteLeases::IsComputedElsewhere(const BlockKey& key) const {
  if (due_ == INT64_MAX) return false;
  MutexLock lock(mutex_);
  return std::ranges::any_of(waits_, [&](const auto& entry) {
    const Wait& wait = entry.second;
    const std::span<const BlockKey> keys(wait.question.keys);
    const auto coming = keys.subspan(wait.begin, (wait.is_looked_at ? keys.size() : wait.end) - wait.begin);
    return std::ranges::find(coming, key) != coming.end();
  });
}

bool RemoteLeases::IsWanted(uint64_t asker) const {
  if (due_ == INT64_MAX || asker == 0) return false;
  MutexLock lock(mutex_);
  const auto hold = holds_.find(asker);
  return hold != holds_.end() && hold->second.wanted;
}

void RemoteLeases::End(uint64_t asker, size_t computed, RemoteEnd end) {
  const int64_t now = clock_.NowNanos();
  MutexLock lock(mutex_);
  const auto hold = holds_.find(asker);
  const auto wait = waits_.find(asker);
  if (hold != holds_.end()) {
    const Question& question = hold->second.question;
    hold->second.over = true;
    hold->second.computed = std::min(computed - std::min(computed, question.base), question.keys.size());
    hold->second.written_by = now + options_.write_nanos;
    hold->second.due = now;
  }
  if (wait != waits_.end()) {
    if (end == RemoteEnd::kWaitedInVain) Count(RemoteLease::kMissed);
    if (end == RemoteEnd::kWaitedInVain && wait->second.came == 0) distrust_.Failed(wait->second.began, now);
    waits_.erase(wait);
  }
  if (hold == holds_.end()) {  // it may be about to get one
    ended_.push_back(asker);
    if (ended_.size() > kRemembered) ended_.pop_front();
  }
  SetDue();
}

std::array<uint64_t, kRemoteLeases> RemoteLeases::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

void RemoteLeases::SetDue() {
  int64_t due = INT64_MAX;
  for (const auto& [asker, hold] : holds_) due = std::min(due, hold.due);
  for (const auto& [asker, wait] : waits_) due = std::min(due, wait.due);
  due_ = due;
}

// --- The marks in the store ---

std::string RemoteLeases::ValueOf(const Question& question, size_t segment) const {
  std::string value = Hex(options_.holder) + ":" + Hex(question.asker);
  const size_t end = std::min(segment + kRemoteSegment, question.keys.size());
  for (size_t i = segment; i < end; ++i) value += " " + Hex(question.keys[i].low);
  return value;
}

std::vector<RedisStore::Mark> RemoteLeases::Marks(std::string_view kind, const Question& question,
                                                  const std::vector<size_t>& segments) const {
  std::vector<RedisStore::Mark> marks;
  for (const size_t segment : segments) {
    std::string value = kind == kLeaseKind ? ValueOf(question, segment) : "1";
    marks.push_back({.kind = kind, .key = question.keys[segment], .value = std::move(value)});
  }
  return marks;
}

Result<RemoteLeases::Taking> RemoteLeases::TakeFrom(const Question& question, size_t first, Wait* wait) {
  Hold hold{.question = question, .first = first};
  hold.ttl = std::clamp(Nanos(question.seconds / 8), options_.shortest_nanos, options_.longest_nanos);
  const int64_t now = clock_.NowNanos();
  hold.sure_until = now + hold.ttl;
  hold.until = now + Nanos(2 * question.seconds) + 2 * kSecond;
  hold.due = now;
  hold.wanted = options_.all_wanted;
  // The first segment says who comes first.
  const size_t segment = first - first % kRemoteSegment;
  const auto take = [&](const std::vector<size_t>& segments) -> Result<std::vector<std::string>> {
    const std::vector<RedisStore::Mark> marks = Marks(kLeaseKind, question, segments);
    PREFIXD_ASSIGN_OR_RETURN(std::vector<std::string> values,
                             store_->SetMarks(marks, RedisStore::SetMark::kIfAbsent, hold.ttl / kMilli));
    for (size_t i = 0; i < marks.size(); ++i)
      if (values[i] == marks[i].value) hold.segments.push_back(segments[i]);
    return values;
  };
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> values, take({segment}));
  if (hold.segments.empty()) {
    const size_t common = CommonBlocks(ValueOf(question, segment), values[0], first - segment);
    wait->end = first + common;
    if (common > 0) return Taking::kWaits;
    if (values[0].empty()) return Taking::kNeither;  // the server refuses
  }
  std::vector<size_t> others;
  for (size_t at = segment + kRemoteSegment; at < question.keys.size(); at += kRemoteSegment)
    others.push_back(at);
  PREFIXD_RETURN_IF_ERROR(take(others).status());
  if (hold.segments.empty()) return Taking::kNeither;
  {
    MutexLock lock(mutex_);
    if (holds_.size() < kMost) {
      hold.over = std::ranges::find(ended_, question.asker) != ended_.end();
      holds_[question.asker] = std::move(hold);
      Count(RemoteLease::kTaken);
      SetDue();
      return Taking::kTaken;
    }
  }
  PREFIXD_RETURN_IF_ERROR(GiveBack(hold));
  return Taking::kNeither;
}

Status RemoteLeases::Take(Question question) {
  const size_t first = FirstMissing(question, question.first);
  if (options_.least_seconds <= 0 || question.seconds < options_.least_seconds || question.asker == 0 ||
      first == question.keys.size() || distrust_.IsOn(clock_))
    return Status::Ok();
  {
    MutexLock lock(mutex_);
    if (holds_.contains(question.asker) || holds_.size() >= kMost || waits_.size() >= kMost)
      return Status::Ok();
  }
  Wait wait{.begin = first};
  PREFIXD_ASSIGN_OR_RETURN(const Taking taking, TakeFrom(question, first, &wait));
  if (taking != Taking::kWaits) return Status::Ok();
  wait.began = wait.due = clock_.NowNanos();
  const uint64_t asker = question.asker;
  wait.question = std::move(question);
  MutexLock lock(mutex_);
  if (std::ranges::find(ended_, asker) != ended_.end()) return Status::Ok();
  waits_[asker] = std::move(wait);
  Count(RemoteLease::kWaited);
  SetDue();
  return Status::Ok();
}

// --- Work ---

Status RemoteLeases::Work(const std::function<void()>& changed) {
  const int64_t now = clock_.NowNanos();
  std::vector<Hold> holds;
  std::vector<Wait> waits;
  {
    MutexLock lock(mutex_);
    for (const auto& [asker, hold] : holds_)
      if (hold.due <= now) holds.push_back(hold);
    for (auto& [asker, wait] : waits_) {
      if (wait.due > now) continue;
      waits.push_back(wait);
      wait.is_looked_at = true;
    }
  }
  // Where one server of several fails, what lies on the others goes on. Otherwise the first failure ends it:
  // each of them may have taken long.
  Status first = Status::Ok();
  const auto may_go_on = [&](Status status) {
    if (first.ok()) first = std::move(status);
    return first.ok() || store_->WorksInPart();
  };
  for (Hold& hold : holds) {
    const uint64_t asker = hold.question.asker;
    Status status = WorkOnHold(std::move(hold), changed);
    if (!status.ok()) PutOff(asker);
    if (!may_go_on(std::move(status))) return first;
  }
  for (Wait& wait : waits) {
    const uint64_t asker = wait.question.asker;
    Status status = WorkOnWait(std::move(wait), changed);
    if (!status.ok()) GiveUp(asker, changed);
    if (!may_go_on(std::move(status))) return first;
  }
  return first;
}

void RemoteLeases::PutOff(uint64_t asker) {
  MutexLock lock(mutex_);
  const auto hold = holds_.find(asker);
  if (hold != holds_.end()) hold->second.due = clock_.NowNanos() + kLongestTick;
  SetDue();
}

void RemoteLeases::GiveUp(uint64_t asker, const std::function<void()>& changed) {
  {
    MutexLock lock(mutex_);
    if (waits_.erase(asker) > 0) Count(RemoteLease::kMissed);
    SetDue();
  }
  changed();
}

bool RemoteLeases::Forget() {
  MutexLock lock(mutex_);
  const bool had = !holds_.empty() || !waits_.empty();
  holds_.clear();
  waits_.clear();
  SetDue();
  return had;
}

size_t RemoteLeases::FirstMissing(const Question& question, size_t from) const {
  while (from < question.keys.size() && store_->Contains(question.keys[from])) ++from;
  return from;
}

Status RemoteLeases::WorkOnHold(Hold hold, const std::function<void()>& changed) {
  const int64_t now = clock_.NowNanos();
  const bool done = hold.over && (!hold.wanted || IsWritten(&hold));
  const bool is_sure = now + kMargin < hold.sure_until;
  if (!done && is_sure && now < hold.until) {
    PREFIXD_RETURN_IF_ERROR(Renew(&hold, changed));
    Update(hold);
    return Status::Ok();
  }
  {
    MutexLock lock(mutex_);
    holds_.erase(hold.question.asker);
    SetDue();
  }
  return is_sure ? GiveBack(hold) : Status::Ok();
}

bool RemoteLeases::IsWritten(Hold* hold) const {
  const size_t written = FirstMissing(hold->question, hold->first);
  if (written >= hold->computed) return true;
  const int64_t now = clock_.NowNanos();
  if (written > hold->written) hold->written_by = now + options_.write_nanos;
  hold->written = written;
  return now >= hold->written_by;
}

Status RemoteLeases::Renew(Hold* hold, const std::function<void()>& changed) {
  const Question& question = hold->question;
  const int64_t now = clock_.NowNanos();
  const std::vector<RedisStore::Mark> marks = Marks(kLeaseKind, question, hold->segments);
  PREFIXD_RETURN_IF_ERROR(
      store_->SetMarks(marks, RedisStore::SetMark::kIfPresent, hold->ttl / kMilli).status());
  hold->sure_until = now + hold->ttl;
  const int64_t tick =
      std::clamp(Nanos(question.seconds / 16), 10 * kMilli, std::min(hold->ttl / 4, kLongestTick));
  hold->due = now + (hold->over ? kWriteTick : tick);
  if (hold->wanted || hold->over) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> wanted,
                           store_->GetMarks(Marks(kWantedKind, question, hold->segments)));
  if (std::ranges::all_of(wanted, &std::string::empty)) return Status::Ok();
  hold->wanted = true;
  Update(*hold);
  {
    MutexLock lock(mutex_);
    Count(RemoteLease::kWanted);
  }
  changed();
  return Status::Ok();
}

// What End has set meanwhile stays.
void RemoteLeases::Update(const Hold& hold) {
  MutexLock lock(mutex_);
  const auto found = holds_.find(hold.question.asker);
  if (found == holds_.end()) return;
  Hold& to = found->second;
  to.sure_until = hold.sure_until;
  to.wanted = hold.wanted;
  if (to.over == hold.over) {
    to.due = hold.due;
    to.written = hold.written;
    to.written_by = hold.written_by;
  }
  SetDue();
}

// Those that are still its own.
Status RemoteLeases::GiveBack(const Hold& hold) {
  std::vector<RedisStore::Mark> marks = Marks(kLeaseKind, hold.question, hold.segments);
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> values, store_->GetMarks(marks));
  std::vector<RedisStore::Mark> own;
  for (size_t i = 0; i < marks.size(); ++i)
    if (values[i] == marks[i].value) own.push_back(std::move(marks[i]));
  return store_->DeleteMarks(own);
}

Status RemoteLeases::WorkOnWait(Wait wait, const std::function<void()>& changed) {
  const Question& question = wait.question;
  const auto find_from = [&](size_t first) {
    return store_->Find(std::span(question.keys).subspan(first), RedisStore::FindAbsent::kAgain);
  };
  PREFIXD_RETURN_IF_ERROR(find_from(wait.begin));
  const size_t first = FirstMissing(question, wait.begin);
  const bool has_come = first > wait.begin;
  const bool all_came = first >= wait.end;
  wait.came += first - wait.begin;
  if (first / kRemoteSegment != wait.begin / kRemoteSegment) wait.marked_until = 0;
  wait.begin = first;
  Taking taking = Taking::kNeither;
  if (first < question.keys.size()) {
    PREFIXD_ASSIGN_OR_RETURN(taking, TakeFrom(question, first, &wait));
    // Who had it may have written all between the two looks.
    if (taking == Taking::kTaken) PREFIXD_RETURN_IF_ERROR(find_from(first));
  }
  if (all_came) distrust_.Succeeded();
  const int64_t now = clock_.NowNanos();
  if (taking == Taking::kWaits && now >= wait.marked_until) {
    const std::vector<size_t> segment{first - first % kRemoteSegment};
    PREFIXD_RETURN_IF_ERROR(
        store_->SetMarks(Marks(kWantedKind, question, segment), RedisStore::SetMark::kAlways, kWantedMillis)
            .status());
    wait.marked_until = now + kWantedMillis * kMilli / 2;
  }
  {
    MutexLock lock(mutex_);
    const auto found = waits_.find(question.asker);
    if (found != waits_.end() && taking == Taking::kWaits) {
      wait.due = now + std::clamp(Nanos(question.seconds / 50), 5 * kMilli, 50 * kMilli);
      found->second = std::move(wait);
    } else if (found != waits_.end()) {
      if (!all_came) Count(RemoteLease::kMissed);
      waits_.erase(found);
    }
    SetDue();
  }
  if (has_come || taking != Taking::kWaits) changed();
  return Status::Ok();
}

}  // namespace prefixd
