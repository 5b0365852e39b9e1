#include "hashing/fingerprint.h"

#include <xxhash.h>

#include <functional>
#include <map>

#include "base/bytes.h"
#include "base/check.h"

namespace prefixd {
namespace {

constexpr std::string_view kModelTag = "pfxMODL1";
constexpr std::string_view kTensorTag = "pfxTENS1";
constexpr std::string_view kWeightsTag = "pfxWGTS1";

// The length goes first, so that two different sequences of texts never give the same bytes.
void PutText(std::string* out, std::string_view text) {
  PutLittle(out, static_cast<uint64_t>(text.size()));
  out->append(text);
}

void PutKey(std::string* out, const BlockKey& key) {
  PutLittle(out, key.low);
  PutLittle(out, key.high);
}

BlockKey ToKey(XXH128_hash_t hash) { return {.low = hash.low64, .high = hash.high64}; }

}  // namespace

BlockKey Fingerprint(const ModelIdentity& identity) {
  PREFIXD_CHECK(identity.block_tokens > 0) << identity.block_tokens;
  std::string preimage(kModelTag);
  PutKey(&preimage, identity.weights);
  PutText(&preimage, identity.architecture);
  PutText(&preimage, identity.kv_dtype);
  PutLittle(&preimage, static_cast<uint64_t>(identity.block_tokens));
  PutText(&preimage, identity.kv_layout);
  PutText(&preimage, identity.numerics_version);
  // Only where there is one, so that the fingerprints of all other models are those of before.
  if (!identity.quantization.empty()) PutText(&preimage, identity.quantization);
  return ToKey(XXH3_128bits(preimage.data(), preimage.size()));
}

struct WeightsHasher::State {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> stream{XXH3_createState()};  // hash of the current tensor
  BlockKey* digest = nullptr;                                      // of the current tensor, in `digests`
  bool finished = false;
  std::map<std::string, BlockKey, std::less<>> digests;  // by the name of the tensor

  void EndTensor() {
    if (digest != nullptr) *digest = ToKey(XXH3_128bits_digest(stream.get()));
    digest = nullptr;
  }
};

WeightsHasher::WeightsHasher() : state_(std::make_unique<State>()) {
  PREFIXD_CHECK(state_->stream != nullptr) << "out of memory";
}

WeightsHasher::~WeightsHasher() = default;

void WeightsHasher::BeginTensor(std::string_view name, std::string_view dtype,
                                std::span<const int64_t> shape) {
  PREFIXD_CHECK(!state_->finished) << "BeginTensor after Finish";
  state_->EndTensor();
  const auto [at, is_new] = state_->digests.emplace(name, BlockKey{});
  PREFIXD_CHECK(is_new) << "tensor '" << name << "' twice";
  state_->digest = &at->second;
  std::string header(kTensorTag);
  PutText(&header, name);
  PutText(&header, dtype);
  PutLittle(&header, static_cast<uint64_t>(shape.size()));
  for (const int64_t extent : shape) PutLittle(&header, extent);
  XXH3_128bits_reset(state_->stream.get());
  XXH3_128bits_update(state_->stream.get(), header.data(), header.size());
}

void WeightsHasher::Update(std::span<const std::byte> bytes) {
  PREFIXD_CHECK(state_->digest != nullptr) << "Update before BeginTensor";
  if (!bytes.empty()) XXH3_128bits_update(state_->stream.get(), bytes.data(), bytes.size());
}

BlockKey WeightsHasher::Finish() {
  PREFIXD_CHECK(!state_->finished) << "Finish twice";
  state_->finished = true;
  state_->EndTensor();
  std::string preimage(kWeightsTag);
  for (const auto& [name, digest] : state_->digests) PutKey(&preimage, digest);
  return ToKey(XXH3_128bits(preimage.data(), preimage.size()));
}

}  // namespace prefixd
