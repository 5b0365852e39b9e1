#include "tests/support/certificates.h"

#include <cstdlib>
#include <fstream>

#include "base/check.h"

namespace prefixd {
namespace {

bool Run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

constexpr const char* kNewKey = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

}  // namespace

std::string Certificates::Missing() { return Run("openssl version") ? "" : "openssl is not installed"; }

Certificates::Certificates() : ca_(PathsOf("ca")) {
  PREFIXD_CHECK(Run(std::string(kNewKey) + " -x509 -days 2 -subj '/CN=authority' -keyout " + ca_.key +
                    " -out " + ca_.certificate));
}

Certificates::Pair Certificates::PathsOf(const std::string& name) const {
  const std::string path = (folder_.path() / name).string();
  return {path + ".pem", path + ".key"};
}

Certificates::Pair Certificates::Sign(const std::string& name, const std::string& names, int days) {
  Pair pair = PathsOf(name);
  const std::string request = (folder_.path() / name).string() + ".csr";
  const std::string extensions = (folder_.path() / name).string() + ".ext";
  std::ofstream(extensions) << "subjectAltName=" << names << "\n";
  PREFIXD_CHECK(
      Run(std::string(kNewKey) + " -subj '/CN=" + name + "' -keyout " + pair.key + " -out " + request) &&
      Run("openssl x509 -req -in " + request + " -CA " + ca_.certificate + " -CAkey " + ca_.key +
          " -CAcreateserial -days " + std::to_string(days) + " -extfile " + extensions + " -out " +
          pair.certificate))
      << name;
  return pair;
}

}  // namespace prefixd
