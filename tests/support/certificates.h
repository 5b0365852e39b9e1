// Certificates: a certificate authority of a test, and what it signs, made by the program openssl. Files as
// PEM, in a folder that ends with the object. One thread.
#pragma once

#include <string>

#include "tests/support/temp_dir.h"

namespace prefixd {

class Certificates {
 public:
  struct Pair {
    std::string certificate, key;  // paths
  };

  // Why there can be none here; empty: there can.
  static std::string Missing();

  Certificates();
  const std::string& ca() const { return ca_.certificate; }
  // `names` is a subjectAltName, such as "IP:127.0.0.1,DNS:localhost". It ends in `days`, which may be
  // negative.
  Pair Sign(const std::string& name, const std::string& names, int days = 2);

 private:
  Pair PathsOf(const std::string& name) const;

  testing_support::TempDir folder_;
  const Pair ca_;
};

}  // namespace prefixd
