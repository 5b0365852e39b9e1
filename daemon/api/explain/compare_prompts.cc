// Where a prompt parts from an earlier request, and what made it do so.
#include <algorithm>

#include "daemon/api/explain/prompt_record.h"

namespace prefixd {

namespace {

struct Lengths {
  size_t contents, text, tokens;  // that both have in common
  size_t decoded;                 // code points of `tokens` and the token after them, of the later prompt
};

// The messages of the one are the first messages of the other.
bool SameMessages(const PromptRecord& now, const PromptRecord& before, const Lengths& common) {
  return common.contents == std::min(now.contents.size(), before.contents.size());
}

// The first difference of the contents. Where the one ends in a message, the other goes on in it; where both
// end there, their calls differ.
MessagePlace Edited(const PromptRecord& now, const PromptRecord& before, const Lengths& common) {
  MessagePlace here = now.PlaceInContents(common.contents);
  const MessagePlace there = before.PlaceInContents(common.contents);
  if (there.message < here.message) return there;
  const auto ends = [&](const PromptRecord& record, const MessagePlace& place) {
    return place.character == record.messages[place.message].length;
  };
  if (there.message == here.message && ends(now, here) && ends(before, there)) here.character.reset();
  return here;
}

// Whether the message `place` begins in the text behind the first difference of the text.
bool DiffersBefore(const PromptRecord& now, const MessagePlace& place, size_t text) {
  if (place.message >= now.messages.size()) return true;
  const std::optional<int64_t>& begin = now.messages[place.message].text;
  return begin && static_cast<int64_t>(text) < *begin && now.PlaceInText(text).message < place.message;
}

// The prompt asks for an answer where the earlier one goes on.
bool EndsBefore(const PromptRecord& now, const PromptRecord& before, const Lengths& common) {
  const MessagePlace place = now.PlaceInText(common.text);
  return now.messages.size() < before.prompt_messages && place.message + 1 == now.messages.size() &&
         !place.character;
}

// The ids part before the content of a message that differs.
bool DecodedBefore(const PromptRecord& now, const MessagePlace& place, size_t decoded) {
  if (place.message >= now.messages.size()) return false;
  const std::optional<int64_t>& begin = now.messages[place.message].text;
  return begin && static_cast<int64_t>(decoded) <= *begin;
}

PromptChange OfTemplate(const PromptRecord& now, const PromptRecord& before) {
  if (now.tools != before.tools) return PromptChange::kTools;
  if (now.effort != before.effort) return PromptChange::kEffort;
  if (now.variables != before.variables) return PromptChange::kVariables;
  return PromptChange::kTemplate;
}

}  // namespace

PromptComparison ComparePrompts(const PromptRecord& now, std::span<const TokenId> ids,
                                const PromptRecord& before, const Tokenizer& tokenizer) {
  PromptComparison result{.id = before.id};
  if (now.salt != before.salt) {
    result.change = PromptChange::kSalt;
    return result;
  }
  Lengths common{.contents = PrefixTrace::CommonLength(now.contents, before.contents),
                 .text = PrefixTrace::CommonLength(now.text, before.text),
                 .tokens = PrefixTrace::CommonLength(now.tokens, before.tokens),
                 .decoded = 0};
  result.common_tokens = common.tokens;
  const bool same = SameMessages(now, before, common);
  const MessagePlace edited = same ? MessagePlace{now.messages.size(), {}} : Edited(now, before, common);
  result.whole = common.tokens >= std::min(now.tokens.size(), before.tokens.size());
  if (result.whole && same) return result;
  common.decoded = now.CodePointsOf(ids.first(std::min(common.tokens + 1, ids.size())), tokenizer);

  const bool text_ends = common.text >= std::min(now.text.size(), before.text.size());
  // The ids part where the text still is the same, and not because of what follows close behind.
  constexpr size_t kLookAhead = 64;
  const bool earlier = same || DecodedBefore(now, edited, common.decoded);
  if (result.whole) {
    result.change = PromptChange::kMessage;
    result.place = edited;
  } else if (earlier && (text_ends || common.text > common.decoded + kLookAhead)) {
    result.change = PromptChange::kTokenization;
    // The first code point that the token has a part of.
    const size_t begin = now.CodePointsOf(ids.first(common.tokens), tokenizer);
    result.place = now.PlaceInText(std::min(begin, common.decoded > 0 ? common.decoded - 1 : 0));
  } else if (same && EndsBefore(now, before, common)) {
    return result;
  } else if (same || DiffersBefore(now, edited, common.text)) {
    result.change = OfTemplate(now, before);
    result.place = now.PlaceInText(common.text);
  } else {
    result.change = PromptChange::kMessage;
    result.place = edited;
  }
  result.in_answer = result.place->message == before.prompt_messages;
  result.in_system =
      result.place->message < now.messages.size() && now.messages[result.place->message].system;
  return result;
}

}  // namespace prefixd
