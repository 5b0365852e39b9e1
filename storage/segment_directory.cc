#include "storage/segment_directory.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "base/bytes.h"
#include "hashing/checksum.h"
#include "storage/record.h"

namespace prefixd {
namespace {

constexpr std::string_view kMagic = "PFXSEGMT";
// With kept records and without. A daemon that does not know kept records leaves those segments alone.
constexpr uint32_t kVersion = 1, kKeptVersion = 2;
// magic, version, number of entries, number of deleted keys, length of the heads, group, tick
constexpr size_t kHeaderBytes = 8 + 4 + 4 + 4 + 4 + 16 + 8;
// key, bytes, heat, created, cost class; the head follows
constexpr size_t kEntryBytes = 16 + 4 + 4 + 8 + 1;
constexpr size_t kKeyBytes = 16;
// key, bytes, until, seconds, owner
constexpr size_t kKeptBytes = 16 + 4 + 8 + 4 + 8;
constexpr size_t kChecksumBytes = 8;

uint64_t ChecksumOf(std::string_view bytes) { return Checksum(std::as_bytes(std::span(bytes))); }

void PutKey(std::string* out, const BlockKey& key) {
  PutLittle(out, key.low);
  PutLittle(out, key.high);
}

BlockKey GetKey(const char* from) {
  return {.low = GetLittle<uint64_t>(from), .high = GetLittle<uint64_t>(from + 8)};
}

size_t HeadBytes(uint32_t record_bytes) { return std::min<size_t>(record_bytes, kRecordHeaderBytes); }

}  // namespace

uint64_t DirectoryBytes(uint64_t entries, uint64_t deleted, uint64_t kept) {
  return kHeaderBytes + entries * (kEntryBytes + kRecordHeaderBytes) + deleted * kKeyBytes +
         kept * kKeptBytes + kChecksumBytes;
}

std::string EncodeDirectory(const SegmentDirectory& directory) {
  std::string out;
  out.reserve(DirectoryBytes(directory.entries.size(), directory.deleted.size(), directory.kept.size()));
  out += kMagic;
  PutLittle(&out, directory.kept.empty() ? kVersion : kKeptVersion);
  PutLittle(&out, static_cast<uint32_t>(directory.entries.size()));
  PutLittle(&out, static_cast<uint32_t>(directory.deleted.size()));
  PutLittle(&out, static_cast<uint32_t>(kRecordHeaderBytes));
  PutKey(&out, directory.group);
  PutLittle(&out, directory.tick);
  for (const DirectoryEntry& entry : directory.entries) {
    PREFIXD_CHECK(entry.head.size() == HeadBytes(entry.bytes)) << entry.head.size();
    PutKey(&out, entry.key);
    PutLittle(&out, entry.bytes);
    PutLittle(&out, entry.heat);
    PutLittle(&out, entry.created);
    PutLittle(&out, entry.cost_class);
    out += entry.head;
  }
  for (const BlockKey& key : directory.deleted) PutKey(&out, key);
  for (const KeptEntry& kept : directory.kept) {
    PutKey(&out, kept.key);
    PutLittle(&out, kept.bytes);
    PutLittle(&out, kept.retention.until);
    PutLittle(&out, kept.retention.seconds);
    PutLittle(&out, kept.retention.owner);
  }
  PutLittle(&out, ChecksumOf(out));
  return out;
}

Result<SegmentDirectory> DecodeDirectory(std::string_view bytes) {
  if (bytes.size() < kHeaderBytes + kChecksumBytes || !bytes.starts_with(kMagic))
    return Corrupt("this is not the directory of a segment");
  // Another version may have another length and another checksum.
  const auto version = GetLittle<uint32_t>(bytes.data() + 8);
  if (version != kVersion && version != kKeptVersion)
    return Unsupported("the directory of a segment has version " + std::to_string(version) + ", not " +
                       std::to_string(kVersion) + " or " + std::to_string(kKeptVersion));
  const std::string_view body = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (GetLittle<uint64_t>(bytes.data() + body.size()) != ChecksumOf(body))
    return Corrupt("the directory of a segment is damaged: its checksum differs");
  const auto entries = GetLittle<uint32_t>(bytes.data() + 12);
  const auto deleted = GetLittle<uint32_t>(bytes.data() + 16);
  if (GetLittle<uint32_t>(bytes.data() + 20) != kRecordHeaderBytes)
    return Unsupported("the records of a segment have headers of another length");
  const Status misfit = Corrupt("the directory of a segment contradicts its own length");
  SegmentDirectory directory{.group = GetKey(bytes.data() + 24),
                             .tick = GetLittle<double>(bytes.data() + 40)};
  if (!std::isfinite(directory.tick) || directory.tick < 0) return misfit;
  size_t offset = kHeaderBytes;
  // Every entry has at least kEntryBytes, so a wrong count allocates no more than the bytes themselves.
  if ((body.size() - offset) / kEntryBytes < entries) return misfit;
  directory.entries.reserve(entries);
  for (uint32_t i = 0; i < entries; ++i) {
    if (body.size() - offset < kEntryBytes) return misfit;
    const char* from = body.data() + offset;
    DirectoryEntry entry{.key = GetKey(from),
                         .bytes = GetLittle<uint32_t>(from + 16),
                         .heat = GetLittle<float>(from + 20),
                         .created = GetLittle<uint64_t>(from + 24),
                         .cost_class = GetLittle<uint8_t>(from + 32)};
    offset += kEntryBytes;
    if (!std::isfinite(entry.heat) || body.size() - offset < HeadBytes(entry.bytes)) return misfit;
    entry.head = body.substr(offset, HeadBytes(entry.bytes));
    offset += entry.head.size();
    directory.entries.push_back(entry);
  }
  if (body.size() - offset < uint64_t{deleted} * kKeyBytes) return misfit;
  const size_t kept_bytes = body.size() - offset - uint64_t{deleted} * kKeyBytes;
  if (kept_bytes % kKeptBytes != 0 || (kept_bytes > 0) != (version == kKeptVersion)) return misfit;
  directory.deleted.reserve(deleted);
  for (uint32_t i = 0; i < deleted; ++i, offset += kKeyBytes)
    directory.deleted.push_back(GetKey(body.data() + offset));
  directory.kept.reserve(kept_bytes / kKeptBytes);
  for (; offset < body.size(); offset += kKeptBytes) {
    const char* from = body.data() + offset;
    directory.kept.push_back({.key = GetKey(from),
                              .bytes = GetLittle<uint32_t>(from + 16),
                              .retention = {.until = GetLittle<uint64_t>(from + 20),
                                            .seconds = GetLittle<uint32_t>(from + 28),
                                            .owner = GetLittle<uint64_t>(from + 32)}});
  }
  return directory;
}

}  // namespace prefixd
