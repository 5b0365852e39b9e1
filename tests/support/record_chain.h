// Makes whole records of a chain of blocks, as an engine would put them into a store. A copy of a chain goes
// on from the same block, so the two share what came before. One owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "storage/block_store.h"
#include "storage/record.h"

namespace prefixd::testing_support {

class RecordChain {
 public:
  RecordChain(const BlockKey& fingerprint, std::string_view salt)
      : fingerprint_(fingerprint),
        root_(RootKey(fingerprint, salt)),
        parent_(root_),
        check_(RootCheck(root_)) {}
  // The chain of a tenant.
  RecordChain(const BlockKey& fingerprint, std::string_view tenant, std::string_view salt)
      : fingerprint_(fingerprint),
        root_(RootKey(fingerprint, tenant, salt)),
        parent_(root_),
        check_(RootCheck(root_)) {}

  // The record of the next block, with a payload of `bytes` bytes that compresses well.
  StoreEntry Next(std::span<const TokenId> tokens, size_t bytes, uint64_t created = 0) {
    std::string raw(bytes, '\0');
    for (size_t i = 0; i < bytes; ++i) raw[i] = static_cast<char>(i % 2 == 0 ? i * 7 + tokens.size() : 0x3f);
    std::string buffer;
    const StoredPayload payload =
        EncodePayload(PayloadCodec::kPlanesZstd, 2, std::as_bytes(std::span(raw)), &buffer);
    return Next(tokens, created, payload);
  }
  StoreEntry Next(std::span<const TokenId> tokens, uint64_t created, const StoredPayload& payload) {
    RecordIdentity identity{.fingerprint = fingerprint_,
                            .root = root_,
                            .key = ChildKey(parent_, tokens),
                            .parent = parent_,
                            .prefix_check = ChildCheck(check_, tokens),
                            .tokens = tokens};
    parent_ = identity.key;
    check_ = identity.prefix_check;
    return {.key = identity.key, .record = EncodeRecord(identity, created, payload)};
  }

  const BlockKey& root() const { return root_; }
  // Of the last block, or the root.
  const BlockKey& key() const { return parent_; }

 private:
  BlockKey fingerprint_;
  BlockKey root_;
  BlockKey parent_;
  uint64_t check_;
};

// `count` token ids from `first` on.
inline std::vector<TokenId> TokensFrom(TokenId first, size_t count) {
  std::vector<TokenId> tokens(count);
  for (size_t i = 0; i < count; ++i) tokens[i] = first + static_cast<TokenId>(i);
  return tokens;
}

}  // namespace prefixd::testing_support
