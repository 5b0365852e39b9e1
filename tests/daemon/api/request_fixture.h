// The fixture of the tests of request bodies: short forms of bodies, and checks of errors.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <string>

#include "daemon/api/chat_request.h"
#include "daemon/api/completion_request.h"
#include "tests/daemon/api/fakes.h"

namespace prefixd::testing_support {

class RequestTest : public testing::Test {
 protected:
  // Parses a completion body with `fields` added to a minimal one.
  Parsed<CompletionRequest> Completion(const std::string& fields) {
    const Parsed<boost::json::object> body =
        ParseBody("{\"prompt\":\"p\"" + (fields.empty() ? "" : "," + fields) + "}");
    EXPECT_TRUE(body.ok()) << fields;
    return ReadCompletionRequest(*body, api_.context);
  }
  Parsed<ChatRequest> Chat(const std::string& fields,
                           const std::string& messages = "[{\"role\":\"user\",\"content\":\"hi\"}]") {
    const Parsed<boost::json::object> body =
        ParseBody("{\"messages\":" + messages + (fields.empty() ? "" : "," + fields) + "}");
    EXPECT_TRUE(body.ok()) << fields << messages;
    return ReadChatRequest(*body, api_.context);
  }
  template <typename Outcome>
  void ExpectError(const Outcome& outcome, const std::string& what, const std::string& param,
                   int status = 400) {
    ASSERT_FALSE(outcome.ok()) << what;
    EXPECT_EQ(outcome.error().status, status) << what;
    EXPECT_EQ(outcome.error().param, param) << what;
    EXPECT_NE(outcome.error().message, "") << what;
  }

  ApiHarness api_;
};

}  // namespace prefixd::testing_support
