#include "events/event_sockets.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <initializer_list>

#include "base/check.h"
#include "events/msgpack_writer.h"

namespace prefixd {
namespace {

constexpr int kLingerMilliseconds = 200;  // for what was published last, at the end

std::string Sequence(uint64_t sequence) {
  std::string frame;
  msgpack::PutBig(&frame, sequence, 8);
  return frame;
}

// A peer that is gone, or reads too slowly, loses the message.
void Send(void* socket, std::initializer_list<std::string_view> frames) {
  size_t left = frames.size();
  for (const std::string_view frame : frames) {
    const int flags = ZMQ_DONTWAIT | (--left > 0 ? ZMQ_SNDMORE : 0);
    if (zmq_send(socket, frame.data(), frame.size(), flags) < 0) return;
  }
}

// Receives a message of at most kFrames frames; frames beyond are dropped. Returns how many it has; 0: there
// is no message.
constexpr size_t kFrames = 4;
size_t Receive(void* socket, std::array<std::string, kFrames>* frames) {
  size_t count = 0;
  int more = 1;
  while (more != 0) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&message);
      return 0;
    }
    if (count < kFrames)
      (*frames)[count].assign(static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    ++count;
    more = zmq_msg_more(&message);
    zmq_msg_close(&message);
  }
  return count;
}

}  // namespace

bool IsLocalEndpoint(std::string_view endpoint) {
  for (const std::string_view local : {"ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"})
    if (endpoint.starts_with(local)) return true;
  return false;
}

Result<std::unique_ptr<EventSockets>> EventSockets::Bind(const EventEndpoints& endpoints) {
  std::unique_ptr<EventSockets> sockets(new EventSockets());
  sockets->context_ = zmq_ctx_new();
  PREFIXD_CHECK(sockets->context_ != nullptr);
  sockets->wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (sockets->wake_ < 0) return Unavailable("kv-events: no descriptor is left for its sockets");
  PREFIXD_RETURN_IF_ERROR(
      sockets->Open("kv-events", ZMQ_XPUB, endpoints.events, &sockets->events_, &sockets->bound_.events));
  if (!endpoints.replay.empty())
    PREFIXD_RETURN_IF_ERROR(sockets->Open("kv-events-replay", ZMQ_ROUTER, endpoints.replay, &sockets->replay_,
                                          &sockets->bound_.replay));
  return sockets;
}

Status EventSockets::Open(std::string_view option, int type, const std::string& endpoint, void** socket,
                          std::string* bound) {
  const std::string named = std::string(option) + ": \"" + endpoint + "\"";
  if (!endpoint.starts_with("tcp://") && !endpoint.starts_with("ipc://"))
    return InvalidArgument(named + " is no endpoint; write tcp://ADDRESS:PORT or ipc://PATH");
  *socket = zmq_socket(context_, type);
  if (*socket == nullptr) return Unavailable(named + ": " + zmq_strerror(errno));
  const auto set = [&](int name, int value) { zmq_setsockopt(*socket, name, &value, sizeof value); };
  set(ZMQ_LINGER, kLingerMilliseconds);
  set(ZMQ_SNDHWM, type == ZMQ_XPUB ? kMostUnread : kMostUnreadAnswers);
  set(ZMQ_RCVHWM, 1000);
  set(ZMQ_IPV6, endpoint.find("//[") != std::string::npos ? 1 : 0);
  const int64_t most = kMostIncoming;
  zmq_setsockopt(*socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
  if (type == ZMQ_XPUB) set(ZMQ_XPUB_VERBOSE, 1);  // tell also of a topic that another one has subscribed to
  if (zmq_bind(*socket, endpoint.c_str()) != 0) {
    const bool wrong =
        errno == EINVAL || errno == EPROTONOSUPPORT || errno == ENODEV || errno == ENAMETOOLONG;
    const std::string message = named + " cannot be bound: " + zmq_strerror(errno);
    return wrong ? InvalidArgument(message) : Unavailable(message);
  }
  char name[512];
  size_t size = sizeof name;
  *bound = zmq_getsockopt(*socket, ZMQ_LAST_ENDPOINT, name, &size) == 0 ? name : endpoint;
  return Status::Ok();
}

EventSockets::~EventSockets() {
  if (events_ != nullptr) zmq_close(events_);
  if (replay_ != nullptr) zmq_close(replay_);
  if (context_ != nullptr) zmq_ctx_term(context_);
  if (wake_ >= 0) close(wake_);
}

void EventSockets::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);  // a full counter wakes as well
}

EventSockets::Incoming EventSockets::Wait(std::optional<std::chrono::milliseconds> most) {
  zmq_pollitem_t items[] = {
      {nullptr, wake_, ZMQ_POLLIN, 0}, {events_, 0, ZMQ_POLLIN, 0}, {replay_, 0, ZMQ_POLLIN, 0}};
  zmq_poll(items, replay_ == nullptr ? 2 : 3, most ? static_cast<long>(most->count()) : -1);
  uint64_t woken;
  (void)!read(wake_, &woken, sizeof woken);
  Incoming incoming;
  TakeSubscriptions(&incoming);
  if (replay_ != nullptr) TakeReplays(&incoming);
  return incoming;
}

void EventSockets::TakeSubscriptions(Incoming* incoming) {
  constexpr int kMostMessages = 1000;  // of one Wait
  std::array<std::string, kFrames> frames;
  for (int i = 0; i < kMostMessages; ++i) {
    const size_t count = Receive(events_, &frames);
    if (count == 0) return;
    if (count == 1 && frames[0].starts_with('\x01')) ++incoming->subscriptions;
  }
}

void EventSockets::TakeReplays(Incoming* incoming) {
  constexpr size_t kMostRequests = 16;  // of one Wait; the others wait for the next
  std::array<std::string, kFrames> frames;
  while (incoming->replays.size() < kMostRequests) {
    const size_t count = Receive(replay_, &frames);
    if (count == 0) return;
    if (count != 3 || !frames[1].empty() || frames[2].size() != 8) continue;
    uint64_t start = 0;
    for (const char byte : frames[2]) start = start << 8 | static_cast<uint8_t>(byte);
    incoming->replays.push_back({frames[0], start});
  }
}

void EventSockets::Publish(std::string_view topic, uint64_t sequence, std::string_view payload) {
  Send(events_, {topic, Sequence(sequence), payload});
}

void EventSockets::Answer(const std::string& identity, std::string_view topic, uint64_t sequence,
                          std::string_view payload) {
  Send(replay_, {identity, "", topic, Sequence(sequence), payload});
}

void EventSockets::EndAnswer(const std::string& identity) { Answer(identity, "", UINT64_MAX, ""); }

}  // namespace prefixd
