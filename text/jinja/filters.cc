// Filters on text.
#include "text/jinja/filters.h"

#include <algorithm>

#include "text/jinja/evaluator.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

const std::string kEmpty;

// Jinja's soft_str: the value as a str; keeps markup.
Value SoftStr(Evaluator& e, const Value& v) { return v.text() ? v : NewText(Str(v, e.budget()), e.budget()); }

template <std::string (*map)(std::string_view)>
Value MapText(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("filter", {}, a);
  const Value text = SoftStr(e, v);
  return NewText(text.marked()->MapWhole(map), e.budget(), text.markup());
}

Value StringFilter(Evaluator& e, const Value& v, const Arguments&) { return SoftStr(e, v); }
Value SafeFilter(Evaluator& e, const Value& v, const Arguments&) {
  return NewText(Str(v, e.budget()), e.budget(), true);
}
Value EscapeFilter(Evaluator& e, const Value& v, const Arguments&) {
  return NewText(EscapedText(v, e.budget()), e.budget(), true);
}
Value Trim(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("trim", {"chars"}, a);
  const Value text = SoftStr(e, v);
  const bool spaces = !p.given(0) || p[0]->Is<None>();
  const auto set = spaces ? std::nullopt : std::optional<std::string_view>(p.Text(0, kEmpty));
  if (set) e.budget().Scan(text.text()->size(), set->size());
  const std::string_view stripped = Strip(*text.text(), Side::kBoth, set);
  return NewText(text.marked()->Part(stripped), e.budget(), text.markup());
}

Value ReplaceFilter(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("replace", {"old", "new", "count"}, a, 2);
  const MarkedText text = Str(v, e.budget()), with = Str(*p[1], e.budget());
  const std::string old = Str(*p[0], e.budget()).TakeBytes();
  const size_t grown = SaturatingProduct(CountOccurrences(text.bytes(), old), with.size());
  e.budget().StringSize(std::max(grown, grown + text.size()));
  const Int count = std::clamp<Int>(p.Integer(2, -1), -1, Int{1} << 40);
  return NewText(Replace(text, old, with, static_cast<int64_t>(count)), e.budget());
}

Value Indent(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("indent", {"width", "first", "blank"}, a);
  if (v.text() == nullptr) Raise("indent requires a string, not '" + std::string(TypeName(v)) + "'");
  MarkedText margin;
  if (p.given(0) && p[0]->text()) {
    margin = *p[0]->marked();
  } else {
    const Int width = std::clamp<Int>(p.Integer(0, 4), 0, Int{1} << 40);
    e.budget().StringSize(static_cast<size_t>(width));
    margin += std::string(static_cast<size_t>(width), ' ');
  }
  MarkedText closed = *v.marked();
  closed += '\n';
  const auto lines = SplitLines(closed.bytes(), false);
  e.budget().StringSize(SaturatingProduct(lines.size(), margin.size()));
  MarkedText out = p.Flag(1) ? margin : MarkedText();
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (p.Flag(2) || !lines[i].empty())) out += margin;
    out += closed.Part(lines[i]);
  }
  return NewText(std::move(out), e.budget(), v.markup());
}

Value Format(Evaluator& e, const Value& v, const Arguments& a) {
  if (!a.positional.empty() && !a.named.empty())
    Raise("format takes positional or named arguments, not both");
  Value arguments;
  if (a.named.empty()) {
    arguments = Sequence::Make(Sequence::Type::kTuple, a.positional, e.budget());
  } else {
    Dict dict;
    for (const auto& [name, value] : a.named) dict.Set(a.Name(name), value);
    arguments = Dict::Make(std::move(dict), e.budget());
  }
  return FormatPercent(SoftStr(e, v), arguments, e.budget());
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
      Raise("separators requires two strings");
    style.item_separator = *pair->items[0].text();
    style.key_separator = *pair->items[1].text();
  }
  return NewText(ToJson(v, style, e.budget()), e.budget());
}

Value Default(Evaluator&, const Value& v, const Arguments& a) {
  const Parameters p("default", {"default_value", "boolean"}, a);
  if (!v.Is<Undefined>() && !(p.Flag(1) && !IsTrue(v))) return v;
  return p.given(0) ? *p[0] : Value::Text("");
}

Value LengthFilter(Evaluator& e, const Value& v, const Arguments&) {
  if (v.text()) e.budget().Scan(v.text()->size());
  const auto length = Length(v);
  if (!length) Raise("object of type '" + std::string(TypeName(v)) + "' has no len()");
  return Value::Integer(static_cast<Int>(*length));
}

constexpr FilterEntry kTextFilters[] = {
    {"capitalize", MapText<Capitalize>},
    {"count", LengthFilter},
    {"d", Default},
    {"default", Default},
    {"e", EscapeFilter},
    {"escape", EscapeFilter},
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
    {"upper", MapText<Upper>},
};

}  // namespace

Filter FindFilter(std::string_view name) {
  for (const auto& entry : kTextFilters) {
    if (entry.name == name) return entry.filter;
  }
  return FindNumberFilter(name);
}

}  // namespace prefixd::jinja
