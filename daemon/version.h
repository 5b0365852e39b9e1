// The output of `prefixd version`: the version and the backends. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

std::string_view Version();   // "0.1.0"
std::string_view Revision();  // the commit that was built, shortened, or "unknown"

// Text. The line `backends:` lists those that run on this machine.
std::string VersionText();
// One JSON document: {"schema":1,"version":…,"revision":…,"backends":[{"name":…,"runs_here":…,"reason":…}]}.
std::string VersionJson();

}  // namespace prefixd
