#include "text/jinja/evaluator.h"

#include <algorithm>

namespace prefixd::jinja {
namespace {

class MacroValue final : public Callable {
 public:
  MacroValue(const MacroDefinition& definition, Scope* scope) : definition_(definition), scope_(scope) {}
  Value Call(Evaluator& evaluator, const Arguments& arguments) const override {
    return NewText(evaluator.RunMacro(definition_, scope_, arguments), evaluator.budget());
  }
  std::string Describe() const override { return "<Macro " + ReprStr(definition_.name) + ">"; }
  std::optional<Value> Attribute(std::string_view name) const override {
    if (name == "name") return Value::Text(definition_.name);
    if (name == "catch_kwargs") return Value::Bool(definition_.kwargs >= 0);
    if (name == "catch_varargs") return Value::Bool(definition_.varargs >= 0);
    if (name == "caller") return Value::Bool(definition_.caller >= 0);
    return std::nullopt;
  }

 private:
  const MacroDefinition& definition_;
  Scope* const scope_;
};

}  // namespace

Evaluator::ScopeGuard::ScopeGuard(Evaluator& evaluator, Scope* parent)
    : evaluator_(evaluator), outer_(evaluator.scope_), scope_(new Scope{parent, {}, false}) {
  evaluator_.scope_ = scope_;
}

Evaluator::ScopeGuard::~ScopeGuard() {
  evaluator_.scope_ = outer_;
  if (!scope_->captured) delete scope_;
}

Evaluator::DepthGuard::DepthGuard(Evaluator& evaluator) : evaluator_(evaluator) {
  const int limit = evaluator.budget_.limits().depth;
  if (evaluator.depth_ >= limit) Budget::Exhausted("levels of nesting", limit);
  ++evaluator.depth_;
}

MarkedText Evaluator::Render(const Program& program) {
  Run(program.body);
  return std::move(result_);
}

Value Evaluator::Eval(const Expr& expr) {
  const DepthGuard guard(*this);
  budget_.Steps(1);
  return expr.Eval(*this);
}

Flow Evaluator::Run(const Block& block) {
  const DepthGuard guard(*this);
  for (const auto& statement : block) {
    budget_.Steps(1);
    if (const Flow flow = statement->Run(*this); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

const Value* Evaluator::Find(NameId name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (const auto& [id, value] : scope->variables) {
      if (id == name) return &value;
    }
  }
  return nullptr;
}

void Evaluator::Assign(NameId name, Value value) {
  for (auto& [id, old] : scope_->variables) {
    if (id == name) {
      old = std::move(value);
      return;
    }
  }
  budget_.Bytes(sizeof(scope_->variables[0]));
  scope_->variables.emplace_back(name, std::move(value));
}

void Evaluator::Assign(const Target& target, Value value) {
  if (target.is_tuple) {
    const auto items = ItemsOf(value, budget_);
    const size_t wanted = target.members.size(), got = items->items.size();
    if (got > wanted) Raise("too many values to unpack (expected " + std::to_string(wanted) + ")");
    if (got < wanted) {
      Raise("not enough values to unpack (expected " + std::to_string(wanted) + ", got " +
            std::to_string(got) + ")");
    }
    for (size_t i = 0; i < wanted; ++i) Assign(target.members[i], items->items[i]);
  } else if (target.attribute.empty()) {
    Assign(target.name, std::move(value));
  } else {
    const Value* object = Find(target.name);
    if (object == nullptr || !object->Is<Namespace*>())
      Raise("cannot assign attribute on non-namespace object");
    budget_.Bytes(sizeof(Value));
    (*object->As<Namespace*>())->Set(target.attribute, std::move(value));
  }
}

Namespace* Evaluator::NewNamespace() {
  budget_.Bytes(sizeof(Namespace));
  namespaces_.push_back(std::make_unique<Namespace>());
  return namespaces_.back().get();
}

void Evaluator::Emit(std::string_view own) {
  budget_.StringSize(out_->size() + own.size());
  *out_ += own;
}

void Evaluator::Emit(const MarkedText& text) {
  budget_.StringSize(out_->size() + text.size());
  budget_.Bytes(text.input().size() * sizeof(ByteRange));
  *out_ += text;
}

Value Evaluator::FilterCaptured(const Block& block, const ExprPtr& filters) {
  block_contents_ = Value::Marked(Capture([&] {
    const ScopeGuard scope(*this);
    Run(block);
  }));
  return Eval(*filters);
}

Value Evaluator::NewMacro(const MacroDefinition& definition) {
  for (Scope* scope = scope_; !scope->captured; scope = scope->parent) {
    captured_scopes_.emplace_back();  // may throw, so before the ownership moves
    captured_scopes_.back().reset(scope);
    scope->captured = true;
  }
  budget_.Bytes(sizeof(MacroValue));
  return Value(std::shared_ptr<const Callable>(std::make_shared<const MacroValue>(definition, scope_)));
}

MarkedText Evaluator::RunMacro(const MacroDefinition& definition, Scope* defined_in,
                               const Arguments& arguments) {
  const DepthGuard guard(*this);
  const ScopeGuard scope(*this, defined_in);
  BindMacroArguments(definition, arguments);
  return Capture([&] { Run(definition.body); });
}

void Evaluator::BindMacroArguments(const MacroDefinition& definition, const Arguments& arguments) {
  const size_t count = definition.parameters.size();
  std::vector<const std::pair<std::string, Value>*> named;  // arguments that no parameter has taken yet
  for (const auto& argument : arguments.named) named.push_back(&argument);
  const auto take = [&](const std::string& name) -> const Value* {
    const auto found =
        std::find_if(named.begin(), named.end(), [&](const auto* n) { return n->first == name; });
    if (found == named.end()) return nullptr;
    const Value* value = &(*found)->second;
    named.erase(found);
    return value;
  };
  for (size_t i = 0; i < count; ++i) {
    const auto& [id, fallback] = definition.parameters[i];
    const std::string& name = definition.parameter_names[i];
    if (i < arguments.positional.size()) {
      Assign(id, arguments.positional[i]);
    } else if (const Value* given = take(name)) {
      Assign(id, *given);
    } else {
      Assign(id,
             fallback ? Eval(*fallback) : Value::MakeUndefined("parameter '" + name + "' was not provided"));
    }
  }
  if (definition.caller >= 0) {
    const Value* caller = take("caller");
    Assign(definition.caller, caller ? *caller : Value::MakeUndefined("No caller defined"));
  }
  if (definition.kwargs >= 0) {
    Dict rest;
    for (const auto* argument : named) rest.Set(arguments.Name(argument->first), argument->second);
    Assign(definition.kwargs, Dict::Make(std::move(rest), budget_));
  } else if (!named.empty()) {
    Raise("macro '" + definition.name + "' takes no keyword argument '" + named[0]->first + "'");
  }
  std::vector<Value> more(
      arguments.positional.begin() + static_cast<ptrdiff_t>(std::min(count, arguments.positional.size())),
      arguments.positional.end());
  if (definition.varargs >= 0) {
    Assign(definition.varargs, Sequence::Make(Sequence::Type::kTuple, std::move(more), budget_));
  } else if (!more.empty()) {
    Raise("macro '" + definition.name + "' takes not more than " + std::to_string(count) + " argument(s)");
  }
}

}  // namespace prefixd::jinja
