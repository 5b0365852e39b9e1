// Filters on sequences and mappings that return a list or one value. Filters that return a generator are in
// generator_filters.cc.
#include <algorithm>

#include "text/jinja/evaluator.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {

Value AttributePath(Evaluator& e, Value item, const Value& path, const Value& fallback) {
  const auto step = [&](const Value& key) {
    item = GetItem(item, key, e.budget());
    if (item.Is<Undefined>() && !fallback.Is<None>()) item = fallback;
  };
  if (path.text() == nullptr) {
    if (!path.Is<None>()) step(path);
    return item;
  }
  if (path.text()->empty()) {
    step(path);
    return item;
  }
  for (const std::string_view part : SplitOn(*path.text(), ".", -1, false)) {
    const bool digits = AllOf(part, CharacterClass::kDigit);
    const auto index = digits ? ParseInt(part, 10) : std::nullopt;
    step(index ? Value::Integer(*index) : Value::Text(std::string(part)));
  }
  return item;
}

Value SortKey(Value value, bool case_sensitive, Budget& budget) {
  return !case_sensitive && value.text() ? NewText(value.marked()->MapWhole(Lower), budget) : value;
}

namespace {

using Type = Sequence::Type;

std::vector<Value> Sorted(Evaluator& e, const std::vector<Value>& items, const std::vector<Value>& keys,
                          bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reverse ? Less(keys[b], keys[a], e.budget()) : Less(keys[a], keys[b], e.budget());
  });
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
  std::vector<Value> keys;
  for (const Value& item : items->items) {
    std::vector<Value> key;
    for (const Value& path : paths)
      key.push_back(SortKey(AttributePath(e, item, path), p.Flag(1), e.budget()));
    keys.push_back(Sequence::Make(Type::kList, std::move(key), e.budget()));
  }
  return Sequence::Make(Type::kList, Sorted(e, items->items, keys, p.Flag(0)), e.budget());
}

Value DictSort(Evaluator& e, const Value& v, const Arguments& a) {
  static const std::string kKey = "key";
  const Parameters p("dictsort", {"case_sensitive", "by", "reverse"}, a);
  const std::string& by = p.Text(1, kKey);
  if (by != "key" && by != "value") Raise("dictsort sorts by 'key' or by 'value'");
  if (v.dict() == nullptr) Raise("dictsort requires a mapping, not '" + std::string(TypeName(v)) + "'");
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const auto& [key, value] : v.dict()->items) {
    items.push_back(Sequence::Make(Type::kTuple, {key, value}, e.budget()));
    keys.push_back(SortKey(by == "key" ? key : value, p.Flag(0), e.budget()));
  }
  return Sequence::Make(Type::kList, Sorted(e, items, keys, p.Flag(2)), e.budget());
}

// min (false) and max (true). Of equal items the first counts.
template <bool greatest>
Value MinMax(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("min", {"case_sensitive", "attribute"}, a);
  const auto items = ItemsOf(v, e.budget());
  if (items->items.empty()) return Value::MakeUndefined("No aggregated item, sequence was empty.");
  const auto key_of = [&](const Value& item) {
    return SortKey(AttributePath(e, item, p.given(1) ? *p[1] : Value()), p.Flag(0), e.budget());
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
  const auto first = IteratorOf(v, e.budget())->next();
  return first ? *first : Value::MakeUndefined("No first item, sequence was empty.");
}

Value Last(Evaluator& e, const Value& v, const Arguments&) {
  if (v.Is<std::shared_ptr<const Iterator>>()) Raise("'generator' object is not reversible");
  const auto items = ItemsOf(v, e.budget());
  return items->items.empty() ? Value::MakeUndefined("No last item, sequence was empty.")
                              : items->items.back();
}

Value List(Evaluator& e, const Value& v, const Arguments&) {
  return Sequence::Make(Type::kList, ItemsOf(v, e.budget())->items, e.budget());
}

Value Join(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("join", {"d", "attribute"}, a);
  const MarkedText separator = p.given(0) ? Str(*p[0], e.budget()) : MarkedText();
  const Value path = p.given(1) ? *p[1] : Value();
  MarkedText out;
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
  const Value reversed =
      Sequence::Make(Type::kList, std::vector<Value>(items->items.rbegin(), items->items.rend()), e.budget());
  return Value(IteratorOf(reversed, e.budget()));
}

constexpr FilterEntry kSequenceFilters[] = {
    {"dictsort", DictSort}, {"first", First},       {"join", Join},       {"last", Last}, {"list", List},
    {"max", MinMax<true>},  {"min", MinMax<false>}, {"reverse", Reverse}, {"sort", Sort}, {"sum", Sum},
};

}  // namespace

Filter FindSequenceFilter(std::string_view name) {
  for (const auto& entry : kSequenceFilters) {
    if (entry.name == name) return entry.filter;
  }
  return FindGeneratorFilter(name);
}

}  // namespace prefixd::jinja
