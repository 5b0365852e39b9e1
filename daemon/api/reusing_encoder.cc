#include "daemon/api/reusing_encoder.h"

#include <algorithm>
#include <utility>

#include "daemon/api/digest.h"

namespace prefixd {

namespace {

// The control tokens, each with the number of bytes of text before it. An answer may have spelled or
// generated one where the conversation that is sent back has plain text.
std::vector<std::pair<size_t, TokenId>> ControlTokens(const Tokenizer& tokenizer,
                                                      std::span<const TokenId> ids) {
  std::vector<std::pair<size_t, TokenId>> found;
  size_t bytes = 0, begin = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!tokenizer.IsSpecial(ids[i])) continue;
    bytes += tokenizer.Decode(ids.subspan(begin, i - begin), /*skip_special_tokens=*/false).size();
    begin = i + 1;
    found.emplace_back(bytes, ids[i]);
  }
  return found;
}

bool SameText(const Tokenizer& tokenizer, std::span<const TokenId> a, std::span<const TokenId> b) {
  return tokenizer.Decode(a, /*skip_special_tokens=*/false) ==
             tokenizer.Decode(b, /*skip_special_tokens=*/false) &&
         ControlTokens(tokenizer, a) == ControlTokens(tokenizer, b);
}

}  // namespace

std::string ScopeOfIds(std::string_view owner, std::string_view cache_salt) {
  return std::string(BytesOf(HmacSha256(owner, "pfxREUS1" + std::string(cache_salt))));
}

Parsed<ReusingPrompt> EncodeReusing(
    const ApiContext& context, std::string_view scope, const MarkedText& text,
    const std::function<Parsed<std::vector<TokenId>>(const MarkedText& part, bool first)>& encode) {
  Parsed<std::vector<TokenId>> plain = encode(text, /*first=*/true);
  if (!plain.ok()) return plain.error();
  const std::string_view bytes = text.bytes();
  ReusingPrompt reusing{.ids = {}, .place = PlaceAfter(0, bytes)};
  uint64_t after = 0;
  size_t at = 0;
  const auto append = [&](size_t end) -> std::optional<ApiError> {
    if (at == end) return std::nullopt;
    Parsed<std::vector<TokenId>> part = encode(text.Part(at, end), at == 0);
    if (!part.ok()) return part.error();
    reusing.ids.insert(reusing.ids.end(), part->begin(), part->end());
    return std::nullopt;
  };
  while (const auto match = context.generated->Find(scope, after, bytes.substr(at))) {
    if (auto error = append(at + match->gap)) return *error;
    reusing.ids.insert(reusing.ids.end(), match->ids.begin(), match->ids.end());
    at += match->gap + match->length;
    after = match->after;
  }
  if (at > 0) {
    if (auto error = append(bytes.size())) return *error;
    if (SameText(*context.tokenizer, reusing.ids, *plain)) {
      reusing.place = PlaceAfter(after, bytes.substr(at));
      return reusing;
    }
  }
  reusing.ids = *std::move(plain);
  return reusing;
}

std::string TextOfAnswer(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                         std::span<const TokenId> answer) {
  constexpr size_t kTail = 16;
  const std::span<const TokenId> tail = prompt.last(std::min(prompt.size(), kTail));
  std::vector<TokenId> ids(tail.begin(), tail.end());
  const std::string before = tokenizer.Decode(ids, /*skip_special_tokens=*/false);
  ids.insert(ids.end(), answer.begin(), answer.end());
  const std::string whole = tokenizer.Decode(ids, /*skip_special_tokens=*/false);
  if (whole.starts_with(before)) return whole.substr(before.size());
  return tokenizer.Decode(answer, /*skip_special_tokens=*/false);
}

}  // namespace prefixd
