// The exit codes of prefixd. docs/OPERATIONS.md says when a restart helps. Plain values; any thread.
#pragma once

namespace prefixd {

enum ExitCode { kExitOk = 0, kExitFailed = 1, kExitUsage = 2, kExitModelRefused = 3 };

}  // namespace prefixd
