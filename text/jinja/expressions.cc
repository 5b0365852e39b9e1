// Evaluation of expressions.
#include "text/jinja/evaluator.h"
#include "text/jinja/loop.h"

namespace prefixd::jinja {

Value Invoke(Evaluator& e, const Value& callee, const Arguments& arguments) {
  if (const auto* undefined = callee.As<Undefined>()) Raise(*undefined->message);
  if (const auto* loop = callee.As<std::shared_ptr<Loop>>()) return (*loop)->Call(e, arguments);
  const auto* callable = callee.As<std::shared_ptr<const Callable>>();
  if (callable == nullptr) Raise("'" + std::string(TypeName(callee)) + "' object is not callable");
  return (*callable)->Call(e, arguments);
}

Value Name::Eval(Evaluator& e) const {
  const Value* found = e.Find(id);
  return found ? *found : fallback;
}

Value SequenceLiteral::Eval(Evaluator& e) const {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const auto& item : items) values.push_back(e.Eval(*item));
  return Sequence::Make(type, std::move(values), e.budget());
}

Value DictLiteral::Eval(Evaluator& e) const {
  Dict dict;
  for (const auto& [key, value] : items) {
    Value k = e.Eval(*key);
    if (k.text()) e.budget().Scan(k.text()->size());
    dict.Set(std::move(k), e.Eval(*value));
  }
  return Dict::Make(std::move(dict), e.budget());
}

Value Getattr::Eval(Evaluator& e) const { return GetAttribute(e.Eval(*object), name, e.budget()); }

Value Getitem::Eval(Evaluator& e) const {
  const Value container = e.Eval(*object);
  return GetItem(container, e.Eval(*key), e.budget());
}

Value Slice::Eval(Evaluator& e) const {
  const auto bound = [&](const ExprPtr& expr) { return expr ? e.Eval(*expr) : Value(); };
  const Value container = e.Eval(*object);
  const Value from = bound(start), to = bound(stop), by = bound(step);
  return GetSlice(container, from, to, by, e.budget());
}

Arguments ArgumentList::Eval(Evaluator& e) const {
  Arguments arguments;
  for (const auto& expr : positional) arguments.positional.push_back(e.Eval(*expr));
  for (const auto& [name, expr] : named) arguments.named.emplace_back(name, e.Eval(*expr));
  if (sequence) {
    const auto items = ItemsOf(e.Eval(*sequence), e.budget());
    arguments.positional.insert(arguments.positional.end(), items->items.begin(), items->items.end());
  }
  if (mapping) {
    const Value value = e.Eval(*mapping);
    if (value.dict() == nullptr)
      Raise("argument after ** must be a mapping, not " + std::string(TypeName(value)));
    for (const auto& [key, item] : value.dict()->items) {
      if (key.text() == nullptr) Raise("keywords must be strings");
      arguments.named.emplace_back(*key.text(), item);
      arguments.input_names = arguments.input_names || !key.marked()->input().empty();
    }
  }
  return arguments;
}

Value Call::Eval(Evaluator& e) const {
  const Value function = e.Eval(*callee);
  if (const auto* undefined = function.As<Undefined>()) Raise(*undefined->message);
  return Invoke(e, function, arguments.Eval(e));
}

Value FilterExpr::Eval(Evaluator& e) const {
  const Value subject = e.Eval(*input);
  return filter(e, subject, arguments.Eval(e));
}

Value BlockContents::Eval(Evaluator& e) const { return e.block_contents(); }

Value TestExpr::Eval(Evaluator& e) const {
  const Value subject = e.Eval(*input);
  return Value::Bool(test(e, subject, arguments.Eval(e)));
}

Value Unary::Eval(Evaluator& e) const {
  const Value value = e.Eval(*operand);
  switch (op) {
    case Op::kNot:
      return Value::Bool(!IsTrue(value));
    case Op::kMinus:
      return UnaryMinus(value);
    case Op::kPlus:
      return UnaryPlus(value);
  }
  return Value();
}

Value Binary::Eval(Evaluator& e) const {
  const Value a = e.Eval(*left);
  return Apply(op, a, e.Eval(*right), e.budget());
}

Value BoolOp::Eval(Evaluator& e) const {
  Value value = e.Eval(*left);
  return IsTrue(value) == is_and ? e.Eval(*right) : value;
}

Value Compare::Eval(Evaluator& e) const {
  Value a = e.Eval(*first);
  for (const auto& [op, operand] : rest) {
    Value b = e.Eval(*operand);
    if (!Apply(op, a, b, e.budget())) return Value::Bool(false);
    a = std::move(b);
  }
  return Value::Bool(true);
}

Value Concat::Eval(Evaluator& e) const {
  MarkedText out;
  for (const auto& operand : operands) {
    out += Str(e.Eval(*operand), e.budget());
    e.budget().StringSize(out.size());
  }
  return NewText(std::move(out), e.budget());
}

Value CondExpr::Eval(Evaluator& e) const {
  if (IsTrue(e.Eval(*condition))) return e.Eval(*if_true);
  if (if_false) return e.Eval(*if_false);
  return Value::MakeUndefined("the inline if-expression at " + Describe(at) +
                              " evaluated to false and has no else");
}

}  // namespace prefixd::jinja
