// For any tokens and stop strings: a stream has the same text as the full response, and both agree with a
// plain search of the whole text.
#include <gtest/gtest.h>

#include "base/prng.h"
#include "base/utf8.h"
#include "tests/daemon/api/api_fixture.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing_support::ApiTest;
using testing_support::At;
using testing_support::Events;
using testing_support::kUserToken;
using testing_support::Parse;
using testing_support::Text;

struct Case {
  std::vector<TokenId> tokens;
  std::vector<std::string> stops;
  bool skip_special = true, include_stop = false;
};

struct Said {
  std::string text, end;  // end: finish and stop reason
  json::array ids;
  bool operator==(const Said&) const = default;
};

// A piece of `text` that consists of whole code points.
std::string PieceOf(const std::string& text, Prng& prng) {
  std::string piece;
  size_t at = prng.Below(text.size() + 1);
  while (at < text.size() && (text[at] & 0xC0) == 0x80) ++at;
  while (at < text.size() && piece.size() < 6) {
    const size_t length = Utf8Length(text[at]);
    piece += text.substr(at, length);
    at += length;
  }
  return piece;
}

// Bytes of "abé😀" in random order, with some special tokens: split and incomplete code points.
Case RandomCase(const Tokenizer& tokenizer, Prng& prng) {
  constexpr std::string_view kBytes = "ab\xC3\xA9\xF0\x9F\x98\x80";
  Case made{.tokens = {}, .stops = {}, .skip_special = prng.Chance(0.5), .include_stop = prng.Chance(0.3)};
  for (uint64_t n = 1 + prng.Below(24); n > 0; --n) {
    const TokenId byte = static_cast<unsigned char>(kBytes[prng.Below(kBytes.size())]);
    made.tokens.push_back(prng.Chance(0.08) ? kUserToken : byte);
  }
  const std::string text = tokenizer.Decode(made.tokens, made.skip_special);
  for (uint64_t n = prng.Below(3); n > 0; --n) {
    const std::string stop = (prng.Chance(0.2) ? "b<|" : "") + PieceOf(text, prng);
    if (!stop.empty()) made.stops.push_back(stop);
  }
  return made;
}

// The reference: the stop string that is complete first ends the text; of those complete at the same byte,
// the longest.
std::string CutPlainly(const std::string& text, const Case& asked, bool* stopped) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : asked.stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0)
        longest = std::max(longest, stop.size());
    }
    if (longest == 0) continue;
    *stopped = true;
    return text.substr(0, asked.include_stop ? end : end - longest);
  }
  *stopped = false;
  return text;
}

class StreamEqualityTest : public ApiTest {
 protected:
  // Runs the request with its tokens generated in random portions.
  Said Ask(const Case& asked, bool stream, Prng& prng) {
    const json::object fields = {{"stop", json::array(asked.stops.begin(), asked.stops.end())},
                                 {"skip_special_tokens", asked.skip_special},
                                 {"include_stop_str_in_output", asked.include_stop},
                                 {"return_token_ids", true},
                                 {"stream", stream}};
    const std::string inner = json::serialize(fields);
    const size_t index = api_.engine.submitted();
    const auto exchange = Completion(inner.substr(1, inner.size() - 2));
    for (auto at = asked.tokens.begin(); at != asked.tokens.end();) {
      const auto end =
          at + std::min<ptrdiff_t>(1 + static_cast<ptrdiff_t>(prng.Below(4)), asked.tokens.end() - at);
      Generate(*exchange, index, std::vector<TokenId>(at, end),
               end == asked.tokens.end() ? std::optional(FinishReason::kLength) : std::nullopt);
      at = end;
    }
    EXPECT_TRUE(exchange->ended);
    Said said;
    for (const json::value& event :
         stream ? Events(exchange->body()) : std::vector{Parse(exchange->body())}) {
      const json::value& choice = At(event, "/choices/0");
      said.text += Text(At(choice, "/text"));
      for (const json::value& id : At(choice, "/token_ids").as_array()) said.ids.push_back(id);
      if (At(choice, "/finish_reason").is_string())
        said.end += Text(At(choice, "/finish_reason")) + json::serialize(At(choice, "/stop_reason"));
    }
    return said;
  }
};

TEST_F(StreamEqualityTest, ForAnyTokensAndStops) {
  Prng prng(20250101);
  int stops = 0;
  for (int round = 0; round < 400; ++round) {
    const Case asked = RandomCase(*api_.context.tokenizer, prng);
    bool stopped = false;
    const std::string expected =
        CutPlainly(api_.context.tokenizer->Decode(asked.tokens, asked.skip_special), asked, &stopped);
    stops += stopped;
    const Said whole = Ask(asked, false, prng);
    ASSERT_EQ(whole.text, expected) << "round " << round;
    ASSERT_EQ(whole.end.starts_with("stop"), stopped) << "round " << round << " " << whole.end;
    const Said streamed = Ask(asked, true, prng);
    ASSERT_EQ(streamed, whole) << "round " << round << "\n" << streamed.text << "\n" << whole.text;
  }
  EXPECT_GT(stops, 80);
  EXPECT_LT(stops, 370);
}

}  // namespace
}  // namespace prefixd
