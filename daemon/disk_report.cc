#include "daemon/disk_report.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <map>

#include "base/bytes.h"
#include "base/duration.h"
#include "base/utf8.h"

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr size_t kShortKey = 12;  // hex digits that tell keys apart for a reader

// The number and the name of a state of segments in the text, and its name in JSON.
struct StateName {
  SegmentState state;
  const char* text;
  const char* name;
};
constexpr StateName kStates[] = {
    {SegmentState::kOtherFormat, "of another format version, whose records are not read", "other_format"},
    {SegmentState::kDamaged, "damaged, whose records are lost", "damaged"},
    {SegmentState::kUnreadable, "that the disk does not read", "unreadable"},
    {SegmentState::kGone, "whose file is gone", "gone"},
};

std::string Line(const std::string& name, const std::string& text) {
  return "  " + name + std::string(name.size() < 14 ? 14 - name.size() : 1, ' ') + text + "\n";
}

std::string Right(const std::string& text, size_t width) {
  return (text.size() < width ? std::string(width - text.size(), ' ') : "") + text;
}

std::string Short(const BlockKey& key) { return ToHex(key).substr(0, kShortKey); }

std::string Ago(uint64_t then, int64_t now) {
  const auto present = static_cast<uint64_t>(std::max<int64_t>(now, 0));
  return then > present ? "in the future" : FormatDuration(static_cast<int64_t>(present - then)) + " ago";
}

std::string Ratio(uint64_t raw, uint64_t stored) {
  if (stored == 0) return "";
  char text[64];
  std::snprintf(text, sizeof text, "; payloads compressed %.2f : 1",
                static_cast<double>(raw) / static_cast<double>(stored));
  return text;
}

std::string TenantLines(const ModelReport& report) {
  const size_t count = report.model->roots.size();
  std::string text = Line(
      "tenants", Grouped(count) + (count > report.summary.tenants.size() ? ", those with most bytes:" : ""));
  if (report.summary.tenants.empty()) return text;
  text += "    " + Right("records", 10) + Right("tokens", 13) + Right("bytes", 11) + "  root\n";
  for (const TenantSummary& tenant : report.summary.tenants) {
    text += "    " + Right(Grouped(tenant.records), 10) + Right(Grouped(tenant.tokens), 13) +
            Right(FormatSize(tenant.bytes), 11) + "  " + ToHex(tenant.root) + "\n";
  }
  return text;
}

std::string PrefixLines(const ModelReport& report) {
  const uint64_t count = report.summary.prefix_count;
  std::string text =
      Line("prefixes", Grouped(count) + (count > report.prefixes.size() ? ", those with most bytes:" : ""));
  if (report.summary.orphans > 0)
    text += Line("", Counted(report.summary.orphans, "record") + " follow blocks that are not on the disk");
  if (report.prefixes.empty()) return text;
  text += "    " + Right("records", 10) + Right("tokens", 13) + Right("bytes", 11) +
          Right("shared tokens", 15) + "  tenant        first token ids\n";
  for (const PrefixReport& prefix : report.prefixes) {
    text += "    " + Right(Grouped(prefix.summary.records), 10) + Right(Grouped(prefix.summary.tokens), 13) +
            Right(FormatSize(prefix.summary.bytes), 11) + Right(Grouped(prefix.summary.shared_tokens), 15) +
            "  " + Short(prefix.tenant) + " ";
    if (!prefix.summary.whole) text += " ...";
    for (const TokenId token : prefix.tokens) text += " " + std::to_string(token);
    text += prefix.tokens.empty() ? " (not readable)\n" : " ...\n";
  }
  return text;
}

std::string ModelText(const ModelReport& report, int64_t now) {
  const CatalogModel& model = *report.model;
  std::string text = "\nmodel " + ToHex(model.fingerprint) + "\n";
  text += Line("records", Grouped(model.records.size()) + " with " + Grouped(model.tokens) + " tokens, " +
                              FormatSize(model.bytes) + Ratio(model.raw_bytes, model.stored_bytes));
  text += Line("on the disk", FormatSize(model.physical_bytes) + " in " + Counted(model.segments, "segment") +
                                  (model.dead_bytes > 0 ? "; " + FormatSize(model.dead_bytes) +
                                                              " of it was replaced or deleted"
                                                        : ""));
  if (!model.records.empty()) {
    text += Line("written", "from " + FormatUtc(model.oldest) + " UTC (" + Ago(model.oldest, now) + ") to " +
                                FormatUtc(model.newest) + " UTC (" + Ago(model.newest, now) + ")");
  }
  if (model.no_head > 0)
    text += Line("no header",
                 Counted(model.no_head, "record") + " of another version or damaged; prefixd verify tells");
  return text + TenantLines(report) + PrefixLines(report);
}

std::map<SegmentState, uint64_t> States(const DiskCatalog& catalog) {
  std::map<SegmentState, uint64_t> states;
  for (const auto& [number, segment] : catalog.segments) ++states[segment.state];
  return states;
}

json::array FoldersAsJson(const std::vector<FolderSize>& folders) {
  json::array array;
  for (const FolderSize& folder : folders)
    array.emplace_back(json::object{{"path", RepairUtf8(folder.path)}, {"bytes", folder.bytes}});
  return array;
}

json::object ModelAsJson(const ModelReport& report) {
  const CatalogModel& model = *report.model;
  json::array tenants;
  for (const TenantSummary& tenant : report.summary.tenants) {
    tenants.emplace_back(json::object{{"root", ToHex(tenant.root)},
                                      {"records", tenant.records},
                                      {"tokens", tenant.tokens},
                                      {"bytes", tenant.bytes}});
  }
  json::array prefixes;
  for (const PrefixReport& prefix : report.prefixes) {
    prefixes.emplace_back(
        json::object{{"key", ToHex(model.records[prefix.summary.first].key)},
                     {"root", ToHex(prefix.tenant)},
                     {"begins_prompt", prefix.summary.whole},
                     {"records", prefix.summary.records},
                     {"tokens", prefix.summary.tokens},
                     {"bytes", prefix.summary.bytes},
                     {"shared_tokens", prefix.summary.shared_tokens},
                     {"first_tokens", json::array(prefix.tokens.begin(), prefix.tokens.end())}});
  }
  json::object object{{"fingerprint", ToHex(model.fingerprint)},
                      {"records", model.records.size()},
                      {"tokens", model.tokens},
                      {"bytes", model.bytes},
                      {"segments", model.segments},
                      {"physical_bytes", model.physical_bytes},
                      {"dead_bytes", model.dead_bytes},
                      {"payload_raw_bytes", model.raw_bytes},
                      {"payload_stored_bytes", model.stored_bytes},
                      {"records_without_header", model.no_head},
                      {"oldest", nullptr},
                      {"newest", nullptr},
                      {"tenants", model.roots.size()},
                      {"top_tenants", std::move(tenants)},
                      {"prefixes", report.summary.prefix_count},
                      {"records_without_beginning", report.summary.orphans},
                      {"top_prefixes", std::move(prefixes)}};
  if (!model.records.empty()) {
    object["oldest"] = model.oldest;
    object["newest"] = model.newest;
  }
  return object;
}

}  // namespace

std::string Grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string Counted(uint64_t number, const std::string& noun) {
  return Grouped(number) + " " + noun + (number == 1 ? "" : "s");
}

std::string DiskReportAsText(const DiskReport& report, int64_t now) {
  std::string text = report.folder.path + "\n";
  text += Line("used by", report.folder.in_use ? report.folder.OwnerText() : "no process");
  text += Line("on the disk", FormatSize(report.bytes) + " in " +
                                  Counted(report.catalog.segments.size(), "segment") +
                                  " and other files; the cap is the daemon's --disk-cache");
  if (!report.error.empty()) text += Line("not readable", report.error);
  const auto states = States(report.catalog);
  for (const StateName& state : kStates) {
    const auto found = states.find(state.state);
    if (found == states.end()) continue;
    const bool dropped = state.state == SegmentState::kGone && report.folder.in_use;
    text += Line("segments", Grouped(found->second) + " " +
                                 (dropped ? "that the daemon has dropped meanwhile" : state.text));
  }
  for (const FolderSize& folder : report.set_aside)
    text += Line("set aside", folder.path + ", " + FormatSize(folder.bytes) + ": a damaged database");
  for (const FolderSize& folder : report.other_versions)
    text += Line("other version", folder.path + ", " + FormatSize(folder.bytes));
  for (const ModelReport& model : report.models) text += ModelText(model, now);
  if (report.models.empty()) {
    text += "\nThere are no records.\n";
  } else {
    text += "\nToken ids are those of the model's tokenizer: their text needs the model.\n";
  }
  return text;
}

std::string DiskReportAsJson(const DiskReport& report) {
  json::array models;
  for (const ModelReport& model : report.models) models.emplace_back(ModelAsJson(model));
  json::object object{{"schema", 1},
                      {"ok", report.error.empty()},
                      {"directory", RepairUtf8(report.folder.path)},
                      {"in_use", report.folder.in_use},
                      {"pid", nullptr},
                      {"physical_bytes", report.bytes},
                      {"segments", report.catalog.segments.size()}};
  if (report.folder.in_use) object["pid"] = RepairUtf8(report.folder.owner);
  const auto states = States(report.catalog);
  for (const StateName& state : kStates) {
    const auto found = states.find(state.state);
    object[std::string("segments_") + state.name] = found == states.end() ? 0 : found->second;
  }
  object["set_aside"] = FoldersAsJson(report.set_aside);
  object["other_versions"] = FoldersAsJson(report.other_versions);
  object["models"] = std::move(models);
  if (!report.error.empty()) object["error"] = RepairUtf8(report.error);
  return json::serialize(object);
}

}  // namespace prefixd
