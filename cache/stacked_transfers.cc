#include "cache/stacked_transfers.h"

namespace prefixd {
namespace {

constexpr auto kDisk = static_cast<size_t>(Tier::kDisk), kRemote = static_cast<size_t>(Tier::kRemote);

// The counters of a port whose disk is the remote tier, added to those of the other one.
TransferStats Sum(const TransferStats& local, const TransferStats& remote) {
  TransferStats sum = local;
  for (size_t tier = 0; tier < kTiers; ++tier) {
    const size_t to = tier == kDisk ? kRemote : tier;
    sum.read_bytes[to] += remote.read_bytes[tier];
    sum.written_bytes[to] += remote.written_bytes[tier];
    for (size_t kind = 0; kind < kTierErrors; ++kind) sum.errors[to][kind] += remote.errors[tier][kind];
  }
  for (size_t kind = 0; kind < kVerifyFailures; ++kind)
    sum.verify_failures[kind] += remote.verify_failures[kind];
  sum.load_seconds += remote.load_seconds;
  sum.store_queue_seconds += remote.store_queue_seconds;
  return sum;
}

}  // namespace

StackedTransfers::StackedTransfers(std::unique_ptr<TransferPort> local, std::unique_ptr<TransferPort> remote,
                                   std::shared_ptr<RemoteDirectory> directory)
    : local_(std::move(local)), remote_(std::move(remote)), directory_(std::move(directory)) {}

void StackedTransfers::Drop(const BlockKey& key) {
  local_->Drop(key);
  remote_->Drop(key);
}

void StackedTransfers::Start(const Transfer& transfer) {
  if (transfer.from != Tier::kRemote && transfer.to != Tier::kRemote) return local_->Start(transfer);
  Transfer of_remote = transfer;
  (transfer.from == Tier::kRemote ? of_remote.from : of_remote.to) = Tier::kDisk;
  remote_->Start(of_remote);
}

void StackedTransfers::Withdraw() {
  local_->Withdraw();
  remote_->Withdraw();
}

void StackedTransfers::Poll(std::vector<FinishedTransfer>* finished) {
  local_->Poll(finished);
  remote_->Poll(finished);
  stats_ = Sum(local_->stats(), remote_->stats());
}

}  // namespace prefixd
