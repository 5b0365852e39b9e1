// HeldTransfers: a TransferPort whose transfers run until the test ends each of them with the result that it
// wants. It moves no bytes. Its disk tier is a set of keys: a spill to the disk that ends well adds one, and
// a load from the disk that ends as kMissing or kCorrupt takes it away. NoCopies is a DeviceCopier that moves
// none. With them, helpers for sequences in blocks of two tokens. One thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "cache/block_keys.h"
#include "cache/prefix_cache.h"
#include "cache/transfer_port.h"

namespace prefixd {

class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId, BlockId) override {}
};

class HeldTransfers final : public TransferPort {
 public:
  // A transfer with its own copy of the tokens, which the cache promises during Start only.
  struct Held : Transfer {
    std::vector<TokenId> known_tokens;
  };

  bool OnDisk(const BlockKey& key) const override { return records.contains(key); }
  bool OnRemote(const BlockKey& key) const override { return remote_known.contains(key); }
  RemoteAnswer FindOnRemote(const RemoteQuestion& question) override {
    ++questions;
    const auto keys = question.keys.subspan(question.first);
    asked.assign(keys.begin(), keys.end());
    asker = question.asker;
    return remote_answer;
  }
  bool IsWantedOnRemote(uint64_t of) const override { return wanted_askers.contains(of); }
  void EndRemote(uint64_t of, size_t computed, RemoteEnd end) override {
    remote_ends.push_back({of, computed, end});
  }
  bool TakeDrops(std::vector<RecordDrop>* taken) override {
    taken->insert(taken->end(), dropped.begin(), dropped.end());
    dropped.clear();
    return !std::exchange(forgot_drops, false);
  }
  // The store drops a record by itself.
  void LoseRecord(const BlockKey& key, DropReason reason) {
    records.erase(key);
    dropped.push_back({key, reason});
  }
  const TransferStats& stats() const override { return stats_; }
  bool KeepOnDisk(const BlockKey& key, const DiskRetention& retention) override {
    if (!records.contains(key) || !(kept.contains(key) || MayKeepOnDisk(retention.owner))) return false;
    kept[key] = retention;
    return true;
  }
  bool MayKeepOnDisk(uint64_t) const override { return kept.size() < most_kept; }
  std::optional<DiskRetention> KeptOnDisk(const BlockKey& key) const override {
    const auto found = kept.find(key);
    return found == kept.end() ? std::nullopt : std::optional(found->second);
  }
  void Drop(const BlockKey& key) override {
    ++drops;
    records.erase(key);
    remote_known.erase(key);
  }
  void Start(const Transfer& transfer) override {
    ++started_;
    held_.push_back({transfer, {transfer.tokens.begin(), transfer.tokens.end()}});
    held_.back().tokens = {};
  }
  void Poll(std::vector<FinishedTransfer>* finished) override {
    finished->insert(finished->end(), finished_.begin(), finished_.end());
    finished_.clear();
  }

  size_t started() const { return started_; }  // ever
  const std::vector<Held>& held() const { return held_; }
  bool Holds(const BlockKey& key) const { return std::ranges::count(held_, key, &Held::key) > 0; }
  // Ends the transfer of the block with this key, which must be running. `tokens` are those of the record.
  // The next Poll reports it.
  void End(const BlockKey& key, TransferResult result = TransferResult::kOk,
           const std::vector<TokenId>& tokens = {}) {
    const auto it = std::ranges::find(held_, key, &Held::key);
    ASSERT_NE(it, held_.end()) << "no transfer of " << ToHex(key) << " is running";
    finished_.push_back({.id = it->id, .result = result, .tokens = tokens, .work_seconds = work_seconds});
    const bool lost = result == TransferResult::kMissing || result == TransferResult::kCorrupt;
    if (it->to == Tier::kDisk && result == TransferResult::kOk) records.insert(key);
    if (it->from == Tier::kDisk && lost) records.erase(key);
    if (it->to == Tier::kRemote && result == TransferResult::kOk) remote_known.insert(key);
    if (it->from == Tier::kRemote && lost) remote_known.erase(key);
    held_.erase(it);
  }
  // Ends nothing: the test reports the end by itself.
  void Take(const BlockKey& key) {
    std::erase_if(held_, [&](const Held& held) { return held.key == key; });
  }
  // Reports this at the next Poll, whether it is true or not.
  void Report(const FinishedTransfer& finished) { finished_.push_back(finished); }
  void EndAll() {
    while (!held_.empty()) End(held_.front().key);
  }

  std::set<BlockKey> records;                         // on the disk tier
  std::set<BlockKey> remote_known;                    // in the remote tier, as far as is known
  RemoteAnswer remote_answer = RemoteAnswer::kKnown;  // what FindOnRemote says
  std::set<uint64_t> wanted_askers;                   // what IsWantedOnRemote says
  struct Ended {
    uint64_t asker;
    size_t computed;
    RemoteEnd end;
  };
  std::vector<Ended> remote_ends;         // calls of EndRemote
  int questions = 0;                      // calls of FindOnRemote
  std::vector<BlockKey> asked;            // of the last one
  uint64_t asker = 0;                     // of the last one
  std::vector<RecordDrop> dropped;        // what TakeDrops brings next
  bool forgot_drops = false;
  std::map<BlockKey, DiskRetention> kept;
  size_t most_kept = SIZE_MAX;
  int drops = 0;            // calls of Drop
  double work_seconds = 0;  // of transfers that End ends

 private:
  TransferStats stats_;
  size_t started_ = 0;
  std::vector<Held> held_;
  std::vector<FinishedTransfer> finished_;
};

constexpr BlockKey kTestRoot{3, 4};

// The keys of the blocks of these tokens.
inline BlockKeys KeysOf(const std::vector<TokenId>& tokens, const BlockKey& root = kTestRoot) {
  BlockKeys keys(root, 2);
  keys.Extend(tokens);
  return keys;
}

// The key of the last block.
inline BlockKey KeyOf(const std::vector<TokenId>& tokens, const BlockKey& root = kTestRoot) {
  return tokens.empty() ? root : KeysOf(tokens, root).key(tokens.size() / 2 - 1);
}

}  // namespace prefixd
