#include "hashing/block_key.h"

#include <xxhash.h>

#include <cstdio>

#include "base/bytes.h"

namespace prefixd {
namespace {

// The first bytes of what is hashed: its kind and the version of the format.
constexpr std::string_view kRootTag = "pfxROOT1";
constexpr std::string_view kBlockTag = "pfxBLOK1";
constexpr std::string_view kRootCheckTag = "pfxRCHK1";
constexpr std::string_view kBlockCheckTag = "pfxBCHK1";

// The seed of prefix checks; the first 64 bits of the fraction of sqrt(2).
constexpr uint64_t kCheckSeed = 0x6A09E667F3BCC908;

std::string Preimage(std::string_view tag, const BlockKey& parent, size_t payload_bytes) {
  std::string bytes;
  bytes.reserve(tag.size() + 2 * sizeof(uint64_t) + payload_bytes);
  bytes.append(tag);
  PutLittle(&bytes, parent.low);
  PutLittle(&bytes, parent.high);
  return bytes;
}

BlockKey Hash(const std::string& preimage) {
  const XXH128_hash_t hash = XXH3_128bits(preimage.data(), preimage.size());
  return {.low = hash.low64, .high = hash.high64};
}

}  // namespace

std::string ToHex(const BlockKey& key) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(key.high),
                static_cast<unsigned long long>(key.low));
  return text;
}

BlockKey RootKey(const BlockKey& model_fingerprint, std::string_view tenant_salt) {
  std::string preimage = Preimage(kRootTag, model_fingerprint, tenant_salt.size());
  preimage.append(tenant_salt);
  return Hash(preimage);
}

BlockKey ChildKey(const BlockKey& parent, std::span<const TokenId> tokens) {
  std::string preimage = Preimage(kBlockTag, parent, tokens.size_bytes());
  for (const TokenId token : tokens) PutLittle(&preimage, token);
  return Hash(preimage);
}

uint64_t RootCheck(const BlockKey& root) {
  const std::string preimage = Preimage(kRootCheckTag, root, 0);
  return XXH3_64bits_withSeed(preimage.data(), preimage.size(), kCheckSeed);
}

uint64_t ChildCheck(uint64_t parent, std::span<const TokenId> tokens) {
  std::string preimage(kBlockCheckTag);
  PutLittle(&preimage, parent);
  for (const TokenId token : tokens) PutLittle(&preimage, token);
  return XXH3_64bits_withSeed(preimage.data(), preimage.size(), kCheckSeed);
}

}  // namespace prefixd
