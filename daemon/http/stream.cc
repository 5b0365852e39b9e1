#include "daemon/http/stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "daemon/http/tls.h"

namespace prefixd {

namespace asio = boost::asio;

struct TlsFiles {
  mutable asio::ssl::context context{asio::ssl::context::tls_server};
};

namespace {

// The reason that OpenSSL gives, without the names of its own files.
std::string ReasonOf(const boost::system::error_code& error) {
  const char* const reason = ::ERR_reason_error_string(static_cast<unsigned long>(error.value()));
  return reason != nullptr ? reason : error.message();
}

class TlsStream final : public Stream {
 public:
  TlsStream(StreamSocket connected, std::shared_ptr<const TlsFiles> files)
      : Stream(std::move(connected)), files_(std::move(files)), tls_(socket, files_->context) {}

  bool needs_handshake() const override { return true; }

  asio::awaitable<void> Handshake(ErrorCode& error) override {
    co_await tls_.async_handshake(asio::ssl::stream_base::server,
                                  asio::redirect_error(asio::use_awaitable, error));
  }
  Bytes ReadSome(asio::mutable_buffer into, ErrorCode& error) override {
    const size_t bytes =
        co_await tls_.async_read_some(into, asio::redirect_error(asio::use_awaitable, error));
    // Most clients close the connection without a word. The framing of HTTP tells what is cut off.
    if (error == asio::ssl::error::stream_truncated) error = asio::error::eof;
    co_return bytes;
  }
  Bytes WriteSome(asio::const_buffer from, ErrorCode& error) override {
    co_return co_await tls_.async_write_some(from, asio::redirect_error(asio::use_awaitable, error));
  }
  size_t WriteNow(std::string_view) override { return 0; }
  asio::awaitable<void> Shutdown(ErrorCode& error) override {
    co_await tls_.async_shutdown(asio::redirect_error(asio::use_awaitable, error));
    co_await Stream::Shutdown(error);
  }

 private:
  const std::shared_ptr<const TlsFiles> files_;
  asio::ssl::stream<StreamSocket&> tls_;
};

}  // namespace

asio::awaitable<void> Stream::Handshake(ErrorCode&) { co_return; }

Stream::Bytes Stream::ReadSome(asio::mutable_buffer into, ErrorCode& error) {
  co_return co_await socket.async_read_some(into, asio::redirect_error(asio::use_awaitable, error));
}

Stream::Bytes Stream::WriteSome(asio::const_buffer from, ErrorCode& error) {
  co_return co_await socket.async_write_some(from, asio::redirect_error(asio::use_awaitable, error));
}

size_t Stream::WriteNow(std::string_view bytes) {
  const ssize_t sent =
      ::send(socket.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent > 0 ? static_cast<size_t>(sent) : 0;
}

asio::awaitable<void> Stream::Shutdown(ErrorCode& error) {
  socket.shutdown(StreamSocket::shutdown_send, error);
  co_return;
}

std::unique_ptr<Stream> MakeStream(StreamSocket socket, const TlsContext* tls) {
  std::shared_ptr<const TlsFiles> files = tls == nullptr ? nullptr : tls->files();
  if (files == nullptr) return std::make_unique<Stream>(std::move(socket));
  return std::make_unique<TlsStream>(std::move(socket), std::move(files));
}

Result<std::shared_ptr<const TlsFiles>> TlsContext::Read(const std::string& certificate,
                                                         const std::string& key) {
  auto files = std::make_shared<TlsFiles>();
  asio::ssl::context& context = files->context;
  SSL_CTX* const raw = context.native_handle();
  ::SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  ::SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  ::SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20");  // of TLS 1.2
  // A key with a passphrase would ask for it on the terminal.
  ::SSL_CTX_set_default_passwd_cb(raw, [](char*, int, int, void*) { return -1; });
  boost::system::error_code error;
  context.use_certificate_chain_file(certificate, error);
  if (error) {
    return InvalidArgument("tls-cert: '" + certificate +
                           "' is no certificate as PEM, or cannot be read: " + ReasonOf(error));
  }
  context.use_private_key_file(key, asio::ssl::context::pem, error);
  if (error) {
    return InvalidArgument("tls-key: '" + key +
                           "' is not the key of the certificate as PEM without a passphrase, or cannot be "
                           "read: " +
                           ReasonOf(error));
  }
  return std::shared_ptr<const TlsFiles>(std::move(files));
}

}  // namespace prefixd
