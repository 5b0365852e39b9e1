#include "daemon/api/reusing_encoder.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer/detokenizer.h"

namespace prefixd {

namespace {

using Control = Tokenizer::ControlToken;

// The beginning of an answer.
struct Begin {
  std::span<const TokenId> ids;
  size_t end = 0;  // of its text, in the text of the prompt
};

// As much of an answer, behind the ids `before`, as `text` has from `begin` on. `controls` are the control
// tokens of the text from there on.
Begin CommonBegin(const Tokenizer& tokenizer, std::span<const TokenId> before,
                  std::span<const TokenId> answer, std::string_view text, size_t begin,
                  std::span<const Control> controls) {
  Detokenizer stream(tokenizer, /*skip_special_tokens=*/false, PromptTail(tokenizer, before));
  Begin common{.ids = {}, .end = begin};
  // To look at what the stream holds back costs as much as that is. Of a long run of byte tokens only the end
  // is looked at.
  constexpr size_t kMostHeld = 256;
  size_t held_ids = 0;
  size_t returned = begin;  // the end of what the stream has returned
  auto control = controls.begin();
  for (size_t i = 0; i < answer.size(); ++i) {
    const bool is_control = tokenizer.IsControl(answer[i]);
    if (is_control) {
      const bool here = common.ids.size() == i && control != controls.end() && control->begin == common.end &&
                        control->id == answer[i];
      if (!here) break;
    }
    const std::string piece = stream.Push(answer[i]);
    if (!text.substr(returned).starts_with(piece)) break;
    returned += piece.size();
    held_ids = piece.empty() ? held_ids + 1 : 0;
    const bool ends = i + 1 == answer.size() || tokenizer.IsControl(answer[i + 1]);
    if (held_ids > kMostHeld && !ends) continue;
    Detokenizer copy = stream;
    const std::string held = copy.Flush();
    if (!text.substr(returned).starts_with(held)) continue;
    const size_t end = returned + held.size();
    // What is held may be a part of a code point, and then it is U+FFFD only where nothing completes it:
    // before a control token of the text.
    const bool stays = control != controls.end() && control->begin == end;
    if (held.find(kReplacementCharacter) != std::string::npos && !stays) continue;
    if (is_control ? end != control->end : control != controls.end() && end > control->begin) break;
    if (is_control) ++control;
    common = {answer.first(i + 1), end};
  }
  return common;
}

}  // namespace

Parsed<std::vector<TokenId>> EncodeReusing(const Tokenizer& tokenizer, const MarkedText& text,
                                           std::span<const PlacedAnswers> placed, const EncodePart& encode) {
  std::optional<std::vector<Control>> controls;
  if (!placed.empty()) controls = tokenizer.FindControl(text);
  if (!controls) return encode(text, TextStart::kInput);
  std::vector<TokenId> ids;
  size_t at = 0;  // bytes of the text that `ids` are of
  const auto append = [&](size_t end) -> std::optional<ApiError> {
    if (at == end) return std::nullopt;
    TextStart start = at == 0 ? TextStart::kInput : TextStart::kWithin;
    if (at > 0 && !ids.empty() && tokenizer.IsAdded(ids.back())) start = TextStart::kPiece;
    const Parsed<std::vector<TokenId>> part = encode(text.Part(at, end), start);
    if (!part.ok()) return part.error();
    ids.insert(ids.end(), part->begin(), part->end());
    at = end;
    return std::nullopt;
  };
  auto control = controls->begin();
  for (const PlacedAnswers& place : placed) {
    if (place.begin < at || place.begin >= text.size()) continue;
    while (control != controls->end() && control->end <= place.begin) ++control;
    if (control != controls->end() && control->begin < place.begin) continue;
    if (auto error = append(place.begin)) return *error;
    Begin most;
    for (const AnswerIds& answer : place.answers) {
      const Begin common = CommonBegin(tokenizer, ids, *answer, text.bytes(), at, {control, controls->end()});
      if (common.end >= most.end) most = common;
    }
    ids.insert(ids.end(), most.ids.begin(), most.ids.end());
    at = std::max(at, most.end);
  }
  if (auto error = append(text.size())) return *error;
  return ids;
}

}  // namespace prefixd
