// Reads the GGUF format, versions 2 and 3: named values and named tensors in one file, which a caller maps.
// The header is copied, so that a file that changes later is no danger: values and names refer to the copy.
// The data of tensors is not.
//
//   file:    "GGUF", u32 version, u64 tensors, u64 values, the values, the descriptions of the tensors, then
//            the data, which begins at a multiple of the alignment
//   value:   string key, u32 type, and what the type says; an array is u32 type, u64 count, the elements
//   tensor:  string name, u32 dimensions, u64 sizes (the innermost first), u32 type, u64 offset in the data
//   string:  u64 length, bytes
//   All numbers are little-endian. The alignment is the value general.alignment, or 32.
//
// The file is not trusted: every length, count and offset is checked before it is used. The header has at
// most 256 MiB, and the work is linear in its bytes. Plain values; any thread may read them.
//
// Invariants of what ParseGguf returns
//   1. values is sorted by key, and each key occurs once. tensors is sorted by offset; each name occurs once.
//   2. Keys, names and strings are valid UTF-8. The bytes of a value are all in the header; those of an array
//      have `count` elements of its type, none of which is an array.
//   3. The bytes of tensors are in the file and do not overlap. Their number follows from shape and type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/stored_type.h"

namespace prefixd {

enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

struct GgufValue {
  std::string_view key;
  GgufType type{};  // of the value, or of the elements of an array
  bool is_array = false;
  uint64_t count = 1;  // elements
  std::span<const std::byte> bytes;
};

struct GgufTensor {
  std::string_view name;
  uint32_t type_number = 0;
  std::optional<StoredType> type;  // set if prefixd reads it
  std::vector<int64_t> shape;      // the outermost size first
  std::span<const std::byte> bytes;
};

// The name of a type number of GGUF: "Q4_1", or "type 99".
std::string GgufTypeName(uint32_t type_number);
// The type number of GGUF.
uint32_t GgufTypeNumber(StoredType type);

// The values of a file by key. A getter returns nothing where there is no such key, and an error that names
// file, key and value where the value is another than asked for. They own the header, to which they, what
// getters return, and the names of the tensors refer.
class GgufValues {
 public:
  GgufValues() = default;
  // `file` is the name in messages. `values` are sorted by key and refer to `header`.
  GgufValues(std::string file, std::shared_ptr<const std::vector<std::byte>> header,
             std::vector<GgufValue> values);

  const std::string& file() const { return file_; }
  std::span<const std::byte> header() const { return *header_; }
  const std::vector<GgufValue>& all() const { return values_; }
  const GgufValue* Find(std::string_view key) const;

  // An integer of any width within the limits.
  Result<std::optional<int64_t>> Integer(std::string_view key, int64_t low, int64_t high) const;
  // A finite number within the limits.
  Result<std::optional<double>> Number(std::string_view key, double low, double high) const;
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<std::string_view>> String(std::string_view key) const;
  // Arrays; empty where there is no such key.
  Result<std::vector<std::string_view>> Strings(std::string_view key) const;
  Result<std::vector<float>> Floats(std::string_view key) const;
  Result<std::vector<int32_t>> Integers(std::string_view key) const;

  // "FILE: KEY is VALUE (expected: EXPECTED)", or "... is missing ...".
  Status Wrong(std::string_view key, std::string_view expected) const;
  Status Unsupported(std::string_view key, std::string_view supported) const;
  // The value as text, cut to a length that fits a message; "missing" without the key.
  std::string Quote(std::string_view key) const;

 private:
  std::string file_;
  std::shared_ptr<const std::vector<std::byte>> header_ = std::make_shared<std::vector<std::byte>>();
  std::vector<GgufValue> values_;
};

struct GgufFile {
  uint32_t version = 0;
  GgufValues values;
  std::vector<GgufTensor> tensors;
};

// Whether bytes begin as those of a GGUF file do.
bool IsGguf(std::span<const std::byte> bytes);

// Parses one file that is in memory. `file` is its name in messages. kCorrupt: the file is damaged, and the
// message says how. kUnsupported: another version, a big-endian file, or a construct that prefixd does not
// read.
Result<GgufFile> ParseGguf(std::string_view file, std::span<const std::byte> bytes);

}  // namespace prefixd
