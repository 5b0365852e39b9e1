#include "daemon/disk_result.h"

#include <boost/json/array.hpp>
#include <utility>

#include "base/bytes.h"
#include "base/utf8.h"

namespace prefixd {

namespace json = boost::json;

std::string PlanAsText(const std::string& path, const Removal& removal) {
  const PurgePlan& plan = removal.plan;
  std::string text = path + "\n  goes: " + Counted(plan.records, "record") + ", " + FormatSize(plan.bytes);
  if (plan.dead_records > 0) text += ", and " + Grouped(plan.dead_records) + " replaced or deleted before";
  text += "\n";
  if (!removal.hint.empty()) text += "  nothing matches: " + removal.hint + "\n";
  for (const auto& [model, records] : plan.by_model)
    text += "    of model " + ToHex(model) + ": " + Counted(records, "record") + "\n";
  if (plan.damaged_segments > 0) {
    text += "  goes: " + Counted(plan.damaged_segments, "damaged segment") +
            ", whose records nobody can tell apart\n";
  }
  if (plan.kept_records > 0) {
    text += "  is written again: " + Counted(plan.kept_records, "record") + ", " +
            FormatSize(plan.kept_bytes) + ", from segments that lose others\n";
  }
  if (plan.other_segments > 0) {
    text += "  stays: " + Counted(plan.other_segments, "segment") +
            " of another format, whose records cannot be told apart; --all removes all\n";
  }
  for (const FolderSize& folder : removal.folders) {
    text += std::string(removal.all ? "  goes: " : "  stays: ") + folder.path + ", " +
            FormatSize(folder.bytes) +
            (removal.all ? "\n" : ", whose records cannot be told apart; --all removes all\n");
  }
  return text;
}

json::object RemovalAsJson(const std::string& path, const Removal& removal) {
  const PurgePlan& plan = removal.plan;
  json::object models;
  for (const auto& [model, records] : plan.by_model) models[ToHex(model)] = records;
  json::array folders;
  for (const FolderSize& folder : removal.folders)
    folders.emplace_back(json::object{{"path", RepairUtf8(folder.path)}, {"bytes", folder.bytes}});
  json::array foreign;
  for (const std::string& staying : removal.foreign) foreign.emplace_back(RepairUtf8(staying));
  return {{"schema", 1},
          {"ok", true},
          {"directory", RepairUtf8(path)},
          {"foreign_files", std::move(foreign)},
          {"dry_run", removal.dry_run},
          {"records", plan.records},
          {"bytes", plan.bytes},
          {"models", std::move(models)},
          {"dead_records", plan.dead_records},
          {"damaged_segments", plan.damaged_segments},
          {"rewritten_records", removal.dry_run ? plan.kept_records : removal.result.rewritten_records},
          {"rewritten_bytes", removal.dry_run ? plan.kept_bytes : removal.result.rewritten_bytes},
          {"lost_records", removal.result.lost_records},
          {"freed_bytes", removal.freed},
          {removal.all ? "removed_folders" : "other_folders", std::move(folders)}};
}

std::string ResultAsText(const Removal& removal) {
  if (removal.dry_run) return "nothing was removed: this is a dry run\n";
  std::string text = "removed " + Counted(removal.plan.records, "record") + "; " + FormatSize(removal.freed) +
                     " of the disk are free again\n";
  if (removal.result.lost_records > 0)
    text += Counted(removal.result.lost_records, "damaged record") + " went as well\n";
  for (const std::string& path : removal.foreign)
    text += "stays: " + path + ", which is not of the cache; remove it by hand\n";
  return text;
}

json::object VerifyAsJson(const VerifyOutcome& outcome) {
  const VerifyReport& report = outcome.report;
  json::object defects;
  for (const auto& [defect, count] : report.defects) defects[defect] = count;
  json::array first;
  for (const DamagedRecord& record : report.first) {
    first.emplace_back(json::object{{"model", ToHex(record.model)},
                                    {"key", ToHex(record.key)},
                                    {"segment", record.segment},
                                    {"defect", record.defect}});
  }
  return {{"schema", 1},
          {"ok", !outcome.damaged()},
          {"directory", RepairUtf8(outcome.path)},
          {"in_use", outcome.in_use},
          {"records", report.records},
          {"bytes", report.bytes},
          {"damaged_records", report.damaged.size()},
          {"damaged_segments", outcome.damaged_segments},
          {"gone_records", report.gone},
          {"other_version_records", report.other_version},
          {"defects", std::move(defects)},
          {"first_damaged", std::move(first)}};
}

std::string VerifyAsText(const VerifyOutcome& outcome) {
  const VerifyReport& report = outcome.report;
  std::string text = Counted(report.records, "record") + " with " + FormatSize(report.bytes) + " read, " +
                     Grouped(report.damaged.size()) + " of them damaged\n";
  if (report.gone > 0) {
    text += Counted(report.gone, "record") + " gone: " +
            (outcome.in_use ? "the daemon has dropped their segments meanwhile\n"
                            : "the files of their segments are missing\n");
  }
  if (report.other_version > 0)
    text +=
        Counted(report.other_version, "record") + " of another version, which this prefixd does not check\n";
  if (outcome.damaged_segments > 0)
    text += Counted(outcome.damaged_segments, "segment") + " damaged as a whole; their records are lost\n";
  for (const auto& [defect, count] : report.defects) text += "  " + defect + ": " + Grouped(count) + "\n";
  if (report.first.empty()) return text;
  text += report.damaged.size() > report.first.size() ? "the first of them:\n" : "they are:\n";
  for (const DamagedRecord& record : report.first) {
    text += "  " + ToHex(record.key) + " of model " + ToHex(record.model) + ", segment " +
            std::to_string(record.segment) + ": " + record.defect + "\n";
  }
  return text;
}

}  // namespace prefixd
