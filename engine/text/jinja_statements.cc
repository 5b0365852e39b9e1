// How statements run.
#include "engine/text/jinja_evaluator.h"

namespace prefixd::jinja {

Flow TextStatement::Run(Evaluator& e) const {
  e.Emit(text);
  return Flow::kNext;
}

Flow Output::Run(Evaluator& e) const {
  const Value result = e.Eval(*value);
  if (const std::string* text = result.text()) {
    e.Emit(*text);
  } else {
    e.Emit(Str(result, e.budget()));
  }
  return Flow::kNext;
}

Flow If::Run(Evaluator& e) const {
  for (const auto& [condition, body] : branches) {
    if (Truth(e.Eval(*condition))) return e.Run(body);
  }
  return e.Run(otherwise);
}

// The items to walk over; with a condition, those that satisfy it, so that `loop` counts these alone.
std::shared_ptr<const Sequence> For::Select(Evaluator& e) const {
  auto items = ItemsOf(e.Eval(*iterable), e.budget());
  if (condition == nullptr) return items;
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    const Evaluator::ScopeGuard scope(e);
    e.Assign(target, item);
    if (Truth(e.Eval(*condition))) kept.push_back(item);
  }
  return *Sequence::Make(Sequence::Flavor::kList, std::move(kept), e.budget())
              .As<std::shared_ptr<const Sequence>>();
}

Flow For::Run(Evaluator& e) const {
  const auto items = Select(e);
  if (items->items.empty()) {
    const Evaluator::ScopeGuard scope(e);
    return e.Run(otherwise);
  }
  const auto loop = std::make_shared<Loop>();
  loop->items = items;
  Flow flow = Flow::kNext;
  for (size_t i = 0; i < items->items.size() && flow != Flow::kBreak; ++i) {
    const Evaluator::ScopeGuard scope(e);
    loop->index0 = i;
    e.budget().Steps(1);
    e.Assign(loop_name, Value(std::shared_ptr<const Loop>(loop)));
    e.Assign(target, items->items[i]);
    flow = e.Run(body);
  }
  return Flow::kNext;
}

Flow Set::Run(Evaluator& e) const {
  e.Assign(target, e.Eval(*value));
  return Flow::kNext;
}

Flow SetBlock::Run(Evaluator& e) const {
  e.Assign(target, e.FilterCaptured(body, value));
  return Flow::kNext;
}

Flow FilterBlock::Run(Evaluator& e) const {
  e.Emit(Str(e.FilterCaptured(body, value), e.budget()));
  return Flow::kNext;
}

Flow Macro::Run(Evaluator& e) const {
  e.Assign(definition.id, e.NewMacro(definition));
  return Flow::kNext;
}

Flow CallBlock::Run(Evaluator& e) const {
  const Value callee = e.Eval(*call->callee);
  Arguments arguments = call->arguments.Eval(e);
  arguments.named.emplace_back("caller", e.NewMacro(caller));
  const auto* callable = callee.As<std::shared_ptr<const Callable>>();
  if (callable == nullptr) Raise("'" + std::string(TypeName(callee)) + "' object is not callable");
  e.Emit(Str((*callable)->Call(e, arguments), e.budget()));
  return Flow::kNext;
}

Flow With::Run(Evaluator& e) const {
  std::vector<Value> values;  // all see the scope outside
  for (const auto& assignment : assignments) values.push_back(e.Eval(*assignment.second));
  const Evaluator::ScopeGuard scope(e);
  for (size_t i = 0; i < values.size(); ++i) e.Assign(assignments[i].first, std::move(values[i]));
  return e.Run(body);
}

}  // namespace prefixd::jinja
