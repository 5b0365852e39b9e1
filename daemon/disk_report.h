// What `prefixd inspect` says of a disk cache, as text and as JSON. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/types.h"
#include "storage/disk_catalog.h"
#include "storage/disk_folder.h"
#include "storage/disk_summary.h"

namespace prefixd {

struct FolderSize {
  std::string path;
  uint64_t bytes = 0;  // physical
};

struct PrefixReport {
  PrefixSummary summary;
  BlockKey tenant;              // its root
  std::vector<TokenId> tokens;  // the first ones; empty when the record cannot be read
};

struct ModelReport {
  const CatalogModel* model = nullptr;
  ModelUsage summary;
  std::vector<PrefixReport> prefixes;
};

struct DiskReport {
  DiskFolderContents folder;
  uint64_t bytes = 0;  // physical, of all: the directory and what is set aside
  std::vector<FolderSize> set_aside;
  std::vector<FolderSize> other_versions;
  std::string error;  // why the database cannot be opened; empty otherwise
  DiskCatalog catalog;
  std::vector<ModelReport> models;  // of the catalog, those with most bytes first
};

std::string DiskReportAsText(const DiskReport& report, int64_t now);
std::string DiskReportAsJson(const DiskReport& report);

// "1,234,567"
std::string Grouped(uint64_t number);
// "12 records", "1 record"
std::string Counted(uint64_t number, const std::string& noun);

}  // namespace prefixd
