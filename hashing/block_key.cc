#include "hashing/block_key.h"

#include <xxhash.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "base/bytes.h"

namespace prefixd {
namespace {

// The first bytes of what is hashed: its kind and the version of the format.
constexpr std::string_view kRootTag = "pfxROOT1";
constexpr std::string_view kTenantTag = "pfxTENR1";
constexpr std::string_view kTenantRootTag = "pfxROOT2";
constexpr std::string_view kBlockTag = "pfxBLOK1";
constexpr std::string_view kRootCheckTag = "pfxRCHK1";
constexpr std::string_view kBlockCheckTag = "pfxBCHK1";

// The seed of prefix checks; the first 64 bits of the fraction of sqrt(2).
constexpr uint64_t kCheckSeed = 0x6A09E667F3BCC908;

// The bytes that are hashed. Those of a usual block lie on the stack: a prompt has thousands of blocks.
class Preimage {
 public:
  // Room for `tag` and `more` bytes.
  Preimage(std::string_view tag, size_t more) {
    if (tag.size() + more > few_.size()) many_.resize(tag.size() + more);
    bytes_ = many_.empty() ? few_.data() : many_.data();
    Put(tag.data(), tag.size());
  }
  Preimage(const Preimage&) = delete;
  Preimage& operator=(const Preimage&) = delete;

  void Put(const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(bytes_ + size_, from, bytes);
    size_ += bytes;
  }
  void Put(uint64_t number) { Put(&number, sizeof number); }  // little-endian, as base/bytes.h asserts
  void Put(const BlockKey& key) {
    Put(key.low);
    Put(key.high);
  }
  void Put(std::span<const TokenId> tokens) { Put(tokens.data(), tokens.size_bytes()); }

  BlockKey Key() const {
    const XXH128_hash_t hash = XXH3_128bits(bytes_, size_);
    return {.low = hash.low64, .high = hash.high64};
  }
  uint64_t Check() const { return XXH3_64bits_withSeed(bytes_, size_, kCheckSeed); }

 private:
  std::array<char, 512> few_;  // not initialised
  std::string many_;
  char* bytes_;
  size_t size_ = 0;
};

}  // namespace

std::string ToHex(const BlockKey& key) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(key.high),
                static_cast<unsigned long long>(key.low));
  return text;
}

BlockKey RootKey(const BlockKey& model_fingerprint, std::string_view salt) {
  Preimage preimage(kRootTag, sizeof(BlockKey) + salt.size());
  preimage.Put(model_fingerprint);
  preimage.Put(salt.data(), salt.size());
  return preimage.Key();
}

BlockKey RootKey(const BlockKey& model_fingerprint, std::string_view tenant, std::string_view salt) {
  if (tenant.empty()) return RootKey(model_fingerprint, salt);
  Preimage preimage(kTenantRootTag, sizeof(BlockKey) + sizeof(uint64_t) + tenant.size() + salt.size());
  preimage.Put(model_fingerprint);
  preimage.Put(uint64_t{tenant.size()});
  preimage.Put(tenant.data(), tenant.size());
  preimage.Put(salt.data(), salt.size());
  return {.low = preimage.Key().low, .high = TenantHalf(model_fingerprint, tenant)};
}

uint64_t TenantHalf(const BlockKey& model_fingerprint, std::string_view tenant) {
  Preimage preimage(kTenantTag, sizeof(BlockKey) + tenant.size());
  preimage.Put(model_fingerprint);
  preimage.Put(tenant.data(), tenant.size());
  return preimage.Key().high;
}

BlockKey ChildKey(const BlockKey& parent, std::span<const TokenId> tokens) {
  Preimage preimage(kBlockTag, sizeof(BlockKey) + tokens.size_bytes());
  preimage.Put(parent);
  preimage.Put(tokens);
  return preimage.Key();
}

uint64_t RootCheck(const BlockKey& root) {
  Preimage preimage(kRootCheckTag, sizeof(BlockKey));
  preimage.Put(root);
  return preimage.Check();
}

uint64_t ChildCheck(uint64_t parent, std::span<const TokenId> tokens) {
  Preimage preimage(kBlockCheckTag, sizeof parent + tokens.size_bytes());
  preimage.Put(parent);
  preimage.Put(tokens);
  return preimage.Check();
}

}  // namespace prefixd
