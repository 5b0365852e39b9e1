// Filters on text.
#include "text/jinja/filters.h"

#include <algorithm>

#include "text/jinja/evaluator.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"

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
  if (set) e.budget().Scan(text.text()->size(), set->size());
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

std::string UrlQuoted(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    const std::string_view kept = query ? "_.-~" : "_.-~/";
    if (std::isalnum(static_cast<unsigned char>(c)) || kept.find(c) != std::string_view::npos) {
      out += c;
    } else if (query && c == ' ') {
      out += '+';
    } else {
      constexpr char kHex[] = "0123456789ABCDEF";
      out += {'%', kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 15]};
    }
  }
  return out;
}

// Text, or a mapping or pairs as a query string.
Value UrlEncode(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("urlencode", {}, a);
  const bool pairs = v.dict() || v.sequence() || v.Is<std::shared_ptr<const Iterator>>() || v.Is<Undefined>();
  if (!pairs) return NewText(UrlQuoted(Str(v, e.budget()), false), e.budget());
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += UrlQuoted(Str(key, e.budget()), true) + "=" + UrlQuoted(Str(value, e.budget()), true);
    e.budget().StringSize(out.size());
  };
  if (v.dict()) {
    for (const auto& [key, value] : v.dict()->items) add(key, value);
    return NewText(std::move(out), e.budget());
  }
  for (const Value& item : Each(v, e.budget())) {
    const auto pair = ItemsOf(item, e.budget());
    if (pair->items.size() != 2) Raise("urlencode wants pairs");
    add(pair->items[0], pair->items[1]);
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

Value LengthFilter(Evaluator& e, const Value& v, const Arguments&) {
  if (v.text()) e.budget().Scan(v.text()->size());
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

Value Center(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("center", {"width"}, a);
  const Value width = p.given(0) ? *p[0] : Value::Integer(80);
  return Invoke(e, *BindMethod(Soft(e, v), "center"), Arguments{{width}, {}});
}

Value Truncate(Evaluator& e, const Value& v, const Arguments& a) {
  static const std::string kDots = "...";
  const Parameters p("truncate", {"length", "killwords", "end", "leeway"}, a);
  const Value end = p.given(2) ? *p[2] : Value::Text(kDots);
  const Int length = p.Integer(0, 255), leeway = p.Integer(3, 5);
  const Int kept = length - static_cast<Int>(CountCharacters(p.Text(2, kDots)));
  if (kept < 0 || leeway < 0) Raise("truncate wants a length of at least its end, and no negative leeway");
  const auto size = Length(v);
  if (!size) Raise("object of type '" + std::string(TypeName(v)) + "' has no len()");
  if (static_cast<Int>(*size) - leeway <= length) return v;
  if (v.text() == nullptr) Raise("truncate wants a string, not '" + std::string(TypeName(v)) + "'");
  Value text = GetSlice(v, Value(), Value::Integer(kept), Value(), e.budget());
  if (!p.Flag(1)) text = NewText(text.text()->substr(0, text.text()->rfind(' ')), e.budget(), v.markup());
  return ConcatText(text, end, e.budget());
}

Value WordWrap(Evaluator& e, const Value& v, const Arguments& a) {
  static const std::string kNewline = "\n";
  const Parameters p("wordwrap", {"width", "break_long_words", "wrapstring", "break_on_hyphens"}, a);
  if (v.text() == nullptr) Raise("wordwrap wants a string, not '" + std::string(TypeName(v)) + "'");
  const Int width = p.Integer(0, 79);
  const std::string& between = p.given(2) && !p[2]->Is<None>() ? p.Text(2, kNewline) : kNewline;
  e.budget().Bytes(SaturatingProduct(v.text()->size(), 24));  // code points, and where they may be parted
  std::string out;
  for (const std::string_view paragraph : SplitLines(*v.text(), false)) {
    if (paragraph.data() != v.text()->data()) out += between;
    if (paragraph.empty()) continue;
    if (width <= 0) Raise("invalid width " + IntText(width) + " (must be > 0)");
    const WrapStyle style{static_cast<size_t>(std::min<Int>(width, Int{1} << 40)), !p.given(1) || p.Flag(1),
                          !p.given(3) || p.Flag(3)};
    const auto lines = WrapParagraph(paragraph, style);
    for (size_t i = 0; i < lines.size(); ++i) {
      if (i > 0) out += between;
      out += lines[i];
      e.budget().StringSize(out.size());
    }
  }
  return NewText(std::move(out), e.budget());
}

Value XmlAttributes(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("xmlattr", {"autospace"}, a);
  if (const auto* undefined = v.As<Undefined>()) Raise(*undefined->why);
  if (v.dict() == nullptr) Raise("xmlattr wants a mapping, not '" + std::string(TypeName(v)) + "'");
  std::string out;
  for (const auto& [key, value] : v.dict()->items) {
    if (value.Is<None>() || value.Is<Undefined>()) continue;
    if (key.text() == nullptr) Raise("xmlattr wants names that are strings");
    if (key.text()->find_first_of(" \t\n\r\f\v/>=") != std::string::npos)
      Raise("Invalid character in attribute name: " + QuotePython(*key.text()));
    if (!out.empty() || !p.given(0) || p.Flag(0)) out += ' ';
    out += EscapedText(key, e.budget()) + "=\"" + EscapedText(value, e.budget()) + '"';
    e.budget().StringSize(out.size());
  }
  return NewText(std::move(out), e.budget());
}

constexpr FilterEntry kTextFilters[] = {
    {"attr", Attr},
    {"capitalize", MapText<Capitalize>},
    {"center", Center},
    {"count", LengthFilter},
    {"d", Default},
    {"default", Default},
    {"e", EscapeFilter},
    {"escape", EscapeFilter},
    {"forceescape", ForceEscape},
    {"format", Format},
    {"indent", Indent},
    {"length", LengthFilter},
    {"lower", MapText<Lower>},
    {"replace", ReplaceFilter},
    {"safe", SafeFilter},
    {"string", StringFilter},
    {"title", MapText<TitleFilter>},
    {"tojson", ToJsonFilter},
    {"trim", Trim},
    {"truncate", Truncate},
    {"upper", MapText<Upper>},
    {"urlencode", UrlEncode},
    {"wordcount", WordCount},
    {"wordwrap", WordWrap},
    {"xmlattr", XmlAttributes},
};

}  // namespace

Filter FindFilter(std::string_view name) {
  for (const auto& entry : kTextFilters) {
    if (entry.name == name) return entry.filter;
  }
  return FindNumberFilter(name);
}

}  // namespace prefixd::jinja
