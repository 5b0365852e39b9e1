#include "daemon/version.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "kernels/registry.h"

namespace prefixd {

std::string_view Version() { return PREFIXD_VERSION; }
std::string_view Revision() { return PREFIXD_REVISION; }

std::string VersionText() {
  std::string here, elsewhere;
  for (const BackendInfo& backend : ListBackends()) {
    const std::string name(backend.name);
    if (backend.runs_here) {
      here += " " + name;
    } else {
      elsewhere += "not on this machine: " + name + " (" + backend.reason + ")\n";
    }
  }
  return "prefixd " + std::string(Version()) + "\nrevision: " + std::string(Revision()) +
         "\nbackends:" + here + "\n" + elsewhere;
}

std::string VersionJson() {
  boost::json::array backends;
  for (const BackendInfo& backend : ListBackends()) {
    boost::json::object entry{{"name", std::string(backend.name)}, {"runs_here", backend.runs_here}};
    if (!backend.runs_here) entry["reason"] = backend.reason;
    backends.push_back(std::move(entry));
  }
  return boost::json::serialize(boost::json::object{{"schema", 1},
                                                    {"version", std::string(Version())},
                                                    {"revision", std::string(Revision())},
                                                    {"backends", std::move(backends)}});
}

}  // namespace prefixd
