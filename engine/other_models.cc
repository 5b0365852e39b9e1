#include "engine/other_models.h"

#include <algorithm>

namespace prefixd {

void OtherModels::Add(const BlockKey& fingerprint, int block_tokens, std::span<const BlockKey> keys) {
  if (block_tokens < 1 || block_tokens > kMostBlockTokens) return;
  MutexLock lock(mutex_);
  if (std::ranges::find(models_, fingerprint, &Model::fingerprint) == models_.end()) {
    if (models_.size() == kMostModels) return;
    models_.push_back({fingerprint, block_tokens});
  }
  if (!keys_) keys_.emplace(kLogCapacity);
  for (const BlockKey& key : keys) {
    if (added_ == kMostKeys) return;
    if (keys_->Find(key)) continue;
    keys_->Add(key, MissReason::kOtherModel, 0);
    ++added_;
  }
}

int OtherModels::FindPrefix(const CacheNamespace& of, std::span<const TokenId> prompt) const {
  MutexLock lock(mutex_);
  size_t longest = 0;
  for (const auto& [fingerprint, block_tokens] : models_) {
    const auto step = static_cast<size_t>(block_tokens);
    BlockKey key = RootKey(fingerprint, of.tenant, of.salt);
    size_t found = 0;
    for (; found + step <= prompt.size(); found += step) {
      key = ChildKey(key, prompt.subspan(found, step));
      if (!keys_->Find(key)) break;
    }
    longest = std::max(longest, found);
  }
  return static_cast<int>(longest);
}

}  // namespace prefixd
