// Stream: the bytes of a connection, plain or through TLS. A session is compiled once, over this interface:
// Beast over two types of streams would take twice the time to compile.
// Only source files of the server that use Asio include this header.
//
// Threads: the strand of the socket. At most one read, and one write or shutdown, run at the same time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <memory>
#include <string_view>

namespace prefixd {

class TlsContext;

using StreamSocket = boost::asio::generic::stream_protocol::socket;

class Stream {
 public:
  using ErrorCode = boost::system::error_code;
  using Bytes = boost::asio::awaitable<size_t>;

  explicit Stream(StreamSocket connected) : socket(std::move(connected)) {}
  virtual ~Stream() = default;

  // Whether Handshake does anything.
  virtual bool needs_handshake() const { return false; }
  virtual boost::asio::awaitable<void> Handshake(ErrorCode& error);
  // Return how many bytes were read or written. At the end of what the peer sends, `error` is eof.
  virtual Bytes ReadSome(boost::asio::mutable_buffer into, ErrorCode& error);
  virtual Bytes WriteSome(boost::asio::const_buffer from, ErrorCode& error);
  // Writes as many bytes as the system takes at once, and returns their number. 0 also where it fails, or
  // where the stream cannot write without waiting (TLS): WriteSome of the rest waits, or says what is wrong.
  virtual size_t WriteNow(std::string_view bytes);
  // Says that nothing follows. Through TLS it also waits for the peer to say so.
  virtual boost::asio::awaitable<void> Shutdown(ErrorCode& error);

  StreamSocket socket;  // cancel and close end what runs
};

// The connection of a server; with a context it takes TLS.
std::unique_ptr<Stream> MakeStream(StreamSocket socket, const TlsContext* tls);

}  // namespace prefixd
