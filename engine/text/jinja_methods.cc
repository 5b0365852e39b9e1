// Methods of str, list, tuple, dict and of the variable `loop`.
#include <algorithm>

#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_evaluator.h"
#include "engine/text/jinja_operators.h"

namespace prefixd::jinja {
namespace {

using Flavor = Sequence::Flavor;
const std::string kEmpty;

Value MakeText(Evaluator& e, const Value& self, std::string text) {
  return NewText(std::move(text), e.budget(), self.markup());
}

Value MakeParts(Evaluator& e, const Value& self, const std::vector<std::string_view>& parts,
                Flavor flavor = Flavor::kList) {
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(MakeText(e, self, std::string(part)));
  return Sequence::Make(flavor, std::move(items), e.budget());
}

int64_t Clamp(Int value) {
  return static_cast<int64_t>(std::clamp<Int>(value, -(Int{1} << 40), Int{1} << 40));
}

template <Side side>
Value StripMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("strip", {"chars"}, a);
  const bool spaces = !p.given(0) || p[0]->Is<None>();
  const auto set = spaces ? std::nullopt : std::optional<std::string_view>(p.Text(0, kEmpty));
  e.budget().Steps(set ? set->size() / 16 : 0);
  return MakeText(e, self, std::string(Strip(*self.text(), side, set)));
}

template <bool from_right>
Value SplitMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("split", {"sep", "maxsplit"}, a);
  const int64_t max = Clamp(p.Integer(1, -1));
  e.budget().Bytes(self.text()->size());
  if (!p.given(0) || p[0]->Is<None>()) return MakeParts(e, self, SplitSpace(*self.text(), max, from_right));
  const std::string& separator = p.Text(0, kEmpty);
  if (separator.empty()) Raise("empty separator");
  return MakeParts(e, self, SplitOn(*self.text(), separator, max, from_right));
}

template <bool from_right>
Value Partition(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("partition", {"sep"}, a, 1);
  const std::string& separator = p.Text(0, kEmpty);
  if (separator.empty()) Raise("empty separator");
  const std::string_view text = *self.text();
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  if (at == std::string_view::npos) {
    return from_right ? MakeParts(e, self, {"", "", text}, Flavor::kTuple)
                      : MakeParts(e, self, {text, "", ""}, Flavor::kTuple);
  }
  return MakeParts(e, self, {text.substr(0, at), separator, text.substr(at + separator.size())},
                   Flavor::kTuple);
}

Value SplitLinesMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("splitlines", {"keepends"}, a);
  return MakeParts(e, self, SplitLines(*self.text(), p.Flag(0)));
}

// The part of `self` that the optional start and end of find, startswith and kin name; `offset` is where it
// begins.
std::string Window(const Value& self, const Parameters& p, int64_t* offset = nullptr) {
  const size_t length = CountCharacters(*self.text());
  const auto bound = [&](size_t i) {
    return p.given(i) && !p[i]->Is<None>() ? std::optional<Int>(p.Integer(i, 0)) : std::nullopt;
  };
  const SliceRange range = ResolveSlice(bound(1), bound(2), 1, length);
  if (offset != nullptr) *offset = range.start;
  return SliceText(*self.text(), range, length);
}

template <bool at_end>
Value StartsWith(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p(at_end ? "endswith" : "startswith", {"prefix", "start", "end"}, a, 1);
  const bool whole = !p.given(1) && !p.given(2);
  const std::string window = whole ? std::string() : Window(self, p);
  const std::string_view text = whole ? std::string_view(*self.text()) : window;
  const auto fits = [&](const Value& affix) {
    if (affix.text() == nullptr) {
      if (const auto* undefined = affix.As<Undefined>()) Raise(*undefined->why);
      Raise("startswith first arg must be str or a tuple of str, not " + std::string(TypeName(affix)));
    }
    return at_end ? text.ends_with(*affix.text()) : text.starts_with(*affix.text());
  };
  const Sequence* s = p[0]->sequence();
  if (s == nullptr || s->flavor != Flavor::kTuple) return Value::Bool(fits(*p[0]));
  e.budget().Steps(s->items.size());
  return Value::Bool(std::any_of(s->items.begin(), s->items.end(), fits));
}

template <bool from_right, bool must>
Value FindMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("find", {"sub", "start", "end"}, a, 1);
  int64_t offset = 0;
  const std::string window = Window(self, p, &offset);
  e.budget().Steps(window.size() / 64);
  const std::string& what = p.Text(0, kEmpty);
  const size_t at = from_right ? window.rfind(what) : window.find(what);
  if (at != std::string::npos) {
    return Value::Integer(offset + static_cast<Int>(CountCharacters(std::string_view(window).substr(0, at))));
  }
  if (must) Raise("substring not found");
  return Value::Integer(-1);
}

Value CountText(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("count", {"sub", "start", "end"}, a, 1);
  e.budget().Steps(self.text()->size() / 64);
  return Value::Integer(static_cast<Int>(CountOccurrences(Window(self, p), p.Text(0, kEmpty))));
}

Value ReplaceMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("replace", {"old", "new", "count"}, a, 2);
  const std::string with = self.markup() ? EscapedText(*p[1], e.budget()) : p.Text(1, kEmpty);
  const std::string& old = p.Text(0, kEmpty);
  const size_t grown = SaturatingProduct(CountOccurrences(*self.text(), old), with.size());
  e.budget().StringSize(std::max(grown, grown + self.text()->size()));
  return MakeText(e, self, Replace(*self.text(), old, with, Clamp(p.Integer(2, -1))));
}

Value JoinMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("join", {"iterable"}, a, 1);
  std::string out;
  bool first = true;
  for (const Value& item : Each(*p[0], e.budget())) {
    if (!std::exchange(first, false)) out += *self.text();
    if (item.text() == nullptr && !self.markup()) {
      Raise("sequence item: expected str instance, " + std::string(TypeName(item)) + " found");
    }
    out += self.markup() ? EscapedText(item, e.budget()) : *item.text();
    e.budget().StringSize(out.size());
  }
  return MakeText(e, self, std::move(out));
}

template <std::string (*map)(std::string_view)>
Value MapMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("case", {}, a);
  return MakeText(e, self, map(*self.text()));
}

template <CharacterClass which>
Value ClassMethod(Evaluator&, const Value& self, const Arguments&) {
  return Value::Bool(AllOf(*self.text(), which));
}

template <bool upper>
Value CasedMethod(Evaluator&, const Value& self, const Arguments&) {
  return Value::Bool(IsCased(*self.text(), upper));
}

template <bool at_end>
Value RemoveAffix(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("removeprefix", {"prefix"}, a, 1);
  const std::string& affix = p.Text(0, kEmpty);
  std::string_view text = *self.text();
  if (!at_end && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (at_end && text.ends_with(affix)) text.remove_suffix(affix.size());
  return MakeText(e, self, std::string(text));
}

// ljust (-1), center (0), rjust (1).
template <int side>
Value Justify(Evaluator& e, const Value& self, const Arguments& a) {
  static const std::string kSpace = " ";
  const Parameters p("justify", {"width", "fillchar"}, a, 1);
  const std::string& fill = p.Text(1, kSpace);
  if (CountCharacters(fill) != 1) Raise("The fill character must be exactly one character long");
  const Int length = static_cast<Int>(CountCharacters(*self.text()));
  const Int width = std::min<Int>(p.Integer(0, 0), Int{1} << 40);
  const Int pad = std::max<Int>(0, width - length);
  // Python's centre puts the odd character to the left only where the width is odd.
  const Int left = side < 0 ? 0 : side > 0 ? pad : pad / 2 + (pad & width & 1);
  e.budget().StringSize(static_cast<size_t>(pad) * 4);
  std::string out;
  for (Int i = 0; i < left; ++i) out += fill;
  out += *self.text();
  for (Int i = left; i < pad; ++i) out += fill;
  return MakeText(e, self, std::move(out));
}

Value ZeroFill(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("zfill", {"width"}, a, 1);
  const Int pad =
      std::min<Int>(p.Integer(0, 0), Int{1} << 40) - static_cast<Int>(CountCharacters(*self.text()));
  if (pad <= 0) return self;
  e.budget().StringSize(static_cast<size_t>(pad));
  const bool sign = self.text()->starts_with('-') || self.text()->starts_with('+');
  return MakeText(e, self, std::string(*self.text()).insert(sign ? 1 : 0, static_cast<size_t>(pad), '0'));
}

Value CountItems(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("count", {"value"}, a, 1);
  const auto& items = self.sequence()->items;
  return Value::Integer(
      std::count_if(items.begin(), items.end(), [&](const Value& v) { return Equal(v, *p[0], e.budget()); }));
}

Value IndexOfItem(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("index", {"value"}, a, 1);
  const auto& items = self.sequence()->items;
  const auto found =
      std::find_if(items.begin(), items.end(), [&](const Value& v) { return Equal(v, *p[0], e.budget()); });
  if (found == items.end()) Raise(Repr(*p[0], e.budget()) + " is not in list");
  return Value::Integer(found - items.begin());
}

Value CopyMethod(Evaluator&, const Value& self, const Arguments&) { return self; }  // containers never change

Value GetMethod(Evaluator&, const Value& self, const Arguments& a) {
  const Parameters p("get", {"key", "default"}, a, 1);
  if (p[0]->dict() || (p[0]->sequence() && p[0]->sequence()->flavor == Flavor::kList)) {
    Raise("unhashable type: '" + std::string(TypeName(*p[0])) + "'");
  }
  const Value* found = self.dict()->Find(*p[0]);
  return found ? *found : p.given(1) ? *p[1] : Value();
}

enum class View { kItems, kKeys, kValues };
template <View view>
Value ViewMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("items", {}, a);
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict()->items) {
    items.push_back(view == View::kKeys     ? key
                    : view == View::kValues ? value
                                            : Sequence::Make(Flavor::kTuple, {key, value}, e.budget()));
  }
  const char* label = view == View::kKeys     ? "dict_keys"
                      : view == View::kValues ? "dict_values"
                                              : "dict_items";
  return Sequence::Make(Flavor::kView, std::move(items), e.budget(), label);
}

Value Cycle(Evaluator&, const Value& self, const Arguments& a) {
  if (a.positional.empty()) Raise("no items for cycling given");
  return a.positional[(*self.As<std::shared_ptr<const Loop>>())->index0 % a.positional.size()];
}

struct Method {
  std::string_view name;
  Value (*run)(Evaluator&, const Value& self,
               const Arguments&);  // null: changes its value, which the sandbox forbids
};

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
    {"isalpha", ClassMethod<CharacterClass::kAlpha>},
    {"isdigit", ClassMethod<CharacterClass::kDigit>},
    {"isalnum", ClassMethod<CharacterClass::kAlnum>},
    {"isspace", ClassMethod<CharacterClass::kSpace>},
    {"isupper", CasedMethod<true>},
    {"islower", CasedMethod<false>},
    {"ljust", Justify<-1>},
    {"center", Justify<0>},
    {"rjust", Justify<1>},
    {"zfill", ZeroFill},
};
constexpr Method kListMethods[] = {
    {"count", CountItems}, {"index", IndexOfItem}, {"copy", CopyMethod}, {"append", nullptr},
    {"clear", nullptr},    {"extend", nullptr},    {"insert", nullptr},  {"pop", nullptr},
    {"remove", nullptr},   {"reverse", nullptr},   {"sort", nullptr},
};
constexpr Method kTupleMethods[] = {{"count", CountItems}, {"index", IndexOfItem}};
constexpr Method kDictMethods[] = {
    {"get", GetMethod},
    {"items", ViewMethod<View::kItems>},
    {"keys", ViewMethod<View::kKeys>},
    {"copy", CopyMethod},
    {"values", ViewMethod<View::kValues>},
    {"clear", nullptr},
    {"pop", nullptr},
    {"popitem", nullptr},
    {"setdefault", nullptr},
    {"update", nullptr},
};
constexpr Method kLoopMethods[] = {{"cycle", Cycle}};

struct MethodTable {
  const Method* begin_;
  const Method* end_;
  const Method* begin() const { return begin_; }
  const Method* end() const { return end_; }
  const Method* Find(std::string_view name) const {
    const auto* found = std::find_if(begin_, end_, [&](const Method& m) { return m.name == name; });
    return found == end_ ? nullptr : found;
  }
};
template <size_t n>
constexpr MethodTable Table(const Method (&methods)[n]) {
  return {methods, methods + n};
}
constexpr MethodTable kTables[] = {Table(kStringMethods), Table(kListMethods), Table(kTupleMethods),
                                   Table(kDictMethods), Table(kLoopMethods)};

const MethodTable* TableOf(const Value& self) {
  if (self.text()) return &kTables[0];
  if (const Sequence* s = self.sequence()) {
    return s->flavor == Flavor::kList                                   ? &kTables[1]
           : s->flavor == Flavor::kTuple || s->flavor == Flavor::kRange ? &kTables[2]
                                                                        : nullptr;
  }
  if (self.dict()) return &kTables[3];
  return self.Is<std::shared_ptr<const Loop>>() ? &kTables[4] : nullptr;
}

class BoundMethod final : public Callable {
 public:
  BoundMethod(Value self, const Method& method) : self_(std::move(self)), method_(method) {}
  Value Call(Evaluator& evaluator, const Arguments& arguments) const override {
    return method_.run(evaluator, self_, arguments);
  }
  std::string Describe() const override {
    return "<built-in method " + std::string(method_.name) + " of " + std::string(TypeName(self_)) +
           " object>";
  }
  int depth() const override { return self_.depth() + 1; }

 private:
  const Value self_;
  const Method& method_;
};

}  // namespace

std::optional<Value> BindMethod(const Value& self, std::string_view name) {
  const MethodTable* table = TableOf(self);
  const Method* method = table ? table->Find(name) : nullptr;
  if (method == nullptr) return std::nullopt;
  if (method->run == nullptr) {
    return Value::Missing("access to attribute '" + std::string(name) + "' of '" +
                          std::string(TypeName(self)) + "' object is unsafe.");
  }
  return Value(std::shared_ptr<const Callable>(std::make_shared<const BoundMethod>(self, *method)));
}

bool IsMethodName(std::string_view name) {
  return std::any_of(std::begin(kTables), std::end(kTables),
                     [&](const auto& table) { return table.Find(name) != nullptr; });
}

}  // namespace prefixd::jinja
