// prefixd: the program. Reads the command line, does the command, answers with an exit code.
#include <unistd.h>

#include <cstdio>

#include "daemon/cli.h"
#include "daemon/version.h"

namespace prefixd {
namespace {

enum ExitCode { kWell = 0, kFailed = 1, kWrongUsage = 2 };

int Run(int argc, char** argv) {
  Result<Invocation> invocation = ParseCommandLine(argc, argv, environ);
  if (!invocation.ok()) {
    std::fprintf(stderr, "prefixd: %s\n", invocation.status().message().c_str());
    return kWrongUsage;
  }
  switch (invocation->command) {
    case Command::kPrint:
      std::fputs(invocation->text.c_str(), stdout);
      return kWell;
    case Command::kVersion:
      std::fputs((invocation->json ? VersionJson() + "\n" : VersionText()).c_str(), stdout);
      return kWell;
    case Command::kServe:
    case Command::kValidate:
      break;
  }
  return kFailed;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Run(argc, argv); }
