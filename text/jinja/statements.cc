// Execution of statements.
#include "text/jinja/evaluator.h"

namespace prefixd::jinja {

Flow TemplateData::Run(Evaluator& e) const {
  e.Emit(text);
  return Flow::kNext;
}

Flow Output::Run(Evaluator& e) const {
  for (const auto& value : values) {
    const Value result = e.Eval(*value);
    if (const MarkedText* text = result.marked()) {
      e.Emit(*text);
    } else {
      e.Emit(Str(result, e.budget()));
    }
  }
  return Flow::kNext;
}

Flow If::Run(Evaluator& e) const {
  for (const auto& [condition, body] : branches) {
    if (IsTrue(e.Eval(*condition))) return e.Run(body);
  }
  return e.Run(else_body);
}

Flow Assign::Run(Evaluator& e) const {
  e.Assign(target, e.Eval(*value));
  return Flow::kNext;
}

Flow AssignBlock::Run(Evaluator& e) const {
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
  e.Emit(Str(Invoke(e, callee, arguments), e.budget()));
  return Flow::kNext;
}

Flow With::Run(Evaluator& e) const {
  std::vector<Value> values;  // evaluated in the outer scope
  for (const auto& assignment : assignments) values.push_back(e.Eval(*assignment.second));
  const Evaluator::ScopeGuard scope(e);
  for (size_t i = 0; i < values.size(); ++i) e.Assign(assignments[i].first, std::move(values[i]));
  return e.Run(body);
}

}  // namespace prefixd::jinja
