#include "text/output/call_reader.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <utility>

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr size_t kMostNameBytes = 96;   // of a name, an id or a key of kCall; names of tools have at most 64
constexpr size_t kMostKeyBytes = 1024;  // of an argument's name between tags

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool IsNameByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         c == '.';
}

std::string Quoted(std::string_view text) { return json::serialize(json::string(text)); }

// The text of a JSON string.
std::optional<std::string> Unquoted(std::string_view quoted) {
  boost::system::error_code error;
  const json::value value = json::parse({quoted.data(), quoted.size()}, error);
  if (error || !value.is_string()) return std::nullopt;
  return std::string(value.get_string());
}

// The JSON type of a value that IsJson.
std::string_view TypeOf(std::string_view value) {
  switch (value[value.find_first_not_of(" \t\r\n")]) {
    case '{':
      return "object";
    case '[':
      return "array";
    case '"':
      return "string";
    case 't':
    case 'f':
      return "boolean";
    case 'n':
      return "null";
    default:
      return value.find_first_of(".eE") == std::string_view::npos ? "integer" : "number";
  }
}

// A value between tags as JSON, of a type that the tool allows: what is no value of another type is a string.
std::string TypedValue(std::string_view text, const ToolTypes& types, std::string_view key) {
  const auto found = types.arguments.find(key);
  if (!IsJson(text)) return Quoted(text);
  if (found == types.arguments.end() || found->second.empty()) return std::string(text);
  const std::string_view type = TypeOf(text);
  const bool allowed =
      found->second.contains(type) || (type == "integer" && found->second.contains("number"));
  const bool either = found->second.contains("string") && type == "string";
  return allowed && !either ? std::string(text) : Quoted(text);
}

}  // namespace

CallReader::CallReader(const ToolFormat& format, const ToolNames& tools, size_t first_step, bool bare)
    : format_(format), tools_(tools), bare_(bare), step_(first_step) {}

CallReader::Result CallReader::Push(char c) {
  if (step_ == format_.call.size()) return Result::kOver;
  switch (step().kind) {
    case StepKind::kText:
      return Text(c);
    case StepKind::kMaybe:
      return Maybe(c);
    case StepKind::kSpace:
      return IsSpace(c) ? Result::kMore : NextWith("", c);
    case StepKind::kName:
    case StepKind::kNameAsId:
    case StepKind::kId:
      return Word(c);
    case StepKind::kCall:
      return Call(c);
    case StepKind::kArguments:
      return Arguments(c);
    case StepKind::kTags:
      return Tags(c);
    case StepKind::kPython:
      return Python(c);
  }
  return Result::kFault;
}

CallReader::Result CallReader::Next() {
  ++step_;
  matched_ = 0;
  text_.clear();
  return step_ == format_.call.size() ? Result::kComplete : Result::kMore;
}

CallReader::Result CallReader::NextWith(std::string read, char c) {
  if (Next() == Result::kComplete) {
    leftover_ = std::move(read);
    return Result::kOver;
  }
  for (const char before : read) {
    const Result result = Push(before);
    if (result != Result::kMore) return Result::kFault;  // steps that come before the end of the arguments
  }
  return Push(c);
}

CallReader::Result CallReader::Text(char c) {
  if (step_ == 0 && matched_ == 0 && IsSpace(c)) return Result::kMore;
  if (c == step().text[matched_]) return ++matched_ == step().text.size() ? Next() : Result::kMore;
  if (!arguments_complete_) return Result::kFault;
  leftover_ = step().text.substr(0, matched_);
  return Result::kOver;
}

CallReader::Result CallReader::Maybe(char c) {
  const std::string_view text = step().text;
  if (c == text[matched_]) return ++matched_ == text.size() ? Next() : Result::kMore;
  const size_t after = step_ + 1;
  if (after < format_.call.size() && format_.call[after].kind == StepKind::kId)
    ++step_;  // goes with the text
  return NextWith(std::string(text.substr(0, matched_)), c);
}

CallReader::Result CallReader::Word(char c) {
  const bool colon = c == ':' && step().kind == StepKind::kNameAsId;
  if (IsNameByte(c) || colon) {
    text_.push_back(c);
    return text_.size() <= kMostNameBytes ? Result::kMore : Result::kFault;
  }
  if (step().kind == StepKind::kId) {
    id_ = text_;
    return NextWith("", c);
  }
  std::string_view name = text_;
  if (step().kind == StepKind::kNameAsId) {
    id_ = text_;
    constexpr std::string_view kNamespace = "functions.";
    if (name.starts_with(kNamespace)) name.remove_prefix(kNamespace.size());
    name = name.substr(0, name.rfind(':'));
  }
  return SetName(name) ? NextWith("", c) : Result::kFault;
}

bool CallReader::SetName(std::string_view name) {
  const auto found = tools_.find(name);
  if (found == tools_.end() || tool_ != nullptr) return false;
  tool_ = &*found;
  return true;
}

CallReader::Result CallReader::Arguments(char c) {
  if (!scanner_) {
    if (c != '{') return Result::kFault;
    scanner_.emplace();
  }
  arguments_.push_back(c);
  const JsonScanner::Result result = scanner_->Push(c);
  if (result != JsonScanner::Result::kDone)
    return result == JsonScanner::Result::kMore ? Result::kMore : Result::kFault;
  scanner_.reset();
  arguments_complete_ = true;
  return Next();
}

CallReader::Result CallReader::Call(char c) {
  if (place_ != Place::kInKey && place_ != Place::kInValue && IsSpace(c)) return Result::kMore;
  switch (place_) {
    case Place::kOpen:
      place_ = Place::kFirstKey;
      return c == '{' ? Result::kMore : Result::kFault;
    case Place::kFirstKey:
    case Place::kKey:
      text_.assign(1, c);
      place_ = Place::kInKey;
      return c == '"' ? Result::kMore : Result::kFault;
    case Place::kInKey:
      return CallKey(c);
    case Place::kColon:
      place_ = Place::kValue;
      return c == ':' ? Result::kMore : Result::kFault;
    case Place::kValue:
      scanner_.emplace();
      text_.clear();
      place_ = Place::kInValue;
      [[fallthrough]];
    case Place::kInValue:
      return CallValue(c);
    case Place::kAfterValue:
      place_ = Place::kKey;
      if (c == ',') return Result::kMore;
      if (c != '}' || tool_ == nullptr || (bare_ && !any_argument_)) return Result::kFault;
      if (!any_argument_) arguments_ = "{}";
      arguments_complete_ = true;
      return Next();
  }
  return Result::kFault;
}

CallReader::Result CallReader::CallKey(char c) {
  text_.push_back(c);
  if (text_.size() > kMostNameBytes || c == '\\') return Result::kFault;
  if (c != '"') return Result::kMore;
  key_ = text_.substr(1, text_.size() - 2);
  place_ = Place::kColon;
  const bool arguments = key_ == "arguments" || key_ == "parameters";
  const bool known = key_ == "name" ? tool_ == nullptr
                     : arguments    ? !any_argument_
                                    : key_ == "id" && id_.empty();
  any_argument_ = any_argument_ || arguments;
  return known ? Result::kMore : Result::kFault;
}

CallReader::Result CallReader::CallValue(char c) {
  const bool arguments = key_ != "name" && key_ != "id";
  std::string& value = arguments ? arguments_ : text_;
  if (matched_ == 0 && c != (arguments ? '{' : '"')) return Result::kFault;
  matched_ = 1;  // the first byte was read
  value.push_back(c);
  if (!arguments && value.size() > kMostNameBytes) return Result::kFault;
  const JsonScanner::Result result = scanner_->Push(c);
  if (result != JsonScanner::Result::kDone)
    return result == JsonScanner::Result::kMore ? Result::kMore : Result::kFault;
  scanner_.reset();
  matched_ = 0;
  place_ = Place::kAfterValue;
  if (arguments) return Result::kMore;
  const std::optional<std::string> text = Unquoted(value);
  if (!text) return Result::kFault;
  if (key_ == "name") return SetName(*text) ? Result::kMore : Result::kFault;
  id_ = *text;
  return Result::kMore;
}

CallReader::Result CallReader::Tags(char c) {
  const ArgumentTags& tags = *step().tags;
  switch (tag_place_) {
    case TagPlace::kBetween:
      if (matched_ == 0 && IsSpace(c)) return Result::kMore;
      if (c != tags.key[matched_]) {
        arguments_.append(any_argument_ ? "}" : "{}");
        arguments_complete_ = true;
        return NextWith(std::string(tags.key.substr(0, matched_)), c);
      }
      if (++matched_ == tags.key.size()) {
        tag_place_ = TagPlace::kKey;
        text_.clear();
      }
      return Result::kMore;
    case TagPlace::kKey:
      text_.push_back(c);
      if (text_.size() > kMostKeyBytes) return Result::kFault;
      if (!text_.ends_with(tags.key_end)) return Result::kMore;
      key_ = text_.substr(0, text_.size() - tags.key_end.size());
      text_.clear();
      matched_ = 0;
      tag_place_ = tags.value.empty() ? TagPlace::kValue : TagPlace::kBeforeValue;
      return Result::kMore;
    case TagPlace::kBeforeValue:
      if (matched_ == 0 && IsSpace(c)) return Result::kMore;
      if (c != tags.value[matched_]) return Result::kFault;
      if (++matched_ == tags.value.size()) tag_place_ = TagPlace::kValue;
      return Result::kMore;
    case TagPlace::kValue:
      text_.push_back(c);
      if (!text_.ends_with(tags.value_end)) return Result::kMore;
      AddTagged();
      return Result::kMore;
  }
  return Result::kFault;
}

// The argument key_ with the value text_, which ends with its tag.
void CallReader::AddTagged() {
  const ArgumentTags& tags = *step().tags;
  std::string_view value = text_;
  value.remove_suffix(tags.value_end.size());
  if (tags.line_feeds && value.starts_with('\n')) value.remove_prefix(1);
  if (tags.line_feeds && value.ends_with('\n')) value.remove_suffix(1);
  arguments_.append(any_argument_ ? ", " : "{").append(Quoted(key_)).append(": ");
  arguments_.append(TypedValue(value, tool_->second, key_));
  any_argument_ = true;
  text_.clear();
  matched_ = 0;
  tag_place_ = TagPlace::kBetween;
}

CallReader::Result CallReader::Python(char c) {
  text_.push_back(c);
  const bool last = python_.Push(c);
  if (python_.faulty()) return Result::kFault;
  if (!last) return Result::kMore;
  std::string name;
  if (!ReadPythonCall(text_, &name, &arguments_) || !SetName(name)) return Result::kFault;
  arguments_complete_ = true;
  return Next();
}

}  // namespace prefixd
