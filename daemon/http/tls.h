// TlsContext: the certificate and the key with which a server takes TLS connections, and the rules of these:
// TLS 1.2 and later, with forward secrecy and authenticated encryption alone, without renegotiation and
// compression. They may be replaced while connections come: each takes those of its beginning.
//
// Threads: any.
#pragma once

#include <memory>
#include <string>

#include "base/mutex.h"
#include "base/status.h"

namespace prefixd {

// What OpenSSL made of the files.
struct TlsFiles;

class TlsContext {
 public:
  // Reads a certificate, with the chain after it, and its key; both as PEM. kInvalidArgument names the
  // option: a file cannot be read, is something else, or the key is not that of the certificate.
  static Result<std::shared_ptr<const TlsFiles>> Read(const std::string& certificate, const std::string& key);

  TlsContext& operator=(std::shared_ptr<const TlsFiles> files) {
    MutexLock lock(mutex_);
    files_ = std::move(files);
    return *this;
  }
  // Null: connections are plain.
  std::shared_ptr<const TlsFiles> files() const {
    MutexLock lock(mutex_);
    return files_;
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const TlsFiles> files_ GUARDED_BY(mutex_);
};

}  // namespace prefixd
