// The JSON documents of the admin listener: one behind each command of `prefixd inspect --live`. They have
// numbers, names of closed sets, hashes, names of models and options, and the ids that clients give their
// requests; never a token or a text of a prompt or an answer.
//
// Threads: pure functions; any thread.
//
// Invariants
//   1. Every document has "schema". A member is only removed, or its meaning changed, with the next number.
//   2. Points in time are Unix seconds, spans are seconds, sizes are bytes. What is not known is null.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/admin/rate_history.h"
#include "daemon/disk_tier.h"
#include "daemon/remote_tier.h"
#include "engine/engine_stats.h"
#include "engine/engine_view.h"

namespace prefixd {

inline constexpr int kAdminSchema = 1;
inline constexpr size_t kTenantDigits = 16;  // of the hash that names a tenant

// What the process knows about itself beside the engine.
struct AdminFacts {
  std::string version, revision, model, backend;
  int threads = 0;  // that compute
  int block_tokens = 0;
  int64_t started = 0;                                      // Unix seconds
  std::vector<std::pair<std::string, std::string>> config;  // options that do not have their default
  EngineStats engine;
  DiskTierStats disk;
  RemoteTierStats remote;
};

// One moment on two clocks: that of the engine and the calendar.
struct Moment {
  double seconds = 0;
  int64_t unix_seconds = 0;
  double UnixOf(double other) const { return static_cast<double>(unix_seconds) + (other - seconds); }
};

// Behind `inspect --live ADDR`. `ready` is the document of /ready, `past` is that of RateHistory. Without
// `prefixes`, nobody has looked yet.
boost::json::object StatusDocument(const AdminFacts& facts, const boost::json::object& ready,
                                   const Rates& rates, std::span<const PastRates> past,
                                   const std::optional<PrefixTable>& prefixes, const Moment& now);
// Behind `inspect --live ADDR requests`, and `request ID`.
boost::json::object RequestsDocument(std::span<const RequestTrace> requests, int block_tokens,
                                     const Moment& now);

// Behind /admin/prefixes: all prefixes of the table, as a tree, and how many others there are.
boost::json::object PrefixesDocument(const std::optional<PrefixTable>& prefixes, const AdminFacts& facts,
                                     const Moment& now);
// Behind /admin/misses: why prompt tokens were computed, since the start and between the samples of `past`,
// and how many tiers of other sizes would have found.
boost::json::object MissesDocument(const AdminFacts& facts, std::span<const PastRates> past,
                                   const Moment& now);

// Why the first computed token of the prompt was not in the cache, as one or two sentences.
std::string ExplainMiss(const RequestTrace& request, int block_tokens);

}  // namespace prefixd
