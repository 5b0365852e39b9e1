// TierTransfersTest: a fixture of TierTransfers with four blocks on the device and on the host, a store that
// fails when the test says so, and executors whose jobs run when the test says so. One thread, unless the
// test gives the port other executors.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/drop_queue.h"
#include "cache/tier_transfers.h"
#include "hashing/block_key.h"
#include "storage/memory_store.h"
#include "storage/record.h"

namespace prefixd {

inline constexpr BlockKey kFingerprint{1, 2};
inline constexpr BlockKey kRoot{3, 4};
inline constexpr size_t kBlockBytes = 64;
inline const std::vector<TokenId> kTokens = {5, 6, 7, 8};

// A store whose reads and writes fail while `get_fails` and `put_fails` have a code.
class FailingStore final : public BlockStore {
 public:
  Result<std::string> Get(const BlockKey& key) override {
    ++gets;
    if (on_get) on_get();
    if (get_fails) return Status(*get_fails, "the test says so");
    return records.Get(key);
  }
  bool Contains(const BlockKey& key) const override { return records.Contains(key); }
  Status PutBatch(std::vector<StoreEntry> batch) override {
    ++puts;
    if (on_put) on_put();
    if (put_fails) return {*put_fails, "the test says so"};
    return records.PutBatch(std::move(batch));
  }
  Status Delete(const BlockKey& key) override { return records.Delete(key); }
  Status Sync() override { return records.Sync(); }
  Status Scan(const Visitor& visitor) override { return records.Scan(visitor); }
  uint64_t bytes() const override { return records.bytes(); }
  uint64_t capacity() const override { return records.capacity(); }
  uint64_t max_record_bytes() const override { return records.max_record_bytes(); }

  std::optional<Code> get_fails, put_fails;
  std::function<void()> on_get, on_put;  // called first; may be empty
  std::atomic<int> gets{0}, puts{0};
  MemoryStore records{1 << 20};
};

class TierTransfersTest : public testing::Test {
 protected:
  TierTransfersTest() {
    Make(0);
    for (size_t i = 0; i < device_.size(); ++i) device_[i].fill(std::byte(i + 1));
    for (auto& block : host_) block.fill(std::byte{0});
  }

  // Copies from and to the device fail when `device_fails_`.
  void Make(int64_t max_age_seconds) {
    TierTransfers::Options options;
    options.fingerprint = kFingerprint;
    options.block_bytes = kBlockBytes;
    options.codec = {PayloadCodec::kRaw, 1};
    options.read_device = [this](BlockId from, std::span<std::byte> to) {
      std::ranges::copy(device_[from], to.begin());
      return device_fails_ ? Unavailable("the device is lost") : Status::Ok();
    };
    options.write_device = [this](std::span<const std::byte> from, BlockId to) {
      std::ranges::copy(from, device_[to].begin());
      return device_fails_ ? Unavailable("the device is lost") : Status::Ok();
    };
    options.stage = [this] {
      ++lent_;
      ++lends_;
      return std::shared_ptr<std::byte>(new std::byte[kBlockBytes], [this](std::byte* staged) {
        --lent_;
        delete[] staged;
      });
    };
    options.host_block = [this](BlockId block) { return std::span(host_[block]); };
    options.is_finite = [](std::span<const std::byte> bytes) { return bytes[0] != std::byte{0xFF}; };
    options.wake = [this] { ++wakes_; };
    options.give_way = [this] { ++ways_given_; };
    options.clock = &clock_;
    options.max_age_seconds = max_age_seconds;
    options.drops = drops_;
    transfers_ = std::make_unique<TierTransfers>(
        std::move(options), &store_,
        TierTransfers::Executors{.loads = &loads_, .spills = &spills_, .copies = &copies_});
  }

  Transfer Of(Tier from, Tier to, BlockId from_block, BlockId to_block) {
    return {.id = ++last_id_,
            .from = from,
            .to = to,
            .from_block = from_block,
            .to_block = to_block,
            .root = kRoot,
            .key = ChildKey(kRoot, kTokens),
            .parent = kRoot,
            .check = 77,
            .tokens = kTokens};
  }
  // Runs a transfer to its end.
  FinishedTransfer Move(const Transfer& transfer) {
    transfers_->Start(transfer);
    RunAll();
    std::vector<FinishedTransfer> finished;
    transfers_->Poll(&finished);
    PREFIXD_CHECK(finished.size() == 1) << finished.size();
    EXPECT_EQ(finished[0].id, transfer.id);
    RunAll();  // a Delete that the result has caused
    std::vector<FinishedTransfer> none;
    transfers_->Poll(&none);
    EXPECT_TRUE(none.empty());
    return std::move(finished[0]);
  }
  void RunAll() {
    while (loads_.RunOne() || spills_.RunOne() || copies_.RunOne()) {
    }
  }
  TransferResult Spill(BlockId block) { return Move(Of(Tier::kDevice, Tier::kDisk, block, kNoBlock)).result; }
  FinishedTransfer Load(BlockId block) { return Move(Of(Tier::kDisk, Tier::kDevice, kNoBlock, block)); }
  bool OnDisk() const { return transfers_->OnDisk(ChildKey(kRoot, kTokens)); }
  uint64_t failures(VerifyFailure kind) const {
    return transfers_->stats().verify_failures[static_cast<size_t>(kind)];
  }
  uint64_t errors(Tier tier, TierError kind) const {
    return transfers_->stats().errors[static_cast<size_t>(tier)][static_cast<size_t>(kind)];
  }
  // Replaces the record by one of the same block, changed by `change`.
  void Replace(const std::function<void(RecordIdentity*)>& change, uint64_t created = 0) {
    RecordIdentity identity{.fingerprint = kFingerprint,
                            .root = kRoot,
                            .key = ChildKey(kRoot, kTokens),
                            .parent = kRoot,
                            .prefix_check = 77,
                            .tokens = kTokens};
    change(&identity);
    PutRecord(EncodeRecord(identity, created, RawPayload(device_[0])));
  }
  void PutRecord(std::string record) {
    ASSERT_TRUE(store_.records.Put(ChildKey(kRoot, kTokens), record).ok());
  }

  std::array<std::array<std::byte, kBlockBytes>, 4> device_, host_;
  std::atomic<int> wakes_{0}, ways_given_{0};
  std::atomic<int> lent_{0}, lends_{0};  // of `stage`: now, and in all
  bool device_fails_ = false;
  uint64_t last_id_ = 0;
  ManualClock clock_;
  FailingStore store_;
  ManualExecutor loads_{4}, spills_{4}, copies_{4};
  std::shared_ptr<DropQueue> drops_ = std::make_shared<DropQueue>(2);
  std::unique_ptr<TierTransfers> transfers_;
};

}  // namespace prefixd
