// Renders templates in bulk. Reads one JSON object per line of standard input and writes one per line of
// standard output. tests/e2e/jinja_differential.py compares the results with those of Jinja2.
//
//   in:  {"template": "...", "variables": {...}, "now": "2026-07-01T12:00:00"}   the time is local
//   out: {"output": "..."} or {"error": "<code>: <message>"}
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

#include "text/jinja/template.h"

namespace {

namespace json = boost::json;
using prefixd::Result;
using prefixd::jinja::Template;

int64_t LocalSeconds(const json::value& iso) {
  std::tm fields{};
  std::istringstream(std::string(iso.as_string())) >> std::get_time(&fields, "%Y-%m-%dT%H:%M:%S");
  fields.tm_isdst = -1;
  return std::mktime(&fields);
}

Result<std::string> Render(const json::object& request) {
  static std::map<std::string, Result<std::unique_ptr<const Template>>> parsed;
  const std::string source(request.at("template").as_string());
  auto entry = parsed.find(source);
  if (entry == parsed.end()) {
    if (parsed.size() >= 64) parsed.clear();
    entry = parsed.emplace(source, Template::Parse(source)).first;
  }
  if (!entry->second.ok()) return entry->second.status();
  Template::Variables variables;
  for (const auto& [name, value] : request.at("variables").as_object()) variables.emplace_back(name, &value);
  return entry->second.value()->Render(variables, LocalSeconds(request.at("now")));
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const Result<std::string> rendered = Render(json::parse(line).as_object());
    json::object answer;
    if (rendered.ok()) {
      answer["output"] = *rendered;
    } else {
      answer["error"] = rendered.status().ToString();
    }
    std::cout << answer << '\n';
  }
  return 0;
}
