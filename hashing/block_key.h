// Block keys: the name under which the KV of a run of tokens is found. A chain of XXH3-128 hashes, so that a key names its
// block and everything before it. Pure functions; any thread. A key finds a block, it never proves one: callers compare tokens.
//
// The preimages are written down in docs/FORMAT.md; changing one is a new format.
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

// 32 lower-case hex digits, high half first.
std::string ToHex(const BlockKey& key);

// The namespace of a model (its fingerprint) and a tenant ("" = everyone).
BlockKey RootKey(const BlockKey& model_fingerprint, std::string_view tenant_salt);

// The block of `tokens` that follows the block (or root) `parent`.
BlockKey ChildKey(const BlockKey& parent, std::span<const TokenId> tokens);

}  // namespace prefixd

template <>
struct std::hash<prefixd::BlockKey> {
  size_t operator()(const prefixd::BlockKey& key) const noexcept { return static_cast<size_t>(key.low); }
};
