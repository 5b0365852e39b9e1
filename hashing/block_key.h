// Block keys: the key under which the cache finds the KV of a block of tokens. Keys form a chain of XXH3-128
// hashes, so a key identifies its block and every block before it. Pure functions; any thread.
//
// Two different blocks may have the same key: a caller that finds a block by its key compares the tokens.
//
// docs/FORMAT.md defines the hashed bytes. A change of them is a new format.
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

// The parent key of first blocks: one namespace per model fingerprint and tenant salt. The empty salt is
// shared by all requests that name none.
BlockKey RootKey(const BlockKey& model_fingerprint, std::string_view tenant_salt);

// The key of the block of `tokens` that follows the block, or root, with the key `parent`.
BlockKey ChildKey(const BlockKey& parent, std::span<const TokenId> tokens);

}  // namespace prefixd

template <>
struct std::hash<prefixd::BlockKey> {
  size_t operator()(const prefixd::BlockKey& key) const noexcept { return static_cast<size_t>(key.low); }
};
