#include "cache/tier_transfers.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/mutex.h"
#include "base/read_pause.h"
#include "storage/record.h"

namespace prefixd {
namespace {

constexpr uint64_t kReplaced = UINT64_MAX;  // see dropped_
constexpr int64_t kSpillPauseNanos = 1'000'000'000;
// A spill that was taken up so soon is not urgent. The cache starts 32 at once at most, so they could not be
// much later than this without falling behind a device that computes 1,500 blocks per second.
constexpr int64_t kSpillPatienceNanos = 20'000'000;

VerifyFailure FailureOf(RecordDefect defect) {
  switch (defect) {
    case RecordDefect::kShort:
      return VerifyFailure::kShort;
    case RecordDefect::kFingerprint:
      return VerifyFailure::kFingerprint;
    case RecordDefect::kTokens:
      return VerifyFailure::kTokens;
    case RecordDefect::kDecompress:
      return VerifyFailure::kDecompress;
    case RecordDefect::kNone:
    case RecordDefect::kFormat:
    case RecordDefect::kVersion:
    case RecordDefect::kLong:
    case RecordDefect::kChecksum:
      break;
  }
  return VerifyFailure::kChecksum;
}

// The same limit as that of the store, which drops old records now and then.
bool IsExpired(const TierTransfers::Options& options, uint64_t created) {
  const int64_t limit = options.clock->UnixSeconds() - options.max_age_seconds;
  return options.max_age_seconds > 0 && limit >= 0 && created <= static_cast<uint64_t>(limit);
}

}  // namespace

struct TierTransfers::Outcome {
  Transfer transfer;           // without tokens
  uint64_t delete_number = 0;  // not 0: of a Delete, which belongs to no transfer
  TransferResult result = TransferResult::kOk;
  std::vector<TokenId> tokens = {};  // of the record
  uint64_t bytes = 0;                // read or written, as stored
  std::optional<VerifyFailure> failure = std::nullopt;
  std::optional<TierError> error = std::nullopt;
  Tier error_tier = Tier::kDevice;  // whose error it is
  int64_t started = 0;              // times of the clock, in nanoseconds
  int64_t taken_up = 0;
  int64_t ended = 0;
  int64_t work = 0;                          // of the worker's processor, in nanoseconds
  std::optional<double> age = std::nullopt;  // of the record that was read, in seconds

  void Fail(Tier tier, TierError why) {
    result = TransferResult::kFailed;
    error = why;
    error_tier = tier;
  }
  bool of_disk() const { return transfer.from == Tier::kDisk || transfer.to == Tier::kDisk; }
  bool refused() const { return error == TierError::kBusy; }
  void Refuse() { Fail(of_disk() ? Tier::kDisk : Tier::kHost, TierError::kBusy); }
};

struct TierTransfers::Withdrawable {
  Outcome outcome;
  Claim claim;
};

struct TierTransfers::Shared {
  ReadPause pause;  // of reads from the disk
  Mutex mutex;
  CondVar ended;
  int running GUARDED_BY(mutex) = 0;
  std::vector<Outcome> outcomes GUARDED_BY(mutex);
};

TierTransfers::TierTransfers(Options options, BlockStore* store, const Executors& executors)
    : options_(std::make_shared<const Options>(std::move(options))),
      store_(store),
      executors_(executors),
      shared_(std::make_shared<Shared>()) {
  PREFIXD_CHECK(executors.loads != nullptr && executors.spills != nullptr && executors.copies != nullptr);
  PREFIXD_CHECK(options_->clock != nullptr);
  PREFIXD_CHECK(options_->read_device && options_->write_device && options_->stage);
  PREFIXD_CHECK(options_->is_finite && options_->block_bytes > 0) << options_->block_bytes;
  if (options_->drops != nullptr) options_->drops->SetWake(options_->wake);
}

TierTransfers::~TierTransfers() {
  if (options_->drops != nullptr) options_->drops->SetWake(nullptr);
  MutexLock lock(shared_->mutex);
  while (shared_->running > 0) shared_->ended.Wait(shared_->mutex);
}

bool TierTransfers::OnDisk(const BlockKey& key) const {
  return !shared_->pause.IsOn(*options_->clock) && HasRecord(key);
}

bool TierTransfers::HasRecord(const BlockKey& key) const {
  return store_ != nullptr && !dropped_.contains(key) && store_->Contains(key);
}

bool TierTransfers::KeepOnDisk(const BlockKey& key, const DiskRetention& retention) {
  if (store_ == nullptr || dropped_.contains(key)) return false;
  const double until = static_cast<double>(options_->clock->UnixSeconds()) + std::ceil(retention.left);
  return store_->Keep(key, {.until = static_cast<uint64_t>(std::max(until, 0.0)),
                            .seconds = static_cast<uint32_t>(std::ceil(retention.seconds)),
                            .owner = retention.owner});
}

bool TierTransfers::MayKeepOnDisk(uint64_t owner) const {
  return store_ != nullptr && store_->MayKeep(owner, options_->block_bytes);
}

std::optional<DiskRetention> TierTransfers::KeptOnDisk(const BlockKey& key) const {
  if (store_ == nullptr || dropped_.contains(key)) return std::nullopt;
  const std::optional<RecordRetention> kept = store_->KeptUntil(key);
  if (!kept) return std::nullopt;
  const double left = static_cast<double>(kept->until) - static_cast<double>(options_->clock->UnixSeconds());
  const auto kept_seconds = static_cast<double>(kept->seconds);
  return DiskRetention{.left = std::min(left, kept_seconds), .seconds = kept_seconds, .owner = kept->owner};
}

void TierTransfers::Drop(const BlockKey& key) {
  if (store_ != nullptr) StartDelete(key);
}

bool TierTransfers::TakeDrops(std::vector<RecordDrop>* drops) {
  return options_->drops == nullptr || options_->drops->Take(drops);
}

// --- Jobs ---

bool TierTransfers::Submit(Executor* executor, Outcome outcome, const Claim& claim, Work work) {
  {
    MutexLock lock(shared_->mutex);
    ++shared_->running;
  }
  outcome.started = options_->clock->NowNanos();
  const bool accepted = executor->TrySubmit([shared = shared_, options = options_, store = store_, claim,
                                             outcome = std::move(outcome), work = std::move(work)]() mutable {
    const bool withdrawn = claim != nullptr && claim->exchange(true);
    bool patient = false;
    if (!withdrawn) {
      outcome.taken_up = options->clock->NowNanos();
      patient =
          outcome.transfer.to == Tier::kDisk && outcome.taken_up - outcome.started < kSpillPatienceNanos;
      const int64_t before = options->clock->ThreadNanos();
      work(*options, store, &outcome);
      outcome.work = options->clock->ThreadNanos() - before;
      outcome.ended = options->clock->NowNanos();
    }
    {
      MutexLock lock(shared->mutex);
      if (!withdrawn) shared->outcomes.push_back(std::move(outcome));
      if (options->wake) options->wake();  // within the lock: never after the destructor
      --shared->running;
    }
    shared->ended.NotifyAll();
    if (patient && options->give_way) options->give_way();
  });
  if (accepted) return true;
  MutexLock lock(shared_->mutex);
  --shared_->running;
  return false;
}

void TierTransfers::Refuse(Outcome outcome) {
  outcome.Refuse();
  MutexLock lock(shared_->mutex);
  shared_->outcomes.push_back(std::move(outcome));
  if (options_->wake) options_->wake();
}

void TierTransfers::Start(const Transfer& transfer) {
  PREFIXD_CHECK(transfer.from != transfer.to);
  PREFIXD_CHECK(store_ != nullptr || (transfer.from != Tier::kDisk && transfer.to != Tier::kDisk));
  Outcome outcome{.transfer = transfer};
  outcome.transfer.tokens = {};
  const bool disk = outcome.of_disk();
  const Claim claim = disk ? std::make_shared<std::atomic<bool>>(false) : nullptr;
  bool accepted = false;
  const bool reads_pause = shared_->pause.IsOn(*options_->clock);
  if (transfer.to == Tier::kDisk) {
    const bool is_there = reads_pause && HasRecord(transfer.key);
    if (!is_there && options_->clock->NowNanos() >= spills_begin_nanos_) {
      std::vector<TokenId> tokens(transfer.tokens.begin(), transfer.tokens.end());
      accepted = Submit(executors_.spills, outcome, claim,
                        [tokens = std::move(tokens)](const Options& options, BlockStore* store,
                                                     Outcome* out) { Write(options, tokens, store, out); });
    }
    // A Delete that came after the spill would delete what it writes.
    const auto dropped = dropped_.find(transfer.key);
    if (accepted && dropped != dropped_.end() && dropped->second == 0) dropped->second = kReplaced;
  } else if (transfer.from == Tier::kDisk) {
    const auto read = [pause = &shared_->pause](const Options& options, BlockStore* store, Outcome* out) {
      Read(options, store, pause, out);
    };
    accepted = !reads_pause && Submit(executors_.loads, outcome, claim, read);
  } else {
    accepted = Submit(executors_.copies, outcome, nullptr, CopyOnHost);
  }
  if (!accepted) return Refuse(std::move(outcome));
  if (disk) disk_transfers_.emplace(transfer.id, Withdrawable{std::move(outcome), claim});
}

void TierTransfers::Withdraw() {
  for (const auto& [id, job] : disk_transfers_) {
    if (!job.claim->exchange(true)) Refuse(job.outcome);
  }
}

void TierTransfers::CopyOnHost(const Options& options, BlockStore* /*store*/, Outcome* outcome) {
  const Transfer& transfer = outcome->transfer;
  const bool up = transfer.to == Tier::kDevice;
  const std::span<std::byte> host = options.host_block(up ? transfer.from_block : transfer.to_block);
  outcome->bytes = options.block_bytes;
  const Status status =
      up ? options.write_device(host, transfer.to_block) : options.read_device(transfer.from_block, host);
  if (!status.ok()) outcome->Fail(Tier::kDevice, up ? TierError::kWrite : TierError::kRead);
}

void TierTransfers::Write(const Options& options, std::span<const TokenId> tokens, BlockStore* store,
                          Outcome* outcome) {
  const Transfer& transfer = outcome->transfer;
  std::shared_ptr<std::byte> staged;
  std::span<const std::byte> payload;
  if (transfer.from == Tier::kDevice) {
    staged = options.stage();
    const std::span<std::byte> block(staged.get(), options.block_bytes);
    if (!options.read_device(transfer.from_block, block).ok())
      return outcome->Fail(Tier::kDevice, TierError::kRead);
    payload = block;
  } else {
    payload = options.host_block(transfer.from_block);
  }
  if (!options.is_finite(payload)) {
    outcome->result = TransferResult::kCorrupt;
    outcome->failure = VerifyFailure::kNonfinite;
    return;
  }
  std::string compressed;
  std::string record =
      EncodeRecord({.fingerprint = options.fingerprint,
                    .root = transfer.root,
                    .key = transfer.key,
                    .parent = transfer.parent,
                    .prefix_check = transfer.check,
                    .tokens = tokens},
                   static_cast<uint64_t>(std::max<int64_t>(options.clock->UnixSeconds(), 0)),
                   EncodePayload(options.codec.codec, options.codec.element_bytes, payload, &compressed));
  staged = nullptr;  // others need it, and the disk may take its time
  outcome->bytes = record.size();
  std::vector<StoreEntry> batch;
  batch.push_back({.key = transfer.key,
                   .record = std::move(record),
                   .cost = transfer.cost,
                   .used_again = transfer.used_again});
  const Status status = store->PutBatch(std::move(batch));
  if (status.ok()) return;
  outcome->Fail(Tier::kDisk,
                status.code() == Code::kResourceExhausted ? TierError::kFull : TierError::kWrite);
}

void TierTransfers::Read(const Options& options, BlockStore* store, ReadPause* pause, Outcome* outcome) {
  const Transfer& transfer = outcome->transfer;
  if (pause->IsOn(*options.clock)) return outcome->Refuse();
  const Result<std::string> bytes = store->Get(transfer.key);
  if (bytes.ok()) {
    pause->Succeeded();
  } else {
    const bool missing = bytes.status().code() == Code::kNotFound;
    // A record that the store found damaged says nothing of the next one.
    if (!missing && bytes.status().code() != Code::kCorrupt)
      pause->Failed(outcome->taken_up, options.clock->NowNanos());
    outcome->Fail(Tier::kDisk, missing ? TierError::kMissing : TierError::kRead);
    if (missing) outcome->result = TransferResult::kMissing;
    return;
  }
  DecodedRecord record = DecodeRecord(std::as_bytes(std::span(*bytes)));
  const RecordIdentity expected{.fingerprint = options.fingerprint,
                                .root = transfer.root,
                                .key = transfer.key,
                                .parent = transfer.parent,
                                .prefix_check = transfer.check,
                                .tokens = record.tokens};  // the cache compares them
  RecordDefect defect = CompareRecord(record, expected);
  if (defect == RecordDefect::kNone && IsExpired(options, record.head.created)) {
    outcome->result = TransferResult::kMissing;  // which is no error
    if (options.drops != nullptr) options.drops->Add(transfer.key, DropReason::kExpired);
    return;
  }
  if (defect == RecordDefect::kNone) {
    const std::shared_ptr<std::byte> staged = options.stage();
    const std::span<std::byte> block(staged.get(), options.block_bytes);
    defect = ReadRecordPayload(record, block);
    if (defect == RecordDefect::kNone && !options.write_device(block, transfer.to_block).ok())
      return outcome->Fail(Tier::kDevice, TierError::kWrite);
  }
  if (defect != RecordDefect::kNone) {
    outcome->result = TransferResult::kCorrupt;
    outcome->failure = FailureOf(defect);
    return;
  }
  outcome->bytes = bytes->size();
  outcome->tokens = std::move(record.tokens);
  outcome->age = AgeOfRecord(record.head.created, options.clock->UnixSeconds());
}

// --- Deletes ---

void TierTransfers::StartDelete(const BlockKey& key) {
  const uint64_t number = ++drops_;
  const bool accepted = Submit(executors_.spills, {.transfer = {.key = key}, .delete_number = number},
                               nullptr, [](const Options&, BlockStore* store, Outcome* outcome) {
                                 if (!store->Delete(outcome->transfer.key).ok())
                                   outcome->result = TransferResult::kFailed;
                               });
  dropped_[key] = accepted ? number : 0;
}

// --- Poll ---

void TierTransfers::Poll(std::vector<FinishedTransfer>* finished) {
  std::vector<Outcome> outcomes;
  {
    MutexLock lock(shared_->mutex);
    outcomes.swap(shared_->outcomes);
  }
  for (Outcome& outcome : outcomes) Finish(std::move(outcome), finished);
  std::vector<BlockKey> again;
  for (const auto& [key, number] : dropped_) {
    if (number == 0) again.push_back(key);
  }
  for (const BlockKey& key : again) StartDelete(key);
}

void TierTransfers::Finish(Outcome outcome, std::vector<FinishedTransfer>* finished) {
  const Transfer& transfer = outcome.transfer;
  if (outcome.delete_number != 0) {
    const auto dropped = dropped_.find(transfer.key);
    if (dropped == dropped_.end() || dropped->second != outcome.delete_number) return;
    // After a Delete that failed, the record stays out of sight.
    if (outcome.result == TransferResult::kOk) dropped_.erase(dropped);
    return;
  }
  if (const auto dropped = dropped_.find(transfer.key);
      transfer.to == Tier::kDisk && dropped != dropped_.end() && dropped->second == kReplaced)
    dropped->second = 0;
  const auto seconds = [](int64_t nanos) { return static_cast<double>(nanos) * 1e-9; };
  const bool disk = outcome.of_disk();
  disk_transfers_.erase(transfer.id);
  if (outcome.failure) ++stats_.verify_failures[static_cast<size_t>(*outcome.failure)];
  if (outcome.error)
    ++stats_.errors[static_cast<size_t>(outcome.error_tier)][static_cast<size_t>(*outcome.error)];
  FinishedTransfer done{.id = transfer.id, .result = outcome.result, .tokens = std::move(outcome.tokens)};
  if (!outcome.refused()) {
    done.queued_seconds = seconds(outcome.taken_up - outcome.started);
    done.seconds = seconds(outcome.ended - outcome.taken_up);
    done.ended = seconds(outcome.ended);
    done.work_seconds = seconds(outcome.work);
    if (transfer.to == Tier::kDevice) stats_.load_seconds.Add(seconds(outcome.ended - outcome.started));
    if (disk) stats_.store_queue_seconds.Add(done.queued_seconds);
    if (outcome.age) stats_.record_ages.Add(*outcome.age);
  }
  if (outcome.result == TransferResult::kOk) {
    done.bytes = outcome.bytes;
    stats_.read_bytes[static_cast<size_t>(transfer.from)] += outcome.bytes;
    stats_.written_bytes[static_cast<size_t>(transfer.to)] += outcome.bytes;
  }
  if (transfer.to == Tier::kDisk && outcome.result == TransferResult::kOk) {
    dropped_.erase(transfer.key);  // what the store says of the key is true again
  } else if (transfer.to == Tier::kDisk && outcome.error && outcome.error_tier == Tier::kDisk &&
             !outcome.refused()) {
    spills_begin_nanos_ = outcome.ended + kSpillPauseNanos;
  } else if (transfer.from == Tier::kDisk &&
             (outcome.result == TransferResult::kMissing || outcome.result == TransferResult::kCorrupt)) {
    Drop(transfer.key);
  }
  finished->push_back(std::move(done));
}

}  // namespace prefixd
