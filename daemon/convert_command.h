// `prefixd convert`: writes a GGUF file of a Hugging Face folder, or such a folder of a GGUF file. It prints
// what it made to stdout, and errors and the progress bar to stderr.
//
// Threads: the main thread. SIGINT and SIGTERM stop it, and what it has written goes.
#pragma once

#include <string>

#include "daemon/exit_code.h"

namespace prefixd {

struct ConvertOptions {
  std::string from, to;
  std::string type;  // of the matrices: one of TypesOfConversion; empty: that of the model
  bool overwrite = false;
  bool json = false;
};

// kExitOk; kExitUsage: `to` cannot be made or exists, or what is made has no such type; kExitModelRefused:
// the model cannot be converted; kExitFailed: stopped, or an error of the system.
ExitCode Convert(const ConvertOptions& options);

}  // namespace prefixd
