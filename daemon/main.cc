// The prefixd program: parses the command line, runs the command and returns its exit code.
#include <unistd.h>

#include <cstdio>

#include "daemon/admin/live_command.h"
#include "daemon/cli.h"
#include "daemon/command_output.h"
#include "daemon/convert_command.h"
#include "daemon/disk_observer.h"
#include "daemon/keys_command.h"
#include "daemon/memory_limit.h"
#include "daemon/serve.h"
#include "daemon/serve_plan.h"
#include "daemon/serve_plan_report.h"
#include "daemon/version.h"
#include "model/truncation_guard.h"

namespace prefixd {
namespace {

ExitCode Validate(const Invocation& invocation) {
  for (const std::string& warning : invocation.warnings)
    std::fprintf(stderr, "prefixd: warning: %s\n", warning.c_str());
  ExitCode code = kExitOk;
  const Result<ServePlan> plan = MakeServePlan(invocation.options, ReadMemoryState(), &code);
  if (plan.ok()) {
    const Result<ProbedRates> rates = ProbeRates(*plan);
    if (!rates.ok()) return PrintFailure(invocation.json, kExitFailed, rates.status().message());
    for (const std::string& warning : plan->limits.warnings)
      std::fprintf(stderr, "prefixd: warning: %s\n", warning.c_str());
    Print(invocation.json ? ServePlanAsJson(*plan, *rates) + "\n" : ServePlanAsText(*plan, *rates));
  } else {
    return PrintFailure(invocation.json, code, plan.status().message(),
                        code == kExitModelRefused ? "model refused: " : "");
  }
  return code;
}

ExitCode Run(int argc, char** argv) {
  InstallTruncationGuard(kExitModelRefused);
  Result<Invocation> invocation = ParseCommandLine(argc, argv, environ);
  if (!invocation.ok()) {
    return PrintFailure(AsksForJson(argc, argv), kExitUsage, invocation.status().message());
  }
  if (!invocation->disk.directory.empty())
    invocation->disk.observer = DiskObserver(invocation->disk.directory);
  switch (invocation->command) {
    case Command::kPrint:
      Print(invocation->text);
      return kExitOk;
    case Command::kVersion:
      Print(invocation->json ? VersionJson() + "\n" : VersionText());
      return kExitOk;
    case Command::kValidate:
      return Validate(*invocation);
    case Command::kInspect:
      return invocation->live.address.empty() ? Inspect(invocation->disk) : InspectLive(invocation->live);
    case Command::kPurge:
      return Purge(invocation->disk);
    case Command::kVerify:
      return Verify(invocation->disk);
    case Command::kConvert:
      return Convert(invocation->convert);
    case Command::kKeys:
      return HashKey(invocation->keys);
    case Command::kServe:
      return Serve(invocation->options, invocation->warnings, [=]() -> Result<Options> {
        PREFIXD_ASSIGN_OR_RETURN(Invocation again, ParseCommandLine(argc, argv, environ));
        return again.options;
      });
  }
  return kExitUsage;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Run(argc, argv); }
