#include "storage/disk_verify.h"

#include <memory>
#include <new>
#include <span>
#include <string_view>

#include "storage/record.h"

namespace prefixd {
namespace {

// The KV of a block is far smaller. A larger number in a header is damage, not a reason to allocate.
constexpr uint64_t kMaxPayload = uint64_t{1} << 30;

// Memory that grows with the largest payload so far.
class Buffer {
 public:
  // Null when there is no memory.
  std::byte* Get(uint64_t bytes) {
    if (bytes > size_ || bytes_ == nullptr) {
      bytes_.reset(new (std::nothrow) std::byte[bytes]);
      size_ = bytes_ == nullptr ? 0 : bytes;
    }
    return bytes_.get();
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  uint64_t size_ = 0;
};

RecordDefect DefectOf(std::string_view bytes, const CatalogRecord& expected, const BlockKey& model,
                      Buffer* buffer) {
  const DecodedRecord record = DecodeRecord(std::as_bytes(std::span(bytes)));
  if (record.defect != RecordDefect::kNone) return record.defect;
  if (bytes.size() != expected.bytes)
    return bytes.size() < expected.bytes ? RecordDefect::kShort : RecordDefect::kLong;
  const RecordHead& head = record.head;
  if (head.fingerprint != model) return RecordDefect::kFingerprint;
  const bool first_is_right =
      head.parent != head.root || head.prefix_check == ChildCheck(RootCheck(head.root), record.tokens);
  if (head.key != expected.key || head.key != ChildKey(head.parent, record.tokens) || !first_is_right)
    return RecordDefect::kTokens;
  if (head.raw_bytes > kMaxPayload) return RecordDefect::kDecompress;
  std::byte* const raw = buffer->Get(head.raw_bytes);
  if (raw == nullptr) return RecordDefect::kDecompress;
  return ReadRecordPayload(record, {raw, static_cast<size_t>(head.raw_bytes)});
}

}  // namespace

VerifyReport VerifyDisk(SegmentReader* reader, const DiskCatalog& catalog,
                        const std::function<void(uint64_t bytes)>& progress) {
  VerifyReport report;
  Buffer buffer;
  for (const auto& [fingerprint, model] : catalog.models) {
    for (const CatalogRecord& expected : model.records) {
      const auto record = reader->Read(expected.segment, expected.ordinal);
      std::string defect;
      if (record.ok()) {
        const RecordDefect found = DefectOf(*record, expected, fingerprint, &buffer);
        report.other_version += found == RecordDefect::kVersion;
        if (found != RecordDefect::kNone && found != RecordDefect::kVersion) defect = RecordDefectName(found);
      } else if (record.status().code() == Code::kUnavailable) {
        ++report.gone;
        if (progress) progress(expected.bytes);
        continue;
      } else {
        defect = record.status().code() == Code::kIo ? "medium" : "table";
      }
      ++report.records;
      report.bytes += expected.bytes;
      if (!defect.empty()) {
        ++report.defects[defect];
        report.damaged.emplace(expected.segment, expected.ordinal);
        if (report.first.size() < VerifyReport::kFirstDamaged)
          report.first.push_back({fingerprint, expected.key, expected.segment, defect});
      }
      if (progress) progress(expected.bytes);
    }
  }
  return report;
}

}  // namespace prefixd
