// Conversion of values from and to JSON, as Python's json module does it.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cmath>

#include "base/json_fields.h"
#include "text/jinja/value.h"

namespace prefixd::jinja {
namespace {

constexpr char kNumber = kJsonNumberMark;  // stands in front of a number, in a string

// Whether `text` is a number in the grammar of JSON.
bool IsJsonNumber(std::string_view text) {
  const auto skip_digits = [&] {
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(digits);
    return digits;
  };
  if (text.starts_with('-')) text.remove_prefix(1);
  const bool zero = text.starts_with('0');
  const size_t whole = skip_digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (skip_digits() == 0) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (skip_digits() == 0) return false;
  }
  return text.empty();
}

// The roles of a conversation. Templates write them into control tokens: '<|' + role + '|>'.
constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool", "function"};

class Converter {
 public:
  Converter(bool input, Budget& budget) : input_(input), budget_(budget) {}

  Value Convert(const boost::json::value& json, int depth) const;

 private:
  Value Text(std::string text) const {
    return Value::Marked(input_ ? MarkedText::Input(std::move(text)) : MarkedText::Own(std::move(text)));
  }
  static Value Number(std::string_view text) {
    if (text.find_first_of(".eE") != std::string_view::npos)
      return Value::Float(ParseFloat(text).value_or(0));
    if (const auto value = ParseInt(text, 10)) return Value::Integer(*value);
    return Value(LongInt{std::make_shared<const std::string>(text)});
  }
  // The member of an object at `depth`.
  Value Member(std::string_view key, const boost::json::value& json, int depth) const {
    constexpr int kMessage = kMaxValueDepth - 1;  // of an object in a list
    const boost::json::string* role = depth == kMessage && key == "role" ? json.if_string() : nullptr;
    if (role && std::find(std::begin(kRoles), std::end(kRoles), std::string_view(*role)) != std::end(kRoles))
      return Value::Text(std::string(*role));
    return Convert(json, depth - 1);
  }

  const bool input_;
  Budget& budget_;
};

Value Converter::Convert(const boost::json::value& json, int depth) const {
  namespace bj = boost::json;
  if (depth == 0) Budget::Exhausted("levels of nested values", kMaxValueDepth);
  switch (json.kind()) {
    case bj::kind::null:
      return Value();
    case bj::kind::bool_:
      return Value::Bool(json.get_bool());
    case bj::kind::int64:
      return Value::Integer(json.get_int64());
    case bj::kind::uint64:
      return Value::Integer(json.get_uint64());
    case bj::kind::double_:
      return Value::Float(json.get_double());
    case bj::kind::string:
      return json.get_string().starts_with(kNumber) ? Number(json.get_string().subview(1))
                                                    : Text(std::string(json.get_string()));
    case bj::kind::array: {
      std::vector<Value> items;
      items.reserve(json.get_array().size());
      for (const auto& item : json.get_array()) items.push_back(Convert(item, depth - 1));
      return Sequence::Make(Sequence::Type::kList, std::move(items), budget_);
    }
    case bj::kind::object: {
      Dict dict;
      for (const auto& [key, value] : json.get_object()) {
        dict.Set(Text(std::string(key)), Member(key, value, depth));
      }
      return Dict::Make(std::move(dict), budget_);
    }
  }
  return Value();
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void Write(const Value& value, int level) {
    budget_.Steps(1);
    budget_.StringSize(out_.size());
    if (value.Is<None>()) {
      out_ += "null";
    } else if (const bool* b = value.As<bool>()) {
      out_ += *b ? "true" : "false";
    } else if (const Int* i = value.As<Int>()) {
      out_ += ReprInt(*i);
    } else if (const double* d = value.As<double>()) {
      out_ += NumberText(*d);
    } else if (const auto* long_int = value.As<LongInt>()) {
      out_ += *long_int->digits;
    } else if (value.text()) {
      Quote(*value.marked());
    } else if (const Sequence* s = value.sequence(); s && IsArray(*s)) {
      WriteArray(*s, level);
    } else if (value.dict()) {
      WriteObject(*value.dict(), level);
    } else {
      Raise("Object of type " + std::string(TypeName(value)) + " is not JSON serializable");
    }
  }
  // The same without a tree of values, which takes many times the memory of its text. Numbers that JSON does
  // not have are refused.
  void Write(const boost::json::value& json, int level) {
    if (level == kMaxValueDepth) Budget::Exhausted("levels of nested values", kMaxValueDepth);
    if (const boost::json::array* array = json.if_array()) {
      out_ += '[';
      for (size_t i = 0; i < array->size(); ++i) {
        if (i > 0) out_ += style_.item_separator;
        Write((*array)[i], level + 1);
      }
      out_ += ']';
    } else if (const boost::json::object* object = json.if_object()) {
      out_ += '{';
      for (auto member = object->begin(); member != object->end(); ++member) {
        if (member != object->begin()) out_ += style_.item_separator;
        Quote(MarkedText::Own(std::string(member->key())));
        out_ += style_.key_separator;
        Write(member->value(), level + 1);
      }
      out_ += '}';
    } else {
      const Value scalar = Converter(/*input=*/false, budget_).Convert(json, 1);
      if (const double* d = scalar.As<double>(); d && !std::isfinite(*d))
        Raise("a number is out of the range of doubles.");
      Write(scalar, level);
    }
    budget_.StringSize(out_.size());
  }
  MarkedText Take() { return std::move(out_); }

 private:
  static bool IsArray(const Sequence& s) {
    return s.type == Sequence::Type::kList || s.type == Sequence::Type::kTuple;
  }

  static std::string NumberText(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return ReprFloat(d);
  }

  void NewLine(int level) {
    if (!style_.indent) return;
    budget_.StringSize(out_.size() + SaturatingProduct(style_.indent->size(), static_cast<size_t>(level)));
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += *style_.indent;
  }

  void WriteArray(const Sequence& sequence, int level) {
    out_ += '[';
    for (size_t i = 0; i < sequence.items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      Write(sequence.items[i], level + 1);
    }
    if (!sequence.items.empty()) NewLine(level);
    out_ += ']';
  }

  void WriteObject(const Dict& dict, int level) {
    std::vector<const std::pair<Value, Value>*> items;
    items.reserve(dict.items.size());
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [&](const auto* a, const auto* b) { return Less(a->first, b->first, budget_); });
    }
    out_ += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      NewLine(level + 1);
      WriteKey(items[i]->first);
      out_ += style_.key_separator;
      Write(items[i]->second, level + 1);
    }
    if (!items.empty()) NewLine(level);
    out_ += '}';
  }

  void WriteKey(const Value& key) {
    if (key.text()) return Quote(*key.marked());
    if (key.Is<None>()) return QuoteName("null");
    if (const bool* b = key.As<bool>()) return QuoteName(*b ? "true" : "false");
    if (const double* d = key.As<double>()) return QuoteName(NumberText(*d));
    QuoteName(ReprInt(*key.As<Int>()));  // the keys of a dict are scalars
  }

  static void Unicode(unsigned unit, std::string* out) {
    char buffer[8];
    out->append(buffer, static_cast<size_t>(std::snprintf(buffer, sizeof buffer, "\\u%04x", unit)));
  }

  void Quote(const MarkedText& text) {
    out_ += '"';
    out_ += text.MapRuns([&](std::string_view run) { return Escaped(run); });
    out_ += '"';
  }
  void QuoteName(std::string_view own) {
    out_ += '"';
    out_ += own;
    out_ += '"';
  }

  std::string Escaped(std::string_view text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t size = CharacterSize(text, at);
      switch (text[at]) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\b':
          out += "\\b";
          break;
        case '\f':
          out += "\\f";
          break;
        default:
          EscapeOther(text.substr(at, size), &out);
      }
      at += size;
    }
    return out;
  }

  void EscapeOther(std::string_view character, std::string* out) const {
    const char32_t c = CharacterAt(character, 0);
    if (c >= 0x20 && !(style_.ensure_ascii && c > 0x7E)) {
      *out += character;
    } else if (c < 0x10000) {
      Unicode(c, out);
    } else {
      Unicode(0xD800 + ((c - 0x10000) >> 10), out);
      Unicode(0xDC00 + ((c - 0x10000) & 0x3FF), out);
    }
  }

  const JsonStyle& style_;
  Budget& budget_;
  MarkedText out_;
};

}  // namespace

Value FromJson(const boost::json::value& json, bool input, Budget& budget) {
  return Converter(input, budget).Convert(json, kMaxValueDepth);
}

namespace {

// Whether what ends at `end` stands before a colon. No number may.
bool IsKey(std::string_view json, size_t end) {
  const size_t next = json.find_first_not_of(" \t\r\n", end);
  return next != std::string_view::npos && json[next] == ':';
}

}  // namespace

std::string KeepNumbers(std::string_view json) {
  std::string out;
  size_t done = 0;
  for (size_t at = 0; at < json.size();) {
    if (json[at] == '"') {  // a string, to its end
      for (++at; at < json.size() && json[at] != '"'; ++at) at += json[at] == '\\';
      ++at;
      continue;
    }
    const size_t end = std::min(json.find_first_not_of("0123456789+-.eE", at), json.size());
    if (IsJsonNumber(json.substr(at, end - at)) && !IsKey(json, end)) {
      out.append(json, done, at - done) += {'"', kNumber};
      out.append(json, at, end - at) += '"';
      done = end;
    }
    at = std::max(at + 1, end);
  }
  if (done < json.size()) out.append(json, done);
  return out;
}

MarkedText ToJson(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.Write(value, 0);
  MarkedText out = writer.Take();
  budget.StringSize(out.size());
  budget.Bytes(out.size());
  return out;
}

std::string ToJson(const boost::json::value& json, Budget& budget) {
  const JsonStyle style;
  JsonWriter writer(style, budget);
  writer.Write(json, 0);
  return writer.Take().TakeBytes();
}

}  // namespace prefixd::jinja
