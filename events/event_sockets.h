// EventSockets: the ZeroMQ sockets of KV events, with the frames of vLLM 0.32. Only event_sockets.cc includes
// zmq.h.
//
//   XPUB     live: topic, sequence (8 bytes, highest first), payload
//   ROUTER   a request, from a REQ or DEALER: identity, empty, start (8 bytes, highest first)
//            its answers: identity, empty, topic, sequence, payload; the last one has the topic "", the
//            sequence -1 and no payload
//
// Threads: any thread calls Wake. One thread at a time calls the others. ZeroMQ has two threads of its own.
//
// Invariants
//   1. No call but Wait waits. Of what is published, at most kMostUnread messages wait for a subscriber, and
//      of answers kMostUnreadAnswers for whoever has asked. Further ones are dropped for it.
//   2. A request of any other form is ignored; a longer message than kMostIncoming bytes ends its connection.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace prefixd {

// ZeroMQ's names, such as tcp://127.0.0.1:5557, tcp://*:0 (a free port) or ipc:///run/prefixd/events.
struct EventEndpoints {
  std::string events;
  std::string replay;  // empty: there is no such socket
};

// Whether only processes of this machine reach it.
bool IsLocalEndpoint(std::string_view endpoint);

class EventSockets {
 public:
  static constexpr int kMostUnread = 2000, kMostUnreadAnswers = 110'000;
  static constexpr size_t kMostIncoming = 4096;

  // kInvalidArgument: an endpoint is none. kUnavailable: it cannot be bound now. The message names it.
  static Result<std::unique_ptr<EventSockets>> Bind(const EventEndpoints& endpoints);
  ~EventSockets();
  EventSockets(const EventSockets&) = delete;

  const EventEndpoints& bound() const { return bound_; }  // with the ports that were chosen

  void Wake();  // ends a Wait, or the next one
  struct ReplayRequest {
    std::string identity;
    uint64_t start = 0;
  };
  struct Incoming {
    int subscriptions = 0;  // new ones
    std::vector<ReplayRequest> replays;
  };
  // Waits for a request, for Wake, or until `most` has passed; without it for any time.
  Incoming Wait(std::optional<std::chrono::milliseconds> most);

  void Publish(std::string_view topic, uint64_t sequence, std::string_view payload);
  void Answer(const std::string& identity, std::string_view topic, uint64_t sequence,
              std::string_view payload);
  void EndAnswer(const std::string& identity);

 private:
  EventSockets() = default;
  Status Open(std::string_view option, int type, const std::string& endpoint, void** socket,
              std::string* bound);
  void TakeSubscriptions(Incoming* incoming);
  void TakeReplays(Incoming* incoming);

  void* context_ = nullptr;
  void* events_ = nullptr;
  void* replay_ = nullptr;
  int wake_ = -1;  // eventfd
  EventEndpoints bound_;
};

}  // namespace prefixd
