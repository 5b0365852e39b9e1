#include "daemon/warm_plan.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "storage/record.h"

namespace prefixd {

size_t WarmPlan::HeadBytes(int block_tokens) {
  return kRecordHeaderBytes + static_cast<size_t>(block_tokens) * sizeof(TokenId);
}

WarmPlan::Found WarmPlan::Add(const BlockKey& key, std::string_view head) {
  if (head.empty()) return Found::kMissing;
  const auto [defect, says] = DecodeRecordHead(std::as_bytes(std::span(head)));
  const auto block_tokens = static_cast<size_t>(options_.block_tokens);
  if (defect != RecordDefect::kNone || says.fingerprint != options_.fingerprint || says.key != key ||
      says.token_count != block_tokens || head.size() < HeadBytes(options_.block_tokens) ||
      numbers_.contains(key))
    return Found::kDamaged;
  std::vector<TokenId> tokens(block_tokens);
  for (size_t i = 0; i < block_tokens; ++i) {
    tokens[i] = GetLittle<TokenId>(head.data() + kRecordHeaderBytes + i * sizeof(TokenId));
    if (tokens[i] < 0 || tokens[i] >= options_.vocab) return Found::kDamaged;
  }
  if (ChildKey(says.parent, tokens) != key) return Found::kDamaged;
  Block block{.root = says.root};
  if (says.parent != says.root) {
    const auto parent = numbers_.find(says.parent);
    if (parent == numbers_.end()) return Found::kMissing;
    const Block& before = blocks_[parent->second];
    block.parent = parent->second;
    block.depth = before.depth + 1;
    if (before.root != says.root || block.depth >= options_.most_depth) return Found::kDamaged;
  }
  const size_t number = blocks_.size();
  if (block.parent != kNone && blocks_[block.parent].child == kNone) blocks_[block.parent].child = number;
  numbers_.emplace(key, number);
  blocks_.push_back(block);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return Found::kBlock;
}

std::optional<WarmPlan::Chain> WarmPlan::Next() {
  while (next_ < blocks_.size() && blocks_[next_].planned) ++next_;
  if (next_ == blocks_.size()) return std::nullopt;
  size_t last = next_;
  while (blocks_[last].child != kNone) last = blocks_[last].child;
  Chain chain{.root = blocks_[last].root};
  for (size_t at = last; at != kNone; at = blocks_[at].parent) {
    blocks_[at].planned = true;
    chain.blocks.push_back(at);
  }
  std::ranges::reverse(chain.blocks);
  const auto block_tokens = static_cast<ptrdiff_t>(options_.block_tokens);
  for (const size_t number : chain.blocks) {
    const auto first = tokens_.begin() + static_cast<ptrdiff_t>(number) * block_tokens;
    chain.tokens.insert(chain.tokens.end(), first, first + block_tokens);
  }
  return chain;
}

}  // namespace prefixd
