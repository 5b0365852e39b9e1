// Methods of str.
#include <algorithm>

#include "text/jinja/evaluator.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

using Type = Sequence::Type;
const std::string kEmpty;

Value MakeText(Evaluator& e, const Value& self, MarkedText text) {
  return NewText(std::move(text), e.budget(), self.markup());
}

// A part of self; `part` points into its text.
Value MakePart(Evaluator& e, const Value& self, std::string_view part) {
  return MakeText(e, self, self.marked()->Part(part));
}

// Parts of self.
Value MakeParts(Evaluator& e, const Value& self, const std::vector<std::string_view>& parts,
                Type type = Type::kList) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(MakePart(e, self, part));
  return Sequence::Make(type, std::move(items), e.budget());
}

int64_t Clamp(Int value) {
  return static_cast<int64_t>(std::clamp<Int>(value, -(Int{1} << 40), Int{1} << 40));
}

template <Side side>
Value StripMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("strip", {"chars"}, a);
  const bool spaces = !p.given(0) || p[0]->Is<None>();
  const auto set = spaces ? std::nullopt : std::optional<std::string_view>(p.Text(0, kEmpty));
  if (set) e.budget().Scan(self.text()->size(), set->size());
  return MakePart(e, self, Strip(*self.text(), side, set));
}

template <bool from_right>
Value SplitMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("split", {"sep", "maxsplit"}, a);
  const int64_t max = Clamp(p.Integer(1, -1));
  e.budget().Bytes(self.text()->size());
  if (!p.given(0) || p[0]->Is<None>()) return MakeParts(e, self, SplitSpace(*self.text(), max, from_right));
  const std::string& separator = p.Text(0, kEmpty);
  if (separator.empty()) Raise("empty separator");
  if (from_right) e.budget().Scan(self.text()->size(), separator.size());
  return MakeParts(e, self, SplitOn(*self.text(), separator, max, from_right));
}

template <bool from_right>
Value Partition(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("partition", {"sep"}, a, 1);
  const std::string& separator = p.Text(0, kEmpty);
  if (separator.empty()) Raise("empty separator");
  const std::string_view text = *self.text();
  e.budget().Scan(text.size(), from_right ? separator.size() : 1);
  const size_t at = from_right ? text.rfind(separator) : FindText(text, separator);
  if (at == std::string_view::npos) {
    return from_right ? MakeParts(e, self, {"", "", text}, Type::kTuple)
                      : MakeParts(e, self, {text, "", ""}, Type::kTuple);
  }
  return MakeParts(
      e, self, {text.substr(0, at), text.substr(at, separator.size()), text.substr(at + separator.size())},
      Type::kTuple);
}

Value SplitLinesMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("splitlines", {"keepends"}, a);
  return MakeParts(e, self, SplitLines(*self.text(), p.Flag(0)));
}

// Returns self[start:end] for the optional arguments 1 and 2 of find, startswith and similar methods.
// `offset` receives its start.
std::string Window(const Value& self, const Parameters& p, int64_t* offset = nullptr) {
  const size_t length = CountCharacters(*self.text());
  const auto bound = [&](size_t i) {
    return p.given(i) && !p[i]->Is<None>() ? std::optional<Int>(p.Integer(i, 0)) : std::nullopt;
  };
  const SliceRange range = ResolveSlice(bound(1), bound(2), 1, length);
  if (offset != nullptr) *offset = range.start;
  return SliceText(*self.marked(), range, length).TakeBytes();
}

template <bool at_end>
Value StartsWith(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p(at_end ? "endswith" : "startswith", {"prefix", "start", "end"}, a, 1);
  const bool whole = !p.given(1) && !p.given(2);
  if (!whole) e.budget().Scan(self.text()->size());
  const std::string window = whole ? std::string() : Window(self, p);
  const std::string_view text = whole ? std::string_view(*self.text()) : window;
  const auto fits = [&](const Value& affix) {
    if (affix.text() == nullptr) {
      if (const auto* undefined = affix.As<Undefined>()) Raise(*undefined->message);
      Raise("startswith first arg must be str or a tuple of str, not " + std::string(TypeName(affix)));
    }
    e.budget().Scan(affix.text()->size());
    return at_end ? text.ends_with(*affix.text()) : text.starts_with(*affix.text());
  };
  const Sequence* s = p[0]->sequence();
  if (s == nullptr || s->type != Type::kTuple) return Value::Bool(fits(*p[0]));
  e.budget().Steps(s->items.size());
  return Value::Bool(std::any_of(s->items.begin(), s->items.end(), fits));
}

template <bool from_right, bool must>
Value FindMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("find", {"sub", "start", "end"}, a, 1);
  int64_t offset = 0;
  const std::string window = Window(self, p, &offset);
  const std::string& what = p.Text(0, kEmpty);
  e.budget().Scan(window.size(), from_right ? std::max<size_t>(what.size(), 1) : 1);
  const size_t at = from_right ? window.rfind(what) : FindText(window, what);
  if (at != std::string::npos) {
    return Value::Integer(offset + static_cast<Int>(CountCharacters(std::string_view(window).substr(0, at))));
  }
  if (must) Raise("substring not found");
  return Value::Integer(-1);
}

Value CountText(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("count", {"sub", "start", "end"}, a, 1);
  e.budget().Scan(self.text()->size());
  return Value::Integer(static_cast<Int>(CountOccurrences(Window(self, p), p.Text(0, kEmpty))));
}

Value ReplaceMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("replace", {"old", "new", "count"}, a, 2);
  if (!self.markup()) p.Text(1, kEmpty);  // raises unless it is a str
  const MarkedText with = self.markup() ? EscapedText(*p[1], e.budget()) : *p[1]->marked();
  const std::string& old = p.Text(0, kEmpty);
  const size_t grown = SaturatingProduct(CountOccurrences(*self.text(), old), with.size());
  e.budget().StringSize(std::max(grown, grown + self.text()->size()));
  return MakeText(e, self, Replace(*self.marked(), old, with, Clamp(p.Integer(2, -1))));
}

Value JoinMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("join", {"iterable"}, a, 1);
  MarkedText out;
  bool first = true;
  for (const Value& item : Each(*p[0], e.budget())) {
    if (!std::exchange(first, false)) out += *self.marked();
    if (item.text() == nullptr && !self.markup()) {
      Raise("sequence item: expected str instance, " + std::string(TypeName(item)) + " found");
    }
    out += self.markup() ? EscapedText(item, e.budget()) : *item.marked();
    e.budget().StringSize(out.size());
  }
  return MakeText(e, self, std::move(out));
}

template <std::string (*map)(std::string_view)>
Value MapMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("case", {}, a);
  return MakeText(e, self, self.marked()->MapWhole(map));
}

template <CharacterClass which>
Value ClassMethod(Evaluator& e, const Value& self, const Arguments&) {
  e.budget().Scan(self.text()->size());
  return Value::Bool(AllOf(*self.text(), which));
}

template <bool upper>
Value CasedMethod(Evaluator& e, const Value& self, const Arguments&) {
  e.budget().Scan(self.text()->size());
  return Value::Bool(IsCased(*self.text(), upper));
}

template <bool at_end>
Value RemoveAffix(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("removeprefix", {"prefix"}, a, 1);
  const std::string& affix = p.Text(0, kEmpty);
  std::string_view text = *self.text();
  if (!at_end && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (at_end && text.ends_with(affix)) text.remove_suffix(affix.size());
  return MakePart(e, self, text);
}

Value FormatMethod(Evaluator& e, const Value& self, const Arguments& a) {
  return FormatBraces(self, a, e.budget());
}

constexpr Method kStringMethods[] = {
    {"strip", StripMethod<Side::kBoth>},
    {"lstrip", StripMethod<Side::kLeft>},
    {"rstrip", StripMethod<Side::kRight>},
    {"split", SplitMethod<false>},
    {"rsplit", SplitMethod<true>},
    {"splitlines", SplitLinesMethod},
    {"partition", Partition<false>},
    {"rpartition", Partition<true>},
    {"startswith", StartsWith<false>},
    {"endswith", StartsWith<true>},
    {"removeprefix", RemoveAffix<false>},
    {"removesuffix", RemoveAffix<true>},
    {"replace", ReplaceMethod},
    {"join", JoinMethod},
    {"find", FindMethod<false, false>},
    {"rfind", FindMethod<true, false>},
    {"index", FindMethod<false, true>},
    {"rindex", FindMethod<true, true>},
    {"count", CountText},
    {"lower", MapMethod<Lower>},
    {"upper", MapMethod<Upper>},
    {"capitalize", MapMethod<Capitalize>},
    {"title", MapMethod<TitleMethod>},
    {"format", FormatMethod},
    {"isdecimal", ClassMethod<CharacterClass::kDecimal>},
    {"isalpha", ClassMethod<CharacterClass::kAlpha>},
    {"isdigit", ClassMethod<CharacterClass::kDigit>},
    {"isalnum", ClassMethod<CharacterClass::kAlnum>},
    {"isspace", ClassMethod<CharacterClass::kSpace>},
    {"isupper", CasedMethod<true>},
    {"islower", CasedMethod<false>},
};

}  // namespace

MethodTable StringMethods() { return Table(kStringMethods); }

}  // namespace prefixd::jinja
