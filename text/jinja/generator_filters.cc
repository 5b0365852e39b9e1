// Filters that are generators in Jinja. They compute each item when it is requested, and nothing before the
// first request: `xs|map(...)|first` applies the map to the first item only.
#include <algorithm>

#include "text/jinja/evaluator.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

using Type = Sequence::Type;
using Next = Iterator::Next;
using Generator = Next (*)(Evaluator&, const Value&, const Arguments&);

std::optional<Value> Nothing() { return std::nullopt; }

// Returns an iterator that calls `generator` when the first item is requested.
template <Generator generator>
Value Generated(Evaluator& e, const Value& v, const Arguments& a) {
  int depth = v.depth();
  for (const Value& argument : a.positional) depth = std::max(depth, argument.depth());
  for (const auto& [name, argument] : a.named) depth = std::max(depth, argument.depth());
  e.budget().Bytes((a.positional.size() + a.named.size()) * 2 * sizeof(Value));
  auto next = [&e, v, a, items = Next()]() mutable {
    if (!items) items = generator(e, v, a);
    return items();
  };
  return Iterator::Make(depth, std::move(next), e.budget());
}

Next Items(Evaluator& e, const Value& v, const Arguments&) {
  if (v.Is<Undefined>()) return Nothing;
  if (v.dict() == nullptr) Raise("Can only get item pairs from a mapping.");
  return [&e, v, at = size_t{0}]() mutable -> std::optional<Value> {
    const auto& items = v.dict()->items;
    if (at == items.size()) return std::nullopt;
    const auto& [key, value] = items[at++];
    return Sequence::Make(Type::kTuple, {key, value}, e.budget());
  };
}

Arguments Rest(const Arguments& a, size_t from) {
  Arguments rest;
  rest.named = a.named;
  rest.positional.assign(a.positional.begin() + static_cast<ptrdiff_t>(std::min(from, a.positional.size())),
                         a.positional.end());
  return rest;
}

Next Map(Evaluator& e, const Value& v, const Arguments& a) {
  if (!IsTrue(v)) return Nothing;
  std::function<Value(const Value&)> apply;
  if (a.positional.empty()) {
    const Parameters p("map", {"attribute", "default"}, a);
    if (!p.given(0)) Raise("map requires a filter argument");
    apply = [&e, path = *p[0], fallback = p.given(1) ? *p[1] : Value()](const Value& item) {
      return AttributePath(e, item, path, fallback);
    };
  } else {
    const std::string name = Str(a.positional[0], e.budget()).bytes();
    const Filter filter = FindFilter(name);
    if (filter == nullptr) Raise("No filter named " + ReprStr(name) + ".");
    apply = [&e, filter, rest = Rest(a, 1)](const Value& item) { return filter(e, item, rest); };
  }
  return [&e, apply, source = IteratorOf(v, e.budget())]() -> std::optional<Value> {
    const auto item = source->next();
    e.budget().Steps(1);
    return item ? std::optional(apply(*item)) : std::nullopt;
  };
}

// select and reject, or with `by_attribute` selectattr and rejectattr: the items for which the test, or the
// truth value when there is no test, is `wanted`.
template <bool wanted, bool by_attribute>
Next Select(Evaluator& e, const Value& v, const Arguments& a) {
  if (!IsTrue(v)) return Nothing;
  constexpr size_t kTestAt = by_attribute ? 1 : 0;
  if (a.positional.size() < kTestAt) Raise("Missing parameter for attribute name");
  const Value path = by_attribute ? a.positional[0] : Value();
  Test test = nullptr;
  if (a.positional.size() > kTestAt) {
    const std::string name = Str(a.positional[kTestAt], e.budget()).bytes();
    test = FindTest(name);
    if (test == nullptr) Raise("No test named " + ReprStr(name) + ".");
  }
  return [&e, path, test, rest = Rest(a, kTestAt + 1),
          source = IteratorOf(v, e.budget())]() -> std::optional<Value> {
    while (auto item = source->next()) {
      e.budget().Steps(1);
      const Value subject = by_attribute ? AttributePath(e, *item, path) : *item;
      if ((test ? test(e, subject, rest) : IsTrue(subject)) == wanted) return item;
    }
    return std::nullopt;
  };
}

Next Unique(Evaluator& e, const Value& v, const Arguments& a) {
  const Parameters p("unique", {"case_sensitive", "attribute"}, a);
  return [&e, path = p.given(1) ? *p[1] : Value(), cased = p.Flag(0), source = IteratorOf(v, e.budget()),
          seen = std::vector<Value>()]() mutable -> std::optional<Value> {
    while (auto item = source->next()) {
      Value key = SortKey(AttributePath(e, *item, path), cased, e.budget());
      const bool tuple = key.sequence() && key.sequence()->type == Type::kTuple;
      if (key.depth() > (tuple ? 1 : 0)) Raise("unhashable type: '" + std::string(TypeName(key)) + "'");
      const auto same = [&](const Value& other) { return Equal(other, key, e.budget()); };
      if (std::any_of(seen.begin(), seen.end(), same)) continue;
      e.budget().Bytes(sizeof(Value));
      seen.push_back(std::move(key));
      return item;
    }
    return std::nullopt;
  };
}

constexpr FilterEntry kGeneratorFilters[] = {
    {"items", Generated<Items>},
    {"map", Generated<Map>},
    {"reject", Generated<Select<false, false>>},
    {"rejectattr", Generated<Select<false, true>>},
    {"select", Generated<Select<true, false>>},
    {"selectattr", Generated<Select<true, true>>},
    {"unique", Generated<Unique>},
};

}  // namespace

Filter FindGeneratorFilter(std::string_view name) {
  for (const auto& entry : kGeneratorFilters) {
    if (entry.name == name) return entry.filter;
  }
  return nullptr;
}

}  // namespace prefixd::jinja
