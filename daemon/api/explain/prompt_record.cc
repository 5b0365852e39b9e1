#include "daemon/api/explain/prompt_record.h"

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "base/fnv.h"
#include "base/utf8.h"
#include "text/tokenizer/detokenizer.h"

namespace prefixd {

namespace {

namespace json = boost::json;

// Units of `contents` that are no code points.
constexpr uint32_t kRole = 0x80000000u, kEnd = 0x40000000u;
constexpr std::string_view kSpace = " \t\r\n\f\v";

uint32_t Folded(uint64_t hash) { return static_cast<uint32_t>(hash ^ (hash >> 32)) & 0x3FFFFFFFu; }

// The text of a content that is a string or a list of parts, as templates join them.
std::string TextOfContent(const json::value* content) {
  if (content == nullptr) return "";
  if (content->is_string()) return std::string(content->get_string());
  std::string text;
  if (!content->is_array()) return text;
  for (const json::value& part : content->get_array()) {
    const json::value* one = &part;
    if (part.is_object()) {
      one = part.get_object().if_contains("text");
      if (one == nullptr) one = part.get_object().if_contains("refusal");
    }
    if (one == nullptr || !one->is_string()) continue;
    if (&part != &content->get_array().front()) text += '\n';
    text += std::string_view(one->get_string());
  }
  return text;
}

uint64_t CallsOf(const json::object& message) {
  uint64_t hash = 0;
  const json::value* calls = message.if_contains("tool_calls");
  if (calls == nullptr || !calls->is_array()) return hash;
  for (const json::value& call : calls->get_array()) {
    const json::value* function = call.is_object() ? call.get_object().if_contains("function") : nullptr;
    if (function == nullptr || !function->is_object()) continue;
    const json::value* name = function->get_object().if_contains("name");
    const json::value* arguments = function->get_object().if_contains("arguments");
    const std::string text = arguments == nullptr     ? std::string()
                             : arguments->is_string() ? std::string(arguments->get_string())
                                                      : json::serialize(*arguments);
    hash =
        AddCall(hash, name != nullptr && name->is_string() ? std::string_view(name->get_string()) : "", text);
  }
  return hash;
}

size_t CodePointsIn(std::string_view utf8) {
  return static_cast<size_t>(std::ranges::count_if(utf8, [](char c) { return (c & 0xC0) != 0x80; }));
}

// The code points with which both texts begin.
std::string_view CommonBegin(std::string_view a, std::string_view b) {
  auto end = static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  while (end < a.size() && (a[end] & 0xC0) == 0x80) --end;
  return a.substr(0, end);
}

}  // namespace

std::string_view PromptChangeName(PromptChange change) {
  constexpr std::string_view kNames[kPromptChanges] = {
      "none", "cache_salt", "tools", "reasoning_effort", "variables", "message", "template", "tokenization"};
  return kNames[static_cast<size_t>(change)];
}

// Spellings of the same JSON value are the same call.
uint64_t AddCall(uint64_t calls, std::string_view name, std::string_view arguments) {
  boost::system::error_code error;
  const json::value parsed = json::parse({arguments.data(), arguments.size()}, error);
  calls = FnvAdd(FnvAdd(calls == 0 ? kFnvEmpty : calls, name), uint64_t{0x100});
  return error ? FnvAdd(calls, arguments) : FnvAdd(calls, json::serialize(parsed));
}

void PromptRecord::BeginMessage(std::string_view role) {
  contents.Append(kRole | Folded(FnvAdd(kFnvEmpty, role)));
  messages.push_back({.content = contents.size(), .system = role == "system" || role == "developer"});
}

void PromptRecord::EndMessage(uint64_t calls) {
  messages.back().length = contents.size() - messages.back().content;
  contents.Append(kEnd | Folded(calls));
}

void PromptRecord::AddMessages(const json::array& list) {
  for (const json::value& value : list) {
    const json::object* message = value.if_object();
    if (message == nullptr) continue;  // it was refused before
    const json::value* role = message->if_contains("role");
    BeginMessage(role != nullptr && role->is_string() ? std::string_view(role->get_string()) : "");
    shown_.push_back(RepairUtf8(TextOfContent(message->if_contains("content"))));
    contents.AppendText(shown_.back());
    EndMessage(CallsOf(*message));
  }
}

// A content is looked for where text of the request begins, behind the content before it. Where the template
// has trimmed it, the place is that of the content as it was.
void PromptRecord::FindInText(const MarkedText& rendered) {
  const std::string_view bytes = rendered.bytes();
  size_t counted = 0, places = 0, after = 0;  // bytes that were counted, their code points, and the cursor
  const std::vector<ByteRange>& ranges = rendered.input();
  for (size_t i = 0; i < shown_.size(); ++i) {
    const std::string_view whole = shown_[i];
    const size_t begin = std::min(whole.find_first_not_of(kSpace), whole.size());
    const std::string_view trimmed = whole.substr(begin, whole.find_last_not_of(kSpace) + 1 - begin);
    if (trimmed.empty()) continue;
    auto range = std::lower_bound(ranges.begin(), ranges.end(), after,
                                  [](const ByteRange& one, size_t at) { return one.begin < at; });
    const auto shows = [&](const ByteRange& one) {
      const std::string_view text = bytes.substr(one.begin);
      return text.starts_with(whole) || text.starts_with(trimmed);
    };
    range = std::find_if(range, ranges.end(), shows);
    if (range == ranges.end()) continue;
    const bool as_it_is = bytes.substr(range->begin).starts_with(whole);
    places += CodePointsIn(bytes.substr(counted, range->begin - counted));
    counted = range->begin;
    after = counted + (as_it_is ? whole : trimmed).size();
    messages[i].text = static_cast<int64_t>(places) -
                       (as_it_is ? 0 : static_cast<int64_t>(CodePointsIn(whole.substr(0, begin))));
  }
}

void PromptRecord::AddPrompt(const MarkedText& rendered, std::span<const TokenId> ids) {
  if (messages.empty()) {
    BeginMessage("");
    messages.back().length = contents.AppendText(rendered.bytes());
    messages.back().text = 0;
    is_text_ = true;
  } else {
    FindInText(rendered);
  }
  std::vector<std::string>().swap(shown_);
  text.AppendText(rendered.bytes());
  for (const TokenId id : ids) tokens.Append(static_cast<uint32_t>(id));
  prompt_messages = messages.size();
  prompt_tokens = tokens.size();
}

void PromptRecord::AddAnswer(const TextPiece& piece) {
  if (messages.size() == prompt_messages && !is_text_) BeginMessage("assistant");
  contents.AppendText(piece.text);
  for (const OutputEvent& event : piece.events) {
    switch (event.kind) {
      case OutputEvent::Kind::kContent:
        contents.AppendText(event.text);
        break;
      case OutputEvent::Kind::kReasoning:
        break;
      case OutputEvent::Kind::kCall:
        call_name_ = event.text;
        break;
      case OutputEvent::Kind::kArguments:
        arguments_ += event.text;
        break;
      case OutputEvent::Kind::kCallEnd:
        calls_ = AddCall(calls_, call_name_, arguments_);
        std::string().swap(arguments_);
        break;
    }
  }
}

void PromptRecord::EndAnswer(const Tokenizer& tokenizer, std::span<const TokenId> prompt) {
  if (messages.size() > prompt_messages) EndMessage(calls_);
  std::optional<TokenId> last;
  if (!answer_ids_.empty()) {
    last = answer_ids_.back();
    answer_ids_.pop_back();
  }
  Detokenizer stream(tokenizer, /*skip_special_tokens=*/false, PromptTail(tokenizer, prompt));
  for (const TokenId id : answer_ids_) {
    text.AppendText(stream.Push(id));
    tokens.Append(static_cast<uint32_t>(id));
  }
  // What the stream holds back, as far as the last token has not made another text of it.
  Detokenizer copy = stream;
  const std::string held = copy.Flush();
  std::string sent;
  if (last) sent = stream.Push(*last);
  sent += stream.Flush();
  text.AppendText(CommonBegin(held, sent));
  std::vector<TokenId>().swap(answer_ids_);
  for (PrefixTrace* trace : {&contents, &text, &tokens}) trace->ShrinkToFit();
}

MessagePlace PromptRecord::PlaceInContents(size_t unit) const {
  const auto next =
      std::ranges::find_if(messages, [&](const MessageMark& m) { return m.content > unit + 1; });
  const size_t index = std::max<ptrdiff_t>(next - messages.begin(), 1) - 1;
  const MessageMark& mark = messages[index];
  MessagePlace place{.message = index, .character = {}};
  if (unit >= mark.content) place.character = unit - mark.content;  // otherwise it is the role
  return place;
}

// What stands between two contents belongs to the later message: the template begins it there.
MessagePlace PromptRecord::PlaceInText(size_t code_point) const {
  const auto at = static_cast<int64_t>(code_point);
  MessagePlace place;
  bool found = false;
  for (size_t i = 0; i < messages.size(); ++i) {
    const MessageMark& mark = messages[i];
    if (!mark.text) continue;
    if (*mark.text > at) break;
    place.message = i;
    found = true;
  }
  if (!found) return place;
  const MessageMark& mark = messages[place.message];
  const auto inside = static_cast<size_t>(at - *mark.text);
  if (inside < mark.length) {
    place.character = inside;
  } else if (place.message + 1 < messages.size()) {
    ++place.message;
  }
  return place;
}

std::optional<MessagePlace> PromptRecord::PlaceOfToken(std::span<const TokenId> ids, size_t token,
                                                       const Tokenizer& tokenizer) const {
  if (messages.empty() || token >= ids.size()) return std::nullopt;
  return PlaceInText(CodePointsOf(ids.first(token), tokenizer));
}

size_t PromptRecord::CodePointsOf(std::span<const TokenId> ids, const Tokenizer& tokenizer) const {
  const std::string decoded = tokenizer.Decode(ids, /*skip_special_tokens=*/false);
  PrefixTrace found;
  for (size_t at = 0; at < decoded.size(); at += Utf8Length(decoded[at])) {
    const char32_t point = Utf8At(decoded.data() + at);
    if (found.GoesOnIn(text, point)) {
      found.Append(point);
    } else if (point != U' ') {  // the tokenizer changes texts otherwise, or the ids end within a code point
      return found.size() + CodePointsIn(std::string_view(decoded).substr(at));
    }
  }
  return found.size();
}

size_t PromptRecord::held_bytes() const {
  constexpr size_t kNodes = 256;
  size_t bytes = kNodes + sizeof(*this) + id.capacity() + messages.capacity() * sizeof(MessageMark) +
                 contents.held_bytes() + text.held_bytes() + tokens.held_bytes() +
                 answer_ids_.capacity() * sizeof(TokenId);
  if (comparison) bytes += comparison->id.capacity();
  return bytes;
}

}  // namespace prefixd
