#include "text/jinja/template.h"

#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <ctime>
#include <iomanip>
#include <sstream>
#include <thread>

#include "tests/support/shared_data.h"

namespace prefixd::jinja {
namespace {

namespace json = boost::json;

Template::Variables VariablesOf(const json::object& context) {
  Template::Variables variables;
  for (const auto& [name, value] : context) variables.emplace_back(name, &value);
  return variables;
}

// Seconds of "2026-07-01T12:00:00" in local time, which is what strftime_now prints.
int64_t LocalSeconds(const std::string& iso) {
  std::tm fields{};
  std::istringstream(iso) >> std::get_time(&fields, "%Y-%m-%dT%H:%M:%S");
  fields.tm_isdst = -1;
  return std::mktime(&fields);
}

Result<std::string> Render(std::string_view source, const json::object& context = {},
                           const Limits& limits = {}) {
  PREFIXD_ASSIGN_OR_RETURN(const auto parsed, Template::Parse(source));
  return parsed->Render(VariablesOf(context), 0, limits);
}

Status ParseError(std::string_view source) {
  auto parsed = Template::Parse(source);
  return parsed.ok() ? Status::Ok() : parsed.status();
}

// The file contains the results of Jinja2 3.1.6. tests/e2e/jinja_differential.py checks that.
TEST(JinjaTemplate, RendersAsTheReference) {
  const auto path = testing_support::SourceDir() / "tests/text/jinja/cases.json";
  const json::value file = json::parse(testing_support::ReadFileOrDie(path));
  const auto variables = VariablesOf(file.at("context").as_object());
  const int64_t now = LocalSeconds(std::string(file.at("now").as_string()));
  size_t rendered = 0, raised = 0;
  for (const auto& item : file.at("cases").as_array()) {
    const std::string source(item.at("template").as_string());
    auto parsed = Template::Parse(source);
    const Result<std::string> result = parsed.ok() ? parsed.value()->Render(variables, now) : parsed.status();
    if (const auto* output = item.as_object().if_contains("output")) {
      EXPECT_TRUE(result.ok()) << source << "\n" << result.status().ToString();
      EXPECT_EQ(result.ok() ? *result : "", std::string(output->as_string())) << source;
      ++rendered;
    } else {
      EXPECT_FALSE(result.ok()) << source << " must raise " << item.at("raises");
      ++raised;
    }
  }
  EXPECT_GT(rendered, 500u);
  EXPECT_GT(raised, 100u);
}

TEST(JinjaTemplate, RaiseExceptionReturnsOnlyItsMessage) {
  const auto result = Render("{{ raise_exception('roles must alternate') }}");
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(result.status().message(), "roles must alternate");
}

TEST(JinjaTemplate, RefusesUnknownNamesWithTheirPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n  {% include 'x' %}", "line 2, column 6: the tag 'include'"},
      {"{{ x|from_json }}", "line 1, column 6: the filter 'from_json'"},
      {"{{ xs|map('from_json') }}", "the filter 'from_json'"},
      {"{{ x is palindrome }}", "line 1, column 9: the test 'palindrome'"},
      {"{{ xs|selectattr('a', 'palindrome') }}", "the test 'palindrome'"},
      {"\n{{ fetch('x') }}", "line 2, column 4: the function 'fetch'"},
      {"{{ x.parse() }}", "line 1, column 5: the method 'parse'"},
  };
  for (const auto& [source, named] : cases) {
    const Status status = ParseError(source);
    EXPECT_EQ(status.code(), Code::kUnsupported) << source;
    EXPECT_NE(status.message().find(named), std::string::npos) << source << "\n" << status.message();
  }
}

// Names of Jinja2 and of Python's str that no chat template in circulation uses. Also those that a template
// reaches through `map` or `select`.
TEST(JinjaTemplate, RefusesTheUnusedNamesOfTheReference) {
  const auto refuse = [](const std::string& source, const std::string& named) {
    const Status status = ParseError(source);
    EXPECT_EQ(status.code(), Code::kUnsupported) << source;
    EXPECT_EQ(status.message(), "chat template, " + named + " is not supported") << source;
  };
  for (const std::string name :
       {"attr", "batch", "center", "filesizeformat", "forceescape", "groupby", "pprint", "random", "slice",
        "striptags", "truncate", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"}) {
    refuse("{{ x|" + name + "(1) }}", "line 1, column 6: the filter '" + name + "'");
    refuse("\n{{ x|map('" + name + "') }}", "line 2, column 6: the filter '" + name + "'");
  }
  for (const std::string name : {"escaped", "filter", "test"}) {
    refuse("{{ x is " + name + " }}", "line 1, column 9: the test '" + name + "'");
    refuse("\n{{ x|select('" + name + "') }}", "line 2, column 6: the test '" + name + "'");
  }
  for (const std::string name : {"cycler", "joiner", "lipsum"})
    refuse("{{ " + name + "() }}", "line 1, column 4: the function '" + name + "'");
  for (const std::string name :
       {"casefold", "center", "encode", "expandtabs", "format_map", "isascii", "isidentifier", "isprintable",
        "istitle", "ljust", "maketrans", "rjust", "swapcase", "translate", "zfill"})
    refuse("{{ x." + name + "() }}", "line 1, column 5: the method '" + name + "'");
  for (const std::string name :
       {"autoescape", "block", "do", "extends", "from", "import", "include", "print", "trans"})
    refuse("{% " + name + " x %}", "line 1, column 4: the tag '" + name + "'");
}

// Formats are values, so that these are found when the template runs.
TEST(JinjaTemplate, UnsupportedFormatsRaise) {
  const std::pair<const char*, const char*> cases[] = {
      {"{{ '{0.a}'.format(1) }}", "'.' and '[' in a replacement field are not supported"},
      {"{{ '{0[a]}'.format(1) }}", "'.' and '[' in a replacement field are not supported"},
      {"{{ '{:{}}'.format(1, 2) }}", "a replacement field inside a replacement field is not supported"},
      {"{{ '{:.3}'.format(1.5) }}", "a precision without a format code is not supported"},
      {"{{ '{:08,}'.format(1) }}", "',' together with zero padding is not supported"},
      {"{{ '{:b}'.format(1) }}", "Unknown format code 'b' for object of type 'int'"},
      {"{{ '{!a}'.format(1) }}", "Unknown conversion specifier a"},
      {"{{ '%c' % 65 }}", "unsupported format character 'c'"},
      {"{{ '%*d' % (5, 1) }}", "unsupported format character '*'"},
      {"{{ '%.5d' % 1 }}", "a precision in the format of an integer is not supported"},
      {"{{ 15|round(-1) }}", "round takes a precision from 0 to 300"},
  };
  for (const auto& [source, message] : cases) {
    const auto result = Render(source);
    EXPECT_EQ(result.status().code(), Code::kInvalidArgument) << source;
    EXPECT_EQ(result.status().message(), message) << source;
  }
}

TEST(JinjaTemplate, SyntaxErrorsNameTheirPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"{% if x %}", "expected '{% endif %}', got the end of the template"},
      {"\n\n {% endfor %}", "line 3, column 5: the tag 'endfor' matches no open tag"},
      {"{{ 1 + }}", "line 1, column 8: expected an expression"},
      {"{{ 'open }}", "the string is not closed"},
      {"{# open", "missing end of comment"},
      {"{% break %}", "outside of a loop"},
      {"{{ (1] }}", "unexpected ']'"},
      {"\xff", "not UTF-8"},
      {"{% for loop in x %}{% endfor %}", "cannot assign to 'loop'"},
  };
  for (const auto& [source, named] : cases) {
    const Status status = ParseError(source);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << source;
    EXPECT_NE(status.message().find(named), std::string::npos) << source << "\n" << status.message();
  }
}

TEST(JinjaTemplate, DeepTemplatesAreRefused) {
  const auto repeat = [](std::string_view part, size_t times) {
    std::string out;
    for (size_t i = 0; i < times; ++i) out += part;
    return out;
  };
  for (const std::string& source :
       {"{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}",
        "{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}", "{{ " + repeat("not ", 5000) + "1 }}",
        "{{ " + repeat("-", 5000) + "1 }}", "{{ 1" + repeat("+1", 5000) + " }}",
        "{{ x" + repeat(".a", 5000) + " }}", "{{ x" + repeat("|trim", 5000) + " }}",
        "{{ 1" + repeat(" if 1", 5000) + " }}", "{{ 1" + repeat(" if 1 else 2", 5000) + " }}",
        "{{ x" + repeat(" is defined", 1) + repeat(" is defined", 5000) + " }}",
        repeat("{% if 1 %}", 5000) + repeat("{% endif %}", 5000),
        "{% set " + repeat("(", 5000) + "a" + repeat(")", 5000) + " = 1 %}",
        "{{ 1 is in " + repeat("[1 is in ", 5000) + "1" + repeat("]", 5000) + " }}"}) {
    EXPECT_EQ(ParseError(source).code(), Code::kInvalidArgument) << source.substr(0, 40);
  }
  EXPECT_TRUE(ParseError("{% if 0 %}" + repeat("{% elif 0 %}", 5000) + "{% endif %}").ok())
      << "long, but not deep";
}

TEST(JinjaTemplate, LimitsStopEndlessTemplates) {
  const std::string loops =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
  Limits small;
  small.steps = 100'000;
  small.bytes = 1 << 20;
  small.string_bytes = 1 << 16;
  const std::string growth = "{% set ns = namespace(x='ab') %}{% for i in range(1000) %}{% set ns.x = ns.x ";
  for (const std::string& source :
       {loops,
        std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        growth + "+ ns.x %}{% endfor %}",
        growth + "~ ns.x ~ ns.x %}{% endfor %}",
        growth + "* 3 %}{% endfor %}",
        growth + "|replace('', 'xx') %}{% endfor %}",
        growth + "|indent(1000000000000) %}{% endfor %}",
        std::string("{{ 'a' * 99999999999999999999 }}"),
        std::string("{{ [1] * 99999999999999999999 }}"),
        std::string("{{ '%1000000000000000d' % 1 }}"),
        std::string("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"),
        std::string("{% for x in range(100000) recursive %}{{ loop(range(100000)) }}{% endfor %}"),
        growth + "|map('string') %}{% endfor %}",
        std::string("{{ '{:1000000000000}'.format(1) }}"),
        std::string("{{ '{:0>99999999}'.format('x') }}"),
        std::string("{{ '%.99999999s' % 'x' }}"),
        std::string("{{ range(100000)|map(attribute='x', default=0)|list }}{{ range(100000)|list * 100 }}"),
        std::string("{{ range(100000)|unique|list }}"),
        std::string("{{ range(100000)|list|sort|sort|sort }}"),
        std::string("{% set s = 'a' * 60000 %}{% for i in range(100000) %}{{ '' if s|length }}{% endfor %}"),
        std::string(
            "{% set s = 'a' * 60000 %}{% for i in range(100000) %}{{ '' if s == s ~ '' }}{% endfor %}"),
        std::string("{% set s = 'a' * 60000 %}{% for i in range(100000) %}{{ '' if {s: 1} }}{% endfor %}"),
        std::string(
            "{% set s = 'a' * 60000 %}{% for i in range(100000) %}{{ '' if s.isalpha() }}{% endfor %}"),
        std::string("{% set s = 'a' * 60000 %}{{ s.rfind(s[1:] ~ 'b') }}{{ s.strip('b' * 50000 ~ 'a') }}"),
        std::string("{% set s = 'a' * 60000 %}{% for i in range(100000) %}{{ '' if s in s }}{% endfor %}"),
        std::string(
            "{% macro m() %}{{ caller is defined }}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}"),
        std::string("{{ [[1]]|tojson(indent=10 ** 15) }}"),
        std::string(
            "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}"),
        std::string("{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% "
                    "endfor %}{{ ns.x }}"),
        std::string("{% set a = namespace(x=[1]) %}{% set b = namespace(x=[1]) %}{% for i in range(100) %}"
                    "{% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}{{ a.x == b.x }}"),
        std::string("{% for i in range(100000) %}{{ 'xxxxxxxxxxxxxxxx' }}{% endfor %}")}) {
    const auto result = Render(source, {}, small);
    EXPECT_EQ(result.status().code(), Code::kResourceExhausted) << source << "\n"
                                                                << result.status().ToString();
  }
}

TEST(JinjaTemplate, SortKeysAreChargedToTheBudget) {
  Limits small;
  small.bytes = 1 << 20;
  for (const std::string keyed : {"([s] * 20)|sort", "([s] * 20)|unique|list"}) {
    const std::string source = "{% set s = 'a' * 60000 %}{{ (" + keyed + ")|length }}";
    EXPECT_EQ(Render(source, {}, small).status().code(), Code::kResourceExhausted) << source;
    EXPECT_TRUE(Render(source).ok()) << source;
  }
}

TEST(JinjaTemplate, ArithmeticNeverOverflowsSilently) {
  for (const char* source :
       {"{{ 10 ** 38 * 10 }}", "{{ 10 ** 39 }}", "{{ 2 ** 126 + 2 ** 126 }}", "{{ -(2 ** 126) * 2 - 1 }}",
        "{{ (-(2 ** 126) * 2) // -1 }}", "{{ -(-(2 ** 126) * 2) }}", "{{ 1e40|int }}", "{{ 1 // 0 }}",
        "{{ 1.0 % 0 }}", "{{ 2 ** 10 ** 10 ** 10 }}", "{{ range(-(2 ** 126), 2 ** 126) }}",
        "{{ 'ab'[::0] }}"}) {
    const auto result = Render(source);
    EXPECT_EQ(result.status().code(), Code::kInvalidArgument) << source;
  }
  EXPECT_EQ(*Render("{{ 2 ** 126 }}"), "85070591730234615865843651857942052864");
  EXPECT_EQ(*Render("{{ 'abc'[-(10 ** 30):10 ** 30] }}{{ 'abc'[::10 ** 30] }}{{ 'abc'[::-(10 ** 30)] }}"),
            "abcac");
}

TEST(JinjaTemplate, CyclicNamespacesAreNeitherLeakedNorPrintedForever) {
  const auto result =
      Render("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = [b] %}{{ a }}");
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(*Render("{% set a = namespace() %}{% set a.a = a %}{{ a.a.a == a }}"), "True");
}

TEST(JinjaTemplate, AMacroOutlivesTheLoopThatDefinesIt) {
  EXPECT_EQ(
      *Render("{% macro call_it() %}{{ caller() }}{% endmacro %}{% set ns = namespace(m=none) %}"
              "{% for x in ['p', 'q'] %}{% macro m() %}{{ x }}{% endmacro %}{% set ns.m = m %}{% endfor %}"
              "{% set kept = ns.m %}{{ kept() }}{% call call_it() %}{{ kept() }}!{% endcall %}"),
      "qq!");
}

TEST(JinjaTemplate, JsonNumbersKeepTheirKind) {
  const json::object context{{"x", json::parse(R"([1, 1.0, -0.0, 1e5, 18446744073709551615, 1e400, true])")}};
  EXPECT_EQ(*Render("{{ x }}|{{ x|tojson }}", context),
            "[1, 1.0, -0.0, 100000.0, 18446744073709551615, inf, True]|"
            "[1, 1.0, -0.0, 100000.0, 18446744073709551615, Infinity, true]");
}

TEST(JinjaTemplate, AJsonTextIsThatOfTheFilter) {
  json::value value = json::parse(
      R"({"a":[{},[],1,1.0,-0.0,1e5,1e-7,18446744073709551615,true,null],"\n\u0001é":{"b":"\"λ\u007f🙂"}})");
  value.get_object()["long"] = *ParseJsonText("[123456789012345678901234567890, 1E2]");
  EXPECT_EQ(*JsonText(value), *Render("{{ x|tojson }}", {{"x", value}}));
  for (const char* number : {"1e400", "-1e400"}) {
    EXPECT_FALSE(JsonText(json::parse(number)).ok());
    EXPECT_FALSE(JsonText(*ParseJsonText(number)).ok());
  }
  json::value deep;
  for (int i = 0; i < 149; ++i) deep = json::array{std::move(deep)};
  EXPECT_TRUE(JsonText(deep).ok());
  EXPECT_EQ(JsonText(json::array{deep}).status().code(), Code::kResourceExhausted);
}

TEST(JinjaTemplate, DictsWithManyKeysFindThemAll) {
  json::object big;
  for (int i = 0; i < 1000; ++i) big["k" + std::to_string(i)] = i;
  const json::object context{{"d", std::move(big)}};
  EXPECT_EQ(*Render("{{ d.k0 }} {{ d['k999'] }} {{ d.k1000 is defined }} {{ d|length }} {{ d|list|last }}",
                    context),
            "0 999 False 1000 k999");
}

TEST(JinjaTemplate, ManyThreadsRenderOneTemplate) {
  auto parsed = Template::Parse(
      "{% macro m(x) %}{{ x ~ '!' }}{% endmacro %}{% for i in range(n) %}{{ m(i) }}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  const Template& shared = **parsed;
  std::vector<std::thread> threads;
  std::vector<std::string> outputs(4);
  for (size_t t = 0; t < outputs.size(); ++t) {
    threads.emplace_back([&, t] {
      const json::value n(static_cast<int64_t>(t) + 1);
      for (int round = 0; round < 50; ++round) outputs[t] = *shared.Render({{"n", &n}}, 0);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(outputs, (std::vector<std::string>{"0!", "0!1!", "0!1!2!", "0!1!2!3!"}));
}

}  // namespace
}  // namespace prefixd::jinja
