// Request targets, framing and the bytes of responses: the parts of HTTP that need no socket.
#include "daemon/http/response_buffer.h"

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

TEST(RequestHeadTest, AcceptsOnlyUnambiguousFraming) {
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

class FakeConnection final : public Connection {
 public:
  void Wake() override { ++wakes; }
  bool closing() const override { return is_closing; }
  void Post(std::function<void()> job) override { job(); }
  void Nudge() override {}
  std::function<void()> PostAfter(double, std::function<void()>) override {
    return [] {};
  }
  bool PostWork(std::function<void()> job) override {
    job();
    return true;
  }
  ByteBudget& budget() override { return budget_; }
  int wakes = 0;
  bool is_closing = false;

 private:
  ByteBudget budget_{800'000, 100'000};  // 700,000 for large reservations
};

class ResponseBufferTest : public testing::Test {
 protected:
  std::shared_ptr<ResponseBuffer> Make(ResponseOptions options = {}) {
    options.request_id = "req_1";
    options.backlog_limit = 300;
    return std::make_shared<ResponseBuffer>(options, connection_);
  }
  static std::string TakeAll(ResponseBuffer& response, size_t limit = 1 << 20) {
    std::string all;
    for (OutgoingBytes taken = response.TakeBytes(limit); !taken.bytes.empty();
         taken = response.TakeBytes(limit)) {
      EXPECT_LE(taken.bytes.size(), limit);
      all += taken.bytes;
      response.MarkWritten(taken.bytes.size());
    }
    return all;
  }
  std::shared_ptr<FakeConnection> connection_ = std::make_shared<FakeConnection>();
};

TEST_F(ResponseBufferTest, SendsOneResponse) {
  const auto response = Make();
  response->Respond({.body = "one"});
  EXPECT_FALSE(response->Write("late"));
  response->RespondIfUnanswered({.body = "two"});
  EXPECT_THAT(TakeAll(*response), testing::EndsWith("\r\n\r\none"));
  EXPECT_TRUE(response->drained() && response->keep_alive());
  const auto failed = Make();
  failed->RespondIfUnanswered({.body = "error"});
  failed->Respond({.body = "late"});
  EXPECT_THAT(TakeAll(*failed), testing::EndsWith("\r\n\r\nerror"));
}

TEST_F(ResponseBufferTest, AnInterruptEndsWhatTheProducerHasNot) {
  const ApiError error{.status = 503, .code = "overloaded", .message = "stop", .retry_after = 5};
  int told = 0;
  const auto waiting = Make();
  waiting->OnDisconnect([&] { ++told; });
  waiting->Interrupt(error);
  waiting->Interrupt(error);
  waiting->Respond({.body = "late"});
  const std::string refused = TakeAll(*waiting);
  EXPECT_THAT(refused, testing::StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, testing::HasSubstr("Retry-After: 5\r\n"));
  EXPECT_THAT(refused, testing::Not(testing::HasSubstr("late")));
  EXPECT_TRUE(waiting->interrupted() && waiting->drained() && !waiting->keep_alive() && told == 1);

  for (const bool http_1_0 : {false, true}) {
    const auto stream = Make({.http_1_0 = http_1_0});
    stream->StartStream({.content_type = "text/event-stream; charset=utf-8"});
    ASSERT_TRUE(stream->Write("data: 1\n\n"));
    stream->Interrupt(error);
    EXPECT_FALSE(stream->Write("data: 2\n\n"));
    stream->EndStream();
    stream->OnDisconnect([&] { ++told; });
    const std::string sent = TakeAll(*stream);
    EXPECT_THAT(sent, testing::HasSubstr("data: {\"error\":{\"message\":\"stop\","));
    EXPECT_THAT(sent, testing::EndsWith(http_1_0 ? "}}\n\n" : "}}\n\n\r\n0\r\n\r\n"));
    EXPECT_TRUE(stream->drained() && !stream->keep_alive() && !stream->aborted());
  }
  EXPECT_EQ(told, 3);

  const auto cut = Make();
  cut->StartStream({.content_type = "text/plain"});
  cut->Interrupt(error);
  EXPECT_TRUE(cut->aborted());
  cut->MarkDisconnected();
  const auto complete = Make();
  complete->Respond({.body = "one"});
  complete->Interrupt(error);
  EXPECT_THAT(TakeAll(*complete), testing::EndsWith("\r\n\r\none"));
  EXPECT_FALSE(complete->interrupted());
  EXPECT_EQ(connection_->budget().held(), 0u);
}

TEST_F(ResponseBufferTest, ProbesMeanNothingToTheClient) {
  const auto plain = Make();
  EXPECT_TRUE(plain->Probe());
  plain->Respond({.body = std::string(10'000, 'x')});
  EXPECT_TRUE(plain->Probe()) << "nothing is sent after the end";
  const std::string sent = TakeAll(*plain);
  EXPECT_THAT(sent, testing::StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(sent, testing::EndsWith("\r\n\r\n" + std::string(10'000, 'x')));
  const auto stream = Make();
  stream->StartStream({.content_type = "text/event-stream"});
  EXPECT_TRUE(stream->Probe());
  stream->EndStream();
  EXPECT_THAT(TakeAll(*stream), testing::EndsWith("8\r\n: ping\n\n\r\n0\r\n\r\n"));
  EXPECT_FALSE(Make({.http_1_0 = true})->Probe());
  EXPECT_EQ(connection_->budget().held(), 0u);
}

TEST_F(ResponseBufferTest, HeadersOfTheServerAreInEveryResponse) {
  const auto response = Make({.headers = {{"Vary", "Origin"}}});
  response->SetRequestId("mine");
  response->Respond({.status = 204});
  const std::string sent = TakeAll(*response);
  EXPECT_THAT(sent, testing::HasSubstr("\r\nVary: Origin\r\n"));
  EXPECT_THAT(sent, testing::HasSubstr("\r\nx-request-id: mine\r\n"));
  EXPECT_THAT(sent, testing::Not(testing::HasSubstr("Content-"))) << "204 has no content";
  const auto failed = Make({.headers = {{"Vary", "Origin"}}});
  failed->Abandon();
  EXPECT_THAT(TakeAll(*failed), testing::HasSubstr("\r\nVary: Origin\r\n"));
}

TEST_F(ResponseBufferTest, ChecksTheOrderOfCalls) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto response = Make();
  EXPECT_DEATH((void)response->Write("x"), "Write before StartStream");
  EXPECT_DEATH(response->EndStream(), "EndStream before StartStream");
  response->OnDisconnect([] {});
  EXPECT_DEATH(response->OnDisconnect([] {}), "a second OnDisconnect");
  response->Respond({});
  EXPECT_DEATH(response->Respond({}), "req_1: a second response");
  EXPECT_DEATH(response->StartStream({}), "req_1: a second response");
}

TEST_F(ResponseBufferTest, HeaderValuesCannotAddHeaders) {
  const auto response = Make();
  response->Respond({.headers = {{"x-test", "a\r\nx-evil: 1"}}});
  EXPECT_THAT(TakeAll(*response), Not(HasSubstr("\nx-evil")));
}

TEST_F(ResponseBufferTest, BytesAreInOrderForEveryLimit) {
  for (const size_t limit : {1, 3, 7, 1000}) {
    const auto response = Make();
    response->StartStream({.content_type = "text/event-stream"});
    const std::string head = TakeAll(*response, limit);
    EXPECT_THAT(head, HasSubstr("Transfer-Encoding: chunked\r\n"));
    ASSERT_TRUE(response->Write("0123456789abcdef"));
    ASSERT_TRUE(response->Write(""));
    response->EndStream();
    EXPECT_EQ(TakeAll(*response, limit), "10\r\n0123456789abcdef\r\n0\r\n\r\n");
  }
}

// The bytes of `size` that are handed out from elsewhere than the body that the handler made.
size_t CopiedBytes(ResponseBuffer& response, size_t size, size_t limit) {
  std::string body(size, 'x');
  const char* const begin = body.data();
  response.Respond({.body = std::move(body)});
  size_t copied = 0, sent = 0, takes = 0;
  for (OutgoingBytes taken = response.TakeBytes(limit); !taken.bytes.empty();
       taken = response.TakeBytes(limit)) {
    if (++takes == 1) continue;  // the head
    if (taken.bytes.data() != begin + sent) copied += taken.bytes.size();
    sent += taken.bytes.size();
  }
  EXPECT_EQ(sent, size);
  EXPECT_EQ(takes, 1 + (size + limit - 1) / limit);
  return copied;
}

TEST_F(ResponseBufferTest, ALargeAnswerIsSentFromWhereItIs) {
  for (const size_t size : {1000, 1001, 1999, 64'000, 128'007})
    EXPECT_EQ(CopiedBytes(*Make(), size, 1000), 0u) << size;
}

TEST_F(ResponseBufferTest, ShortPiecesAreJoinedUpToTheLimit) {
  const auto response = Make({.http_1_0 = true});  // no chunk heads between the pieces
  response->StartStream({});
  TakeAll(*response);
  for (const char* piece : {"0123456789ab", "cd", "ef", "ghijklmn", "o"}) EXPECT_TRUE(response->Write(piece));
  for (const char* bytes : {"0123456789", "abcdef", "ghijklmno", ""})
    EXPECT_EQ(response->TakeBytes(10).bytes, bytes);
}

TEST_F(ResponseBufferTest, TakenBytesOutliveADisconnect) {
  const auto response = Make();
  response->Respond({.body = std::string(5000, 'x')});
  response->TakeBytes(1000);  // the head
  const OutgoingBytes taken = response->TakeBytes(1000);
  response->MarkDisconnected();
  EXPECT_EQ(taken.bytes, std::string(1000, 'x')) << "a write may still read them";
  EXPECT_EQ(taken.owner.use_count(), 1) << "and nothing else holds the answer";
}

TEST_F(ResponseBufferTest, TheBacklogIsBounded) {
  const auto response = Make();
  bool disconnected = false;
  response->OnDisconnect([&] { disconnected = true; });
  response->StartStream({});
  TakeAll(*response);
  EXPECT_TRUE(response->Write(std::string(250, 'x')));
  EXPECT_TRUE(response->Write(std::string(1000, 'x')));
  EXPECT_FALSE(response->Write("x"));
  EXPECT_TRUE(response->drained() && !response->keep_alive());
  EXPECT_EQ(response->TakeBytes(1000).bytes, "");
  response->MarkDisconnected();
  EXPECT_TRUE(disconnected);
}

TEST_F(ResponseBufferTest, BytesAreReservedUntilTheyAreWritten) {
  ByteBudget& budget = connection_->budget();
  const auto response = Make();
  response->Respond({.body = std::string(50'000, 'x')});
  EXPECT_GE(budget.held(), 50'000u);
  const OutgoingBytes head = response->TakeBytes(10'000);
  response->MarkWritten(head.bytes.size());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(budget.held(), 50'000u) << "the body is in memory until its end is written";
    const OutgoingBytes taken = response->TakeBytes(10'000);
    EXPECT_EQ(budget.held(), 50'000u) << "and while the end is being written";
    response->MarkWritten(taken.bytes.size());
  }
  EXPECT_EQ(budget.held(), 0u);

  const auto left = Make();
  left->StartStream({});
  EXPECT_TRUE(left->Write(std::string(200, 'x')));
  EXPECT_GE(budget.held(), 200u);
  left->MarkDisconnected();
  EXPECT_EQ(budget.held(), 0u);
}

// A disconnect does not free what the connection is writing: a client that closes its sending side and reads
// nothing keeps it until the write ends.
TEST_F(ResponseBufferTest, BytesThatAreBeingWrittenStayReservedAfterADisconnect) {
  const auto response = Make();
  response->Respond({.body = std::string(500'000, 'x')});
  response->MarkWritten(response->TakeBytes(1000).bytes.size());  // the head
  OutgoingBytes taken = response->TakeBytes(1000);
  ASSERT_EQ(taken.owner->size(), 500'000u);
  response->MarkDisconnected();
  EXPECT_GE(connection_->budget().held(), taken.owner->size()) << "the text is still in memory";
  taken.owner = nullptr;
  response->MarkWritten(taken.bytes.size());
  EXPECT_EQ(connection_->budget().held(), 0u);
}

TEST_F(ResponseBufferTest, NothingGrowsBeyondTheBudget) {
  ByteBudget& budget = connection_->budget();
  ByteBudget::Reservation rest(budget, ByteBudget::Use::kWork);
  ASSERT_TRUE(rest.TryGrow(690'000));
  const auto large = Make();
  large->Respond({.body = std::string(100'000, 'x')});
  EXPECT_THAT(TakeAll(*large), testing::StartsWith("HTTP/1.1 503 "));
  const auto stream = Make();
  stream->StartStream({});
  EXPECT_FALSE(stream->Write(std::string(100'000, 'x')));
  EXPECT_FALSE(stream->Write(std::string(5000, 'x'))) << "no short piece that says why";
  EXPECT_FALSE(stream->aborted());
  stream->EndStream();
  EXPECT_TRUE(stream->aborted()) << "what is missing must not look like a whole answer";
  stream->MarkDisconnected();

  const auto small = Make();
  small->Respond({.body = std::string(60'000, 'x')});
  EXPECT_THAT(TakeAll(*small), testing::StartsWith("HTTP/1.1 200 ")) << "from the part for short requests";
  rest.Add(budget.limit() - budget.held());
  const auto error = Make();
  error->Respond({.status = 400, .body = "{}"});
  EXPECT_THAT(TakeAll(*error), testing::StartsWith("HTTP/1.1 400 ")) << "however full the budget is";
  EXPECT_EQ(budget.stats().refusals, 2u);
}

// A source of `parts` parts "part".
class CountedBody final : public BodySource {
 public:
  CountedBody(int parts, int* alive) : parts_(parts), alive_(alive) { ++*alive_; }
  ~CountedBody() override { --*alive_; }
  void Next(size_t, std::string* out) override {
    if (parts_ > 0) out->append("part");
    --parts_;
  }

 private:
  int parts_;
  int* const alive_;
};

// A stream that finds no room ends, but the client gets its head and the short event that says why. A
// connection that is closed without a byte looks like a crash of the server.
TEST_F(ResponseBufferTest, AStreamThatFindsNoRoomCanSayWhy) {
  ByteBudget::Reservation others(connection_->budget(), ByteBudget::Use::kAnswer);
  ASSERT_TRUE(others.TryGrow(700'000));
  const auto response = Make();
  response->StartStream({});
  EXPECT_FALSE(response->Write(std::string(100'000, 'x')));
  EXPECT_TRUE(response->Write("event: no room"));
  EXPECT_FALSE(response->Write("more")) << "it would follow a gap";
  response->EndStream();
  const std::string sent = TakeAll(*response);
  EXPECT_THAT(sent, testing::StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(sent, HasSubstr("event: no room"));
}

// What the producer has reserved stays reserved, so that others cannot take the room of a finished answer.
TEST_F(ResponseBufferTest, AReservationIsTakenOver) {
  ByteBudget& budget = connection_->budget();
  ByteBudget::Reservation made(budget, ByteBudget::Use::kAnswer), others(budget, ByteBudget::Use::kAnswer);
  ASSERT_TRUE(made.TryGrow(200'000) && others.TryGrow(500'000));
  const auto response = Make();
  response->Respond({.body = std::string(100'000, 'x'), .reserved = made.Split(120'000)});
  EXPECT_GE(budget.held(), 680'000u);
  EXPECT_LT(budget.held(), 681'000u) << "what the body does not need is returned";
  const auto stream = Make();
  stream->StartStream({});
  EXPECT_TRUE(stream->Write(std::string(70'000, 'x'), made.Split(80'000)));
  EXPECT_THAT(TakeAll(*response), testing::StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(TakeAll(*stream), testing::StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(budget.held(), 500'000u);
  EXPECT_EQ(budget.stats().refusals, 0u);

  // Pieces with small reservations do not add up to a large one in the room for short requests.
  ASSERT_TRUE(others.TryGrow(200'000));
  const auto backlog = std::make_shared<ResponseBuffer>(
      ResponseOptions{.request_id = "req_2", .backlog_limit = 1 << 20}, connection_);
  backlog->StartStream({});
  bool written = true;
  for (int i = 0; written && i < 10; ++i) {
    ByteBudget::Reservation small(budget, ByteBudget::Use::kAnswer);
    ASSERT_TRUE(small.TryGrow(20'000));
    written = backlog->Write(std::string(15'000, 'x'), std::move(small));
  }
  EXPECT_FALSE(written);
  EXPECT_FALSE(backlog->aborted()) << "it is within its backlog";
  EXPECT_LE(budget.held(), 700'000u + ByteBudget::kSmallAnswerBytes + 1000);
}

// The frame of a chunk makes a small body larger than what is always sent.
TEST_F(ResponseBufferTest, ABodyWithASourceIsReserved) {
  int alive = 0;
  const auto response = Make();
  response->Respond({.body = std::string(4096, 'x'), .source = std::make_shared<CountedBody>(1, &alive)});
  EXPECT_GE(connection_->budget().held(), 4096u + 100);
  TakeAll(*response);
  EXPECT_EQ(connection_->budget().held(), 0u);
}

TEST_F(ResponseBufferTest, ASourceWritesTheRestOfTheBody) {
  int alive = 0;
  const auto response = Make();
  response->Respond({.body = "first", .source = std::make_shared<CountedBody>(2, &alive)});
  EXPECT_EQ(alive, 1);
  const std::string sent = TakeAll(*response);
  EXPECT_THAT(sent, HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_THAT(sent, Not(HasSubstr("Content-Length")));
  EXPECT_THAT(sent, testing::EndsWith("\r\n\r\n5\r\nfirst\r\n4\r\npart\r\n4\r\npart\r\n0\r\n\r\n"));
  EXPECT_TRUE(response->drained() && response->keep_alive());
  EXPECT_EQ(alive, 0);

  const auto old = Make({.http_1_0 = true});
  old->Respond({.source = std::make_shared<CountedBody>(1, &alive)});
  EXPECT_THAT(TakeAll(*old), testing::EndsWith("Connection: close\r\n\r\npart"));
  EXPECT_TRUE(old->drained() && !old->keep_alive());

  const auto left = Make();
  left->Respond({.source = std::make_shared<CountedBody>(1000, &alive)});
  (void)left->TakeBytes(1000);
  EXPECT_FALSE(left->drained());
  left->MarkDisconnected();
  EXPECT_EQ(alive, 0);
  const auto head = Make({.head_only = true});
  head->Respond({.source = std::make_shared<CountedBody>(1000, &alive)});
  EXPECT_THAT(TakeAll(*head), Not(HasSubstr("part")));
  EXPECT_EQ(alive, 0);
}

TEST_F(ResponseBufferTest, ADestroyedExchangeIsAnError) {
  const auto unanswered = Make();
  { HttpExchange exchange({}, {}, unanswered); }
  EXPECT_THAT(TakeAll(*unanswered), testing::StartsWith("HTTP/1.1 500 "));
  const auto broken = Make();
  {
    HttpExchange exchange({}, {}, broken);
    exchange.StartStream({});
    EXPECT_TRUE(exchange.Write("half"));
  }
  EXPECT_EQ(broken->TakeBytes(1000).bytes, "");
  EXPECT_TRUE(broken->drained() && !broken->keep_alive());
}

TEST_F(ResponseBufferTest, ClosesTheConnectionWhenRequired) {
  connection_->is_closing = true;
  const auto last = Make();
  last->Respond({});
  EXPECT_THAT(TakeAll(*last), HasSubstr("Connection: close\r\n"));
  connection_->is_closing = false;
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

TEST_F(ResponseBufferTest, TheDisconnectCallbackRunsOnceAndOnlyBeforeTheEnd) {
  int calls = 0;
  const auto early = Make();
  early->OnDisconnect([&] { ++calls; });
  early->MarkDisconnected();
  early->MarkDisconnected();
  EXPECT_EQ(calls, 1);
  const auto registered_late = Make();
  registered_late->MarkDisconnected();
  registered_late->OnDisconnect([&] { ++calls; });
  EXPECT_EQ(calls, 2);
  const auto ended = Make();
  ended->OnDisconnect([&] { ++calls; });
  ended->Respond({});
  ended->MarkDisconnected();
  const auto registered_after_the_end = Make();
  registered_after_the_end->Respond({});
  registered_after_the_end->OnDisconnect([&] { ++calls; });
  registered_after_the_end->MarkDisconnected();
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace prefixd
