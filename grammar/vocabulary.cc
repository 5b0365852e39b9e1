#include "grammar/vocabulary.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace prefixd::grammar {
namespace {

size_t CommonPrefix(std::string_view a, std::string_view b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(end.first - a.begin());
}

}  // namespace

uint8_t Vocabulary::ClassOf(uint8_t byte) {
  if (byte >= 'a' && byte <= 'z') return 1;
  if (byte >= 'A' && byte <= 'Z') return 2;
  if (byte >= '0' && byte <= '9') return 4;
  if (byte == ' ') return 8;
  if (byte == '"' || byte == '\\') return 16;
  if (byte < 0x20 || byte == 0x7F) return 32;
  return byte < 0x80 ? 64 : 128;
}

Vocabulary::Vocabulary(std::vector<std::string> texts, std::vector<TokenId> end, int size)
    : size_(size), end_(std::move(end)), texts_(std::move(texts)) {
  PREFIXD_CHECK(size > 0 && texts_.size() <= static_cast<size_t>(size)) << texts_.size() << " of " << size;
  for (const TokenId id : end_) PREFIXD_CHECK(id >= 0 && id < size) << id << " of " << size;
  for (const TokenId id : end_) {
    if (static_cast<size_t>(id) < texts_.size()) texts_[static_cast<size_t>(id)].clear();
  }
  for (size_t id = 0; id < texts_.size(); ++id) {
    const size_t length = texts_[id].size();
    if (length == 0 || length > std::numeric_limits<uint16_t>::max()) continue;
    tokens_.push_back(static_cast<TokenId>(id));
    longest_ = std::max(longest_, length);
  }
  std::sort(tokens_.begin(), tokens_.end(), [this](TokenId a, TokenId b) {
    const std::string_view left = text(a), right = text(b);
    return left != right ? left < right : a < b;
  });
  nodes_.push_back({});
  std::vector<uint32_t> path = {0};  // nodes from the root on
  std::string_view previous;
  const auto leave = [&](size_t depth) {
    for (; path.size() > depth + 1; path.pop_back()) {
      Node& node = nodes_[path.back()];
      Node& above = nodes_[path[path.size() - 2]];
      node.end = static_cast<uint32_t>(nodes_.size());
      above.height = std::max<uint16_t>(above.height, node.height + 1);
      above.classes |= node.classes;
    }
  };
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view token = text(tokens_[i]);
    leave(CommonPrefix(previous, token));
    for (size_t depth = path.size(); depth <= token.size(); ++depth) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      const auto byte = static_cast<uint8_t>(token[depth - 1]);
      nodes_.push_back({.end = 0,
                        .first_token = i,
                        .depth = static_cast<uint16_t>(depth),
                        .height = 0,
                        .byte = byte,
                        .classes = ClassOf(byte)});
    }
    previous = token;
  }
  leave(0);
  nodes_[0].end = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({.end = 0, .first_token = static_cast<uint32_t>(tokens_.size())});
}

std::shared_ptr<const Vocabulary> Vocabulary::Of(const Tokenizer& tokenizer, std::vector<TokenId> end,
                                                 int size, std::span<const TokenId> controls) {
  std::vector<std::string> texts(static_cast<size_t>(std::min(size, tokenizer.vocab_size())));
  std::vector<Control> known;
  for (size_t id = 0; id < texts.size(); ++id) {
    const auto token = static_cast<TokenId>(id);
    if (tokenizer.IsSpecial(token)) continue;
    texts[id] = tokenizer.TokenBytes(token);
    if (texts[id].find(kMark) != std::string::npos) texts[id].clear();
  }
  for (const TokenId id : controls) {
    const bool ends = std::ranges::find(end, id) != end.end();
    if (ends || id < 0 || static_cast<size_t>(id) >= texts.size()) continue;
    known.push_back({tokenizer.TokenBytes(id), id});
    texts[static_cast<size_t>(id)] = kMark + known.back().text + kMark;
  }
  std::ranges::stable_sort(known, std::greater<>(), [](const Control& one) { return one.text.size(); });
  auto made = std::make_shared<Vocabulary>(std::move(texts), std::move(end), size);
  made->controls_ = std::move(known);
  made->tokenizer_ = &tokenizer;
  return made;
}

std::string Vocabulary::Spelled(std::string_view text) const {
  std::string spelled;
  while (!text.empty()) {
    const auto control = std::ranges::find_if(
        controls_, [&](const Control& one) { return !one.text.empty() && text.starts_with(one.text); });
    if (control == controls_.end()) {
      spelled += text[0];
      text.remove_prefix(1);
    } else {
      spelled.append(1, kMark).append(control->text).append(1, kMark);
      text.remove_prefix(control->text.size());
    }
  }
  return spelled;
}

std::vector<TokenId> Vocabulary::Encode(std::string_view spelled) const {
  std::vector<TokenId> ids;
  while (tokenizer_ != nullptr && !spelled.empty()) {
    if (spelled[0] == kMark) {
      const size_t end = spelled.find(kMark, 1);
      if (end == std::string_view::npos) break;
      const auto control = std::ranges::find(controls_, spelled.substr(1, end - 1), &Control::text);
      if (control == controls_.end()) return {};
      ids.push_back(control->id);
      spelled.remove_prefix(end + 1);
      continue;
    }
    const std::string_view plain = spelled.substr(0, spelled.find(kMark));
    const Result<std::vector<TokenId>> encoded =
        tokenizer_->Encode(plain, {.add_special_tokens = false, .parse_special = false});
    if (!encoded.ok()) return {};
    std::string written;
    for (const TokenId id : *encoded) written += text(id);
    if (written != plain) return {};
    ids.insert(ids.end(), encoded->begin(), encoded->end());
    spelled.remove_prefix(plain.size());
  }
  return ids;
}

size_t Vocabulary::bytes() const {
  const size_t texts =
      std::accumulate(texts_.begin(), texts_.end(), size_t{0}, [](size_t sum, const auto& text) {
        return sum + sizeof(text) + (text.size() > 15 ? text.capacity() + 1 : 0);
      });
  return texts + tokens_.size() * sizeof(TokenId) + nodes_.size() * sizeof(Node);
}

}  // namespace prefixd::grammar
