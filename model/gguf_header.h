// GgufHeader makes the part of a GGUF file (version 3; model/gguf.h has the format) before its data: values,
// and descriptions of tensors whose bytes a caller writes after it. One owner.
//
// Invariants
//   1. Values and tensors stand in the order in which they were added. The caller adds each key and each
//      name once.
//   2. The offset of every tensor is a multiple of kGgufAlignment, and so is the length of Bytes() where
//      there are tensors. Bytes between two tensors are the caller's to write: zeros.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "model/gguf.h"

namespace prefixd {

inline constexpr uint64_t kGgufAlignment = 32;

class GgufHeader {
 public:
  explicit GgufHeader(uint32_t version = 3) : version_(version) {}

  void Add(std::string_view key, std::string_view text);
  void Add(std::string_view key, const char* text) { Add(key, std::string_view(text)); }
  void Add(std::string_view key, uint32_t number) { AddNumber(key, GgufType::kU32, number); }
  void Add(std::string_view key, int number) { Add(key, static_cast<uint32_t>(number)); }
  void Add(std::string_view key, float number) { AddNumber(key, GgufType::kF32, number); }
  void Add(std::string_view key, bool truth) { AddNumber<uint8_t>(key, GgufType::kBool, truth ? 1 : 0); }
  void Add(std::string_view key, const std::vector<std::string>& texts);
  void Add(std::string_view key, const std::vector<int32_t>& numbers) {
    AddNumbers(key, GgufType::kI32, numbers);
  }
  void Add(std::string_view key, const std::vector<float>& numbers) {
    AddNumbers(key, GgufType::kF32, numbers);
  }
  // `shape` has the outermost size first. `bytes` is the number of the tensor's bytes. Returns their offset
  // from the end of Bytes().
  uint64_t AddTensor(std::string_view name, uint32_t type_number, std::span<const int64_t> shape,
                     uint64_t bytes);

  // The bytes of all tensors, with those that fill the gaps; the last tensor, too, is filled up.
  uint64_t data_bytes() const { return data_bytes_; }
  std::string Bytes() const;

 private:
  void AddHead(std::string_view key, GgufType type);
  void AddArrayHead(std::string_view key, GgufType type, size_t count);
  template <typename T>
  void AddNumber(std::string_view key, GgufType type, T value) {
    AddHead(key, type);
    PutLittle(&values_, value);
  }
  template <typename T>
  void AddNumbers(std::string_view key, GgufType type, const std::vector<T>& numbers) {
    AddArrayHead(key, type, numbers.size());
    for (const T number : numbers) PutLittle(&values_, number);
  }

  const uint32_t version_;
  uint64_t tensor_count_ = 0, value_count_ = 0, data_bytes_ = 0;
  std::string values_, tensors_;
};

}  // namespace prefixd
