// `prefixd version`: what this program is and which backends it has. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

std::string_view Version();  // "0.1.0"

// Lines for people. `backends:` names those that run here.
std::string VersionText();
// One JSON document: {"schema":1,"version":…,"backends":[{"name":…,"runs_here":…,"reason":…}]}.
std::string VersionJson();

}  // namespace prefixd
