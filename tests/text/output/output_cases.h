// Recorded texts of models in every format, and what they mean. For tests of this folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace prefixd {

struct ExpectedCall {
  std::string name, arguments;
  std::string id = {};  // empty: made by the parser
  bool operator==(const ExpectedCall&) const = default;
};

struct OutputCase {
  std::string_view format;  // "": none
  std::string text;
  std::string content, reasoning;
  std::vector<ExpectedCall> calls;
  bool begins_in_reasoning = false;
};

// Tools of the cases: get_weather(city: string, days: integer, note: string or null, tags: array) and now().
const std::vector<OutputCase>& OutputCases();

}  // namespace prefixd
