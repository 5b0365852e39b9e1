// Filters on sequences and mappings.
#include <algorithm>

#include "engine/text/jinja_evaluator.h"
#include "engine/text/jinja_filters.h"
#include "engine/text/jinja_operators.h"

namespace prefixd::jinja {
namespace {

using Flavor = Sequence::Flavor;
const std::string kEmpty;

Value MakeIterator(Evaluator& e, std::vector<Value> items) {
  return Sequence::Make(Flavor::kIterator, std::move(items), e.budget(), "<generator object>");
}

// "a.b.0": each part is a key or, in digits, an index. An int is an index itself.
Value AttributePath(Evaluator& e, Value item, const Value& path) {
  if (path.text() == nullptr) return path.Is<None>() ? item : GetItem(item, path, e.budget());
  if (path.text()->empty()) return GetItem(item, path, e.budget());
  for (const std::string_view part : SplitOn(*path.text(), ".", -1, false)) {
    const bool digits = AllOf(part, CharacterClass::kDigit);
    const auto index = digits ? ParseInt(part, 10) : std::nullopt;
    item = GetItem(item, index ? Value::Integer(*index) : Value::Text(std::string(part)), e.budget());
  }
  return item;
}

// What sorting and uniqueness compare: without case unless told otherwise.
Value SortKey(Value value, bool case_sensitive) {
  return !case_sensitive && value.text() ? Value::Text(Lower(*value.text())) : value;
}

std::vector<Value> Sorted(Evaluator& e, const std::vector<Value>& items,
                          const std::vector<std::vector<Value>>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto before = [&](size_t a, size_t b) {
    for (size_t k = 0; k < keys[a].size(); ++k) {
      if (Equal(keys[a][k], keys[b][k], e.budget())) continue;
      return reverse ? Less(keys[b][k], keys[a][k], e.budget()) : Less(keys[a][k], keys[b][k], e.budget());
    }
    return false;
  };
  std::stable_sort(order.begin(), order.end(), before);
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

Value Sort(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("sort", {"reverse", "case_sensitive", "attribute"}, a);
  const auto items = ItemsOf(v, e.budget());
  std::vector<Value> paths = {p.given(2) ? *p[2] : Value()};
  if (paths[0].text()) {
    const Value list = paths[0];
    paths.clear();
    for (const auto part : SplitOn(*list.text(), ",", -1, false))
      paths.push_back(Value::Text(std::string(part)));
  }
  std::vector<std::vector<Value>> keys;
  for (const Value& item : items->items) {
    std::vector<Value> key;
    for (const Value& path : paths) key.push_back(SortKey(AttributePath(e, item, path), p.Flag(1)));
    keys.push_back(std::move(key));
  }
  return Sequence::Make(Flavor::kList, Sorted(e, items->items, keys, p.Flag(0)), e.budget());
}

Value DictSort(Evaluator& e, const Value& v, const Arguments& a) {
  static const std::string kKey = "key";
  const Parameters p("dictsort", {"case_sensitive", "by", "reverse"}, a);
  const std::string& by = p.Text(1, kKey);
  if (by != "key" && by != "value") Raise("dictsort sorts by 'key' or by 'value'");
  if (v.dict() == nullptr) Raise("dictsort wants a mapping, not '" + std::string(TypeName(v)) + "'");
  std::vector<Value> items;
  std::vector<std::vector<Value>> keys;
  for (const auto& [key, value] : v.dict()->items) {
    items.push_back(Sequence::Make(Flavor::kTuple, {key, value}, e.budget()));
    keys.push_back({SortKey(by == "key" ? key : value, p.Flag(0))});
  }
  return Sequence::Make(Flavor::kList, Sorted(e, items, keys, p.Flag(2)), e.budget());
}

Value Unique(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("unique", {"case_sensitive", "attribute"}, a);
  std::vector<Value> kept, seen;
  for (const Value& item : Each(v, e.budget())) {
    const Value key = SortKey(AttributePath(e, item, p.given(1) ? *p[1] : Value()), p.Flag(0));
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return Equal(s, key, e.budget()); }))
      continue;
    seen.push_back(key);
    kept.push_back(item);
  }
  return MakeIterator(e, std::move(kept));
}

// min (false) and max (true): the first of the least or greatest.
template <bool greatest>
Value Extreme(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("min", {"case_sensitive", "attribute"}, a);
  const auto items = ItemsOf(v, e.budget());
  if (items->items.empty()) return Value::Missing("No aggregated item, sequence was empty.");
  const auto key_of = [&](const Value& item) {
    return SortKey(AttributePath(e, item, p.given(1) ? *p[1] : Value()), p.Flag(0));
  };
  const Value* best = &items->items[0];
  Value best_key = key_of(*best);
  for (size_t i = 1; i < items->items.size(); ++i) {
    const Value key = key_of(items->items[i]);
    if (greatest ? !Less(best_key, key, e.budget()) : !Less(key, best_key, e.budget())) continue;
    best = &items->items[i];
    best_key = key;
  }
  return *best;
}

Value Sum(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("sum", {"attribute", "start"}, a);
  Value total = p.given(1) ? *p[1] : Value::Integer(0);
  for (const Value& item : Each(v, e.budget())) {
    const Value term = AttributePath(e, item, p.given(0) ? *p[0] : Value());
    if (total.text() || term.text()) Raise("sum() can't sum strings");
    total = Apply(BinaryOp::kAdd, total, term, e.budget());
  }
  return total;
}

Value First(Evaluator& e, const Value& v, const Arguments&) {
  if (const Sequence* s = v.sequence(); s && s->flavor == Flavor::kIterator) {
    if (s->consumed == s->items.size()) return Value::Missing("No first item, sequence was empty.");
    return s->items[s->consumed++];
  }
  const auto items = ItemsOf(v, e.budget());
  return items->items.empty() ? Value::Missing("No first item, sequence was empty.") : items->items.front();
}

Value Last(Evaluator& e, const Value& v, const Arguments&) {
  if (const Sequence* s = v.sequence(); s && s->flavor == Flavor::kIterator)
    Raise("'generator' object is not reversible");
  const auto items = ItemsOf(v, e.budget());
  return items->items.empty() ? Value::Missing("No last item, sequence was empty.") : items->items.back();
}

Value List(Evaluator& e, const Value& v, const Arguments&) {
  return Sequence::Make(Flavor::kList, ItemsOf(v, e.budget())->items, e.budget());
}

Value Items(Evaluator& e, const Value& v, const Arguments&) {
  std::vector<Value> items;
  if (const Dict* d = v.dict()) {
    for (const auto& [key, value] : d->items)
      items.push_back(Sequence::Make(Flavor::kTuple, {key, value}, e.budget()));
  } else if (!v.Is<Undefined>()) {
    Raise("Can only get item pairs from a mapping.");
  }
  return MakeIterator(e, std::move(items));
}

Value Join(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("join", {"d", "attribute"}, a);
  const std::string separator = p.given(0) ? Str(*p[0], e.budget()) : kEmpty;
  const Value path = p.given(1) ? *p[1] : Value();
  std::string out;
  bool first = true;
  for (const Value& item : Each(v, e.budget())) {
    if (!std::exchange(first, false)) out += separator;
    out += Str(AttributePath(e, item, path), e.budget());
    e.budget().StringSize(out.size());
  }
  return NewText(std::move(out), e.budget());
}

Value Reverse(Evaluator& e, const Value& v, const Arguments&) {
  if (v.text()) return GetSlice(v, Value(), Value(), Value::Integer(-1), e.budget());
  const auto items = ItemsOf(v, e.budget());
  return MakeIterator(e, std::vector<Value>(items->items.rbegin(), items->items.rend()));
}

// batch(n, fill): rows of n; the last is filled up where a value for that is given.
Value Batch(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("batch", {"linecount", "fill_with"}, a, 1);
  const Int size = p.Integer(0, 0);
  const auto items = ItemsOf(v, e.budget());
  std::vector<Value> rows, row;
  const auto flush = [&] {
    rows.push_back(Sequence::Make(Flavor::kList, std::exchange(row, {}), e.budget()));
  };
  for (const Value& item : items->items) {
    if (static_cast<Int>(row.size()) == size) flush();
    row.push_back(item);
  }
  if (!row.empty()) {
    while (p.given(1) && !p[1]->Is<None>() && static_cast<Int>(row.size()) < size) {
      e.budget().Bytes(sizeof(Value));
      row.push_back(*p[1]);
    }
    flush();
  }
  return MakeIterator(e, std::move(rows));
}

Arguments Rest(const Arguments& a, size_t from) {
  Arguments rest;
  rest.named = a.named;
  rest.positional.assign(a.positional.begin() + static_cast<ptrdiff_t>(std::min(from, a.positional.size())),
                         a.positional.end());
  return rest;
}

Value Map(Evaluator& e, const Value& v, const Arguments& a) {
  std::vector<Value> mapped;
  if (!Truth(v)) return MakeIterator(e, {});
  if (a.positional.empty()) {
    const Parameters p("map", {"attribute", "default"}, a);
    if (!p.given(0)) Raise("map requires a filter argument");
    for (const Value& item : Each(v, e.budget())) {
      Value found = AttributePath(e, item, *p[0]);
      if (found.Is<Undefined>() && p.given(1) && !p[1]->Is<None>()) found = *p[1];
      mapped.push_back(std::move(found));
    }
    return MakeIterator(e, std::move(mapped));
  }
  const std::string name = Str(a.positional[0], e.budget());
  const Filter filter = FindFilter(name);
  if (filter == nullptr) Raise("No filter named " + QuotePython(name) + ".");
  const Arguments rest = Rest(a, 1);
  for (const Value& item : Each(v, e.budget())) {
    e.budget().Steps(1);
    mapped.push_back(filter(e, item, rest));
  }
  return MakeIterator(e, std::move(mapped));
}

// select, reject, and with `by_attribute` selectattr, rejectattr: items for which the test (or truth) is
// `wanted`.
template <bool wanted, bool by_attribute>
Value Select(Evaluator& e, const Value& v, const Arguments& a) {
  if (!Truth(v)) return MakeIterator(e, {});
  constexpr size_t kTestAt = by_attribute ? 1 : 0;
  if (a.positional.size() < kTestAt) Raise("Missing parameter for attribute name");
  Test test = nullptr;
  if (a.positional.size() > kTestAt) {
    const std::string name = Str(a.positional[kTestAt], e.budget());
    test = FindTest(name);
    if (test == nullptr) Raise("No test named " + QuotePython(name) + ".");
  }
  const Arguments rest = Rest(a, kTestAt + 1);
  std::vector<Value> kept;
  for (const Value& item : Each(v, e.budget())) {
    e.budget().Steps(1);
    const Value subject = by_attribute ? AttributePath(e, item, a.positional[0]) : item;
    if ((test ? test(e, subject, rest) : Truth(subject)) == wanted) kept.push_back(item);
  }
  return MakeIterator(e, std::move(kept));
}

constexpr FilterEntry kSequenceFilters[] = {
    {"batch", Batch},
    {"dictsort", DictSort},
    {"first", First},
    {"items", Items},
    {"join", Join},
    {"last", Last},
    {"list", List},
    {"map", Map},
    {"max", Extreme<true>},
    {"min", Extreme<false>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<false, true>},
    {"reverse", Reverse},
    {"select", Select<true, false>},
    {"selectattr", Select<true, true>},
    {"sort", Sort},
    {"sum", Sum},
    {"unique", Unique},
};

}  // namespace

Filter FindSequenceFilter(std::string_view name) {
  for (const auto& entry : kSequenceFilters) {
    if (entry.name == name) return entry.filter;
  }
  return nullptr;
}

}  // namespace prefixd::jinja
