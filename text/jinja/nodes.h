// The syntax tree of a template. It is immutable after parsing. Any number of threads may evaluate it at
// once, each with its own Evaluator. Expressions return a value; statements write to the output of the
// evaluator.
//
// Invariant: an expression is at most kMaxExpressionHeight high and statements nest at most kMaxNesting deep,
// so that the recursion of evaluation and of destructors is bounded.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/builtins.h"
#include "text/jinja/lexer.h"
#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace prefixd::jinja {

inline constexpr int kMaxExpressionHeight = 250;
inline constexpr int kMaxNesting = 100;

using NameId = int;  // index into Program::names
struct Scope;

struct Expr {
  virtual ~Expr() = default;
  virtual Value Eval(Evaluator& evaluator) const = 0;
  Position at;
  int height = 1;  // 1 + the height of the highest operand; set by the parser
};
using ExprPtr = std::unique_ptr<const Expr>;

struct Const final : Expr {
  Value Eval(Evaluator&) const override { return value; }
  Value value;
};

struct Name final : Expr {
  Value Eval(Evaluator&) const override;
  NameId id = 0;
  std::string text;
  Value fallback;  // used when no variable has the name: the built-in function, else undefined
};

struct SequenceLiteral final : Expr {
  Value Eval(Evaluator&) const override;
  Sequence::Type type = Sequence::Type::kList;
  std::vector<ExprPtr> items;
};

struct DictLiteral final : Expr {
  Value Eval(Evaluator&) const override;
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};

struct Getattr final : Expr {  // object.name
  Value Eval(Evaluator&) const override;
  ExprPtr object;
  std::string name;
};

struct Getitem final : Expr {  // object[key]
  Value Eval(Evaluator&) const override;
  ExprPtr object, key;
};

struct Slice final : Expr {  // object[start:stop:step]; each bound may be null
  Value Eval(Evaluator&) const override;
  ExprPtr object, start, stop, step;
};

struct ArgumentList {
  Arguments Eval(Evaluator&) const;
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr sequence, mapping;  // *sequence, **mapping
};

struct Call final : Expr {
  Value Eval(Evaluator&) const override;
  ExprPtr callee;
  ArgumentList arguments;
};

struct FilterExpr final : Expr {  // input | filter(arguments)
  Value Eval(Evaluator&) const override;
  ExprPtr input;
  Filter filter = nullptr;
  ArgumentList arguments;
};

struct BlockContents final : Expr {  // the output of a filter or set block, as the input of its filters
  Value Eval(Evaluator&) const override;
};

struct TestExpr final : Expr {  // input is test(arguments)
  Value Eval(Evaluator&) const override;
  ExprPtr input;
  Test test = nullptr;
  ArgumentList arguments;
};

struct Unary final : Expr {
  enum class Op { kNot, kMinus, kPlus };
  Value Eval(Evaluator&) const override;
  Op op = Op::kNot;
  ExprPtr operand;
};

struct Binary final : Expr {
  Value Eval(Evaluator&) const override;
  BinaryOp op = BinaryOp::kAdd;
  ExprPtr left, right;
};

struct BoolOp final : Expr {  // `and`, `or`: return one of their operands
  Value Eval(Evaluator&) const override;
  bool is_and = false;
  ExprPtr left, right;
};

struct Compare final : Expr {  // first op operand op operand ...; each operand is evaluated once
  Value Eval(Evaluator&) const override;
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};

struct Concat final : Expr {  // a ~ b ~ ...
  Value Eval(Evaluator&) const override;
  std::vector<ExprPtr> operands;
};

struct CondExpr final : Expr {  // if_true if condition else if_false
  Value Eval(Evaluator&) const override;
  ExprPtr condition, if_true, if_false;  // if_false may be null
};

// How a statement ends: kNext continues with the next statement, the others leave the body of the loop.
enum class Flow { kNext, kBreak, kContinue };

struct Statement {
  virtual ~Statement() = default;
  virtual Flow Run(Evaluator& evaluator) const = 0;
};
using Block = std::vector<std::unique_ptr<const Statement>>;

// The left side of an assignment or of `in`: a name, namespace.attribute, or a tuple of targets.
struct Target {
  Position at;
  NameId name = 0;
  std::string attribute;        // empty for a plain name
  std::vector<Target> members;  // of a tuple
  bool is_tuple = false;
};

struct TemplateData final : Statement {
  Flow Run(Evaluator&) const override;
  std::string text;
};

struct Output final : Statement {
  Flow Run(Evaluator&) const override;
  std::vector<ExprPtr> values;
};

struct If final : Statement {
  Flow Run(Evaluator&) const override;
  std::vector<std::pair<ExprPtr, Block>> branches;
  Block else_body;
};

struct For final : Statement {
  Flow Run(Evaluator&) const override;
  Target target;
  ExprPtr iterable, condition;  // condition may be null
  Block body, else_body;
  NameId loop_name = 0;    // of the variable `loop`
  bool recursive = false;  // `loop` may be called

  // Returns the output of the body for the items of `over`. `outer_scope` is the scope of the statement.
  MarkedText Recurse(Evaluator&, Scope* outer_scope, const Value& over, size_t depth0) const;

 private:
  Flow Walk(Evaluator&, Scope* outer_scope, const Value& over, size_t depth0) const;
  std::shared_ptr<const Iterator> Select(Evaluator&, Scope* outer_scope, const Value& over) const;
};

struct Assign final : Statement {
  Flow Run(Evaluator&) const override;
  Target target;
  ExprPtr value;
};

struct AssignBlock final : Statement {
  Flow Run(Evaluator&) const override;
  Target target;
  ExprPtr value;  // BlockContents, with filters applied to it
  Block body;
};

struct FilterBlock final : Statement {
  Flow Run(Evaluator&) const override;
  ExprPtr value;  // BlockContents, with filters applied to it
  Block body;
};

struct MacroDefinition {
  std::string name;
  NameId id = 0;
  std::vector<std::pair<NameId, ExprPtr>> parameters;  // with defaults, which may be null
  std::vector<std::string> parameter_names;
  Block body;
  // The ids of `caller`, `varargs` and `kwargs` when the body uses them, else -1.
  NameId caller = -1, varargs = -1, kwargs = -1;
};

struct Macro final : Statement {
  Flow Run(Evaluator&) const override;
  MacroDefinition definition;
};

struct CallBlock final : Statement {  // {% call(parameters) macro(arguments) %}
  Flow Run(Evaluator&) const override;
  std::unique_ptr<const Call> call;
  MacroDefinition caller;
};

struct With final : Statement {  // only a scope when there are no assignments
  Flow Run(Evaluator&) const override;
  std::vector<std::pair<Target, ExprPtr>> assignments;
  Block body;
};

struct Jump final : Statement {  // break, continue
  explicit Jump(Flow f) : flow(f) {}
  Flow Run(Evaluator&) const override { return flow; }
  Flow flow;
};

// A parsed template.
struct Program {
  Block body;
  std::vector<std::string> names;     // by NameId
  std::vector<std::string> literals;  // the string constants of its expressions
};

}  // namespace prefixd::jinja
