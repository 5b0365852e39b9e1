#include "text/jinja/parser.h"

#include <array>

#include "text/jinja/expression_parser.h"

namespace prefixd::jinja {
namespace {

using Kind = Token::Kind;
using StatementPtr = std::unique_ptr<const Statement>;
using Ends = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : expressions_(std::move(tokens)) {}

  Program Parse() {
    Program program;
    program.body = ParseUntil({});
    expressions_.CheckCalledNames();
    program.names = std::move(expressions_.names);
    program.literals = std::move(expressions_.literals);
    return program;
  }

 private:
  struct Tag {
    std::string_view name;
    StatementPtr (Parser::*parse)();
  };
  static const std::array<Tag, 10> kTags;

  ExpressionParser& e() { return expressions_; }

  // Parses statements up to a tag in `ends`. The name of that tag is then the current token. Parses to the
  // end of the template when `ends` is empty.
  Block ParseUntil(Ends ends) {
    Block block;
    for (;;) {
      if (e().Is(Kind::kData)) {
        auto text = std::make_unique<TemplateData>();
        text->text = e().Next().text;
        block.push_back(std::move(text));
      } else if (e().Is(Kind::kVariableBegin)) {
        e().Next();
        auto output = std::make_unique<Output>();
        output->values.push_back(e().ParseTuple());
        e().Expect(Kind::kVariableEnd, "'}}'");
        block.push_back(std::move(output));
      } else if (e().Is(Kind::kBlockBegin)) {
        e().Next();
        for (const auto end : ends) {
          if (e().IsName(end)) return block;
        }
        block.push_back(ParseStatement());
        e().Expect(Kind::kBlockEnd, "'%}'");
      } else if (ends.size() == 0) {
        return block;
      } else {
        e().Unexpected("'{% " + std::string(*(ends.end() - 1)) + " %}'");
      }
    }
  }

  // Parses the body of a statement and its end tag, except for the "%}" of that tag. The body may begin with
  // a colon.
  Block ParseBody(std::string_view end) {
    BeginBody();
    Block block = ParseUntil({end});
    e().Next();
    return block;
  }
  void BeginBody() {
    e().TakeOperator(":");
    e().Expect(Kind::kBlockEnd, "'%}'");
  }
  // The same for a body that break and continue cannot leave.
  Block ParseDetachedBody(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Block block = ParseBody(end);
    loops_ = loops;
    return block;
  }

  StatementPtr ParseStatement() {
    const ExpressionParser::Nesting nesting(e());
    const Token& tag = e().Expect(Kind::kName, "the name of a tag");
    for (const Tag& known : kTags) {
      if (known.name == tag.text) return (this->*known.parse)();
    }
    const bool closes = tag.text.starts_with("end") || tag.text == "else" || tag.text == "elif";
    FailAt(closes ? Code::kInvalidArgument : Code::kUnsupported, tag.at,
           "the tag '" + tag.text + (closes ? "' matches no open tag" : "' is not supported"));
  }

  StatementPtr ParseIf() {
    auto node = std::make_unique<If>();
    for (;;) {
      ExprPtr condition = e().ParseTuple(false);
      BeginBody();
      Block body = ParseUntil({"elif", "else", "endif"});
      node->branches.emplace_back(std::move(condition), std::move(body));
      const std::string& end = e().Next().text;
      if (end == "elif") continue;
      if (end == "else") node->else_body = ParseBody("endif");
      return node;
    }
  }

  StatementPtr ParseFor() {
    auto node = std::make_unique<For>();
    node->target = ParseTarget(false, "in");
    if (!node->target.is_tuple && node->target.name == e().Intern("loop"))
      FailAt(Code::kInvalidArgument, node->target.at, "cannot assign to 'loop'");
    if (!e().TakeName("in")) e().Unexpected("'in'");
    node->iterable = e().ParseTuple(false, "recursive");
    if (e().TakeName("if")) node->condition = e().ParseExpression();
    node->recursive = e().TakeName("recursive");
    node->loop_name = e().Intern("loop");
    BeginBody();
    ++loops_;
    node->body = ParseUntil({"else", "endfor"});
    --loops_;
    if (e().Next().text == "else") node->else_body = ParseBody("endfor");
    return node;
  }

  StatementPtr ParseSet() {
    Target target = ParseTarget(true, {});
    if (e().TakeOperator("=")) {
      auto node = std::make_unique<Assign>();
      node->target = std::move(target);
      node->value = e().ParseTuple();
      return node;
    }
    auto node = std::make_unique<AssignBlock>();
    node->target = std::move(target);
    node->value = ParseFilterChain(std::make_unique<BlockContents>());
    node->body = ParseDetachedBody("endset");
    return node;
  }

  ExprPtr ParseFilterChain(ExprPtr input) {
    while (e().TakeOperator("|")) input = e().ParseFilter(std::move(input));
    return input;
  }

  StatementPtr ParseFilterBlock() {
    auto node = std::make_unique<FilterBlock>();
    node->value = ParseFilterChain(e().ParseFilter(std::make_unique<BlockContents>()));
    node->body = ParseDetachedBody("endfilter");
    return node;
  }

  StatementPtr ParseMacro() {
    auto node = std::make_unique<Macro>();
    MacroDefinition& macro = node->definition;
    macro.name = e().Expect(Kind::kName, "the name of the macro").text;
    macro.id = e().Define(macro.name);
    ParseMacroFrom(&macro, true, "endmacro");
    return node;
  }

  StatementPtr ParseCallBlock() {
    auto node = std::make_unique<CallBlock>();
    node->caller.name = "caller";
    node->caller.id = e().Intern("caller");
    const bool parameters = e().IsOperator("(");
    std::set<std::string> used_names;
    const auto outer = std::exchange(e().used_names, &used_names);
    if (parameters) ParseParameters(&node->caller);
    e().used_names = outer;
    const Position at = e().current().at;
    ExprPtr call = e().ParseExpression();
    if (dynamic_cast<const Call*>(call.get()) == nullptr)
      FailAt(Code::kInvalidArgument, at, "expected a call");
    node->call.reset(static_cast<const Call*>(call.release()));
    ParseMacroFrom(&node->caller, false, "endcall");
    return node;
  }

  // Parses the body and, if `parameters`, the parameters before it. Notes which implicit names the macro
  // uses.
  void ParseMacroFrom(MacroDefinition* macro, bool parameters, std::string_view end) {
    std::set<std::string> used_names;
    const auto outer = std::exchange(e().used_names, &used_names);
    if (parameters) ParseParameters(macro);
    macro->body = ParseDetachedBody(end);
    e().used_names = outer;
    const auto note = [&](const std::string& name, NameId* id) {
      for (const auto& parameter : macro->parameter_names) {
        if (parameter == name) return;
      }
      if (used_names.count(name) != 0) *id = e().Intern(name);
    };
    note("caller", &macro->caller);
    note("varargs", &macro->varargs);
    note("kwargs", &macro->kwargs);
  }

  void ParseParameters(MacroDefinition* macro) {
    e().ExpectOperator("(");
    while (!e().IsOperator(")")) {
      if (!macro->parameters.empty()) e().ExpectOperator(",");
      if (e().IsOperator(")")) break;
      const Token& name = e().Expect(Kind::kName, "the name of a parameter");
      ExprPtr absent;
      if (e().TakeOperator("=")) {
        absent = e().ParseExpression();
      } else if (!macro->parameters.empty() && macro->parameters.back().second) {
        FailAt(Code::kInvalidArgument, name.at, "a parameter without a default follows one with a default");
      }
      macro->parameters.emplace_back(e().Define(name.text), std::move(absent));
      macro->parameter_names.push_back(name.text);
    }
    e().ExpectOperator(")");
  }

  StatementPtr ParseWith() {
    auto node = std::make_unique<With>();
    while (!e().Is(Kind::kBlockEnd)) {
      if (!node->assignments.empty()) e().ExpectOperator(",");
      Target target = ParseTarget(false, {});
      e().ExpectOperator("=");
      node->assignments.emplace_back(std::move(target), e().ParseExpression());
    }
    node->body = ParseBody("endwith");
    return node;
  }

  // The tag `generation` of transformers marks the text of the assistant. When rendering it is only a scope.
  StatementPtr ParseGeneration() {
    auto node = std::make_unique<With>();
    node->body = ParseDetachedBody("endgeneration");
    return node;
  }

  StatementPtr ParseBreak() { return ParseJump(Flow::kBreak); }
  StatementPtr ParseContinue() { return ParseJump(Flow::kContinue); }
  StatementPtr ParseJump(Flow flow) {
    if (loops_ == 0) FailAt(Code::kInvalidArgument, e().current().at, "break or continue outside of a loop");
    return std::make_unique<Jump>(flow);
  }

  // Parses a target: a name, namespace.attribute if `with_attribute`, or several separated by commas. `end`
  // is the name that follows.
  Target ParseTarget(bool with_attribute, std::string_view end) {
    const ExpressionParser::Nesting nesting(e());
    Target tuple;
    tuple.at = e().current().at;
    for (;;) {
      if (!tuple.members.empty() && (e().IsName(end) || e().IsOperator(")") || e().IsOperator("="))) break;
      tuple.members.push_back(ParseSingleTarget(with_attribute));
      if (!e().TakeOperator(",")) break;
      tuple.is_tuple = true;
    }
    if (tuple.is_tuple) return tuple;
    Target single = std::move(tuple.members[0]);
    return single;
  }

  Target ParseSingleTarget(bool with_attribute) {
    if (e().TakeOperator("(")) {
      Target inner = ParseTarget(with_attribute, {});
      e().ExpectOperator(")");
      return inner;
    }
    const Token& name = e().Expect(Kind::kName, "a name to assign to");
    for (const std::string_view constant : {"true", "True", "false", "False", "none", "None"}) {
      if (name.text == constant)
        FailAt(Code::kInvalidArgument, name.at, "cannot assign to '" + name.text + "'");
    }
    Target target;
    target.at = name.at;
    if (with_attribute && e().TakeOperator(".")) {
      target.name = e().Intern(name.text);
      target.attribute = e().Expect(Kind::kName, "the name of an attribute").text;
    } else {
      target.name = e().Define(name.text);
    }
    return target;
  }

  ExpressionParser expressions_;
  int loops_ = 0;  // enclosing for statements that break and continue can leave
};

const std::array<Parser::Tag, 10> Parser::kTags = {{{"if", &Parser::ParseIf},
                                                    {"for", &Parser::ParseFor},
                                                    {"set", &Parser::ParseSet},
                                                    {"macro", &Parser::ParseMacro},
                                                    {"call", &Parser::ParseCallBlock},
                                                    {"filter", &Parser::ParseFilterBlock},
                                                    {"with", &Parser::ParseWith},
                                                    {"generation", &Parser::ParseGeneration},
                                                    {"break", &Parser::ParseBreak},
                                                    {"continue", &Parser::ParseContinue}}};

}  // namespace

Program ParseProgram(std::string_view source) { return Parser(Tokenize(source)).Parse(); }

}  // namespace prefixd::jinja
