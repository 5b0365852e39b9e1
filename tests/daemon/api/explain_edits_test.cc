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

// The first message and code point in which two conversations differ, if neither begins with the other. Their
// roles are the same.
std::optional<Difference> FirstDifference(const Turns& a, const Turns& b) {
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i] == b[i]) continue;
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

class ExplainEditsTest : public ExplainTest {
 protected:
  void CheckEdits(const std::string& family, int rounds);
  // What is told of an edited conversation, after the conversation itself.
  json::object Compared(Route route, const Turns& talk, const std::string& answer, Route next,
                        const Turns& edited, int round);
  // The answer has other ids as a part of a longer text than when it was generated.
  bool EncodedOtherwise(const std::string& prompt, const std::string& answer) const {
    std::vector<TokenId> ids = IdsOf(prompt), generated = IdsOf(answer), whole = IdsOf(prompt + answer);
    ids.insert(ids.end(), generated.begin(), generated.end());
    return ids != whole;
  }
};

json::object ExplainEditsTest::Compared(Route route, const Turns& talk, const std::string& answer, Route next,
                                        const Turns& edited, int round) {
  json::object body = BodyOf(route, talk);
  body["cache_salt"] = std::to_string(round);
  const std::string base = IdOf(Ask(PathOf(route), body, answer));
  body = BodyOf(next, edited);
  body["cache_salt"] = std::to_string(round);
  json::object comparison = Explain(IdOf(Ask(PathOf(next), body, "fine"))).at("comparison").as_object();
  EXPECT_EQ(Text(comparison.at("response_id")), base) << round;
  return comparison;
}

std::string PromptOf(const Turns& turns) { return Text(BodyOf(Route::kCompletions, turns).at("prompt")); }

void ExplainEditsTest::CheckEdits(const std::string& family, int rounds) {
  RandomEdits random(11);
  std::map<std::string, int> seen;
  for (int round = 0; round < rounds; ++round) {
    // A chat may go on through another API; a completion is one text.
    constexpr Route kChats[] = {Route::kChat, Route::kResponses, Route::kMessages};
    const auto route = static_cast<Route>(round % 4);
    const bool is_text = route == Route::kCompletions;
    const Route next = !is_text && random.Chance(0.3) ? kChats[random.Below(3)] : route;
    Turns talk = random.Talk();
    const std::string answer = random.Content();
    Turns said = talk;
    said.push_back({"assistant", answer});
    const Turns edited = random.Edited(said);
    const json::object comparison = Compared(route, talk, answer, next, edited, round);
    std::optional<Difference> expected = FirstDifference(said, edited);
    if (is_text) {
      const std::string before = PromptOf(talk) + answer;
      expected = FirstDifference({{"", before}}, {{"", PromptOf(edited)}});
      if (expected && expected->character == CodePoints(before).size()) expected.reset();
    }
    const std::string what = family + std::to_string(round) + " " + json::serialize(comparison);
    ++seen[Text(comparison.at("change"))];
    if (!expected) {
      const bool split = is_text && EncodedOtherwise(PromptOf(talk), answer);
      ASSERT_TRUE(comparison.at("change") == "none" || (split && comparison.at("change") == "tokenization"))
          << what;
      continue;
    }
    ASSERT_EQ(comparison.at("change"), "message") << what;
    ASSERT_EQ(comparison.at("message"), json::value(expected->message)) << what;
    ASSERT_EQ(comparison.at("character"), json::value(expected->character)) << what;
    ASSERT_EQ(comparison.at("in_answer").as_bool(), expected->message + 1 == said.size() && !is_text) << what;
  }
  EXPECT_GT(seen["message"], rounds / 2) << family;
  EXPECT_GT(seen["none"], rounds * 2 / 25) << family;
}

TEST_F(ExplainEditsTest, TheFirstDifferenceIsRightOnAllRoutes) { CheckEdits("bytes", 1000); }

// A conversation with a call and its result, as a request of a route.
json::object BodyWithCall(Route route, const std::string& name, const std::string& tier,
                          const std::string& result) {
  const json::object arguments = {{"tier", tier}};
  const json::object user = {{"role", "user"}, {"content", "Which is full?"}};
  const json::object says = {{"role", "assistant"}, {"content", "I look."}};
  json::object body = {{"max_tokens", 100}};
  if (route == Route::kChat) {
    json::object calls = says;
    calls["tool_calls"] = json::array{
        json::object{{"id", "call_1"},
                     {"type", "function"},
                     {"function", json::object{{"name", name}, {"arguments", json::serialize(arguments)}}}}};
    body["messages"] = json::array{
        user, calls, json::object{{"role", "tool"}, {"tool_call_id", "call_1"}, {"content", result}}};
  } else if (route == Route::kResponses) {
    body["input"] = json::array{
        user, says,
        json::object{{"type", "function_call"},
                     {"call_id", "call_1"},
                     {"name", name},
                     {"arguments", json::serialize(arguments)}},
        json::object{{"type", "function_call_output"}, {"call_id", "call_1"}, {"output", result}}};
  } else {
    const json::object text = {{"type", "text"}, {"text", "I look."}};
    const json::object call = {{"type", "tool_use"}, {"id", "call_1"}, {"name", name}, {"input", arguments}};
    const json::object answer = {{"type", "tool_result"}, {"tool_use_id", "call_1"}, {"content", result}};
    body["messages"] = json::array{user, json::object{{"role", "assistant"}, {"content", {text, call}}},
                                   json::object{{"role", "user"}, {"content", json::array{answer}}}};
  }
  return body;
}

TEST_F(ExplainEditsTest, OfACallOnlyTheMessageIsTold) {
  const auto shows_calls = MakeTemplate(
      "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments }}"
      "{% endfor %}");
  api_.context.chat_template = shows_calls.get();
  struct Case {
    const char *name, *tier, *result;
    json::value message, character;
  };
  const Case cases[] = {{"look", "disk", "It is full.", nullptr, nullptr},
                        {"look", "host", "It is full.", 1, nullptr},
                        {"read", "disk", "It is full.", 1, nullptr},
                        {"look", "disk", "It is free.", 2, 7}};
  for (const Route route : {Route::kChat, Route::kResponses, Route::kMessages}) {
    for (const Case& one : cases) {
      json::object body = BodyWithCall(route, "look", "disk", "It is full.");
      body["cache_salt"] = PathOf(route);
      Ask(PathOf(route), body, "yes");
      body = BodyWithCall(route, one.name, one.tier, one.result);
      body["cache_salt"] = PathOf(route);
      const json::object told = Explain(IdOf(Ask(PathOf(route), body, "yes")));
      const std::string what = PathOf(route) + json::serialize(told);
      EXPECT_EQ(At(told, "/comparison/change"), one.message.is_null() ? "none" : "message") << what;
      EXPECT_EQ(At(told, "/comparison/message"), one.message) << what;
      EXPECT_EQ(At(told, "/comparison/character"), one.character) << what;
    }
  }
}

TEST_F(ExplainEditsTest, OfARoleOnlyTheMessageIsTold) {
  for (const Route route : {Route::kChat, Route::kResponses}) {
    const auto ask = [&](const char* role) {
      json::object body = BodyOf(route, {{"user", "one"}, {role, "two"}, {"user", "three"}});
      body["cache_salt"] = PathOf(route);
      return IdOf(Ask(PathOf(route), body, "yes"));
    };
    ask("user");
    const json::object told = Explain(ask("developer"));
    const std::string what = PathOf(route) + json::serialize(told);
    EXPECT_EQ(At(told, "/comparison/change"), "message") << what;
    EXPECT_EQ(At(told, "/comparison/message"), json::value(1)) << what;
    EXPECT_TRUE(At(told, "/comparison/character").is_null()) << what;
  }
}

// Their tokens end within words, and an edit changes ids before it.
TEST_F(ExplainEditsTest, TheFirstDifferenceIsRightWithTheTokenizersOfTheReferenceData) {
  PREFIXD_NEED_SHARED("golden/tokenizers");
  for (const Family& family : kFamilies) {
    Use(family);
    CheckEdits(family.folder, 300);
  }
}

}  // namespace
}  // namespace prefixd
