// Renders templates in bulk. Reads one JSON object per line of standard input and writes one per line of
// standard output. tests/e2e/jinja_differential.py and chat_differential.py compare the results with those of
// Jinja2.
//
//   in:  {"template": "...", "variables": {...}, "now": "2026-07-01T12:00:00"}   the time is local
//   out: {"output": "..."} or {"error": "<code>: <message>"}
//   in:  {"chat": "...", "variables": {...}, "now": "..."}   the messages are fitted to the template first
//   out: {"output": "...", "input": [[0, 5], ...], "fitted": ["[...]", "[...]"]} or an error. `input` has
//        the parts that came from the conversation; one of `fitted`, JSON texts, is what was rendered.
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

#include "text/chat_template.h"
#include "text/jinja/template.h"

namespace {

namespace json = boost::json;
using prefixd::ChatTemplate;
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

json::object RenderChat(const json::object& request) {
  static std::map<std::string, std::unique_ptr<ChatTemplate>> parsed;
  const std::string source(request.at("chat").as_string());
  if (!parsed.contains(source)) {
    auto chat = ChatTemplate::Parse(source, {.bos_token = "<s>", .eos_token = "</s>"});
    if (!chat.ok()) return {{"error", chat.status().ToString()}};
    parsed[source] = *std::move(chat);
  }
  const ChatTemplate& chat = *parsed[source];
  ChatTemplate::Input input;
  for (const auto& [name, value] : request.at("variables").as_object()) {
    if (name == "messages") {
      input.messages = value.as_array();
    } else if (name == "tools") {
      input.tools = value;
    } else if (name == "add_generation_prompt") {
      input.add_generation_prompt = value.as_bool();
    } else {
      input.extra[name] = value;
    }
  }
  input.unix_seconds = LocalSeconds(request.at("now"));
  const auto rendered = chat.RenderMarked(input);
  if (!rendered.ok()) return {{"error", rendered.status().ToString()}};
  ChatTemplate::Caps objects = chat.caps();
  objects.needs_object_arguments = objects.accepts_object_arguments = true;
  json::array ranges, fitted;
  for (const auto& range : rendered->input()) ranges.push_back(json::array{range.begin, range.end});
  for (const auto& caps : {chat.caps(), objects}) {
    const auto messages = FitMessages(input.messages, caps);
    if (messages.ok()) fitted.emplace_back(*prefixd::jinja::JsonText(*messages));
  }
  return {{"output", rendered->bytes()}, {"input", ranges}, {"fitted", fitted}};
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const json::object request = json::parse(line).as_object();
    if (request.contains("chat")) {
      std::cout << RenderChat(request) << '\n';
      continue;
    }
    const Result<std::string> rendered = Render(request);
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
