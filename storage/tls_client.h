// TlsClient: how this process opens TLS connections to servers: whose certificates it believes, and which
// certificate it shows. TLS 1.2 and later, with forward secrecy and authenticated encryption alone. OpenSSL
// does the work.
//
// Threads: any; a TlsSession has one at a time.
//
// Invariant: after a handshake the server has shown a certificate of the host that was asked for, valid now,
// and signed by somebody who is believed. There is no way to skip this.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

struct ssl_ctx_st;
struct ssl_st;

namespace prefixd {

// Files as PEM.
struct TlsClientFiles {
  std::string ca;           // believed instead of the system's store; empty: that
  std::string certificate;  // with the chain behind it; empty: none is shown
  std::string key;          // of the certificate, without a passphrase
};

// One connection, on a socket that does not block.
class TlsSession {
 public:
  // What a call waits for before it can go on: it is to be called again then, with the same arguments.
  enum class Wants { kNothing, kToRead, kToWrite };
  struct Step {
    Wants wants = Wants::kNothing;
    size_t bytes = 0;  // that were read or written; 0 of a Read that wants nothing: the server has closed it
  };

  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // kUnavailable: what the server does is no TLS, or it is not believed; the message says why.
  Result<Step> Handshake();
  // kIo: the connection is lost.
  Result<Step> Write(std::string_view bytes);
  Result<Step> Read(std::span<char> bytes);
  // Whether the server has neither closed it nor sent something that was not read.
  bool IsQuiet();

 private:
  friend class TlsClient;
  TlsSession(ssl_st* ssl, std::string host) : ssl_(ssl), host_(std::move(host)) {}
  Result<Step> After(int result, std::string_view what);
  std::string Refusal() const;

  ssl_st* const ssl_;
  const std::string host_;
};

class TlsClient {
 public:
  // kInvalidArgument: a file cannot be read, is something else, or the key is not that of the certificate.
  // The message begins with `ca`, `cert` or `key` and a colon.
  static Result<std::shared_ptr<const TlsClient>> Make(const TlsClientFiles& files);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  // A session with the host, a name or an address, on a socket that is connected. The socket must outlive it.
  Result<std::unique_ptr<TlsSession>> Begin(int socket, const std::string& host) const;

 private:
  explicit TlsClient(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* const context_;
};

}  // namespace prefixd
