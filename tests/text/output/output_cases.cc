#include "tests/text/output/output_cases.h"

namespace prefixd {
namespace {

const std::string kCity = R"({"city": "Paris", "days": 3})";
const std::string kOdd = R"({"city": "a \"}]</tool_call>\n\u00e9 é😀", "tags": [1, {"x": null}]})";

std::string Hermes(const std::string& name, const std::string& arguments) {
  return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments + "}\n</tool_call>";
}
std::string Llama(const std::string& name, const std::string& arguments) {
  return R"({"name": ")" + name + R"(", "parameters": )" + arguments + "}";
}
std::string Harmony(const std::string& name, const std::string& arguments) {
  return "<|channel|>commentary to=functions." + name + " <|constrain|>json<|message|>" + arguments;
}
std::string DeepSeek(const std::string& name, const std::string& arguments) {
  return "<｜tool▁call▁begin｜>function<｜tool▁sep｜>" + name + "\n```json\n" + arguments +
         "\n```<｜tool▁call▁end｜>";
}

std::vector<OutputCase> Tagged() {
  return {
      {"hermes", Hermes("get_weather", kCity), "", "", {{"get_weather", kCity}}},
      {"hermes",
       "I look.\n\n" + Hermes("get_weather", kOdd) + "\n" + Hermes("now", "{}"),
       "I look.",
       "",
       {{"get_weather", kOdd}, {"now", "{}"}}},
      {"hermes",
       "<tool_call>{\"arguments\":{\"days\":1.0} , \"name\":\"get_weather\"}</tool_call>",
       "",
       "",
       {{"get_weather", "{\"days\":1.0}"}}},
      {"hermes", "<tool_call>\n{\"name\": \"now\"}\n</tool_call>\nDone.", "Done.", "", {{"now", "{}"}}},
      {"hermes", "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}", "", "", {{"now", "{}"}}},
      {"hermes", "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_c", "", "", {{"now", "{}"}}},
      // Malformed ones.
      {"hermes",
       "see <tool_call>\n{\"name\": \"now\", \"arguments\": {]}\n</tool_call>",
       "see <tool_call>\n{\"name\": \"now\", \"arguments\": {]}\n</tool_call>",
       "",
       {}},
      {"hermes", Hermes("launch", "{}"), Hermes("launch", "{}"), "", {}},
      {"hermes", Hermes("now", "\"text\""), Hermes("now", "\"text\""), "", {}},
      {"hermes",
       "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": \"b",
       "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": \"b",
       "",
       {}},
      {"hermes",
       "<tool_call>\nno<tool_call>{\"name\":\"now\"}</tool_call>",
       "<tool_call>\nno",
       "",
       {{"now", "{}"}}},
      {"hermes", "a < b, <tool> and <tool_", "a < b, <tool> and <tool_", "", {}},
      {"hermes", " \n text \n", " \n text \n", "", {}},
  };
}

std::vector<OutputCase> WithTaggedValues() {
  return {
      {"qwen3-coder",
       "Sure.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</"
       "parameter>\n<parameter=days>\n3\n"
       "</parameter>\n</function>\n</tool_call>",
       "Sure.",
       "",
       {{"get_weather", kCity}}},
      {"qwen3-coder",
       "<function=get_weather>\n<parameter=city>\n12\n</parameter>\n<parameter=note>\nnull\n</parameter>\n"
       "<parameter=tags>\n[\"a\", 1]\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n"
       "</function>\n</tool_call>",
       "",
       "",
       {{"get_weather", R"({"city": "12", "note": null, "tags": ["a", 1]})"}, {"now", "{}"}}},
      {"qwen3-coder",
       "<tool_call>\n<function=get_weather>\n<parameter=city>\n two\nlines \"quoted\" </param\n</parameter>\n"
       "<parameter=days>\nmany\n</parameter>\n</function>\n</tool_call>",
       "",
       "",
       {{"get_weather", R"({"city": " two\nlines \"quoted\" </param", "days": "many"})"}}},
      {"qwen3-coder",
       "<tool_call>\n<function=launch>\n</function>\n</tool_call>",
       "<tool_call>\n<function=launch>\n</function>\n</tool_call>",
       "",
       {}},
      {"functionary", "<function=get_weather>" + kCity + "</function>", "", "", {{"get_weather", kCity}}},
      {"glm",
       "\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</"
       "arg_key>\n"
       "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
       "",
       "",
       {{"get_weather", kCity}, {"now", "{}"}}},
      {"glm",
       "<tool_call>get_weather<arg_key>city</arg_key></tool_call>",
       "<tool_call>get_weather<arg_key>city</arg_key></tool_call>",
       "",
       {}},
  };
}

std::vector<OutputCase> WithJson() {
  return {
      {"llama3", Llama("get_weather", kCity), "", "", {{"get_weather", kCity}}},
      {"llama3",
       "<|python_tag|>" + Llama("get_weather", kOdd) + "; " + Llama("now", "{}"),
       "",
       "",
       {{"get_weather", kOdd}, {"now", "{}"}}},
      {"llama3", R"({"name": "Bob", "age": 3})", R"({"name": "Bob", "age": 3})", "", {}},
      {"llama3", R"({"name": "now"})", R"({"name": "now"})", "", {}},
      {"llama3",
       "Say {\"name\": \"now\", \"parameters\": {}}",
       "Say {\"name\": \"now\", \"parameters\": {}}",
       "",
       {}},
      {"mistral-v7",
       R"([TOOL_CALLS][{"name": "get_weather", "arguments": )" + kCity + "}]",
       "",
       "",
       {{"get_weather", kCity}}},
      {"mistral-v7",
       R"(I look. [TOOL_CALLS] [{"name": "now", "arguments": {}, "id": "abcdefghi"})"
       R"(, {"name": "now", "arguments": {}}])",
       "I look.",
       "",
       {{"now", "{}", "abcdefghi"}, {"now", "{}"}}},
      {"mistral-v7", "[TOOL_CALLS] nothing", "[TOOL_CALLS] nothing", "", {}},
      {"granite", R"(<|tool_call|>[{"name": "now", "arguments": {}}])", "", "", {{"now", "{}"}}},
      {"mistral",
       "[TOOL_CALLS]get_weather[ARGS]" + kCity + "[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}",
       "",
       "",
       {{"get_weather", kCity}, {"now", "{}", "abcdefghi"}}},
      {"mistral", "Text[TOOL_CALLS]now{}", "Text", "", {{"now", "{}"}}},
      {"mistral", "[TOOL_CALLS]now[ARGS][]", "[TOOL_CALLS]now[ARGS][]", "", {}},
  };
}

std::vector<OutputCase> WithJsonInSections() {
  return {
      {"deepseek-v3",
       "Wait.<｜tool▁calls▁begin｜>" + DeepSeek("get_weather", kOdd) + "\n" + DeepSeek("now", "{}") +
           "<｜tool▁calls▁end｜>",
       "Wait.",
       "",
       {{"get_weather", kOdd}, {"now", "{}"}}},
      {"deepseek-v3", DeepSeek("now", "{"), DeepSeek("now", "{"), "", {}},
      {"deepseek-v3.1",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>" + kCity +
           "<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><"
           "｜tool▁calls▁end｜>",
       "",
       "",
       {{"get_weather", kCity}, {"now", "{}"}}},
      {"kimi",
       "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>" +
           kCity +
           "<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|"
           ">"
           "<|tool_calls_section_end|>",
       "",
       "",
       {{"get_weather", kCity, "functions.get_weather:0"}, {"now", "{}", "functions.now:1"}}},
      {"pythonic",
       R"([get_weather(city='Paris', days=3), now()])",
       "",
       "",
       {{"get_weather", kCity}, {"now", "{}"}}},
      {"pythonic",
       R"([get_weather(city="it's \"1\"\n", note=None, tags=[True, {'a': -1.5}, (1,)])])",
       "",
       "",
       {{"get_weather", R"({"city": "it's \"1\"\n", "note": null, "tags": [true, {"a": -1.5}, [1]]})"}}},
      {"pythonic", "[1, 2, 3]", "[1, 2, 3]", "", {}},
      {"pythonic", "[get_weather(city=Paris)]", "[get_weather(city=Paris)]", "", {}},
      {"generic",
       R"({"tool_call": {"name": "get_weather", "arguments": )" + kCity + "}}",
       "",
       "",
       {{"get_weather", kCity}}},
      {"generic", R"({"tool": 1})", R"({"tool": 1})", "", {}},
      {"generic", "Plain {\"tool_call\": 1}", "Plain {\"tool_call\": 1}", "", {}},
  };
}

std::vector<OutputCase> Reasoned() {
  return {
      {"", "<think>\nHm, <b>.\n</think>\n\nHello </think> there", "Hello </think> there", "Hm, <b>.", {}},
      {"", "Hm.\n</think>\n\nHello", "Hello", "Hm.", {}, true},
      {"", "<think>\nHm.</think>Hello", "Hello", "Hm.", {}, true},
      {"", "Never done </thin", "", "Never done </thin", {}, true},
      {"", "Hello <think>x</think>", "Hello <think>x</think>", "", {}},
      {"hermes", "Weather?</think>\n\n" + Hermes("now", "{}"), "", "Weather?", {{"now", "{}"}}, true},
      {"hermes", "no <tool_call> yet</think>Text", "Text", "no <tool_call> yet", {}, true},
      {"llama3", "<think>\n\n</think>\n\n" + Llama("now", "{}"), "", "", {{"now", "{}"}}},
      {"harmony",
       "<|channel|>analysis<|message|>The user <asks>.<|end|><|start|>assistant" +
           Harmony("get_weather", kCity) + "<|call|>",
       "",
       "The user <asks>.",
       {{"get_weather", kCity}}},
      {"harmony",
       "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant "
       "to=functions.now<|channel|>commentary "
       "json<|message|>{}",
       "I look.",
       "",
       {{"now", "{}"}}},
      {"harmony", "<|channel|>final<|message|>4 < 5<|return|>", "4 < 5", "", {}},
      {"harmony", "Plain <|text", "Plain <|text", "", {}},
      {"harmony", Harmony("now", "{]"), Harmony("now", "{]"), "", {}},
      {"harmony", Harmony("launch", "{}"), Harmony("launch", "{}"), "", {}},
      {"harmony", "<|channel|>fin", "", "", {}},
  };
}

}  // namespace

const std::vector<OutputCase>& OutputCases() {
  static const std::vector<OutputCase> all = [] {
    std::vector<OutputCase> cases = Tagged();
    for (const auto& more : {WithTaggedValues(), WithJson(), WithJsonInSections(), Reasoned()})
      cases.insert(cases.end(), more.begin(), more.end());
    return cases;
  }();
  return all;
}

}  // namespace prefixd
