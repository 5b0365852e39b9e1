// StopMatcher and ChoiceDecoder against naive references on random streams.
#include "daemon/api/stop_matcher.h"

#include <gtest/gtest.h>

#include "base/prng.h"
#include "daemon/api/choice_decoder.h"
#include "tests/daemon/api/fakes.h"

namespace prefixd {
namespace {

using testing_support::Bytes;
using testing_support::kEndToken;
using testing_support::kUserToken;

// The definition: the stop string that is complete first; of those complete at the same byte, the longest.
std::string CutNaively(const std::string& text, const std::vector<std::string>& stops, bool include,
                       bool* found) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0)
        longest = std::max(longest, stop.size());
    }
    if (longest > 0) {
      *found = true;
      return text.substr(0, include ? end : end - longest);
    }
  }
  *found = false;
  return text;
}

std::string RandomText(Prng& prng, size_t max_length) {
  std::string text;
  for (uint64_t n = prng.Below(max_length + 1); n > 0; --n) text.push_back("ab"[prng.Below(2)]);
  return text;
}

TEST(StopMatcherTest, AgreesWithTheDefinitionForEveryDivisionOfTheText) {
  Prng prng(20240607);
  int matches = 0;
  for (int round = 0; round < 4000; ++round) {
    std::vector<std::string> stops;
    for (uint64_t n = 1 + prng.Below(4); n > 0; --n) stops.push_back("b" + RandomText(prng, 5));
    for (std::string& stop : stops) {
      if (prng.Chance(0.5)) stop = "a" + stop;
    }
    const std::string text = RandomText(prng, 40);
    const bool include = prng.Chance(0.5);
    bool expected_found = false;
    const std::string expected = CutNaively(text, stops, include, &expected_found);

    StopMatcher matcher(stops, include);
    std::string out;
    bool found = false;
    for (size_t at = 0; at < text.size();) {
      const size_t size = 1 + prng.Below(6);
      found = matcher.Push(std::string_view(text).substr(at, size), &out);
      at += size;
      // The output is always a prefix of the expected text.
      ASSERT_EQ(expected.compare(0, out.size(), out), 0) << "round " << round << " text " << text;
      size_t longest = 0;
      for (const std::string& stop : stops) longest = std::max(longest, stop.size());
      ASSERT_LT(matcher.held_bytes(), longest);
    }
    matcher.Flush(&out);
    ASSERT_EQ(out, expected) << "round " << round << " text " << text;
    ASSERT_EQ(found, expected_found) << "round " << round << " text " << text;
    ASSERT_EQ(matcher.found() != nullptr, expected_found);
    matches += found;
  }
  EXPECT_GT(matches, 500);
  EXPECT_LT(matches, 3900);
}

TEST(StopMatcherTest, ExemptTextNeitherContainsNorBeginsAStopString) {
  StopMatcher matcher({"ab"}, false);
  std::string out;
  matcher.PushExempt("xaba", &out);
  EXPECT_EQ(out, "xaba");
  EXPECT_FALSE(matcher.Push("b", &out));
  EXPECT_TRUE(matcher.Push("ab", &out));
  EXPECT_EQ(out, "xabab");
}

class ChoiceDecoderTest : public testing::Test {
 protected:
  struct Outcome {
    std::string text;
    std::vector<TokenId> tokens;
    int pieces = 0;
  };
  // Pushes until the end, and takes after every `step` tokens.
  Outcome Run(const ChoiceDecoderOptions& options, const std::vector<TokenId>& ids, size_t step,
              int* counted = nullptr) {
    ChoiceDecoder choice(*tokenizer_, options, Bytes("prompt"));
    Outcome outcome;
    const auto take = [&] {
      const TextPiece piece = choice.Take();
      outcome.text += piece.text;
      for (const TextToken& entry : piece.tokens) outcome.tokens.push_back(entry.token.token);
      ++outcome.pieces;
    };
    for (size_t i = 0; i < ids.size() && !choice.ended(); ++i) {
      choice.Push({ids[i], 0, {}});
      if ((i + 1) % step == 0) take();
    }
    choice.Finish();
    take();
    if (counted != nullptr) *counted = choice.tokens();
    return outcome;
  }

  std::unique_ptr<Tokenizer> tokenizer_ = testing_support::MakeByteTokenizer();
};

TEST_F(ChoiceDecoderTest, TextAndTokensDoNotDependOnTheGrouping) {
  Prng prng(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<TokenId> ids;
    for (int i = 0; i < 30; ++i) {
      // Bytes of "aé😀" and some special tokens: split and incomplete code points.
      const std::string source = "a\xC3\xA9\xF0\x9F\x98\x80";
      ids.push_back(prng.Chance(0.05) ? kUserToken
                                      : static_cast<unsigned char>(source[prng.Below(source.size())]));
    }
    const ChoiceDecoderOptions options{.stops = {"\xC3\xA9"
                                                 "a",
                                                 "aaa"}};
    int counted = 0;
    const Outcome whole = Run(options, ids, 1000, &counted);
    ASSERT_EQ(static_cast<int>(whole.tokens.size()), counted);
    ASSERT_EQ(whole.tokens, std::vector<TokenId>(ids.begin(), ids.begin() + counted));
    for (const size_t step : {1, 2, 3, 7}) {
      const Outcome cut = Run(options, ids, step);
      ASSERT_EQ(cut.text, whole.text) << "round " << round << " step " << step;
      ASSERT_EQ(cut.tokens, whole.tokens) << "round " << round << " step " << step;
    }
    bool found = false;
    std::vector<TokenId> shown;
    for (const TokenId id : ids) {
      if (id != kUserToken) shown.push_back(id);
    }
    ASSERT_EQ(whole.text, CutNaively(tokenizer_->Decode(shown, true), options.stops, false, &found))
        << "round " << round;
  }
}

TEST_F(ChoiceDecoderTest, CountsUpToTheTokenThatCompletedTheStopStringString) {
  int counted = 0;
  const Outcome outcome = Run({.stops = {"STOP"}}, Bytes("text STOP more"), 3, &counted);
  EXPECT_EQ(outcome.text, "text ");
  EXPECT_EQ(counted, 9);
  EXPECT_EQ(Run({.include_stop = true, .stops = {"STOP"}}, Bytes("text STOP more"), 3).text, "text STOP");
  EXPECT_EQ(Run({.min_tokens = 5, .stops = {"STOP"}}, Bytes("text STOP more STOP"), 3).text, "text ");
  EXPECT_EQ(Run({.min_tokens = 9, .stops = {"STOP"}}, Bytes("text STOP more STOP"), 3).text,
            "text STOP more ");
}

TEST_F(ChoiceDecoderTest, EndTokensAreCountedAndNotReturned) {
  std::vector<TokenId> ids = Bytes("bye");
  ids.push_back(kEndToken);
  ids.push_back('x');
  int counted = 0;
  EXPECT_EQ(Run({.skip_special_tokens = false, .end_tokens = {kEndToken}}, ids, 1, &counted).text, "bye");
  EXPECT_EQ(counted, 4);
  EXPECT_EQ(Run({.skip_special_tokens = false}, ids, 1, &counted).text, "bye<|end|>x");
  EXPECT_EQ(Run({.skip_special_tokens = true}, ids, 1).text, "byex");
  EXPECT_EQ(Run({.stop_token_ids = {'y'}}, ids, 1, &counted).text, "b");
  EXPECT_EQ(counted, 2);
  EXPECT_EQ(Run({.include_stop = true, .stop_token_ids = {'y'}}, ids, 1).text, "by");
}

TEST_F(ChoiceDecoderTest, OffsetsCountCodePoints) {
  ChoiceDecoder choice(*tokenizer_, {}, {});
  for (const TokenId id : Bytes("\xC3\xA9x")) choice.Push({id, 0, {}});
  choice.Finish();
  const TextPiece piece = choice.Take();
  ASSERT_EQ(piece.tokens.size(), 3u);
  EXPECT_EQ(piece.tokens[0].text_offset, 0u);
  EXPECT_EQ(piece.tokens[1].text_offset, 0u);
  EXPECT_EQ(piece.tokens[2].text_offset, 1u);
}

}  // namespace
}  // namespace prefixd
