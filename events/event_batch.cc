#include "events/event_batch.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "events/msgpack_writer.h"

namespace prefixd {
namespace {

using msgpack::PutArray;
using msgpack::PutNil;
using msgpack::PutText;
using msgpack::PutUnsigned;

void BeginEvent(std::string* out, size_t fields, std::string_view type) {
  msgpack::PutSmallMap(out, fields + 1);
  PutText(out, "type");
  PutText(out, type);
}

}  // namespace

std::string_view MediumOf(Tier tier) {
  // The remote tier is not told: every worker has it.
  static constexpr std::array<std::string_view, kTiers> kMedia = {"GPU", "CPU", "DISK", "EXTERNAL"};
  return kMedia.at(static_cast<size_t>(tier));
}

void EventBatch::AddStored(std::span<const BlockIndex::Entry* const> run, Tier tier,
                           const BlockKey& shared_root) {
  PREFIXD_CHECK(!run.empty());
  const BlockIndex::Block& first = run[0]->second;
  const bool has_extra_keys = first.is_first() && first.root != shared_root;
  std::string* out = &body_;
  BeginEvent(out, has_extra_keys ? 8 : 7, "BlockStored");
  PutText(out, "block_hashes");
  PutArray(out, run.size());
  for (const BlockIndex::Entry* entry : run) PutUnsigned(out, entry->first.low);
  PutText(out, "parent_block_hash");
  first.is_first() ? PutNil(out) : PutUnsigned(out, first.parent.low);
  PutText(out, "token_ids");
  PutArray(out, run.size() * first.tokens.size());
  for (const BlockIndex::Entry* entry : run) {
    PREFIXD_CHECK(entry->second.tokens.size() == first.tokens.size()) << entry->second.tokens.size();
    for (const TokenId token : entry->second.tokens) PutUnsigned(out, static_cast<uint64_t>(token));
  }
  PutText(out, "block_size");
  PutUnsigned(out, first.tokens.size());
  PutText(out, "lora_id");
  PutNil(out);
  PutText(out, "medium");
  PutText(out, MediumOf(tier));
  PutText(out, "lora_name");
  PutNil(out);
  if (has_extra_keys) {
    PutText(out, "extra_keys");
    PutArray(out, run.size());
    PutArray(out, 1);
    PutText(out, ToHex(first.root));
    for (size_t i = 1; i < run.size(); ++i) PutNil(out);
  }
  ++events_;
}

void EventBatch::AddRemoved(std::span<const BlockKey> keys, Tier tier) {
  BeginEvent(&body_, 2, "BlockRemoved");
  PutText(&body_, "block_hashes");
  PutArray(&body_, keys.size());
  for (const BlockKey& key : keys) PutUnsigned(&body_, key.low);
  PutText(&body_, "medium");
  PutText(&body_, MediumOf(tier));
  ++events_;
}

void EventBatch::AddCleared() {
  BeginEvent(&body_, 0, "AllBlocksCleared");
  ++events_;
}

std::string EventBatch::Finish(double seconds) {
  std::string payload;
  PutArray(&payload, 3);
  msgpack::PutDouble(&payload, seconds);
  PutArray(&payload, std::exchange(events_, 0));
  payload += std::exchange(body_, {});
  PutUnsigned(&payload, 0);  // data_parallel_rank
  return payload;
}

}  // namespace prefixd
