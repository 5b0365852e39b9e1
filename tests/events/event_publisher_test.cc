// The publisher with a subscriber in the same process. What the payloads have is the subject of
// event_batch_test.cc and of tests/e2e/kv_events_test.py; here the names of events are counted.
#include "events/event_publisher.h"

#include <gtest/gtest.h>
#include <zmq.h>

#include <memory>

#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing_support::TempDir;

constexpr BlockKey kRoot{.low = 1};

struct Message {
  std::vector<std::string> frames;
  size_t Count(std::string_view text) const {
    if (frames.empty()) return 0;
    size_t count = 0;
    for (size_t at = frames.back().find(text); at != std::string::npos; at = frames.back().find(text, at + 1))
      ++count;
    return count;
  }
  uint64_t sequence() const {
    uint64_t number = 0;
    for (const char byte : frames.at(frames.size() - 2)) number = number << 8 | static_cast<uint8_t>(byte);
    return number;
  }
};

class Peer {
 public:
  Peer(int type, const std::string& endpoint) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, type)) {
    const int patience = 20'000, linger = 0;
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &patience, sizeof patience);
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
    if (type == ZMQ_SUB) zmq_setsockopt(socket_, ZMQ_SUBSCRIBE, "", 0);
    EXPECT_EQ(zmq_connect(socket_, endpoint.c_str()), 0);
  }
  ~Peer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  void Send(const std::vector<std::string>& frames) {
    for (size_t i = 0; i < frames.size(); ++i)
      zmq_send(socket_, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
  }
  // The next message; without frames when none comes in time.
  Message Receive() {
    Message message;
    int more = 1;
    while (more != 0) {
      zmq_msg_t frame;
      zmq_msg_init(&frame);
      if (zmq_msg_recv(&frame, socket_, 0) < 0) return {};
      message.frames.emplace_back(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
      more = zmq_msg_more(&frame);
      zmq_msg_close(&frame);
    }
    return message;
  }
  // The next message with such an event. Changes may be told after a snapshot that has them already, when the
  // subscription came after them.
  Message ReceiveWith(std::string_view event) {
    while (true) {
      Message message = Receive();
      if (message.frames.empty() || message.Count(event) > 0) return message;
    }
  }

 private:
  void* const context_;
  void* const socket_;
};

class EventPublisherTest : public testing::Test {
 protected:
  EventPublisherTest() {
    const std::string folder = "ipc://" + folder_.path().string();
    Result<std::unique_ptr<EventSockets>> sockets =
        EventSockets::Bind({folder + "/events", folder + "/replay"});
    PREFIXD_CHECK(sockets.ok()) << sockets.status().ToString();
    sockets_ = *std::move(sockets);
    queue_ = std::make_unique<ResidencyQueue>(100, std::nullopt, [this] { sockets_->Wake(); });
  }
  void Start() {
    EventPublisher::Options options{
        .topic = "kv@here", .shared_root = kRoot, .wake = [this] { ++wakes_; }, .clock = &clock_};
    publisher_ = std::make_unique<EventPublisher>(std::move(options), *SequenceFile::Open(""), sockets_.get(),
                                                  queue_.get());
  }
  // A subscriber that has the snapshot of its subscription. Without blocks that is AllBlocksCleared.
  std::unique_ptr<Peer> Subscribe() {
    auto peer = std::make_unique<Peer>(ZMQ_SUB, sockets_->bound().events);
    EXPECT_EQ(peer->Receive().Count("AllBlocksCleared"), 1u);
    return peer;
  }
  void Store(uint64_t number, Tier tier = Tier::kDevice) {
    const std::vector<TokenId> tokens = {1, 2};
    const BlockKey parent = number == 100 ? kRoot : BlockKey{.low = number - 1};
    queue_->OnStored({.key = {.low = number}, .parent = parent, .root = kRoot, .tokens = tokens}, tier);
  }

  const TempDir folder_;
  const SystemClock clock_;
  std::unique_ptr<EventSockets> sockets_;
  std::unique_ptr<ResidencyQueue> queue_;
  std::unique_ptr<EventPublisher> publisher_;
  std::atomic<int> wakes_{0};
};

TEST_F(EventPublisherTest, PublishesChangesAndClearsAtTheEnd) {
  Start();
  const auto peer = Subscribe();
  Store(100);
  Message message = peer->Receive();
  ASSERT_EQ(message.frames.size(), 3u);
  EXPECT_EQ(message.frames[0], "kv@here");
  EXPECT_EQ(message.Count("BlockStored"), 1u);
  EXPECT_EQ(message.Count("GPU"), 1u);
  queue_->OnRemoved(kRoot, {.low = 100}, Tier::kHost);  // it is not there
  queue_->OnRemoved(kRoot, {.low = 100}, Tier::kDevice);
  // The state may be told once more before it, when the subscription came after the change.
  do {
    const uint64_t last = message.sequence();
    message = peer->Receive();
    ASSERT_EQ(message.frames.size(), 3u);
    EXPECT_EQ(message.sequence(), last + 1);
  } while (message.Count("BlockRemoved") == 0);
  EXPECT_EQ(message.Count("BlockRemoved"), 1u);
  publisher_.reset();
  EXPECT_EQ(peer->Receive().Count("AllBlocksCleared"), 1u);
}

TEST_F(EventPublisherTest, BlocksThatFollowEachOtherAreOneEvent) {
  for (uint64_t i = 100; i < 120; ++i) Store(i);
  Start();
  const auto peer = std::make_unique<Peer>(ZMQ_SUB, sockets_->bound().events);
  Message message;
  do {  // the first ones may come from before the subscription
    message = peer->Receive();
    ASSERT_FALSE(message.frames.empty());
    EXPECT_LE(message.Count("BlockStored"), 1u);
  } while (message.Count("AllBlocksCleared") == 0 || message.Count("BlockStored") == 0);
}

TEST_F(EventPublisherTest, ABlockIsAnnouncedAfterItsParent) {
  Start();
  const auto peer = Subscribe();
  Store(102);  // a long prefix is loaded from its end
  Store(101);
  Store(200);  // of another prompt, and never announced
  Store(100);
  const Message message = peer->Receive();
  EXPECT_EQ(message.Count("BlockStored"), 1u) << "one chain";
  queue_->OnRemoved(kRoot, {.low = 200}, Tier::kDevice);
  queue_->OnRemoved(kRoot, {.low = 102}, Tier::kDevice);
  EXPECT_EQ(peer->ReceiveWith("BlockRemoved").Count("BlockRemoved"), 1u);
  publisher_.reset();
  EXPECT_EQ(peer->Receive().Count("AllBlocksCleared"), 1u);
}

TEST_F(EventPublisherTest, AnnouncesWhatTheDiskHasDroppedIfItWasAnnounced) {
  Start();
  const auto peer = Subscribe();
  Store(100, Tier::kDisk);
  EXPECT_EQ(peer->Receive().Count("DISK"), 1u);
  queue_->OnDropped({.low = 101});
  queue_->OnDropped({.low = 100});
  EXPECT_EQ(peer->ReceiveWith("BlockRemoved").Count("BlockRemoved"), 1u);
}

TEST_F(EventPublisherTest, AfterALossEverythingIsAnnouncedAgain) {
  Start();
  const auto peer = Subscribe();
  for (uint64_t i = 0; i < 300; ++i) Store(1000 + i);  // the queue may take some of them
  Message message;
  while (queue_->WantedReport() == 0) {
    ASSERT_LT(queue_->lost(), 10'000'000u);
    for (uint64_t i = 0; i < 300; ++i) Store(1000 + i);
  }
  const uint64_t report = queue_->WantedReport();
  EXPECT_GT(queue_->lost(), 0u);
  (void)queue_->Take();  // nothing of what is left
  Store(101);            // out of order, as a report may tell it
  Store(100);
  queue_->OnReported(report);
  int cleared = 0;
  do {
    message = peer->Receive();
    ASSERT_FALSE(message.frames.empty());
    cleared += static_cast<int>(message.Count("AllBlocksCleared"));
  } while (cleared < 2);
  EXPECT_EQ(message.Count("BlockStored"), 1u) << "both blocks, in order";
  EXPECT_GT(wakes_, 0);
  EXPECT_EQ(publisher_->stats().lost, queue_->lost());
}

TEST_F(EventPublisherTest, ReplaysWhatIsBuffered) {
  Start();
  const auto peer = Subscribe();
  std::vector<Message> live;
  for (uint64_t i = 100; i < 103; ++i) {
    Store(i);
    live.push_back(peer->Receive());
  }
  Peer asks(ZMQ_DEALER, sockets_->bound().replay);
  asks.Send({"only one frame"});
  asks.Send({"", "short"});
  std::string start(8, '\0');
  start.back() = static_cast<char>(live[1].sequence());
  asks.Send({"", start});
  for (size_t i = 1; i < 3; ++i) {
    const Message message = asks.Receive();
    ASSERT_EQ(message.frames.size(), 4u);
    EXPECT_EQ(message.frames[0], "");
    EXPECT_EQ(message.frames[1], "kv@here");
    EXPECT_EQ(message.sequence(), live[i].sequence());
    EXPECT_EQ(message.frames[3], live[i].frames[2]);
  }
  const Message end = asks.Receive();
  ASSERT_EQ(end.frames.size(), 4u);
  EXPECT_EQ(end.frames[1], "");
  EXPECT_EQ(end.sequence(), UINT64_MAX);
  EXPECT_EQ(end.frames[3], "");
}

TEST(EventSockets, NamesAnEndpointThatCannotBeBound) {
  for (const char* endpoint : {"127.0.0.1:5557", "tcp://nowhere.invalid:x", "tcp://", "udp://127.0.0.1:1"}) {
    const auto sockets = EventSockets::Bind({endpoint, ""});
    ASSERT_FALSE(sockets.ok()) << endpoint;
    EXPECT_EQ(sockets.status().code(), Code::kInvalidArgument) << endpoint;
    EXPECT_NE(sockets.status().message().find(endpoint), std::string::npos);
  }
  const auto first = EventSockets::Bind({"tcp://127.0.0.1:*", ""});
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE((*first)->bound().events.starts_with("tcp://127.0.0.1:")) << (*first)->bound().events;
  const auto second = EventSockets::Bind({(*first)->bound().events, ""});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
}

TEST(EventSockets, KnowsWhatIsLocal) {
  for (const char* local : {"ipc:///run/x", "tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://localhost:1"})
    EXPECT_TRUE(IsLocalEndpoint(local)) << local;
  for (const char* other : {"tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://10.0.0.1:1"})
    EXPECT_FALSE(IsLocalEndpoint(other)) << other;
}

}  // namespace
}  // namespace prefixd
