// The first message and character in which an edited conversation differs, through every route.
#include <map>

#include "base/prng.h"
#include "base/utf8.h"
#include "tests/daemon/api/explain_fixture.h"

namespace prefixd {
namespace {

using namespace testing_support;

std::u32string CodePoints(const std::string& utf8) {
  std::u32string points;
  for (size_t at = 0; at < utf8.size(); at += Utf8Length(utf8[at])) points += Utf8At(utf8.data() + at);
  return points;
}
std::string Utf8(const std::u32string& points) {
  std::string utf8;
  for (const char32_t point : points) AppendUtf8(&utf8, point);
  return utf8;
}

struct Difference {
  size_t message, character;
  bool operator==(const Difference&) const = default;
};

// The first message and code point in which two conversations differ, if neither begins with the other.
std::optional<Difference> FirstDifference(const Turns& a, const Turns& b) {
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i] == b[i]) continue;
    if (a[i].role != b[i].role) return Difference{i, 0};
    const std::u32string x = CodePoints(a[i].content), y = CodePoints(b[i].content);
    size_t at = 0;
    while (at < std::min(x.size(), y.size()) && x[at] == y[at]) ++at;
    return Difference{i, at};
  }
  return std::nullopt;
}

class RandomEdits {
 public:
  explicit RandomEdits(uint64_t seed) : prng_(seed) {}

  std::string Content() {
    static const std::u32string kLetters = U"abc <\n\"\\äßλ世🙂";
    std::u32string text(1, U"qrst"[prng_.Below(4)]);
    const size_t length = prng_.Below(prng_.Chance(0.1) ? 300 : 30);
    for (size_t i = 0; i < length; ++i) text += kLetters[prng_.Below(kLetters.size())];
    return Utf8(text);
  }
  // A conversation that ends with a question.
  Turns Talk() {
    Turns turns;
    if (prng_.Chance(0.5)) turns.push_back({"system", Content()});
    const size_t pairs = prng_.Below(4);
    for (size_t i = 0; i < pairs; ++i) {
      turns.push_back({"user", Content()});
      turns.push_back({"assistant", Content()});
    }
    turns.push_back({"user", Content()});
    return turns;
  }
  // Changes a conversation, with its answer, and asks on.
  Turns Edited(Turns turns) {
    const size_t first = turns.front().role == "system" ? 1 : 0;
    Turn& turn = turns[prng_.Below(turns.size())];
    std::u32string text = CodePoints(turn.content);
    const size_t at = prng_.Below(text.size());
    switch (prng_.Below(7)) {
      case 0:
        text.insert(at, 1, U"xλ"[prng_.Below(2)]);
        break;
      case 1:
        text[at] = U'y';
        break;
      case 2:
        if (text.size() > 1) text.erase(at, 1);
        break;
      case 3:
        text.resize(std::max<size_t>(at, 1));
        break;
      case 4:
        text += U'z';
        break;
      case 5:  // a question and its answer are dropped
        text.clear();
        turns.erase(turns.begin() + static_cast<ptrdiff_t>(first),
                    turns.begin() + static_cast<ptrdiff_t>(first + 2));
        break;
      default:
        break;  // nothing is changed
    }
    if (!text.empty()) turn.content = Utf8(text);
    turns.push_back({"user", Content()});
    return turns;
  }
  bool Chance(double p) { return prng_.Chance(p); }
  uint64_t Below(uint64_t n) { return prng_.Below(n); }

 private:
  Prng prng_;
};

TEST_F(ExplainTest, TheFirstDifferenceOfRandomEditsIsRightOnAllRoutes) {
  RandomEdits random(11);
  std::map<std::string, int> seen;
  for (int round = 0; round < 1000; ++round) {
    // A chat may go on through another API; a completion is one text.
    const auto route = static_cast<Route>(round % 4);
    Route next = route;
    if (route != Route::kCompletions && random.Chance(0.3))
      next = random.Chance(0.5) ? Route::kChat : Route::kMessages;
    Turns talk = random.Talk();
    const std::string answer = random.Content();
    json::object body = BodyOf(route, talk);
    body["cache_salt"] = std::to_string(round);
    const std::string base = IdOf(Ask(PathOf(route), body, answer));
    talk.push_back({"assistant", answer});
    const Turns edited = random.Edited(talk);
    body = BodyOf(next, edited);
    body["cache_salt"] = std::to_string(round);
    const json::object comparison =
        Explain(IdOf(Ask(PathOf(next), body, "fine"))).at("comparison").as_object();
    ASSERT_EQ(Text(comparison.at("response_id")), base) << round;
    std::optional<Difference> expected = FirstDifference(talk, edited);
    if (route == Route::kCompletions) {
      const auto joined = [](const Turns& turns) {
        return Turns{{"", Text(BodyOf(Route::kCompletions, turns).at("prompt"))}};
      };
      talk.pop_back();
      expected = FirstDifference({{"", joined(talk)[0].content + answer}}, joined(edited));
      const std::u32string before = CodePoints(joined(talk)[0].content + answer);
      if (expected && expected->character == before.size()) expected.reset();
    }
    const std::string what = std::to_string(round) + " " + json::serialize(comparison);
    ++seen[Text(comparison.at("change"))];
    if (!expected) {
      ASSERT_EQ(comparison.at("change"), "none") << what;
      continue;
    }
    ASSERT_EQ(comparison.at("change"), "message") << what;
    ASSERT_EQ(comparison.at("message"), json::value(expected->message)) << what;
    ASSERT_EQ(comparison.at("character"), json::value(expected->character)) << what;
    ASSERT_EQ(comparison.at("in_answer").as_bool(),
              expected->message + 1 == talk.size() && route != Route::kCompletions)
        << what;
  }
  EXPECT_GT(seen["message"], 500);
  EXPECT_GT(seen["none"], 80);
}

}  // namespace
}  // namespace prefixd
