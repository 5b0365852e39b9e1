// Sampling, log probability and length fields, and the values that they give the engine's request.
#include <gtest/gtest.h>

#include "tests/daemon/api/request_fixture.h"

namespace prefixd {
namespace {

using testing_support::RequestTest;

TEST_F(RequestTest, EdgeValuesBecomeValuesOfTheEngine) {
  const auto greedy = Completion("\"top_p\":0,\"temperature\":1");
  EXPECT_EQ(greedy->generation.sampling.temperature, 0);
  EXPECT_EQ(greedy->generation.sampling.top_p, 1);
  EXPECT_LT(Completion("\"min_p\":1")->generation.sampling.min_p, 1);
  EXPECT_EQ(Completion("\"top_k\":-1")->generation.sampling.top_k, 0);
  EXPECT_FALSE(Completion("\"max_tokens\":-1")->generation.max_tokens);
  EXPECT_EQ(Completion("\"max_tokens\":0")->generation.max_tokens, 0);
  EXPECT_EQ(*Chat("\"max_tokens\":50,\"max_completion_tokens\":3")->generation.max_tokens, 3);
  api_.context.limits.max_logprobs = -1;
  EXPECT_EQ(Completion("\"logprobs\":260")->generation.sampling.logprobs, 260);
  EXPECT_FALSE(Completion("\"logprobs\":261").ok());
}

TEST_F(RequestTest, PenaltiesAndBiases) {
  const auto parsed = Completion(
      R"("presence_penalty":-2,"frequency_penalty":0.5,"repetition_penalty":1.25,"logit_bias":{"7":-100,)"
      R"("0":0.5,"259":100})");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const SamplingParams& sampling = parsed->generation.sampling;
  EXPECT_EQ(sampling.presence_penalty, -2);
  EXPECT_EQ(sampling.frequency_penalty, 0.5f);
  EXPECT_EQ(sampling.repetition_penalty, 1.25f);
  ASSERT_EQ(sampling.logit_bias.size(), 3u);
  EXPECT_EQ(sampling.logit_bias[0].token, 7);
  EXPECT_EQ(sampling.logit_bias[0].bias, -100);
  EXPECT_EQ(sampling.logit_bias[2].token, 259);
  api_.context.limits.max_logit_biases = 2;
  ExpectError(Completion("\"logit_bias\":{\"1\":1,\"2\":1,\"3\":1}"), "too many", "logit_bias");
}

TEST_F(RequestTest, LogprobsOfPrompts) {
  EXPECT_EQ(Completion("")->generation.sampling.prompt_logprobs, -1);
  const auto asked = Completion("\"prompt_logprobs\":3");
  EXPECT_EQ(asked->generation.prompt_logprobs, 3);
  EXPECT_EQ(asked->generation.sampling.prompt_logprobs, 3);
  const auto echo = Completion("\"echo\":true,\"logprobs\":2");
  EXPECT_EQ(echo->generation.prompt_logprobs, -1) << "only as part of the echo";
  EXPECT_EQ(echo->generation.sampling.prompt_logprobs, 2);
  EXPECT_EQ(Completion("\"echo\":true")->generation.sampling.prompt_logprobs, -1);
  EXPECT_TRUE(Completion("\"echo\":true,\"logprobs\":2,\"stream\":true").ok());
  api_.context.limits.max_logprobs = -1;
  EXPECT_EQ(Completion("\"prompt_logprobs\":-1")->generation.prompt_logprobs, testing_support::kToyVocab);

  const auto entries = [&](const char* fields, size_t tokens) {
    return CheckPromptLogprobs(Completion(fields)->generation, tokens, api_.context);
  };
  api_.context.limits.max_prompt_logprobs = 60;
  EXPECT_FALSE(entries("\"prompt_logprobs\":2", 20));
  EXPECT_EQ(entries("\"prompt_logprobs\":2", 21)->param, "prompt_logprobs");
  EXPECT_TRUE(entries("\"prompt_logprobs\":2,\"n\":2", 20)) << "every choice returns them";
  EXPECT_EQ(entries("\"echo\":true,\"logprobs\":0", 61)->param, "logprobs");
  EXPECT_FALSE(entries("\"logprobs\":20", 1000));
}

TEST_F(RequestTest, CandidatesAndPrompts) {
  EXPECT_EQ(Completion("\"n\":2")->generation.best_of, 2);
  EXPECT_EQ(Completion("\"n\":2,\"best_of\":5")->generation.best_of, 5);
  EXPECT_TRUE(Completion("")->generation.read_cache);
  EXPECT_FALSE(Completion("\"cache_prompt\":false")->generation.read_cache);
  EXPECT_EQ(Completion("\"n_predict\":7")->generation.max_tokens, 7);
  EXPECT_EQ(Completion("\"n_predict\":7,\"max_tokens\":3")->generation.max_tokens, 3);
  std::vector<TokenId> tokens = {1, 2, 3, 4};
  TruncatePrompt(Completion("\"truncate_prompt_tokens\":4")->generation, &tokens);
  EXPECT_EQ(tokens.size(), 4u);
  TruncatePrompt(Completion("\"truncate_prompt_tokens\":2")->generation, &tokens);
  EXPECT_EQ(tokens, (std::vector<TokenId>{3, 4}));
}

TEST_F(RequestTest, ChatLogprobs) {
  EXPECT_EQ(Chat("")->generation.sampling.logprobs, -1);
  EXPECT_EQ(Chat("\"logprobs\":true")->generation.sampling.logprobs, 0);
  EXPECT_EQ(Chat("\"logprobs\":true,\"top_logprobs\":5")->generation.sampling.logprobs, 5);
  EXPECT_EQ(Chat("\"top_logprobs\":0")->generation.sampling.logprobs, -1);
  ExpectError(Chat("\"top_logprobs\":3"), "top_logprobs alone", "top_logprobs");
  ExpectError(Chat("\"logprobs\":true,\"top_logprobs\":21"), "too many", "top_logprobs");
  ExpectError(Chat("\"logprobs\":1"), "number", "logprobs");
}

}  // namespace
}  // namespace prefixd
