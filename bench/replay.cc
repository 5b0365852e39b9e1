#include "bench/replay.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <unordered_map>

#include "base/check.h"
#include "cache/prefix_cache.h"

namespace prefixd::bench {
namespace {

namespace json = boost::json;

// A replayed block is one token, so that no block ever matches in part and nothing is ever copied.
class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId, BlockId) override {
    PREFIXD_CHECK(false) << "a block of one token was copied in part";
  }
};

Result<std::vector<uint64_t>> ParseLine(const std::string& line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error) return Corrupt("not JSON: " + error.message());
  const json::object* object = value.if_object();
  if (object == nullptr) return Corrupt("a JSON object is expected");
  const json::value* ids = object->if_contains("hash_ids");
  if (ids == nullptr || !ids->is_array()) return Corrupt("the array \"hash_ids\" is missing");
  std::vector<uint64_t> blocks;
  for (const json::value& id : ids->get_array()) {
    if (id.is_uint64()) {
      blocks.push_back(id.get_uint64());
    } else if (id.is_int64() && id.get_int64() >= 0) {
      blocks.push_back(static_cast<uint64_t>(id.get_int64()));
    } else {
      return Corrupt("\"hash_ids\" has " + json::serialize(id) + "; whole numbers from 0 are expected");
    }
  }
  return blocks;
}

}  // namespace

double ReplayResult::HitShare() const {
  return requested_blocks == 0 ? 0 : static_cast<double>(hit_blocks) / static_cast<double>(requested_blocks);
}

Result<Trace> ParseTrace(std::istream& in) {
  Trace trace;
  std::unordered_map<uint64_t, TokenId> numbers;
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const Result<std::vector<uint64_t>> blocks = ParseLine(line);
    if (!blocks.ok()) return blocks.status().WithContext("line " + std::to_string(number));
    std::vector<TokenId>& request = trace.requests.emplace_back();
    for (const uint64_t id : *blocks) {
      PREFIXD_CHECK(numbers.size() < std::numeric_limits<TokenId>::max());
      request.push_back(numbers.try_emplace(id, static_cast<TokenId>(numbers.size())).first->second);
    }
    trace.blocks += request.size();
    trace.longest_request = std::max(trace.longest_request, request.size());
  }
  if (trace.blocks == 0) return Corrupt("the trace has no blocks");
  return trace;
}

Result<Trace> ReadTrace(const std::string& path) {
  if (std::filesystem::is_directory(path)) return IoError(path + " is a folder; name the file of the trace");
  std::ifstream in(path);
  if (!in) return IoError("cannot read " + path + ": " + std::strerror(errno));
  Result<Trace> trace = ParseTrace(in);
  if (!trace.ok()) return trace.status().WithContext(path);
  return trace;
}

ReplayResult Replay(const Trace& trace, uint32_t capacity, std::string_view policy) {
  PREFIXD_CHECK(capacity >= trace.longest_request) << capacity << " < " << trace.longest_request;
  NoCopies copier;
  PrefixCache cache({.block_tokens = 1, .blocks = capacity, .eviction = std::string(policy)}, &copier);
  const BlockKey root;
  ReplayResult result;
  for (const std::vector<TokenId>& request : trace.requests) {
    const int blocks = static_cast<int>(request.size());
    BlockKeys keys(root, 1);
    Lease lease = cache.Open(&keys);
    // The limit is the whole prompt: a repeated prompt may hit all of its blocks.
    const PrefixCache::Acquired acquired = cache.Acquire(lease, request, blocks);
    PREFIXD_CHECK(acquired.state == PrefixCache::AcquireState::kReady);
    PREFIXD_CHECK(cache.Reserve(lease, blocks));
    cache.Commit(lease, request);
    result.requested_blocks += request.size();
    result.hit_blocks += static_cast<uint64_t>(acquired.tokens());
  }
  result.evicted_blocks = cache.stats().evicted_blocks[0];
  result.nodes = cache.nodes();
  result.book_bytes = cache.memory_bytes();
  return result;
}

std::array<double, kWhatIfScales.size()> Predict(const Trace& trace, uint32_t capacity,
                                                 std::string_view policy) {
  WhatIf what_if({.block_tokens = 1, .blocks = {capacity, 0, 0}, .eviction = std::string(policy)});
  const BlockKey root;
  for (const std::vector<TokenId>& request : trace.requests) {
    BlockKeys keys(root, 1);
    keys.Extend(request);
    what_if.Add(keys, static_cast<int>(request.size()));
  }
  std::array<double, kWhatIfScales.size()> shares{};
  for (size_t scale = 0; scale < shares.size(); ++scale) {
    const auto hits = what_if.hit_tokens()[static_cast<size_t>(Tier::kDevice)][scale];
    shares[scale] = static_cast<double>(hits) / static_cast<double>(trace.blocks);
  }
  return shares;
}

}  // namespace prefixd::bench
