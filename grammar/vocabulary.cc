#include "grammar/vocabulary.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/utf8.h"
#include "grammar/code_points.h"

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

std::string Vocabulary::TextOf(std::span<const TokenId> ids) const {
  std::string all;
  for (const TokenId id : ids) all += text(id);
  return all;
}

// Nothing where it fails.
std::vector<TokenId> Vocabulary::EncodePlain(std::string_view text) const {
  const Result<std::vector<TokenId>> encoded =
      tokenizer_->Encode(text, {.add_special_tokens = false, .parse_special = false});
  return encoded.ok() ? *encoded : std::vector<TokenId>();
}

std::span<const TokenId> Vocabulary::ContextOf(std::span<const TokenId> before) const {
  const auto is_counted = [&](TokenId id) {
    const char c = text(id)[0];
    return (c >= '0' && c <= '9') || c == ' ' || c == '\n' || (c & 0xC0) == 0x80;
  };
  size_t first = before.size();
  while (first > 0 && IsPlain(before[first - 1])) {
    const size_t taken = before.size() - first;
    if (taken >= kMostContext || (taken >= kContext && !is_counted(before[first]))) break;
    --first;
  }
  while (first < before.size() && (text(before[first])[0] & 0xC0) == 0x80) ++first;
  return before.subspan(first);
}

// Where the context begins does not matter, since both encodings begin there.
Vocabulary::Joint Vocabulary::JointOf(std::span<const TokenId> context, std::string_view added) const {
  const std::string head = TextOf(context);
  const std::vector<TokenId> alone = EncodePlain(head), all = EncodePlain(head + std::string(added));
  Joint joint;
  joint.is_known = TextOf(all) == TextOf(alone) + std::string(added);
  joint.keeps_before =
      all.size() >= alone.size() && std::ranges::equal(alone, std::span(all).first(alone.size()));
  if (joint.keeps_before) joint.tokens.assign(all.begin() + static_cast<ptrdiff_t>(alone.size()), all.end());
  return joint;
}

// Mostly the encoding has the tokens that are there; nothing else has to be known then.
bool Vocabulary::AreEncodedAfter(std::span<const TokenId> context, std::span<const TokenId> tokens,
                                 std::string_view follows) const {
  const std::string added = TextOf(tokens);
  const std::vector<TokenId> all = EncodePlain(TextOf(context) + added + std::string(follows));
  const size_t end = context.size() + tokens.size();
  if (all.size() >= end && std::ranges::equal(std::span(all).first(context.size()), context) &&
      std::ranges::equal(std::span(all).subspan(context.size(), tokens.size()), tokens))
    return true;
  const Joint joint = JointOf(context, added + std::string(follows));
  if (!joint.is_known) return context.empty();
  return (joint.keeps_before && joint.tokens.size() >= tokens.size() &&
          std::ranges::equal(std::span(joint.tokens).first(tokens.size()), tokens));
}

bool Vocabulary::EncodesBack(std::span<const TokenId> before, TokenId next, std::string_view follows) const {
  if (tokenizer_ == nullptr || !IsPlain(next)) return true;
  std::vector<TokenId> tokens = {next};
  std::string added(text(next));
  while ((added[0] & 0xC0) == 0x80 && !before.empty() && IsPlain(before.back())) {
    tokens.insert(tokens.begin(), before.back());
    added.insert(0, text(before.back()));
    before = before.first(before.size() - 1);
  }
  const std::span<const TokenId> context = ContextOf(before);
  const size_t complete = CompleteBytes(added);
  if (complete == added.size()) return AreEncodedAfter(context, tokens, follows);
  // Some ends of the code point.
  const auto lead = static_cast<uint8_t>(added[complete]);
  const size_t missing = (lead < 0xE0 ? 2u : lead < 0xF0 ? 3u : 4u) - (added.size() - complete);
  for (uint8_t last = 0x80; last < 0xC0; ++last) {
    std::string ends(missing, static_cast<char>(last));
    if (IsValidUtf8(added.substr(complete) + ends) && AreEncodedAfter(context, tokens, ends)) return true;
  }
  return false;
}

std::vector<TokenId> Vocabulary::Encode(std::string_view spelled, std::span<const TokenId> before) const {
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
    Joint joint = JointOf(ids.empty() ? ContextOf(before) : std::span<const TokenId>(), plain);
    if (!joint.is_known || !joint.keeps_before) joint = JointOf({}, plain);
    if (!joint.is_known) return {};
    ids.insert(ids.end(), joint.tokens.begin(), joint.tokens.end());
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
