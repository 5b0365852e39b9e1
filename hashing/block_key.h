// BlockKey: the key under which the cache finds the KV of a block of tokens. Keys form a chain of XXH3-128
// hashes: a key depends on the tokens of its block and of every block before it. Pure functions; any thread.
//
// Two different blocks may have the same key. So a caller that finds a block by its key must compare the
// tokens. A block whose tokens are equal may still follow other tokens, if the keys of two of its ancestors
// collide. So a block also has a prefix check: a second hash of the same chain under a seed, which collides
// with other inputs than the key does.
//
// docs/FORMAT.md defines the hashed bytes. A change of these bytes is a new format.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/types.h"

namespace prefixd {

struct BlockKey {
  uint64_t low = 0;
  uint64_t high = 0;
  friend auto operator<=>(const BlockKey&, const BlockKey&) = default;
};

// Returns 32 lower-case hex digits, high half first.
std::string ToHex(const BlockKey& key);

// Returns the key of a root, which is the parent of the first block of a sequence. Each pair of a model
// fingerprint and a salt has its own root. All requests without a salt share the empty salt.
BlockKey RootKey(const BlockKey& model_fingerprint, std::string_view salt);
// The same for a tenant, whose roots have the same high half. Without a tenant it is the root of the salt.
BlockKey RootKey(const BlockKey& model_fingerprint, std::string_view tenant, std::string_view salt);
uint64_t TenantHalf(const BlockKey& model_fingerprint, std::string_view tenant);

// Returns the key of a block with these tokens. `parent` is the key of the block before it, or of the root.
BlockKey ChildKey(const BlockKey& parent, std::span<const TokenId> tokens);

// Returns the prefix check of a root, and of a block with these tokens. `parent` is the check of the block
// before it, or of the root.
uint64_t RootCheck(const BlockKey& root);
uint64_t ChildCheck(uint64_t parent, std::span<const TokenId> tokens);

}  // namespace prefixd

template <>
struct std::hash<prefixd::BlockKey> {
  size_t operator()(const prefixd::BlockKey& key) const noexcept { return static_cast<size_t>(key.low); }
};
