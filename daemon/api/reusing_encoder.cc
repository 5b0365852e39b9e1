#include "daemon/api/reusing_encoder.h"

#include <algorithm>
#include <utility>

namespace prefixd {

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
    const bool same = context.tokenizer->Decode(reusing.ids, /*skip_special_tokens=*/false) ==
                      context.tokenizer->Decode(*plain, /*skip_special_tokens=*/false);
    if (same) {
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
