// One rendering of a template: its variables, output and budget. Used by one thread, for the duration of
// Template::Render.
//
// Invariants
//   1. A scope lives until its block ends. A scope in which a macro was defined lives as long as the
//      evaluator, because the macro refers to it.
//   2. Output goes to the innermost capture. Outside of captures it goes to the result.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/nodes.h"

namespace prefixd::jinja {

struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<NameId, Value>> variables;
  bool captured = false;  // owned by the evaluator
};

class Evaluator {
 public:
  Evaluator(const Limits& limits, int64_t unix_seconds) : budget_(limits), unix_seconds_(unix_seconds) {}
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  // Runs the program and returns its output. The variables of the outermost scope are assigned before.
  MarkedText Render(const Program& program);

  Budget& budget() { return budget_; }
  int64_t unix_seconds() const { return unix_seconds_; }

  Value Eval(const Expr& expr);
  Flow Run(const Block& block);

  const Value* Find(NameId name) const;  // null when no scope defines the name
  void Assign(NameId name, Value value);
  void Assign(const Target& target, Value value);
  Namespace* NewNamespace();               // owned by the evaluator
  Scope* scope() const { return scope_; }  // the innermost

  void Emit(std::string_view own);  // text of the template
  void Emit(const MarkedText& text);
  // Runs `body` and returns its output.
  template <typename Body>
  MarkedText Capture(Body body);
  const Value& block_contents() const { return block_contents_; }
  // Runs `block`, sets block_contents to its output, and evaluates `filters`, an expression that contains a
  // BlockContents.
  Value FilterCaptured(const Block& block, const ExprPtr& filters);

  // Returns a macro that sees the scopes around its definition.
  Value NewMacro(const MacroDefinition& definition);
  MarkedText RunMacro(const MacroDefinition& definition, Scope* defined_in, const Arguments& arguments);

  // Opens a scope inside `parent` for as long as the guard lives.
  class ScopeGuard {
   public:
    ScopeGuard(Evaluator& evaluator, Scope* parent);
    explicit ScopeGuard(Evaluator& evaluator) : ScopeGuard(evaluator, evaluator.scope_) {}
    ~ScopeGuard();
    ScopeGuard(const ScopeGuard&) = delete;

   private:
    Evaluator& evaluator_;
    Scope* const outer_;
    Scope* const scope_;
  };

 private:
  class DepthGuard {
   public:
    explicit DepthGuard(Evaluator& evaluator);
    ~DepthGuard() { --evaluator_.depth_; }

   private:
    Evaluator& evaluator_;
  };

  // Sends output to `out` for as long as it lives.
  class Redirection {
   public:
    Redirection(Evaluator& evaluator, MarkedText* out)
        : evaluator_(evaluator), old_(std::exchange(evaluator.out_, out)) {}
    ~Redirection() { evaluator_.out_ = old_; }
    Redirection(const Redirection&) = delete;

   private:
    Evaluator& evaluator_;
    MarkedText* const old_;
  };

  void BindMacroArguments(const MacroDefinition& definition, const Arguments& arguments);

  Budget budget_;
  const int64_t unix_seconds_;
  int depth_ = 0;
  Scope root_{nullptr, {}, true};
  Scope* scope_ = &root_;
  MarkedText result_;
  MarkedText* out_ = &result_;
  Value block_contents_;
  std::vector<std::unique_ptr<Scope>> captured_scopes_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
};

// Calls a macro, function, method or recursive loop. Raises when `callee` is none of these.
Value Invoke(Evaluator& evaluator, const Value& callee, const Arguments& arguments);

template <typename Body>
MarkedText Evaluator::Capture(Body body) {
  MarkedText captured;
  const Redirection output(*this, &captured);
  body();
  budget_.Bytes(captured.size());
  return captured;
}

}  // namespace prefixd::jinja
