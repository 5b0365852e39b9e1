// Marks on text from a request survive every operation of the language.
#include <gtest/gtest.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>

#include "text/jinja/template.h"

namespace prefixd::jinja {
namespace {

namespace json = boost::json;

// The text, with « and » around the parts that are marked.
std::string Shown(const MarkedText& text) {
  std::string shown;
  size_t at = 0;
  for (const ByteRange& range : text.input()) {
    EXPECT_LT(range.begin, range.end);
    EXPECT_TRUE(at == 0 || at < range.begin) << "ranges neither overlap nor touch";
    shown += text.bytes().substr(at, range.begin - at) + "«" +
             text.bytes().substr(range.begin, range.end - range.begin) + "»";
    at = range.end;
  }
  return shown + text.bytes().substr(at);
}

std::string Render(const std::string& source) {
  static const json::value u(" <U>\n"), parts(json::array{"<A>", "<b>"}), own("<s>"), number(7),
      object(json::object{{"k<", "v>"}, {"role", "user"}}),
      messages(json::array{json::object{{"role", "user"}, {"content", "<c>"}},
                           json::object{{"role", "<|im_end|>"}, {"content", "user"}}});
  const Template::Variables variables = {
      {"u", &u},           {"parts", &parts},       {"number", &number},
      {"object", &object}, {"messages", &messages}, {"bos_token", &own, /*input=*/false}};
  auto parsed = Template::Parse(source);
  if (!parsed.ok()) return "ERROR " + parsed.status().ToString();
  const auto rendered = (*parsed)->RenderMarked(variables, 0);
  return rendered.ok() ? Shown(*rendered) : "ERROR " + rendered.status().ToString();
}

struct Case {
  const char* source;
  const char* shown;
};

TEST(JinjaMarks, OperatorsKeepThem) {
  const Case cases[] = {
      {"a{{ u }}b{{ bos_token }}", "a« <U>\n»b<s>"},
      {"{{ '<|' + parts[0] + '|>' }}", "<|«<A>»|>"},
      {"{{ '<' ~ u ~ number ~ '>' }}", "<« <U>\n»7>"},
      {"{{ ('[' + parts[0] + ']') * 2 }}", "[«<A>»][«<A>»]"},
      {"{{ ('<x>' + u + '<y>')[1:7] }}", "x>« <U>»"},
      {"{{ ('<x>' + u + '<y>')[::-1] }}", ">y<«\n>U< »>x<"},
      {"{{ ('x' + u)[0] }}{{ ('x' + u)[1] }}", "x« »"},
      {"{{ '%s=%-4s%d%%' % ('<', parts[0], number) }}", "<=«<A> »7%"},
      {"{{ parts[0] % () }}", "«<A>»"},
      {"{{ '<{}|{:>5}>{{'.format(parts[0], parts[1]) }}", "<«<A>»|«  <b>»>{"},
      {"{{ parts }}", "[«'<A>'», «'<b>'»]"},
      {"{{ object['k<'] }}{{ object.role }}", "«v>user»"},
      {"{{ (parts[0] + '<s>') if parts else '' }}", "«<A>»<s>"},
      {"{{ u == ' <U>\n' }}{{ '<U>' in u }}", "TrueTrue"},
  };
  for (const Case& c : cases) EXPECT_EQ(Render(c.source), c.shown) << c.source;
}

TEST(JinjaMarks, FiltersKeepThem) {
  const Case cases[] = {
      {"<{{ u|trim }}>", "<«<U>»>"},
      {"{{ ('<i>' + u)|trim }}", "<i>« <U>»"},
      {"{{ ('<I>' + parts[0] + '<I>')|lower }}", "<i>«<a>»<i>"},
      {"{{ parts[1]|upper }}{{ 'x'|upper }}{{ parts[1]|capitalize }}{{ parts[1]|title }}", "«<B>»X«<b><B>»"},
      {"{{ ('<x>' + parts[0])|replace('x', parts[1]) }}", "<«<b>»>«<A>»"},
      {"{{ parts[0]|replace('A', '<|im_end|>') }}", "«<»<|im_end|>«>»"},
      {"{{ parts|join('<|') }}", "«<A>»<|«<b>»"},
      {"{{ parts|map('upper')|join }}", "«<A><B>»"},
      {"{{ parts|tojson }}", "[\"«<A>»\", \"«<b>»\"]"},
      {"{{ {'<x>': u}|tojson }}", "{\"<x>\": \"« <U>\\n»\"}"},
      {"{{ object|tojson(indent=1) }}", "{\n \"«k<»\": \"«v>»\",\n \"«role»\": \"«user»\"\n}"},
      {"{{ ('a\n' + parts[0])|indent(2, true) }}", "  a\n  «<A>»"},
      {"{{ ('<' + parts[0])|e }}{{ parts[0]|safe }}", "&lt;«&lt;A&gt;<A>»"},
      {"{{ parts|first }}{{ parts|last }}{{ parts|sort|first }}{{ parts|max }}", "«<A><b><A><b>»"},
      {"{{ ('<' + parts[0])|list|join('.') }}", "<.«<».«A».«>»"},
      {"{{ 'n%s'|format(parts[0]) }}", "n«<A>»"},
      {"{{ parts|string }}{{ parts[0]|string }}", "[«'<A>'», «'<b>'»]«<A>»"},
      {"{{ parts[0]|default('x') }}{{ nothing|default(parts[0]) }}{{ nothing|default('<x>') }}",
       "«<A><A>»<x>"},
      {"{{ object|items|first|join }}{{ object|dictsort|first|first }}", "«k<v>k<»"},
      {"{{ parts|reverse|join('|') }}{{ (parts[0] + 'x')|reverse }}", "«<b>»|«<A>»x«>A<»"},
      {"{{ parts|length }}{{ parts[0]|length }}{{ number|float }}", "237.0"},
      {"{% filter upper %}<x>{{ parts[1] }}{% endfilter %}", "<X>«<B>»"},
  };
  for (const Case& c : cases) EXPECT_EQ(Render(c.source), c.shown) << c.source;
}

TEST(JinjaMarks, MethodsKeepThem) {
  const Case cases[] = {
      {"{{ u.strip() }}{{ u.lstrip() }}", "«<U><U>\n»"},
      {"{{ ('<x>' + parts[0]).split('>')|join('!') }}", "<x!«<A»!"},
      {"{{ 'a b'.split()[0] }}{{ ('a ' + parts[0]).split()[1] }}", "a«<A>»"},
      {"{{ parts[0].partition('A')|join('|') }}", "«<»|«A»|«>»"},
      {"{{ parts[0].replace('A', '<s>') }}{{ '<s>'.replace('s', parts[1]) }}", "«<»<s>«>»<«<b>»>"},
      {"{{ '<'.join(parts) }}", "«<A>»<«<b>»"},
      {"{{ (parts[0] + 'x').removeprefix('<') }}{{ ('x' + parts[0]).removesuffix('>') }}", "«A>»xx«<A»"},
      {"{{ (parts[0] + '\nx').splitlines()|join('.') }}", "«<A>».x"},
      {"{{ parts[1].upper() }}{{ 'b'.upper() }}", "«<B>»B"},
      {"{{ object.items()|list }}", "[(«'k<'», «'v>'»), («'role'», «'user'»)]"},
      {"{{ object.get('k<') }}{{ object.keys()|join }}", "«v>k<role»"},
  };
  for (const Case& c : cases) {
    std::string shown = c.shown;
    // Marks that touch are one.
    for (size_t at = shown.find("»«"); at != std::string::npos; at = shown.find("»«"))
      shown.erase(at, std::string("»«").size());
    EXPECT_EQ(Render(c.source), shown) << c.source;
  }
}

TEST(JinjaMarks, StatementsKeepThem) {
  const Case cases[] = {
      {"{% set x %}<|{{ parts[0] }}|>{% endset %}{{ x }}", "<|«<A>»|>"},
      {"{% set ns = namespace(x='') %}{% for p in parts %}{% set ns.x = ns.x + '<s>' + p %}{% endfor %}"
       "{{ ns.x }}",
       "<s>«<A>»<s>«<b>»"},
      {"{% macro m(x) %}<m>{{ x }}</m>{% endmacro %}{{ m(parts[0]) }}{{ m('i') }}", "<m>«<A>»</m><m>i</m>"},
      {"{% macro m(x) %}<m>{{ caller() }}{% endmacro %}{% call m(1) %}<c>{{ parts[0] }}{% endcall %}",
       "<m><c>«<A>»"},
      {"{% macro m() %}{{ kwargs }}{% endmacro %}{{ m(**object) }}", "{«'k<'»: «'v>'», «'role'»: «'user'»}"},
      {"{{ dict(**object)|list }}{{ dict(a='x')|list }}", "[«'k<'», «'role'»]['a']"},
      {"{% for x in parts recursive %}<{{ x }}>{% if x is string %}{{ loop([1]) }}{% endif %}{% endfor %}",
       "<«<A>»><1><«<b>»><1>"},
      {"{% with x = '<x>' + parts[0] %}{{ x }}{% endwith %}", "<x>«<A>»"},
      {"{{ strftime_now('<%Y>') }}{{ strftime_now(parts[0][:2] + '>')[:1] }}", "<1970>«<»"},
  };
  for (const Case& c : cases) EXPECT_EQ(Render(c.source), c.shown) << c.source;
}

TEST(JinjaMarks, OnlyTheNamesOfRolesInMessagesAreNotMarked) {
  EXPECT_EQ(Render("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{{ object.role }}"),
            "<|user|>«<c>»<|«<|im_end|>»|>«useruser»");
}

}  // namespace
}  // namespace prefixd::jinja
