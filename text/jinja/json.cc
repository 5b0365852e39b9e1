// Conversion of values from and to JSON, as Python's json module does it.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cmath>

#include "text/jinja/value.h"

namespace prefixd::jinja {
namespace {

Value Convert(const boost::json::value& json, int depth, Budget& budget) {
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
      return Value::Text(std::string(json.get_string()));
    case bj::kind::array: {
      std::vector<Value> items;
      items.reserve(json.get_array().size());
      for (const auto& item : json.get_array()) items.push_back(Convert(item, depth - 1, budget));
      return Sequence::Make(Sequence::Type::kList, std::move(items), budget);
    }
    case bj::kind::object: {
      Dict dict;
      for (const auto& [key, value] : json.get_object()) {
        dict.Set(Value::Text(std::string(key)), Convert(value, depth - 1, budget));
      }
      return Dict::Make(std::move(dict), budget);
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
    } else if (value.text()) {
      Quote(*value.text());
    } else if (const Sequence* s = value.sequence(); s && IsArray(*s)) {
      WriteArray(*s, level);
    } else if (value.dict()) {
      WriteObject(*value.dict(), level);
    } else {
      Raise("Object of type " + std::string(TypeName(value)) + " is not JSON serializable");
    }
  }
  std::string Take() { return std::move(out_); }

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
    if (key.text()) return Quote(*key.text());
    if (key.Is<None>()) return Quote("null");
    if (const bool* b = key.As<bool>()) return Quote(*b ? "true" : "false");
    if (const double* d = key.As<double>()) return Quote(NumberText(*d));
    Quote(ReprInt(*key.As<Int>()));  // the keys of a dict are scalars
  }

  void Unicode(unsigned unit) {
    char buffer[8];
    out_.append(buffer, static_cast<size_t>(std::snprintf(buffer, sizeof buffer, "\\u%04x", unit)));
  }

  void Quote(std::string_view text) {
    out_ += '"';
    for (size_t at = 0; at < text.size();) {
      const size_t size = CharacterSize(text, at);
      const char c = text[at];
      switch (c) {
        case '"':
          out_ += "\\\"";
          break;
        case '\\':
          out_ += "\\\\";
          break;
        case '\n':
          out_ += "\\n";
          break;
        case '\r':
          out_ += "\\r";
          break;
        case '\t':
          out_ += "\\t";
          break;
        case '\b':
          out_ += "\\b";
          break;
        case '\f':
          out_ += "\\f";
          break;
        default:
          QuoteOther(text.substr(at, size));
      }
      at += size;
    }
    out_ += '"';
  }

  void QuoteOther(std::string_view character) {
    const char32_t c = CharacterAt(character, 0);
    if (c >= 0x20 && !(style_.ensure_ascii && c > 0x7E)) {
      out_ += character;
    } else if (c < 0x10000) {
      Unicode(c);
    } else {
      Unicode(0xD800 + ((c - 0x10000) >> 10));
      Unicode(0xDC00 + ((c - 0x10000) & 0x3FF));
    }
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
};

}  // namespace

Value FromJson(const boost::json::value& json, Budget& budget) {
  return Convert(json, kMaxValueDepth, budget);
}

std::string ToJson(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonWriter writer(style, budget);
  writer.Write(value, 0);
  std::string out = writer.Take();
  budget.StringSize(out.size());
  budget.Bytes(out.size());
  return out;
}

}  // namespace prefixd::jinja
