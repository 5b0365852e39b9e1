// Methods of list, tuple, dict and of the variable `loop`, and the lookup of methods.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/loop.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace prefixd::jinja {
namespace {

using Type = Sequence::Type;

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
  if (found == items.end()) Raise(Repr(*p[0], e.budget()).bytes() + " is not in list");
  return Value::Integer(found - items.begin());
}

Value CopyMethod(Evaluator&, const Value& self, const Arguments&) {
  return self;
}  // containers are immutable

Value GetMethod(Evaluator& e, const Value& self, const Arguments& a) {
  const Parameters p("get", {"key", "default"}, a, 1);
  if (p[0]->dict() || (p[0]->sequence() && p[0]->sequence()->type == Type::kList)) {
    Raise("unhashable type: '" + std::string(TypeName(*p[0])) + "'");
  }
  if (p[0]->text()) e.budget().Scan(p[0]->text()->size());
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
                                            : Sequence::Make(Type::kTuple, {key, value}, e.budget()));
  }
  const char* label = view == View::kKeys     ? "dict_keys"
                      : view == View::kValues ? "dict_values"
                                              : "dict_items";
  return Sequence::Make(Type::kView, std::move(items), e.budget(), label);
}

Value Cycle(Evaluator&, const Value& self, const Arguments& a) {
  if (a.positional.empty()) Raise("no items for cycling given");
  return a
      .positional[static_cast<size_t>((*self.As<std::shared_ptr<Loop>>())->index0()) % a.positional.size()];
}

Value Changed(Evaluator& e, const Value& self, const Arguments& a) {
  return (*self.As<std::shared_ptr<Loop>>())->Changed(e, a);
}

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
constexpr Method kLoopMethods[] = {{"changed", Changed}, {"cycle", Cycle}};

const MethodTable kTables[] = {StringMethods(), Table(kListMethods), Table(kTupleMethods),
                               Table(kDictMethods), Table(kLoopMethods)};

const MethodTable* TableOf(const Value& self) {
  if (self.text()) return &kTables[0];
  if (const Sequence* s = self.sequence()) {
    return s->type == Type::kList                               ? &kTables[1]
           : s->type == Type::kTuple || s->type == Type::kRange ? &kTables[2]
                                                                : nullptr;
  }
  if (self.dict()) return &kTables[3];
  return self.Is<std::shared_ptr<Loop>>() ? &kTables[4] : nullptr;
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
    return Value::MakeUndefined("access to attribute '" + std::string(name) + "' of '" +
                                std::string(TypeName(self)) + "' object is unsafe.");
  }
  return Value(std::shared_ptr<const Callable>(std::make_shared<const BoundMethod>(self, *method)));
}

bool IsMethodName(std::string_view name) {
  return std::any_of(std::begin(kTables), std::end(kTables),
                     [&](const auto& table) { return table.Find(name) != nullptr; });
}

}  // namespace prefixd::jinja
