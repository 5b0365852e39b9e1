#include "tests/support/slow_tiers.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "storage/record.h"

namespace prefixd::testing_support {
namespace {

constexpr uint64_t kDropTag = uint64_t{1} << 63;  // of a Delete, which belongs to no transfer
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
  if (disk_.TryPut(transfer.key, std::move(record), transfer.id)) return;
  Refuse(transfer);
}

FinishedTransfer SlowTiers::FinishRead(const Transfer& transfer, AsyncStore::Completion completion) {
  FinishedTransfer finished{.id = transfer.id, .result = TransferResult::kOk, .tokens = {}};
  const std::span<std::byte> target = options_.device_block(transfer.to_block);
  std::ranges::fill(target, std::byte{0xEE});
  if (!completion.status.ok()) {
    const bool missing = completion.status.code() == Code::kNotFound;
    finished.result = missing ? TransferResult::kMissing : TransferResult::kFailed;
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
    (void)disk_.TryDelete(transfer.key, kDropTag);  // else the next read finds it again
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
  std::vector<AsyncStore::Completion> completions;
  disk_.Poll(&completions);
  for (AsyncStore::Completion& done : completions) {
    if (done.tag == kDropTag) continue;
    if (const auto read = reads_.extract(done.tag); !read.empty()) {
      finished->push_back(FinishRead(read.mapped(), std::move(done)));
    } else {
      finished->push_back({.id = done.tag,
                           .result = done.status.ok() ? TransferResult::kOk : TransferResult::kFailed,
                           .tokens = {}});
    }
  }
}

std::vector<PrefixCache::FoundRecord> SlowTiers::Scan(BlockStore& store, const BlockKey& fingerprint) {
  std::vector<PrefixCache::FoundRecord> found;
  const Status status = store.Scan([&](const BlockKey& key, std::string_view bytes) {
    const DecodedHead head = DecodeRecordHead(std::as_bytes(std::span(bytes)));
    if (head.defect == RecordDefect::kNone && head.head.fingerprint == fingerprint && head.head.key == key)
      found.push_back(
          {.root = head.head.root, .parent = head.head.parent, .key = key, .check = head.head.prefix_check});
    return true;
  });
  PREFIXD_CHECK(status.ok()) << status.ToString();
  return found;
}

}  // namespace prefixd::testing_support
