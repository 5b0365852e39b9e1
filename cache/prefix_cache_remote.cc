// The remote tier, which other daemons use as well: how long a lease waits for it, or for a daemon that
// computes its blocks, and what is written there at once.
#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

// A lease waits so many seconds for the remote tier to say what it has, or such a share of computing it.
constexpr double kLongestAsk = 0.02;  // when it is not known what computing takes
constexpr double kAskedShare = 0.02;
constexpr size_t kLooks = 64;  // at blocks that wait to be written, in one turn

}  // namespace

// --- Questions ---

// The answer comes after a round trip: much sooner than the blocks could be computed, or not in time.
bool PrefixCache::Impl::WaitsForRemote(Lease::State& lease, const Request& request, size_t end) {
  const double asked = std::exchange(lease.asked, -1);
  if (!options.remote || options.load_policy == LoadPolicy::kRecompute || lease.another_wait.has_ended())
    return false;
  RadixTree::Position at = lease.at();
  bool in_tree = true;
  size_t first = lease.path.size();  // without KV in other tiers
  for (; first < end; ++first) {
    const BlockKey& key = lease.keys->key(first);
    at.node = in_tree ? tree.FindChild(at, key) : kNoNode;
    in_tree = at.node != kNoNode;
    if (!(in_tree && tree.InMemory(at.node)) && !OnDisk(key)) break;
  }
  // Of what another daemon computes, the last block is waited for as well.
  const size_t least = lease.another_wait.is_on() ? 1 : kLeastSaved;
  if (end - first < least) return false;
  if (lease.asker == 0) {
    lease.asker = ++last_asker;
    lease.wanted = false;
    lease.asked_begin = first;
  }
  lease.asked_end = end;
  const double compute = ComputeSeconds(request, first, end);
  const RemoteAnswer answer =
      port->FindOnRemote({.keys = lease.keys->keys().first(std::min(end, first + kMostRemoteAsked)),
                          .first = first,
                          .seconds = request.compute != nullptr && request.compute->OnlyLoads() ? 0 : compute,
                          .asker = lease.asker});
  if (answer == RemoteAnswer::kKnown) return false;
  if (answer == RemoteAnswer::kComputed || lease.another_wait.is_on()) {
    if (!lease.another_wait.is_on()) BeginWaitForAnother(lease, request, first);
    if (OnRemote(lease.keys->key(first))) return false;  // what has come is loaded first
    return lease.another_wait.is_on() && MayWaitForAnother(lease, request);
  }
  lease.asked = asked < 0 ? seconds : asked;
  if (options.load_policy == LoadPolicy::kLoad) return true;  // a store that fails ends it
  return seconds - lease.asked <= (compute == 0 ? kLongestAsk : kAskedShare * compute);
}

double PrefixCache::Impl::ComputeSeconds(const Request& request, size_t from, size_t to) const {
  const auto token = [&](size_t block) { return static_cast<int>(block) * block_tokens; };
  return request.compute == nullptr ? 0 : request.compute->Seconds(token(from), token(to));
}

// `first` is the number of the first block that no other tier has. A store that is slower than computing
// brings nothing in time, whoever computes it.
void PrefixCache::Impl::BeginWaitForAnother(Lease::State& lease, const Request& request, size_t first) {
  const double compute = ComputeSeconds(request, first, lease.asked_end);
  const double load = planner.block_seconds(Tier::kRemote) * static_cast<double>(lease.asked_end - first);
  if (options.load_policy == LoadPolicy::kAuto && compute > 0 && load >= compute) {
    lease.another_wait.End();
    EndRemote(lease, RemoteEnd::kOver);
    return;
  }
  // Until all is there, as MayWaitForAnother counts it: loads of what other tiers have are progress.
  const double all = ComputeSeconds(request, lease.path.size(), lease.asked_end);
  lease.another_wait.Begin(seconds, all, request.compute == nullptr ? 0 : request.compute->StepSeconds());
}

bool PrefixCache::Impl::MayWaitForAnother(Lease::State& lease, const Request& request) {
  if (lease.another_wait.MayWait(seconds, ComputeSeconds(request, lease.path.size(), lease.asked_end)))
    return true;
  EndRemote(lease, RemoteEnd::kWaitedInVain);
  return false;
}

void PrefixCache::Impl::EndRemote(Lease::State& lease, RemoteEnd end) {
  if (lease.asker == 0) return;
  port->EndRemote(lease.asker, lease.path.size(), end);
  lease.asker = 0;
}

// --- What is written at once ---

bool PrefixCache::Impl::IsBoundForRemote(NodeId node) const {
  return IsReadable(node) && !IsPartial(node) && !IsPurged(node) && !OnRemote(tree.key(node));
}

void PrefixCache::Impl::QueueRemote(NodeId node) {
  if (!IsBoundForRemote(node) || !remote_spills.keys.insert(tree.key(node)).second) return;
  ForgetSpillsInTime();
  ++pending_disk_blocks;
  remote_spills.spills.push_back({node, tree.key(node), /*to_disk=*/true});
}

void PrefixCache::Impl::QueueWanted() {
  for (Lease::State* lease : leases) {
    if (lease->asker == 0 || lease->wanted || !port->IsWantedOnRemote(lease->asker)) continue;
    lease->wanted = true;
    // Whoever waits may lack all of the segment.
    for (size_t i = lease->asked_begin / kRemoteSegment * kRemoteSegment; i < lease->path.size(); ++i)
      QueueRemote(lease->path[i]);
  }
}

void PrefixCache::Impl::StartRemoteSpills(size_t most) {
  std::deque<QueuedSpill>& queue = remote_spills.spills;
  std::vector<QueuedSpill> later;  // others need not wait for them
  bool started = false;
  size_t looks = std::min(queue.size(), kLooks);
  for (; looks > 0 && spills.size() < most && running.size() < options.max_transfers; --looks) {
    const QueuedSpill spill = queue.front();
    queue.pop_front();
    const auto [node, key, to_disk] = spill;
    const bool is_there = tree.Contains(node) && tree.key(node) == key;
    if (is_there && (!MaySpill(node) || spills.contains(node))) {
      later.push_back(spill);
      continue;
    }
    remote_spills.keys.erase(key);
    --pending_disk_blocks;
    if (!is_there || IsLoading(node) || !IsBoundForRemote(node)) continue;
    const Tier from = tree.block(node, Tier::kHost) != kNoBlock ? Tier::kHost : Tier::kDevice;
    StartTransfer(node, from, Tier::kRemote, kNoBlock, /*wanted=*/true);
    started = true;
  }
  // They keep their places, as who waits needs them in order; where nothing but these was seen, others come.
  const bool keep = started || looks > 0;
  queue.insert(keep ? queue.begin() : queue.end(), later.begin(), later.end());
}

}  // namespace prefixd
