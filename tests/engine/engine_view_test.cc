// What the engine keeps for operators: the requests that ended last, and the prefixes of greatest worth.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/engine_fixture.h"

namespace prefixd {
namespace {

using testing_support::Recorder;

class EngineViewTest : public EngineTest {
 protected:
  // Runs a request to its end.
  void Serve(Engine& engine, const std::string& name, std::vector<TokenId> prompt, int max_tokens = 1) {
    Request request = Ask(std::move(prompt), max_tokens, std::make_shared<Recorder>());
    request.name = name;
    ASSERT_TRUE(engine.Submit(std::move(request)).ok());
    RunToEnd(engine);
  }
  static RequestTrace Only(Engine& engine, const std::string& name) {
    std::vector<RequestTrace> found = engine.view().Find(name);
    PREFIXD_CHECK(found.size() == 1) << name << ": " << found.size();
    return std::move(found[0]);
  }
};

TEST_F(EngineViewTest, ARequestThatEndedIsExplained) {
  auto engine = Make(Options());
  std::vector<TokenId> prompt = Prompt(40);
  Serve(*engine, "first", prompt, 3);
  const RequestTrace first = Only(*engine, "first");
  ASSERT_TRUE(first.first_miss);
  EXPECT_EQ(first.first_miss->place.token, 0);
  EXPECT_EQ(first.first_miss->reason, MissReason::kNeverSeen);
  EXPECT_EQ(first.prompt_tokens, 40);
  EXPECT_EQ(first.generated_tokens, 3);
  EXPECT_EQ(first.usage.computed(), 40);
  EXPECT_EQ(first.finish, FinishReason::kLength);

  prompt[26] = prompt[26] == 1 ? 2 : 1;  // in block 3, of 8 tokens
  Serve(*engine, "second", prompt);
  const RequestTrace second = Only(*engine, "second");
  ASSERT_TRUE(second.first_miss);
  EXPECT_EQ(second.first_miss->place.token, 26) << "the tokens before it were copied";
  EXPECT_EQ(second.first_miss->reason, MissReason::kNeverSeen);
  EXPECT_EQ(second.usage.cached(), 26);
  uint64_t explained = 0;
  for (const uint64_t tokens : second.miss_tokens) explained += tokens;
  EXPECT_EQ(explained, 14u);
  EXPECT_TRUE(engine->view().Find("third").empty());
}

TEST_F(EngineViewTest, TheNewestRequestsAreKept) {
  auto engine = Make(Options());
  const size_t more = 3;
  for (size_t i = 0; i < EngineView::kMostRequests + more; ++i)
    Serve(*engine, std::to_string(i), {static_cast<TokenId>(1 + i % 60)});
  const std::vector<RequestTrace> all = engine->view().Requests(10'000);
  ASSERT_EQ(all.size(), EngineView::kMostRequests);
  EXPECT_EQ(all.front().name, std::to_string(EngineView::kMostRequests + more - 1));
  EXPECT_EQ(all.back().name, std::to_string(more));
  EXPECT_EQ(engine->view().Requests(2).size(), 2u);
  EXPECT_TRUE(engine->view().Find("0").empty()) << "it has been forgotten";
}

TEST_F(EngineViewTest, PrefixesAreLookedForWhenSomebodyAsks) {
  auto engine = Make(Options());
  for (int i = 0; i < 3; ++i) Serve(*engine, "", Prompt(33));
  EXPECT_FALSE(engine->view().prefixes()) << "nobody has asked";
  engine->view().AskForPrefixes(7);
  for (int pass = 0; pass < 2; ++pass) EXPECT_FALSE(engine->Advance()) << "there is nothing to compute";
  const std::optional<PrefixTable> table = engine->view().prefixes();
  ASSERT_TRUE(table);
  EXPECT_EQ(table->asked, 7);
  EXPECT_EQ(table->nodes, 4u);
  ASSERT_EQ(table->rows.size(), 1u);
  EXPECT_EQ(table->rows[0].tokens, 32u);
  EXPECT_EQ(table->rows[0].hits, 2u);
}

}  // namespace
}  // namespace prefixd
