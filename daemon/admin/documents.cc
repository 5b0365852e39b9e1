#include "daemon/admin/documents.h"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "daemon/api/explain/miss_sentence.h"
#include "daemon/api/tier_names.h"

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, kFinishReasons> kFinishNames = {"stop", "length", "cancelled",
                                                                       "error"};

json::value OrNull(const std::optional<double>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}
json::value OrNull(bool known, double number) { return known ? json::value(number) : json::value(nullptr); }

std::string TenantOf(const BlockKey& root) { return ToHex(root).substr(0, kTenantDigits); }

json::array TierNames(const std::array<bool, kTiers>& resides) {
  json::array names;
  for (size_t i = 0; i < kTiers; ++i) {
    if (resides[i]) names.emplace_back(kTierNames[i]);
  }
  return names;
}

json::object PoolJson(const BlockCounts& blocks, uint64_t block_bytes) {
  return {{"capacity_blocks", blocks.capacity()},
          {"leased_blocks", blocks.leased},
          {"cached_blocks", blocks.cached},
          {"free_blocks", blocks.free},
          {"capacity_bytes", blocks.capacity() * block_bytes},
          {"leased_bytes", blocks.leased * block_bytes},
          {"cached_bytes", blocks.cached * block_bytes},
          {"free_bytes", blocks.free * block_bytes}};
}

// The disk is limited by bytes, which its records share with its books.
json::object DiskJson(const EngineStats& engine, const DiskTierStats& disk) {
  return {
      {"capacity_bytes", disk.capacity},
      {"cached_blocks", disk.store.records},
      {"cached_bytes", disk.bytes},
      {"free_bytes", disk.capacity > disk.bytes ? disk.capacity - disk.bytes : 0},
      {"spill_pending_blocks", engine.pending_disk_blocks},
      {"spill_pending_bytes", engine.pending_disk_blocks * engine.block_bytes + disk.store.pending_bytes}};
}

// What the server of the remote tier holds, whosever it is. It may have no limit.
json::object RemoteJson(const RemoteTierStats& remote) {
  json::object tier = {{"cached_bytes", remote.bytes}};
  if (remote.capacity == 0) return tier;
  tier["capacity_bytes"] = remote.capacity;
  tier["free_bytes"] = remote.capacity > remote.bytes ? remote.capacity - remote.bytes : 0;
  return tier;
}

json::object TiersJson(const AdminFacts& facts) {
  json::object tiers;
  const EngineStats& engine = facts.engine;
  tiers["device"] = PoolJson(engine.blocks[0], engine.block_bytes);
  if (engine.blocks[1].capacity() > 0) tiers["host"] = PoolJson(engine.blocks[1], engine.block_bytes);
  if (facts.disk.on) tiers["disk"] = DiskJson(engine, facts.disk);
  if (facts.remote.on) tiers["remote"] = RemoteJson(facts.remote);
  return tiers;
}

json::object RatesJson(const Rates& rates) {
  return {{"seconds", rates.seconds},
          {"requests_per_second", rates.requests_per_second},
          {"prompt_tokens_per_second", rates.prompt_tokens_per_second},
          {"prefill_tokens_per_second", rates.prefill_tokens_per_second},
          {"decode_tokens_per_second", rates.decode_tokens_per_second},
          {"prefill_seconds_saved_per_second", rates.prefill_seconds_saved_per_second},
          {"cached_share", OrNull(rates.cached_share)},
          {"ttft_p95_seconds", OrNull(rates.ttft_p95_seconds)}};
}

// A column for each number, so that a name is written once.
json::object HistoryJson(std::span<const PastRates> past, const Moment& now) {
  json::array until, cached_share, ttft, prefill, decode;
  for (const PastRates& each : past) {
    until.emplace_back(now.UnixOf(each.until));
    cached_share.push_back(OrNull(each.rates.cached_share));
    ttft.push_back(OrNull(each.rates.ttft_p95_seconds));
    prefill.emplace_back(each.rates.prefill_tokens_per_second);
    decode.emplace_back(each.rates.decode_tokens_per_second);
  }
  return {{"until", std::move(until)},
          {"cached_share", std::move(cached_share)},
          {"ttft_p95_seconds", std::move(ttft)},
          {"prefill_tokens_per_second", std::move(prefill)},
          {"decode_tokens_per_second", std::move(decode)}};
}

json::object PrefixJson(const PrefixRow& row, const Moment& now) {
  return {{"key", ToHex(row.key)},
          {"tenant", TenantOf(row.root)},
          {"tokens", row.tokens},
          {"hits", row.hits},
          {"branches", row.branches},
          {"tiers", TierNames(row.resides)},
          {"pinned", row.pinned},
          {"last_use", OrNull(row.last_use.has_value(), now.UnixOf(row.last_use.value_or(0)))}};
}

// Those that saved most.
json::value PrefixesJson(const std::optional<PrefixTable>& table, const Moment& now) {
  constexpr size_t kMostRows = 20;
  if (!table) return nullptr;
  json::array rows;
  for (const PrefixRow& row : table->rows) {
    if (rows.size() < kMostRows) rows.push_back(PrefixJson(row, now));
  }
  return json::object{{"at", now.UnixOf(table->asked)},
                      {"nodes", table->nodes},
                      {"hit_prefixes", table->prefixes},
                      {"rows", std::move(rows)}};
}

template <typename Counts, typename NameOf>
json::object Named(const Counts& counts, const NameOf& name_of) {
  json::object named;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] != 0) named[name_of(i)] = counts[i];
  }
  return named;
}

json::value FirstMissJson(const RequestTrace& request, int block_tokens, const Moment& now) {
  if (!request.first_miss) return nullptr;
  const auto& [place, reason] = *request.first_miss;
  return json::object{
      {"token", place.token},
      {"block", place.token / block_tokens},
      {"key", place.key == BlockKey{} ? json::value(nullptr) : json::value(ToHex(place.key))},
      {"reason", MissReasonName(reason)},
      {"tiers", TierNames(place.resides)},
      {"lost", OrNull(place.lost.has_value(), now.UnixOf(place.lost.value_or(0)))},
      {"last_use", OrNull(place.last_use.has_value(), now.UnixOf(place.last_use.value_or(0)))}};
}

json::object RequestJson(const RequestTrace& request, int block_tokens, const Moment& now) {
  const RequestTimes& times = request.times;
  const bool scheduled = times.scheduled > 0, answered = times.first_token > 0;
  return {{"id", request.name},
          {"sequence", request.id},
          {"tenant", TenantOf(request.root)},
          {"finish", kFinishNames[static_cast<size_t>(request.finish)]},
          {"finished", now.UnixOf(times.finished)},
          {"prompt_tokens", request.prompt_tokens},
          {"generated_tokens", request.generated_tokens},
          {"sources", Named(request.usage.tokens, [](size_t i) { return kSourceNames[i]; })},
          {"miss_tokens",
           Named(request.miss_tokens, [](size_t i) { return MissReasonName(static_cast<MissReason>(i)); })},
          {"load_decisions", Named(request.usage.load_decisions,
                                   [](size_t i) { return LoadDecisionName(static_cast<LoadDecision>(i)); })},
          {"queue_seconds", OrNull(scheduled, times.scheduled - times.submitted)},
          {"load_wait_seconds", request.usage.load_wait()},
          {"load_waits", Named(request.usage.load_wait_seconds, [](size_t i) { return kTierNames[i]; })},
          {"ttft_seconds", OrNull(answered, times.first_token - times.submitted)},
          {"seconds", times.finished - times.submitted},
          {"first_miss", FirstMissJson(request, block_tokens, now)},
          {"explanation", ExplainMiss(request, block_tokens)}};
}

json::object BlocksJson(const std::array<uint32_t, kTiers>& blocks) {
  json::object named;
  for (size_t i = 0; i < kTiers; ++i) named[kTierNames[i]] = blocks[i];
  return named;
}

json::object MissHistoryJson(std::span<const PastRates> past, const Moment& now) {
  json::array until;
  for (const PastRates& each : past) until.emplace_back(now.UnixOf(each.until));
  json::object columns;
  for (size_t reason = 0; reason < kMissReasons; ++reason) {
    json::array column;
    for (const PastRates& each : past) column.emplace_back(each.rates.miss_tokens[reason]);
    columns[MissReasonName(static_cast<MissReason>(reason))] = std::move(column);
  }
  return {{"until", std::move(until)}, {"miss_tokens", std::move(columns)}};
}

// For each tier that there is, the tokens that it would have found at each scale of its size.
json::object WhatIfJson(const AdminFacts& facts) {
  json::object tiers;
  for (const auto& [name, tier] : TiersJson(facts)) {
    if (name == "remote") continue;  // its size is that of a server that others use
    const auto found = std::ranges::find(kTierNames, std::string_view(name));
    const auto& hits = facts.engine.ghost_hit_tokens[static_cast<size_t>(found - kTierNames.begin())];
    json::array scales;
    for (size_t i = 0; i < kWhatIfScales.size(); ++i)
      scales.push_back(json::object{{"scale", kWhatIfScales[i]}, {"hit_tokens", hits[i]}});
    tiers[name] = json::object{{"capacity_bytes", tier.at("capacity_bytes")}, {"scales", std::move(scales)}};
  }
  return tiers;
}

}  // namespace

std::string ExplainMiss(const RequestTrace& request, int block_tokens) {
  const int computed = request.usage.computed();
  if (!request.first_miss)
    return request.usage.total() == 0 ? "It ended before any token of its prompt was computed or found."
                                      : "It computed no token of its prompt.";
  const int token = request.first_miss->place.token;
  const std::string text = "The prompt leaves the cache at token " + std::to_string(token) + ", in block " +
                           std::to_string(token / block_tokens) + "; " + std::to_string(computed) + " of " +
                           std::to_string(request.prompt_tokens) + " tokens were computed. ";
  return text + MissSentence(*request.first_miss, request.times.scheduled);
}

json::object StatusDocument(const AdminFacts& facts, const json::object& ready, const Rates& rates,
                            std::span<const PastRates> past, const std::optional<PrefixTable>& prefixes,
                            const Moment& now) {
  json::object document = {{"schema", kAdminSchema}};
  document.insert(ready.begin(), ready.end());
  document["version"] = facts.version;
  document["revision"] = facts.revision;
  document["model"] = facts.model;
  document["backend"] = facts.backend;
  document["threads"] = facts.threads;
  document["started"] = facts.started;
  document["uptime_seconds"] = now.unix_seconds - facts.started;
  json::object config;
  for (const auto& [name, value] : facts.config) config[name] = value;
  document["config"] = std::move(config);
  document["requests"] = json::object{{"running", facts.engine.running}, {"waiting", facts.engine.waiting}};
  document["tiers"] = TiersJson(facts);
  document["rates"] = RatesJson(rates);
  document["history"] = HistoryJson(past, now);
  document["prefixes"] = PrefixesJson(prefixes, now);
  return document;
}

json::object RequestsDocument(std::span<const RequestTrace> requests, int block_tokens, const Moment& now) {
  json::array rows;
  for (const RequestTrace& request : requests) rows.push_back(RequestJson(request, block_tokens, now));
  return {{"schema", kAdminSchema},
          {"at", now.unix_seconds},
          {"block_tokens", block_tokens},
          {"requests", std::move(rows)}};
}

json::object PrefixesDocument(const std::optional<PrefixTable>& prefixes, const AdminFacts& facts,
                              const Moment& now) {
  const int block_tokens = facts.block_tokens;
  json::array rows;
  const PrefixTable table = prefixes.value_or(PrefixTable());
  uint64_t nodes = 0;
  for (const PrefixRow& row : table.rows) {
    json::object object = PrefixJson(row, now);
    object["parent"] = row.parent < 0 ? json::value(nullptr) : json::value(row.parent);
    object["own_tokens"] = uint64_t{row.own_blocks} * static_cast<uint64_t>(block_tokens);
    object["own_blocks"] = BlocksJson(row.own_blocks_in);
    object["rest_blocks"] = row.rest_blocks;
    rows.push_back(std::move(object));
    nodes += row.own_blocks;
  }
  json::object tenants;
  for (const auto& [tenant, rest] : table.rest_of_tenants) tenants[TenantOf({.high = tenant})] = rest;
  return {{"schema", kAdminSchema},
          {"at", OrNull(prefixes.has_value(), now.UnixOf(table.asked))},
          {"model", facts.model},
          {"block_tokens", block_tokens},
          {"rows", std::move(rows)},
          {"held_back", json::object{{"prefixes", table.prefixes - table.rows.size()},
                                     {"nodes", table.nodes > nodes ? table.nodes - nodes : 0},
                                     {"tenants", std::move(tenants)},
                                     {"other_tenants", table.rest_of_others}}}};
}

json::object MissesDocument(const AdminFacts& facts, std::span<const PastRates> past, const Moment& now) {
  const EngineStats& engine = facts.engine;
  json::object sources, reasons;
  for (size_t i = 0; i < kSourceNames.size(); ++i) sources[kSourceNames[i]] = engine.prompt_tokens[i];
  for (size_t i = 0; i < kMissReasons; ++i)
    reasons[MissReasonName(static_cast<MissReason>(i))] = engine.miss_tokens[i];
  return {{"schema", kAdminSchema},
          {"started", facts.started},
          {"sources", std::move(sources)},
          {"miss_tokens", std::move(reasons)},
          {"history", MissHistoryJson(past, now)},
          {"what_if", WhatIfJson(facts)}};
}

}  // namespace prefixd
