#include "storage/tls_client.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>

#include "base/check.h"

namespace prefixd {
namespace {

// The first reason in OpenSSL's queue, without the names of its own files.
std::string QueuedReason() {
  const unsigned long error = ::ERR_get_error();
  ::ERR_clear_error();
  const char* const reason = error == 0 ? nullptr : ::ERR_reason_error_string(error);
  return reason == nullptr ? "unknown reason" : reason;
}

// --- A BIO over a socket. That of OpenSSL raises SIGPIPE when the server has closed the connection. ---

int SocketOf(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(::BIO_get_data(bio))); }

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK; }

int WriteSocket(BIO* bio, const char* bytes, int size) {
  ::BIO_clear_retry_flags(bio);
  ssize_t sent = 0;
  do {
    sent = ::send(SocketOf(bio), bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && WouldBlock()) ::BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int ReadSocket(BIO* bio, char* bytes, int size) {
  ::BIO_clear_retry_flags(bio);
  ssize_t got = 0;
  do {
    got = ::recv(SocketOf(bio), bytes, static_cast<size_t>(size), 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && WouldBlock()) ::BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long Control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* const made = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    PREFIXD_CHECK(made != nullptr) << "no memory for OpenSSL";
    ::BIO_meth_set_write(made, WriteSocket);
    ::BIO_meth_set_read(made, ReadSocket);
    ::BIO_meth_set_ctrl(made, Control);
    return made;
  }();
  return method;
}

bool IsAddress(const std::string& host) {
  in6_addr bytes;
  return ::inet_pton(AF_INET, host.c_str(), &bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), &bytes) == 1;
}

Status ReadFiles(const TlsClientFiles& files, SSL_CTX* context) {
  if (files.ca.empty()) {
    ::SSL_CTX_set_default_verify_paths(context);
  } else if (::SSL_CTX_load_verify_file(context, files.ca.c_str()) != 1) {
    return InvalidArgument("ca: '" + files.ca +
                           "' has no certificates as PEM, or cannot be read: " + QueuedReason());
  }
  if (files.certificate.empty() != files.key.empty())
    return InvalidArgument(files.key.empty() ? "cert: give the key as well" : "key: give the cert as well");
  if (files.certificate.empty()) return Status::Ok();
  if (::SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1) {
    return InvalidArgument("cert: '" + files.certificate +
                           "' is no certificate as PEM, or cannot be read: " + QueuedReason());
  }
  if (::SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return InvalidArgument("key: '" + files.key +
                           "' is not the key of the certificate as PEM without a passphrase, or cannot be "
                           "read: " +
                           QueuedReason());
  }
  return Status::Ok();
}

}  // namespace

// --- TlsClient ---

Result<std::shared_ptr<const TlsClient>> TlsClient::Make(const TlsClientFiles& files) {
  ::ERR_clear_error();
  SSL_CTX* const context = ::SSL_CTX_new(::TLS_client_method());
  if (context == nullptr) return Unavailable("OpenSSL does not start: " + QueuedReason());
  std::shared_ptr<const TlsClient> client(new TlsClient(context));
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  ::SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");  // of TLS 1.2
  ::SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  ::SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  // A key with a passphrase would ask for it on the terminal.
  ::SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return -1; });
  PREFIXD_RETURN_IF_ERROR(ReadFiles(files, context));
  return client;
}

TlsClient::~TlsClient() { ::SSL_CTX_free(context_); }

Result<std::unique_ptr<TlsSession>> TlsClient::Begin(int socket, const std::string& host) const {
  ::ERR_clear_error();
  SSL* const ssl = ::SSL_new(context_);
  BIO* const bio = ::BIO_new(SocketMethod());
  if (ssl == nullptr || bio == nullptr) {
    ::SSL_free(ssl);
    ::BIO_free(bio);
    return Unavailable("no memory for a TLS connection");
  }
  std::unique_ptr<TlsSession> session(new TlsSession(ssl, host));
  ::BIO_set_data(bio, reinterpret_cast<void*>(intptr_t{socket}));
  ::BIO_set_init(bio, 1);
  ::SSL_set_bio(ssl, bio, bio);
  ::SSL_set_connect_state(ssl);
  ::SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  const bool is_address = IsAddress(host);
  const bool is_set = is_address ? ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl), host.c_str()) == 1
                                 : ::SSL_set1_host(ssl, host.c_str()) == 1 &&
                                       ::SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
  if (!is_set) return Unavailable("'" + host + "' is no host that a certificate can have");
  return session;
}

// --- TlsSession ---

TlsSession::~TlsSession() { ::SSL_free(ssl_); }

// Why the certificate was refused, and the remedy.
std::string TlsSession::Refusal() const {
  const long verdict = ::SSL_get_verify_result(ssl_);
  std::string text = "the certificate of the server is refused: ";
  text += ::X509_verify_cert_error_string(verdict);
  switch (verdict) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return text + ": it is not of '" + host_ + "'; give a host that it has";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return text + "; give the certificate of its CA with remote-tls-ca";
    default:
      return text;
  }
}

Result<TlsSession::Step> TlsSession::After(int result, std::string_view what) {
  switch (::SSL_get_error(ssl_, result)) {
    case SSL_ERROR_NONE:
      return Step{.bytes = static_cast<size_t>(result)};
    case SSL_ERROR_WANT_READ:
      return Step{.wants = Wants::kToRead};
    case SSL_ERROR_WANT_WRITE:
      return Step{.wants = Wants::kToWrite};
    case SSL_ERROR_ZERO_RETURN:
      return Step{};
    case SSL_ERROR_SYSCALL:
      ::ERR_clear_error();
      return IoError(std::string(what) + ": the connection is lost");
    default:
      return IoError(std::string(what) + ": " + QueuedReason());
  }
}

Result<TlsSession::Step> TlsSession::Handshake() {
  ::ERR_clear_error();
  Result<Step> step = After(::SSL_do_handshake(ssl_), "the TLS handshake fails");
  if (step.ok()) return step;
  if (::SSL_get_verify_result(ssl_) != X509_V_OK) return Unavailable(Refusal());
  return Unavailable(step.status().message() + "; a server without TLS is redis://");
}

Result<TlsSession::Step> TlsSession::Write(std::string_view bytes) {
  ::ERR_clear_error();
  const auto size = static_cast<int>(std::min<size_t>(bytes.size(), INT_MAX));
  Result<Step> step = After(::SSL_write(ssl_, bytes.data(), size), "TLS");
  if (step.ok()) return step;
  // What the server said before it closed the connection, such as that it wants a certificate.
  char byte = 0;
  const Result<Step> said = After(::SSL_peek(ssl_, &byte, 1), "TLS");
  return said.ok() ? step : said;
}

Result<TlsSession::Step> TlsSession::Read(std::span<char> bytes) {
  ::ERR_clear_error();
  const auto size = static_cast<int>(std::min<size_t>(bytes.size(), INT_MAX));
  return After(::SSL_read(ssl_, bytes.data(), size), "TLS");
}

bool TlsSession::IsQuiet() {
  char byte = 0;
  ::ERR_clear_error();
  const Result<Step> step = After(::SSL_peek(ssl_, &byte, 1), "TLS");
  return step.ok() && step->wants == Wants::kToRead;
}

}  // namespace prefixd
