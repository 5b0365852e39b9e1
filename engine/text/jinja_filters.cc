// The table of filters, and those on text and scalars; filters on sequences are in jinja_sequence_filters.cc.
#include "engine/text/jinja_filters.h"

#include <algorithm>
#include <cmath>

#include "engine/text/jinja_evaluator.h"
#include "engine/text/jinja_format.h"
#include "engine/text/jinja_operators.h"

namespace prefixd::jinja {
namespace {

const std::string kEmpty;

// The input as text, markup kept.
Value Soft(Evaluator& e, const Value& v) { return v.text() ? v : NewText(Str(v, e.budget()), e.budget()); }

template <std::string (*map)(std::string_view)>
Value MapText(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("filter", {}, a);
  const Value text = Soft(e, v);
  return NewText(map(*text.text()), e.budget(), text.markup());
}

Value StringFilter(Evaluator& e, const Value& v, const Arguments&) { return Soft(e, v); }
Value SafeFilter(Evaluator& e, const Value& v, const Arguments&) {
  return NewText(Str(v, e.budget()), e.budget(), true);
}
Value EscapeFilter(Evaluator& e, const Value& v, const Arguments&) {
  return NewText(EscapedText(v, e.budget()), e.budget(), true);
}
Value ForceEscape(Evaluator& e, const Value& v, const Arguments&) {
  return NewText(EscapeHtml(Str(v, e.budget())), e.budget(), true);
}

Value Trim(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("trim", {"chars"}, a);
  const Value text = Soft(e, v);
  const bool spaces = !p.given(0) || p[0]->Is<None>();
  const auto set = spaces ? std::nullopt : std::optional<std::string_view>(p.Text(0, kEmpty));
  return NewText(std::string(Strip(*text.text(), Side::kBoth, set)), e.budget(), text.markup());
}

Value ReplaceFilter(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("replace", {"old", "new", "count"}, a, 2);
  const std::string text = Str(v, e.budget()), old = Str(*p[0], e.budget()), with = Str(*p[1], e.budget());
  const size_t grown = SaturatingProduct(CountOccurrences(text, old), with.size());
  e.budget().StringSize(std::max(grown, grown + text.size()));
  const Int count = std::clamp<Int>(p.Integer(2, -1), -1, Int{1} << 40);
  return NewText(Replace(text, old, with, static_cast<int64_t>(count)), e.budget());
}

Value Indent(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("indent", {"width", "first", "blank"}, a);
  if (v.text() == nullptr) Raise("indent wants a string, not '" + std::string(TypeName(v)) + "'");
  std::string margin;
  if (p.given(0) && p[0]->text()) {
    margin = *p[0]->text();
  } else {
    const Int width = std::clamp<Int>(p.Integer(0, 4), 0, Int{1} << 40);
    e.budget().StringSize(static_cast<size_t>(width));
    margin.assign(static_cast<size_t>(width), ' ');
  }
  const std::string closed = *v.text() + "\n";
  const auto lines = SplitLines(closed, false);
  e.budget().StringSize(SaturatingProduct(lines.size(), margin.size()));
  std::string out = p.Flag(1) ? margin : std::string();
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (p.Flag(2) || !lines[i].empty())) out += margin;
    out += lines[i];
  }
  return NewText(std::move(out), e.budget(), v.markup());
}

Value Format(Evaluator& e, const Value& v, const Arguments& a) {
  if (!a.positional.empty() && !a.named.empty())
    Raise("format takes positional or named arguments, not both");
  Value arguments;
  if (a.named.empty()) {
    arguments = Sequence::Make(Sequence::Flavor::kTuple, a.positional, e.budget());
  } else {
    Dict dict;
    for (const auto& [name, value] : a.named) dict.Set(Value::Text(name), value);
    arguments = Dict::Make(std::move(dict), e.budget());
  }
  return FormatPercent(Soft(e, v), arguments, e.budget());
}

Value UrlEncode(Evaluator& e, const Value& v, const Arguments&) {
  if (v.dict() || v.sequence()) Raise("urlencode is supported for strings and numbers only");
  std::string out;
  for (const char c : Str(v, e.budget())) {
    if (std::isalnum(static_cast<unsigned char>(c)) ||
        std::string_view("_.-~/").find(c) != std::string_view::npos) {
      out += c;
    } else {
      constexpr char kHex[] = "0123456789ABCDEF";
      out += {'%', kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 15]};
    }
  }
  return NewText(std::move(out), e.budget());
}

Value WordCount(Evaluator& e, const Value& v, const Arguments&) {
  const std::string text = Str(v, e.budget());
  Int words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size(); at += CharacterSize(text, at)) {
    const std::string_view character = std::string_view(text).substr(at, CharacterSize(text, at));
    const bool belongs = character == "_" || AllOf(character, CharacterClass::kAlnum);
    words += belongs && !inside;
    inside = belongs;
  }
  return Value::Integer(words);
}

Value ToJsonFilter(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, a);
  JsonStyle style;
  style.ensure_ascii = p.Flag(0);
  style.sort_keys = p.Flag(3);
  if (p.given(1) && p[1]->text()) {
    style.indent = *p[1]->text();
  } else if (p.given(1) && !p[1]->Is<None>()) {
    const Int width = std::clamp<Int>(p.Integer(1, 0), 0, Int{1} << 40);
    e.budget().StringSize(static_cast<size_t>(width));
    style.indent = std::string(static_cast<size_t>(width), ' ');
  }
  if (style.indent) style.item_separator = ",";
  if (p.given(2) && !p[2]->Is<None>()) {
    const auto pair = ItemsOf(*p[2], e.budget());
    if (pair->items.size() != 2 || !pair->items[0].text() || !pair->items[1].text())
      Raise("separators wants two strings");
    style.item_separator = *pair->items[0].text();
    style.key_separator = *pair->items[1].text();
  }
  return NewText(ToJson(v, style, e.budget()), e.budget());
}

Value Default(Evaluator&, const Value& v, const Arguments& a) {
  const Parameters p("default", {"default_value", "boolean"}, a);
  if (!v.Is<Undefined>() && !(p.Flag(1) && !Truth(v))) return v;
  return p.given(0) ? *p[0] : Value::Text("");
}

Int IntOfDouble(double d) {
  if (std::isinf(d)) Raise("cannot convert float infinity to integer");
  if (std::fabs(d) >= 0x1p126) Raise("an integer of the template is too large");
  return static_cast<Int>(d);
}

Value IntFilter(Evaluator&, const Value& v, const Arguments& a) {
  const Parameters p("int", {"default", "base"}, a);
  if (const auto* undefined = v.As<Undefined>()) Raise(*undefined->why);
  if (const auto i = AsInt(v)) return Value::Integer(*i);
  std::optional<double> real;
  if (const double* d = v.As<double>()) real = *d;
  if (v.text()) {
    const Int base = p.Integer(1, 10);
    if (base == 0 || (base >= 2 && base <= 36)) {
      if (const auto parsed = ParseInt(*v.text(), static_cast<int>(base))) return Value::Integer(*parsed);
    }
    real = ParseFloat(*v.text());
    if (real && std::isinf(*real)) real.reset();
  }
  if (real && !std::isnan(*real)) return Value::Integer(IntOfDouble(*real));
  return p.given(0) ? *p[0] : Value::Integer(0);
}

Value FloatFilter(Evaluator&, const Value& v, const Arguments& a) {
  const Parameters p("float", {"default"}, a);
  if (const auto* undefined = v.As<Undefined>()) Raise(*undefined->why);
  if (v.Is<double>()) return v;
  if (const auto i = AsInt(v)) return Value::Float(static_cast<double>(*i));
  if (v.text()) {
    if (const auto parsed = ParseFloat(*v.text())) return Value::Float(*parsed);
  }
  return p.given(0) ? *p[0] : Value::Float(0);
}

Value Abs(Evaluator& e, const Value& v, const Arguments&) {
  return Less(v, Value::Integer(0), e.budget()) ? Negate(v) : Affirm(v);
}

Value Round(Evaluator&, const Value& v, const Arguments& a) {
  static const std::string kCommon = "common";
  const Parameters p("round", {"precision", "method"}, a);
  const std::string& method = p.Text(1, kCommon);
  if (method != "common" && method != "ceil" && method != "floor")
    Raise("method must be common, ceil or floor");
  const Int precision = p.Integer(0, 0);
  if (precision < -300 || precision > 300) Raise("round takes a precision from -300 to 300");
  const double* real = v.As<double>();
  const auto integer = AsInt(v);
  if (real == nullptr && !integer) Raise("round wants a number, not '" + std::string(TypeName(v)) + "'");
  const double value = real ? *real : static_cast<double>(*integer);
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method != "common") {
    return Value::Float((method == "ceil" ? std::ceil(value * scale) : std::floor(value * scale)) / scale);
  }
  if (integer && precision >= 0) return Value::Integer(*integer);
  if (precision < 0) {
    const double rounded = std::nearbyint(value * scale) / scale;
    return integer ? Value::Integer(IntOfDouble(rounded)) : Value::Float(rounded);
  }
  char buffer[700];  // printf rounds the exact value, ties to even, as Python does
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), value);
  return Value::Float(std::strtod(buffer, nullptr));
}

Value LengthFilter(Evaluator&, const Value& v, const Arguments&) {
  const auto length = Length(v);
  if (!length) Raise("object of type '" + std::string(TypeName(v)) + "' has no len()");
  return Value::Integer(static_cast<Int>(*length));
}

Value Attr(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("attr", {"name"}, a, 1);
  // Unlike a dot, this filter never finds the keys of a dict.
  const Value found = GetAttribute(v, p.Text(0, kEmpty), e.budget());
  const bool is_key = v.dict() && !found.Is<std::shared_ptr<const Callable>>();
  return is_key ? Value::Missing("'dict object' has no attribute " + QuotePython(p.Text(0, kEmpty))) : found;
}

constexpr FilterEntry kTextFilters[] = {
    {"abs", Abs},
    {"attr", Attr},
    {"capitalize", MapText<Capitalize>},
    {"count", LengthFilter},
    {"d", Default},
    {"default", Default},
    {"e", EscapeFilter},
    {"escape", EscapeFilter},
    {"float", FloatFilter},
    {"forceescape", ForceEscape},
    {"format", Format},
    {"indent", Indent},
    {"int", IntFilter},
    {"length", LengthFilter},
    {"lower", MapText<Lower>},
    {"replace", ReplaceFilter},
    {"round", Round},
    {"safe", SafeFilter},
    {"string", StringFilter},
    {"title", MapText<TitleFilter>},
    {"tojson", ToJsonFilter},
    {"trim", Trim},
    {"upper", MapText<Upper>},
    {"urlencode", UrlEncode},
    {"wordcount", WordCount},
};

}  // namespace

Filter FindFilter(std::string_view name) {
  for (const auto& entry : kTextFilters) {
    if (entry.name == name) return entry.filter;
  }
  return FindSequenceFilter(name);
}

}  // namespace prefixd::jinja
