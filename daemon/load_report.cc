#include "daemon/load_report.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"
#include "daemon/limit_table.h"
#include "daemon/process_control.h"
#include "daemon/progress_bar.h"

namespace prefixd {
namespace {

constexpr double kSeconds = 3;  // between two reports to the log and to the service manager
constexpr std::chrono::seconds kTimeoutExtension{Limit("load-extension-seconds")};

// Its log line, and its name in the status of the service.
struct PartWords {
  std::string_view line;
  std::string_view name;
};
constexpr PartWords WordsOf(LoadPart part) {
  if (part == LoadPart::kWeights) return {"loading weights", "weights"};
  return {"pinning the memory of the host cache", "host cache"};
}

class LoadReport {
 public:
  LoadReport(LoadPart part, uint64_t bytes, bool draws, const Clock* clock)
      : words_(WordsOf(part)),
        bytes_(bytes),
        draws_(draws),
        clock_(clock),
        begun_(clock->NowSeconds()),
        reported_(begun_),
        bar_(bytes, clock, draws) {}

  void Add(double share) {
    bar_.Set(static_cast<uint64_t>(share * static_cast<double>(bytes_)));
    if (share >= 1) bar_.Clear();
    const double now = clock_->NowSeconds();
    if (now - reported_ < kSeconds) return;
    reported_ = now;
    const int percent = static_cast<int>(share * 100);
    if (!draws_) Log(LogLevel::kInfo, words_.line, {{"percent", percent}, {"seconds", now - begun_}});
    NotifyLoading("loading: " + std::string(words_.name) + " " + std::to_string(percent) + " %",
                  kTimeoutExtension);
  }

 private:
  const PartWords words_;
  const uint64_t bytes_;
  const bool draws_;
  const Clock* const clock_;
  const double begun_;
  double reported_;
  ProgressBar bar_;
};

}  // namespace

LoadProgress ReportLoad(LoadPart part, uint64_t bytes, bool draws, const Clock* clock) {
  return [report = std::make_shared<LoadReport>(part, bytes, draws, clock)](double share) {
    report->Add(share);
  };
}

}  // namespace prefixd
