// The fixture of the API tests: an API on a scripted engine, short forms of requests, and parsed responses.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/daemon/api/fakes.h"

namespace prefixd::testing_support {

namespace json = boost::json;

inline json::value Parse(const std::string& text) { return json::parse(text); }

// The text of every event, comments included, each without its blank line.
inline std::vector<std::string> EventTexts(const std::string& stream) {
  std::vector<std::string> events;
  size_t at = 0;
  while (at < stream.size()) {
    const size_t end = stream.find("\n\n", at);
    EXPECT_NE(end, std::string::npos) << "an event without its blank line";
    if (end == std::string::npos) break;
    events.push_back(stream.substr(at, end - at));
    at = end + 2;
  }
  return events;
}

// The JSON of every event. Checks the framing, and that [DONE] is the last event.
inline std::vector<json::value> Events(const std::string& stream, bool done = true) {
  std::vector<json::value> events;
  bool ended = false;
  for (const std::string& event : EventTexts(stream)) {
    if (event == ": ping") continue;
    EXPECT_TRUE(event.starts_with("data: ")) << event;
    EXPECT_EQ(event.find('\n'), std::string::npos) << event;
    EXPECT_FALSE(ended) << "an event after [DONE]";
    ended = event == "data: [DONE]";
    if (!ended) events.push_back(Parse(event.substr(6)));
  }
  EXPECT_EQ(ended, done);
  return events;
}

inline const json::value& At(const json::value& value, const char* pointer) {
  return value.at_pointer(pointer);
}
inline std::string Text(const json::value& value) { return std::string(value.as_string()); }

class ApiTest : public testing::Test {
 protected:
  std::shared_ptr<MemoryExchange> Completion(const std::string& fields) {
    return api_.Post("/v1/completions", "{\"prompt\":\"abc\"" + (fields.empty() ? "" : "," + fields) + "}");
  }
  std::shared_ptr<MemoryExchange> Chat(const std::string& fields) {
    return api_.Post("/v1/chat/completions",
                     R"({"model":"alias","messages":[{"role":"user","content":"hi"}])" +
                         (fields.empty() ? "" : "," + fields) + "}");
  }
  template <typename What>
  void Generate(MemoryExchange& exchange, size_t index, const What& what,
                std::optional<FinishReason> finish = std::nullopt) {
    api_.engine.Generate(index, what, finish);
    exchange.RunJobs();
  }

  ApiHarness api_;
};

}  // namespace prefixd::testing_support
