// prefixd: the program. Reads the command line, does the command, answers with an exit code.
#include <unistd.h>

#include <cstdio>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "daemon/cli.h"
#include "daemon/memory_limit.h"
#include "daemon/plan.h"
#include "daemon/plan_report.h"
#include "daemon/serve.h"
#include "daemon/version.h"

namespace prefixd {
namespace {

void Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

ExitCode Validate(const Invocation& invocation) {
  for (const std::string& warning : invocation.warnings)
    std::fprintf(stderr, "prefixd: warning: %s\n", warning.c_str());
  ExitCode code = kExitWell;
  const Result<Plan> plan = MakePlan(invocation.options, ReadMemoryState(), &code);
  if (plan.ok()) {
    for (const std::string& warning : plan->limits.warnings)
      std::fprintf(stderr, "prefixd: warning: %s\n", warning.c_str());
    Print(invocation.json ? PlanAsJson(*plan) + "\n" : PlanAsText(*plan));
  } else if (invocation.json) {
    Print(boost::json::serialize(boost::json::object{{"schema", 1},
                                                     {"ok", false},
                                                     {"exit_code", static_cast<int>(code)},
                                                     {"error", plan.status().message()}}) +
          "\n");
  } else {
    std::fprintf(stderr, "prefixd: %s%s\n", code == kExitModelRefused ? "model refused: " : "",
                 plan.status().message().c_str());
  }
  return code;
}

ExitCode Run(int argc, char** argv) {
  const Result<Invocation> invocation = ParseCommandLine(argc, argv, environ);
  if (!invocation.ok()) {
    std::fprintf(stderr, "prefixd: %s\n", invocation.status().message().c_str());
    return kExitWrongUsage;
  }
  switch (invocation->command) {
    case Command::kPrint:
      Print(invocation->text);
      return kExitWell;
    case Command::kVersion:
      Print(invocation->json ? VersionJson() + "\n" : VersionText());
      return kExitWell;
    case Command::kValidate:
      return Validate(*invocation);
    case Command::kServe:
      return Serve(invocation->options, invocation->warnings);
  }
  return kExitWrongUsage;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Run(argc, argv); }
