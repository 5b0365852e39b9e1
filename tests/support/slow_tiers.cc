#include "tests/support/slow_tiers.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "storage/record.h"

namespace prefixd::testing_support {
namespace {

constexpr uint64_t kDropTag = uint64_t{1} << 63;  // in the tag of a Delete, which belongs to no transfer
constexpr size_t kMaxInFlight = 1024;

}  // namespace

struct SlowTiers::Copies {
  Mutex mutex;
  CondVar ended;
  int running GUARDED_BY(mutex) = 0;
  std::vector<FinishedTransfer> finished GUARDED_BY(mutex);
};

SlowTiers::SlowTiers(Options options, BlockStore* store, Executor* executor)
    : options_(std::move(options)),
      store_(store),
      executor_(executor),
      host_(options_.block_bytes * options_.host_blocks),
      copies_(std::make_shared<Copies>()),
      disk_(store, executor, kMaxInFlight, options_.wake) {}

SlowTiers::~SlowTiers() {
  MutexLock lock(copies_->mutex);
  while (copies_->running > 0) copies_->ended.Wait(copies_->mutex);
}

std::span<std::byte> SlowTiers::HostBlock(BlockId block) {
  return std::span(host_).subspan(block * options_.block_bytes, options_.block_bytes);
}

bool SlowTiers::OnDisk(const BlockKey& key) const { return !dropped_.contains(key) && store_->Contains(key); }

void SlowTiers::Drop(const BlockKey& key) { StartDelete(key); }

void SlowTiers::StartDelete(const BlockKey& key) {
  const uint64_t tag = kDropTag | ++drops_;
  dropped_[key] = disk_.TryDelete(key, tag) ? tag : 0;
}

void SlowTiers::Start(const Transfer& transfer) {
  PREFIXD_CHECK(transfer.from != transfer.to);
  if (transfer.to == Tier::kDisk) return StartWrite(transfer);
  if (transfer.from == Tier::kDisk) return StartRead(transfer);
  StartHostCopy(transfer);
}

void SlowTiers::Refuse(const Transfer& transfer) {
  refused_.push_back({.id = transfer.id, .result = TransferResult::kFailed, .tokens = {}});
  if (transfer.to == Tier::kDevice) ++refused_loads_;
  if (options_.wake) options_.wake();
}

void SlowTiers::StartHostCopy(const Transfer& transfer) {
  const bool up = transfer.to == Tier::kDevice;
  const std::span<std::byte> from =
      up ? HostBlock(transfer.from_block) : options_.device_block(transfer.from_block);
  const std::span<std::byte> to =
      up ? options_.device_block(transfer.to_block) : HostBlock(transfer.to_block);
  {
    MutexLock lock(copies_->mutex);
    ++copies_->running;
  }
  const bool accepted = executor_->TrySubmit([copies = copies_, from, to, transfer,
                                              fails_now = options_.host_copy_fails, wake = options_.wake] {
    const bool fails = fails_now && fails_now(transfer);
    if (fails) {
      std::ranges::fill(to, std::byte{0xEE});
    } else {
      std::ranges::copy(from, to.begin());
    }
    {
      MutexLock lock(copies->mutex);
      copies->finished.push_back(
          {.id = transfer.id, .result = fails ? TransferResult::kFailed : TransferResult::kOk, .tokens = {}});
      if (wake) wake();
      --copies->running;
    }
    copies->ended.NotifyAll();
  });
  if (accepted) return;
  Refuse(transfer);
  MutexLock lock(copies_->mutex);
  --copies_->running;
}

void SlowTiers::StartRead(const Transfer& transfer) {
  if (!disk_.TryGet(transfer.key, transfer.id)) {
    Refuse(transfer);
    return;
  }
  reads_.emplace(transfer.id, transfer).first->second.tokens = {};
}

void SlowTiers::StartWrite(const Transfer& transfer) {
  const std::span<std::byte> payload = transfer.from == Tier::kDevice
                                           ? options_.device_block(transfer.from_block)
                                           : HostBlock(transfer.from_block);
  // Every second record is compressed, so that tests read both kinds.
  const PayloadCodec codec = transfer.id % 2 == 0 ? PayloadCodec::kRaw : PayloadCodec::kPlanesZstd;
  std::string buffer;
  std::string record = EncodeRecord({.fingerprint = options_.fingerprint,
                                     .root = transfer.root,
                                     .key = transfer.key,
                                     .parent = transfer.parent,
                                     .prefix_check = transfer.check,
                                     .tokens = transfer.tokens},
                                    0, EncodePayload(codec, 4, payload, &buffer));
  if (disk_.TryPut(transfer.key, std::move(record), transfer.id)) {
    writes_.emplace(transfer.id, transfer.key);
  } else {
    Refuse(transfer);
  }
}

FinishedTransfer SlowTiers::FinishRead(const Transfer& transfer, AsyncStore::Completion completion) {
  FinishedTransfer finished{.id = transfer.id, .result = TransferResult::kOk, .tokens = {}};
  const std::span<std::byte> target = options_.device_block(transfer.to_block);
  std::ranges::fill(target, std::byte{0xEE});
  if (!completion.status.ok()) {
    const bool missing = completion.status.code() == Code::kNotFound;
    finished.result = missing ? TransferResult::kMissing : TransferResult::kFailed;
    if (missing) Drop(transfer.key);  // the store may have it still: see FaultyStore of the tier simulation
    return finished;
  }
  DecodedRecord record = DecodeRecord(std::as_bytes(std::span(completion.record)));
  const RecordIdentity expected{.fingerprint = options_.fingerprint,
                                .root = transfer.root,
                                .key = transfer.key,
                                .parent = transfer.parent,
                                .prefix_check = transfer.check,
                                .tokens = record.tokens};  // the cache compares the tokens
  if (CompareRecord(record, expected) != RecordDefect::kNone ||
      ReadRecordPayload(record, target) != RecordDefect::kNone) {
    std::ranges::fill(target, std::byte{0xEE});
    finished.result = TransferResult::kCorrupt;
    Drop(transfer.key);
    return finished;
  }
  finished.tokens = std::move(record.tokens);
  return finished;
}

void SlowTiers::Poll(std::vector<FinishedTransfer>* finished) {
  std::ranges::move(refused_, std::back_inserter(*finished));
  refused_.clear();
  {
    MutexLock lock(copies_->mutex);
    std::ranges::move(copies_->finished, std::back_inserter(*finished));
    copies_->finished.clear();
  }
  std::vector<BlockKey> again;
  for (const auto& [key, tag] : dropped_) {
    if (tag == 0) again.push_back(key);
  }
  for (const BlockKey& key : again) StartDelete(key);
  std::vector<AsyncStore::Completion> completions;
  disk_.Poll(&completions);
  for (AsyncStore::Completion& done : completions) {
    if ((done.tag & kDropTag) != 0) {
      PREFIXD_CHECK(done.status.ok()) << done.status.ToString();
      std::erase_if(dropped_, [&](const auto& dropped) { return dropped.second == done.tag; });
    } else if (const auto read = reads_.extract(done.tag); !read.empty()) {
      finished->push_back(FinishRead(read.mapped(), std::move(done)));
    } else {
      // What the store says of the key is true again, also when a Delete is still to come.
      const auto write = writes_.extract(done.tag);
      if (done.status.ok()) dropped_.erase(write.mapped());
      finished->push_back({.id = done.tag,
                           .result = done.status.ok() ? TransferResult::kOk : TransferResult::kFailed,
                           .tokens = {}});
    }
  }
}

}  // namespace prefixd::testing_support
