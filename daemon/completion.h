// Completions of the command line for shells, made from the tables of commands and options. `prefixd
// help-completion SHELL` prints them.
//
// Threads: any; it reads constant data.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace prefixd {

// The script for bash, zsh or fish; kInvalidArgument for another shell. It completes commands, flags, values
// from closed sets, files and folders.
Result<std::string> CompletionScript(std::string_view shell);

}  // namespace prefixd
