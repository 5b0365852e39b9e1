// The manual page prefixd(1), made from the tables of commands and options. `prefixd help-man` prints it.
//
// Threads: any; it reads constant data.
#pragma once

#include <string>

namespace prefixd {

// The page in the macros of man(7), without a line that mandoc's lint finds a fault in.
std::string ManualPage();

}  // namespace prefixd
