// Paths, framing, routes and the bytes of answers: the parts of HTTP that need no socket.
#include "daemon/http/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/http/request_head.h"

namespace prefixd {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(RequestHeadTest, TargetsAreDecodedOnce) {
  const struct {
    const char* target;
    const char* path;
    const char* query;
  } kCases[] = {{"/", "/", ""},           {"/a%2Fb%20c:d?x=%20&y", "/a/b c:d", "x=%20&y"},
                {"/%2525", "/%25", ""},   {"/a?b?c", "/a", "b?c"},
                {"/a#frag", "/a", ""},    {"http://host:1/p?q", "/p", "q"},
                {"http://host", "/", ""}, {"/http://x", "/http://x", ""},
                {"*", "*", ""},           {"/caf%C3%A9", "/caf\xC3\xA9", ""}};
  for (const auto& [target, path, query] : kCases) {
    const auto split = SplitTarget(target);
    ASSERT_TRUE(split) << target;
    EXPECT_EQ(split->first, path) << target;
    EXPECT_EQ(split->second, query) << target;
  }
  for (const char* bad : {"/%", "/%4", "/%zz", "/a%00b", "/%-1"}) EXPECT_FALSE(SplitTarget(bad)) << bad;
}

TEST(RequestHeadTest, OnlyCertainFramingsPass) {
  EXPECT_FALSE(CheckFraming({.hosts = 1}));
  EXPECT_FALSE(CheckFraming({.version = 10}));
  EXPECT_FALSE(CheckFraming({.content_lengths = 1, .content_length = "12", .hosts = 1}));
  EXPECT_FALSE(CheckFraming(
      {.transfer_encodings = 1, .transfer_encoding = "CHUNKED", .expect = "100-Continue", .hosts = 1}));
  const std::pair<Framing, int> kCases[] = {
      {{.version = 20, .hosts = 1}, 505},
      {{.version = 9, .hosts = 1}, 505},
      {{.content_lengths = 2, .content_length = "12", .hosts = 1}, 400},
      {{.content_lengths = 1, .content_length = "1,1", .hosts = 1}, 400},
      {{.content_lengths = 1,
        .content_length = "1",
        .transfer_encodings = 1,
        .transfer_encoding = "chunked",
        .hosts = 1},
       400},
      {{.version = 10, .transfer_encodings = 1, .transfer_encoding = "chunked", .hosts = 1}, 400},
      {{.transfer_encodings = 2, .transfer_encoding = "chunked", .hosts = 1}, 400},
      {{.transfer_encodings = 1, .transfer_encoding = "gzip", .hosts = 1}, 400},
      {{.expect = "tea", .hosts = 1}, 417},
      {{.hosts = 0}, 400},
      {{.hosts = 2}, 400}};
  for (const auto& [framing, status] : kCases) {
    const auto error = CheckFraming(framing);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->status, status) << error->message;
  }
}

class FakeHost final : public ExchangeHost {
 public:
  void Wake() override { ++wakes; }
  bool closing() const override { return is_closing; }
  void Post(std::function<void()> job) override { job(); }
  std::function<void()> PostAfter(double, std::function<void()>) override {
    return [] {};
  }
  bool PostWork(std::function<void()> job) override {
    job();
    return true;
  }
  int wakes = 0;
  bool is_closing = false;
};

class AnswerTest : public testing::Test {
 protected:
  std::shared_ptr<Answer> Make(AnswerTraits traits = {}) {
    traits.request_id = "req_1";
    traits.backlog_limit = 300;
    return std::make_shared<Answer>(traits, host_);
  }
  static std::string TakeAll(Answer& answer, size_t limit = 1 << 20) {
    std::string all;
    for (std::string bytes = answer.Take(limit); !bytes.empty(); bytes = answer.Take(limit)) {
      EXPECT_LE(bytes.size(), limit);
      all += bytes;
      answer.Written(bytes.size());
    }
    return all;
  }
  std::shared_ptr<FakeHost> host_ = std::make_shared<FakeHost>();
};

TEST_F(AnswerTest, OneAnswerOnly) {
  const auto answer = Make();
  answer->Respond({.body = "one"});
  answer->Respond({.body = "two"});
  answer->StartStream({});
  EXPECT_FALSE(answer->Write("three"));
  EXPECT_THAT(TakeAll(*answer), testing::EndsWith("\r\n\r\none"));
  EXPECT_TRUE(answer->finished() && answer->keep_alive());
}

TEST_F(AnswerTest, HeadersCannotBreakOut) {
  const auto answer = Make();
  answer->Respond({.headers = {{"x-test", "a\r\nx-evil: 1"}}});
  EXPECT_THAT(TakeAll(*answer), Not(HasSubstr("\nx-evil")));
}

TEST_F(AnswerTest, BytesComeInOrderWhateverTheLimit) {
  for (const size_t limit : {1, 3, 7, 1000}) {
    const auto answer = Make();
    answer->StartStream({.content_type = "text/event-stream"});
    const std::string head = TakeAll(*answer, limit);
    EXPECT_THAT(head, HasSubstr("Transfer-Encoding: chunked\r\n"));
    ASSERT_TRUE(answer->Write("0123456789abcdef"));
    ASSERT_TRUE(answer->Write(""));
    answer->EndStream();
    EXPECT_EQ(TakeAll(*answer, limit), "10\r\n0123456789abcdef\r\n0\r\n\r\n");
  }
}

TEST_F(AnswerTest, TheBacklogIsBounded) {
  const auto answer = Make();
  bool gone = false;
  answer->OnDisconnect([&] { gone = true; });
  answer->StartStream({});
  TakeAll(*answer);
  EXPECT_TRUE(answer->Write(std::string(250, 'x')));
  EXPECT_TRUE(answer->Write(std::string(1000, 'x')));
  EXPECT_FALSE(answer->Write("x"));
  EXPECT_TRUE(answer->finished() && !answer->keep_alive());
  EXPECT_EQ(answer->Take(1000), "");
  answer->MarkGone();
  EXPECT_TRUE(gone);
}

TEST_F(AnswerTest, ADroppedExchangeIsAnError) {
  const auto unanswered = Make();
  { HttpExchange exchange({}, {}, unanswered); }
  EXPECT_THAT(TakeAll(*unanswered), testing::StartsWith("HTTP/1.1 500 "));
  const auto torn = Make();
  {
    HttpExchange exchange({}, {}, torn);
    exchange.StartStream({});
    EXPECT_TRUE(exchange.Write("half"));
  }
  EXPECT_EQ(torn->Take(1000), "");
  EXPECT_TRUE(torn->finished() && !torn->keep_alive());
}

TEST_F(AnswerTest, ConnectionsEndWhereTheyMust) {
  host_->is_closing = true;
  const auto last = Make();
  last->Respond({});
  EXPECT_THAT(TakeAll(*last), HasSubstr("Connection: close\r\n"));
  host_->is_closing = false;
  const auto old = Make({.http_1_0 = true});
  old->StartStream({});
  EXPECT_TRUE(old->Write("raw"));
  old->EndStream();
  const std::string text = TakeAll(*old);
  EXPECT_THAT(text, testing::EndsWith("\r\n\r\nraw"));
  EXPECT_FALSE(old->keep_alive());
  const auto head = Make({.head_only = true});
  head->Respond({.body = "body"});
  EXPECT_THAT(TakeAll(*head),
              testing::AllOf(HasSubstr("Content-Length: 4\r\n"), testing::EndsWith("\r\n\r\n")));
}

TEST_F(AnswerTest, TheDisconnectCallbackRunsOnceAndOnlyBeforeTheEnd) {
  int calls = 0;
  const auto early = Make();
  early->OnDisconnect([&] { ++calls; });
  early->MarkGone();
  early->MarkGone();
  EXPECT_EQ(calls, 1);
  const auto late = Make();
  late->OnDisconnect([&] { ++calls; });
  late->Respond({});
  late->MarkGone();
  late->OnDisconnect([&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace prefixd
