#include "daemon/hot_list_writer.h"

#include <pthread.h>

#include <string>
#include <utility>
#include <vector>

#include "base/background_thread.h"
#include "daemon/limit_table.h"

namespace prefixd {

static_assert(HotList::kMostBlocks == Limit<size_t>("hot-list-blocks"));

HotListWriter::HotListWriter(const BlockKey& fingerprint, int block_tokens, RemoteTier* store,
                             const Clock* clock, std::chrono::milliseconds interval)
    : fingerprint_(fingerprint),
      interval_(std::chrono::duration<double>(interval).count()),
      store_(*store),
      clock_(*clock),
      counts_(block_tokens, kCountedBlocks),
      faded_(clock->NowSeconds()),
      thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "prefixd-hot");
}

HotListWriter::~HotListWriter() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

HotListStats HotListWriter::stats() const {
  MutexLock lock(mutex_);
  return stats_;
}

void HotListWriter::Run() {
  RunInBackground();
  double next = clock_.NowSeconds() + interval_;
  while (true) {
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      const double left = next - clock_.NowSeconds();
      if (left > 0) {
        changed_.WaitFor(mutex_, std::chrono::milliseconds(static_cast<int64_t>(left * 1000) + 1));
        continue;
      }
    }
    Merge();
    next = clock_.NowSeconds() + interval_;
  }
}

void HotListWriter::Merge() {
  const double now = clock_.NowSeconds();
  own_.Fade(now - std::exchange(faded_, now));
  std::vector<HotBlock> uses;
  for (const auto& [key, count] : counts_.Take())
    uses.push_back({.key = key, .heat = static_cast<float>(count.hits), .depth = count.depth});
  is_new_ = is_new_ || !uses.empty();
  own_.Add(std::move(uses));
  if (!is_new_) return;
  const Result<std::string> bytes = store_.GetHotList(HotList::kMostBytes);
  const Code code = bytes.status().code();
  if (!bytes.ok() && code != Code::kNotFound && code != Code::kCorrupt) return;
  HotList fleet;  // stays empty where there is none, or one that is damaged, which is replaced
  uint64_t written = 0;
  const auto unix_now = static_cast<uint64_t>(clock_.UnixSeconds());
  if (bytes.ok()) {
    Result<HotList> list = HotList::Decode(*bytes, fingerprint_, &written);
    if (list.ok()) fleet = *std::move(list);
  }
  if (written > 0 && written < unix_now) fleet.Fade(static_cast<double>(unix_now - written));
  fleet.Merge(own_);
  if (!store_.PutHotList(fleet.Encode(fingerprint_, unix_now)).ok()) return;
  is_new_ = false;
  MutexLock lock(mutex_);
  ++stats_.writes;
  stats_.blocks = fleet.blocks().size();
}

}  // namespace prefixd
