// What `prefixd purge` and `prefixd verify` say, as text and as JSON. Pure functions; any thread.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/disk_report.h"
#include "storage/disk_purge.h"
#include "storage/disk_verify.h"

namespace prefixd {

// A purge, or the removal of what verify has found.
struct Removal {
  bool all = false;
  bool dry_run = false;
  std::string hint;  // what to look at when nothing matches; may be empty
  PurgePlan plan;
  PurgeResult result;
  std::vector<FolderSize> folders;   // set aside or of other versions: removed by --all, otherwise they stay
  std::vector<std::string> foreign;  // paths that stay in the folder of the database: no database made them
  uint64_t freed = 0;                // physical bytes
};

// Before it: what goes and what stays.
std::string PlanAsText(const std::string& path, const Removal& removal);
// After it.
std::string ResultAsText(const Removal& removal);
boost::json::object RemovalAsJson(const std::string& path, const Removal& removal);

// What verify found.
struct VerifyOutcome {
  std::string path;
  VerifyReport report;
  uint64_t damaged_segments = 0;
  bool in_use = false;  // then what is gone was dropped by the daemon, and is no damage

  bool damaged() const {
    return !report.damaged.empty() || damaged_segments > 0 || (report.gone > 0 && !in_use);
  }
};
std::string VerifyAsText(const VerifyOutcome& outcome);
boost::json::object VerifyAsJson(const VerifyOutcome& outcome);

}  // namespace prefixd
