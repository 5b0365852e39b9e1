#include "daemon/disk_commands.h"

#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "daemon/api/tenant.h"
#include "daemon/command_output.h"
#include "daemon/disk_report.h"
#include "daemon/disk_result.h"
#include "daemon/progress_bar.h"
#include "daemon/serve_plan.h"
#include "storage/disk_catalog.h"
#include "storage/disk_folder.h"
#include "storage/disk_purge.h"
#include "storage/disk_summary.h"
#include "storage/disk_verify.h"
#include "storage/record.h"

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr size_t kTop = 10;         // tenants and prefixes that are shown of a model
constexpr size_t kFirstTokens = 8;  // of a prefix

ExitCode Fail(const DiskCommandOptions& options, ExitCode code, const std::string& message) {
  return PrintFailure(options.json, code, message);
}

// Files that root writes could not be read by the daemon, so a command of root that writes becomes the owner
// of the directory.
Status ActAsOwner(const std::string& path) {
  struct stat info {};
  if (::geteuid() != 0 || ::stat(path.c_str(), &info) != 0 || info.st_uid == 0) return Status::Ok();
  if (::setgroups(0, nullptr) != 0 || ::setresgid(info.st_gid, info.st_gid, info.st_gid) != 0 ||
      ::setresuid(info.st_uid, info.st_uid, info.st_uid) != 0) {
    return IoError("cannot act as the owner of " + path + ", the user with the id " +
                   std::to_string(info.st_uid) + ": " + std::strerror(errno) + "; run this as that user");
  }
  return Status::Ok();
}

// Locks the directory for a command that changes it.
Result<std::unique_ptr<DiskFolder>> Lock(const DiskFolderContents& contents, ByteLedger* ledger) {
  const auto in_use = [](const DiskFolderContents& now) {
    return Unavailable("the disk cache " + now.path + " is in use by " + now.OwnerText() +
                       "; stop that daemon first. inspect, verify and purge --dry-run work beside it");
  };
  if (contents.in_use) return in_use(contents);
  PREFIXD_RETURN_IF_ERROR(ActAsOwner(contents.path));
  auto folder = DiskFolder::Open(contents.path, ledger);
  if (folder.ok() || folder.status().code() != Code::kUnavailable) return folder;
  const auto now = LookIntoDiskFolder(contents.path);
  return in_use(now.ok() ? *now : contents);
}

// Null when there is no database.
Result<std::unique_ptr<SegmentReader>> OpenReader(const DiskFolderContents& contents) {
  if (contents.database.empty()) return std::unique_ptr<SegmentReader>();
  auto reader = OpenRocksdbForReading(contents.database);
  if (reader.ok()) return reader;
  return reader.status().WithContext(
      "the database of this disk cache does not open (a daemon sets a damaged one aside when it starts, and "
      "purge --all removes it)");
}

DiskCatalog CatalogOf(SegmentReader* reader) {
  return reader == nullptr ? DiskCatalog() : ReadDiskCatalog(reader);
}

std::vector<FolderSize> SizesOf(const std::vector<std::string>& paths, const ByteLedger& ledger) {
  std::vector<FolderSize> sizes;
  for (const std::string& path : paths) sizes.push_back({path, ledger.bytes_at(path)});
  return sizes;
}

PrefixReport ReportPrefix(const CatalogModel& model, const PrefixSummary& summary, SegmentReader* reader) {
  const CatalogRecord& first = model.records[summary.first];
  PrefixReport report{.summary = summary};
  if (first.root != CatalogRecord::kNoRoot) report.tenant = model.roots[first.root];
  const auto record = reader->Read(first.segment, first.ordinal);
  if (!record.ok()) return report;
  report.tokens = DecodeRecord(std::as_bytes(std::span(*record))).tokens;
  report.tokens.resize(std::min(report.tokens.size(), kFirstTokens));
  return report;
}

uint64_t DamagedSegments(const DiskCatalog& catalog, bool in_use) {
  uint64_t damaged = 0;
  for (const auto& [number, segment] : catalog.segments) {
    damaged += segment.state == SegmentState::kDamaged || segment.state == SegmentState::kUnreadable ||
               (segment.state == SegmentState::kGone && !in_use);
  }
  return damaged;
}

// The fingerprint that begins with the digits. kInvalidArgument: none or several do.
Result<BlockKey> FindModel(const std::string& digits, const DiskCatalog& catalog) {
  std::string wanted = digits;
  for (char& c : wanted) c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  if (wanted.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return InvalidArgument("--model: '" + digits + "' is not the beginning of a fingerprint, which has " +
                           "hexadecimal digits; prefixd inspect shows those of a disk cache");
  }
  std::string all;
  std::vector<BlockKey> found;
  for (const auto& [fingerprint, model] : catalog.models) {
    all += (all.empty() ? "" : ", ") + ToHex(fingerprint);
    if (ToHex(fingerprint).starts_with(wanted)) found.push_back(fingerprint);
  }
  if (found.size() == 1) return found.front();
  return InvalidArgument(
      "--model: " + std::string(found.empty() ? "no fingerprint begins" : "several begin") + " with '" +
      digits + "'; the disk cache has " + (all.empty() ? "no model" : all));
}

// Matches the records of the tenant that the options name; empty when they name none.
Result<RecordFilter> TenantFilterOf(const DiskCommandOptions& options) {
  if (!options.tenant && options.tenant_key.empty()) return RecordFilter();
  const std::string name = options.tenant.value_or("");
  if (!options.tenant_key.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<ApiKey> keys, ReadApiKeys("--tenant-key", options.tenant_key));
    if (keys.size() != 1) {
      return InvalidArgument("--tenant-key: '" + options.tenant_key + "' has " + std::to_string(keys.size()) +
                             " keys; it takes a file with the key of one tenant");
    }
    const CacheNamespace space = NamespaceOf(keys.front(), name);
    return RootFilter(
        [space, salted = options.tenant.has_value()](const BlockKey& model, const BlockKey& root) {
          return salted ? root == RootKey(model, space.tenant, space.salt)
                        : root.high == TenantHalf(model, space.tenant);
        });
  }
  // Named tenants are those of a daemon with API keys, salts those of one without.
  ApiKey named;
  const bool may_be_named = SetKeyField("tenant=" + name, &named).ok();
  return RootFilter([=, tenant = TenantOf(named)](const BlockKey& model, const BlockKey& root) {
    return root == RootKey(model, name) || (may_be_named && root.high == TenantHalf(model, tenant));
  });
}

Result<RecordFilter> MakeFilter(const DiskCommandOptions& options, const RecordFilter& of_tenant,
                                const DiskCatalog& catalog) {
  std::vector<RecordFilter> filters;
  if (!options.model.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(const BlockKey model, FindModel(options.model, catalog));
    filters.push_back(ModelFilter(model));
  }
  if (of_tenant) filters.push_back(of_tenant);
  if (options.older_than) filters.push_back(AgeFilter(SystemClock().UnixSeconds() - *options.older_than));
  return AllOf(std::move(filters));  // of no filters: everything
}

// What a purge of everything removes.
PurgePlan PlanOfAll(const DiskCatalog& catalog) {
  PurgePlan plan;
  for (const auto& [fingerprint, model] : catalog.models) {
    plan.records += model.records.size();
    plan.bytes += model.bytes;
    plan.by_model[fingerprint] = model.records.size();
  }
  plan.damaged_segments = DamagedSegments(catalog, false);
  return plan;
}

// Asks on the terminal. Anything but y or yes is no.
bool Confirmed() {
  std::fputs("Remove them? [y/N] ", stderr);
  char answer[16] = {};
  if (std::fgets(answer, sizeof answer, stdin) == nullptr) return false;
  const std::string word(answer, std::strcspn(answer, "\n"));
  return word == "y" || word == "Y" || word == "yes";
}

// What to look at when the filters match no record.
std::string HintOf(const DiskCommandOptions& options, const DiskCatalog& catalog) {
  uint64_t records = 0;
  for (const auto& [fingerprint, model] : catalog.models) records += model.records.size();
  std::string hint = "there are " + Counted(records, "record") + " of " +
                     Counted(catalog.models.size(), "model") +
                     "; prefixd inspect shows their tenants and ages";
  if (options.tenant && options.tenant_key.empty())
    hint += ". Where a key is a tenant of its own, add --tenant-key FILE";
  return hint;
}

// Finds what a purge removes.
Result<Removal> PlanRemoval(const DiskCommandOptions& options, const RecordFilter& of_tenant,
                            const DiskFolderContents& contents, const ByteLedger& ledger,
                            DiskCatalog* catalog, RecordFilter* filter) {
  Removal removal{.all = options.all, .dry_run = options.dry_run};
  removal.folders = SizesOf(contents.set_aside, ledger);
  for (FolderSize& version : SizesOf(contents.other_versions, ledger))
    removal.folders.push_back(std::move(version));
  const auto reader = OpenReader(contents);
  if (!reader.ok() && !options.all) return reader.status();
  SegmentReader* const source = reader.ok() ? reader->get() : nullptr;
  *catalog = CatalogOf(source);
  PREFIXD_ASSIGN_OR_RETURN(*filter, MakeFilter(options, of_tenant, *catalog));
  if (options.all) {
    removal.plan = PlanOfAll(*catalog);
  } else if (source != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(removal.plan, PlanPurge(source, *catalog, *filter));
    if (removal.plan.records == 0 && removal.plan.segments.empty()) removal.hint = HintOf(options, *catalog);
  }
  return removal;
}

// Removes what was planned, below a progress bar.
Status Execute(DiskFolder* folder, ByteLedger* ledger, FileObserver* observer, const DiskCatalog& catalog,
               const RecordFilter& filter, Removal* removal) {
  const uint64_t before = ledger->used();
  if (removal->all) {
    PREFIXD_ASSIGN_OR_RETURN(removal->foreign, folder->RemoveAll());
  } else if (!removal->plan.segments.empty()) {
    const SystemClock clock;
    ProgressBar bar(removal->plan.segment_bytes, &clock);
    PREFIXD_RETURN_IF_ERROR(PurgeDatabase(
        folder, ledger, catalog, removal->plan, filter, observer, [&](uint64_t bytes) { bar.Add(bytes); },
        &removal->result));
  }
  removal->freed = before - std::min(before, ledger->used());
  return Status::Ok();
}

Result<DiskReport> MakeDiskReport(const DiskFolderContents& contents, SegmentReader* reader) {
  DiskReport report{.folder = contents};
  ByteLedger ledger(UINT64_MAX);
  PREFIXD_RETURN_IF_ERROR(ledger.Measure(contents.path));
  for (const std::string& path : contents.set_aside) PREFIXD_RETURN_IF_ERROR(ledger.Measure(path));
  report.bytes = ledger.used();
  report.set_aside = SizesOf(contents.set_aside, ledger);
  report.other_versions = SizesOf(contents.other_versions, ledger);
  report.catalog = CatalogOf(reader);
  for (const auto& [fingerprint, model] : report.catalog.models) {
    ModelReport of_model{.model = &model, .summary = SummarizeModel(model, kTop)};
    for (const PrefixSummary& prefix : of_model.summary.prefixes)
      of_model.prefixes.push_back(ReportPrefix(model, prefix, reader));
    report.models.push_back(std::move(of_model));
  }
  std::stable_sort(
      report.models.begin(), report.models.end(),
      [](const ModelReport& a, const ModelReport& b) { return a.model->bytes > b.model->bytes; });
  return report;
}

}  // namespace

ExitCode Inspect(const DiskCommandOptions& options) {
  const auto contents = LookIntoDiskFolder(options.directory);
  if (!contents.ok()) return Fail(options, kExitUsage, contents.status().message());
  const auto reader = OpenReader(*contents);
  const auto report = MakeDiskReport(*contents, reader.ok() ? reader->get() : nullptr);
  if (!report.ok()) return Fail(options, kExitFailed, report.status().message());
  DiskReport shown = *std::move(report);
  if (!reader.ok()) shown.error = reader.status().message();
  Print(options.json ? DiskReportAsJson(shown) + "\n" : DiskReportAsText(shown, SystemClock().UnixSeconds()));
  return reader.ok() ? kExitOk : kExitFailed;
}

ExitCode Purge(const DiskCommandOptions& options) {
  // Before the user changes, who may not be able to read the file.
  const auto of_tenant = TenantFilterOf(options);
  if (!of_tenant.ok()) return Fail(options, kExitUsage, of_tenant.status().message());
  const auto contents = LookIntoDiskFolder(options.directory);
  if (!contents.ok()) return Fail(options, kExitUsage, contents.status().message());
  ByteLedger ledger(UINT64_MAX);
  std::unique_ptr<DiskFolder> folder;
  if (!options.dry_run) {
    auto locked = Lock(*contents, &ledger);
    if (!locked.ok()) return Fail(options, kExitFailed, locked.status().message());
    folder = *std::move(locked);
    if (!options.yes && isatty(STDIN_FILENO) != 1) {
      return Fail(
          options, kExitUsage,
          "purge asks before it removes anything, and standard input is not a terminal; add --yes, or "
          "--dry-run to see what would go");
    }
  } else {
    // The sizes of the folders are a remark.
    for (const std::string& path : contents->set_aside) (void)ledger.Measure(path);
    for (const std::string& path : contents->other_versions) (void)ledger.Measure(path);
  }
  DiskCatalog catalog;
  RecordFilter filter;
  auto removal = PlanRemoval(options, *of_tenant, *contents, ledger, &catalog, &filter);
  if (!removal.ok()) {
    const bool usage = removal.status().code() == Code::kInvalidArgument;
    return Fail(options, usage ? kExitUsage : kExitFailed, removal.status().message());
  }
  std::fputs(PlanAsText(contents->path, *removal).c_str(), options.json ? stderr : stdout);
  std::fflush(stdout);
  if (!options.dry_run && (options.all || !removal->plan.segments.empty())) {
    if (!options.yes && !Confirmed()) return Fail(options, kExitFailed, "nothing was removed");
    const Status status = Execute(folder.get(), &ledger, options.observer, catalog, filter, &*removal);
    if (!status.ok()) return Fail(options, kExitFailed, status.message());
  }
  Print(options.json ? json::serialize(RemovalAsJson(contents->path, *removal)) + "\n"
                     : ResultAsText(*removal));
  return kExitOk;
}

ExitCode Verify(const DiskCommandOptions& options) {
  const auto contents = LookIntoDiskFolder(options.directory);
  if (!contents.ok()) return Fail(options, kExitUsage, contents.status().message());
  ByteLedger ledger(UINT64_MAX);
  std::unique_ptr<DiskFolder> folder;
  if (options.remove_damaged) {
    auto locked = Lock(*contents, &ledger);
    if (!locked.ok()) return Fail(options, kExitFailed, locked.status().message());
    folder = *std::move(locked);
  }
  auto reader = OpenReader(*contents);
  if (!reader.ok()) return Fail(options, kExitFailed, reader.status().message());
  const DiskCatalog catalog = CatalogOf(reader->get());
  VerifyOutcome outcome{.path = contents->path};
  if (*reader != nullptr) {
    uint64_t total = 0;
    for (const auto& [fingerprint, model] : catalog.models) total += model.bytes;
    const SystemClock clock;
    ProgressBar bar(total, &clock);
    outcome.report = VerifyDisk(reader->get(), catalog, [&](uint64_t bytes) { bar.Add(bytes); });
  }
  // A segment may be missing because a daemon dropped it, also one that ended since.
  const auto later = LookIntoDiskFolder(options.directory);
  outcome.in_use = folder == nullptr && (contents->in_use || (later.ok() && later->in_use));
  outcome.damaged_segments = DamagedSegments(catalog, outcome.in_use);
  json::object object = VerifyAsJson(outcome);
  if (!options.json) Print(VerifyAsText(outcome));
  if (options.remove_damaged && outcome.damaged()) {
    const RecordFilter filter = [&](const FilteredRecord& record) {
      return outcome.report.damaged.contains({record.segment, record.ordinal});
    };
    auto plan = PlanPurge(reader->get(), catalog, filter);
    if (!plan.ok()) return Fail(options, kExitFailed, plan.status().message());
    reader->reset();
    Removal removal{.plan = *std::move(plan)};
    const Status status = Execute(folder.get(), &ledger, options.observer, catalog, filter, &removal);
    if (!status.ok()) return Fail(options, kExitFailed, status.message());
    if (!options.json) Print(ResultAsText(removal));
    object["removed_records"] = removal.plan.records;
    object["freed_bytes"] = removal.freed;
  }
  if (options.json) Print(json::serialize(object) + "\n");
  return outcome.damaged() ? kExitFailed : kExitOk;
}

}  // namespace prefixd
