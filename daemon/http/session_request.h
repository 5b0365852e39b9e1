// What a session needs to read a request with Beast: the type of the body, which reserves its bytes from the
// byte budget as they arrive; the head as plain values; and the answers to requests that could not be read.
// Only the session includes this header.
//
// Threads: a body has one owner, the strand of the connection. The functions are pure; any thread.
//
// Invariants
//   1. A body up to kSmallBodyBytes reserves nothing. Of a larger one every byte in memory is reserved, and
//      no byte that has not arrived.
//   2. A larger body is in memory once: it gets the room for its largest size when it stops being small, and
//      the system gives that room its pages as the bytes arrive.
#pragma once

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <boost/system/error_code.hpp>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/http/byte_budget.h"
#include "daemon/http/error_response.h"
#include "daemon/http/request_head.h"
#include "daemon/http/server.h"

namespace prefixd {

struct RequestBody {
  std::string text;
  ByteBudget::Reservation reserved;
  size_t most = 0;       // the largest size that it can have
  bool refused = false;  // the budget had no room for the next bytes

  bool Append(std::string_view bytes) {
    const size_t size = text.size() + bytes.size();
    try {
      if (size > kSmallBodyBytes) {
        refused = !reserved.TryGrow(size - reserved.bytes());
        if (!refused && text.capacity() < size) text.reserve(std::max(size, most));
      }
      if (!refused) text.append(bytes);
    } catch (const std::bad_alloc&) {
      refused = true;
    }
    return !refused;
  }
};

struct BudgetedBody {
  using value_type = RequestBody;
  static uint64_t size(const value_type& body) { return body.text.size(); }

  class reader {
   public:
    template <bool is_request, class Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<uint64_t>& length, boost::system::error_code& error) {
      error = {};
      if (length && *length < body_.most) body_.most = static_cast<size_t>(*length);
    }
    template <class Buffers>
    size_t put(const Buffers& buffers, boost::system::error_code& error) {
      error = {};
      size_t taken = 0;
      for (const boost::asio::const_buffer buffer : boost::beast::buffers_range_ref(buffers)) {
        if (!body_.Append({static_cast<const char*>(buffer.data()), buffer.size()})) {
          error = boost::system::errc::make_error_code(boost::system::errc::not_enough_memory);
          return taken;
        }
        taken += buffer.size();
      }
      return taken;
    }
    void finish(boost::system::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

using BeastRequest = boost::beast::http::request<BudgetedBody>;

// The headers of a request that determine where it ends. They refer to `head`.
Framing FramingOf(const BeastRequest& head);
// The request without its body. Nothing when its target is malformed.
std::optional<HttpRequest> RequestFromHead(const BeastRequest& head);

// The error that answers a request whose reading failed with `error`. Nothing when the connection failed, so
// that no answer would arrive. `place` is what was read: "the headers".
std::optional<ApiError> ReadErrorAnswer(boost::system::error_code error, bool timed_out,
                                        const std::string& place, const HttpServerOptions& options);

}  // namespace prefixd
