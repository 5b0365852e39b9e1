// GgufWriter makes the bytes of a GGUF file, for tests. One owner.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "model/gguf.h"

namespace prefixd::testing_support {

class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3) : version_(version) {}

  void Add(std::string_view key, std::string_view text) {
    Head(key, GgufType::kString);
    String(text, &values_);
  }
  void Add(std::string_view key, const char* text) { Add(key, std::string_view(text)); }
  void Add(std::string_view key, uint32_t number) { Plain(key, GgufType::kU32, number); }
  void Add(std::string_view key, int number) { Add(key, static_cast<uint32_t>(number)); }
  void Add(std::string_view key, float number) { Plain(key, GgufType::kF32, number); }
  void Add(std::string_view key, bool truth) { Plain<uint8_t>(key, GgufType::kBool, truth ? 1 : 0); }
  void Add(std::string_view key, const std::vector<std::string>& texts) {
    Array(key, GgufType::kString, texts.size());
    for (const std::string& text : texts) String(text, &values_);
  }
  void Add(std::string_view key, const std::vector<int32_t>& numbers) {
    Array(key, GgufType::kI32, numbers.size());
    for (const int32_t number : numbers) PutLittle(&values_, number);
  }
  void Add(std::string_view key, const std::vector<float>& numbers) {
    Array(key, GgufType::kF32, numbers.size());
    for (const float number : numbers) PutLittle(&values_, number);
  }
  // `shape` has the outermost size first.
  void AddTensor(std::string_view name, uint32_t type, std::span<const int64_t> shape,
                 std::string_view bytes) {
    String(name, &tensors_);
    PutLittle(&tensors_, static_cast<uint32_t>(shape.size()));
    for (size_t i = shape.size(); i-- > 0;) PutLittle(&tensors_, static_cast<uint64_t>(shape[i]));
    PutLittle(&tensors_, type);
    PutLittle(&tensors_, static_cast<uint64_t>(data_.size()));
    data_.append(bytes).append((kAlignment - bytes.size() % kAlignment) % kAlignment, '\0');
    ++tensor_count_;
  }

  std::string File() const {
    std::string file = "GGUF";
    PutLittle(&file, version_);
    PutLittle(&file, tensor_count_);
    PutLittle(&file, value_count_);
    file += values_ + tensors_;
    if (tensor_count_ > 0) file.append((kAlignment - file.size() % kAlignment) % kAlignment, '\0');
    return file + data_;
  }

 private:
  static constexpr size_t kAlignment = 32;

  static void String(std::string_view text, std::string* out) {
    PutLittle(out, static_cast<uint64_t>(text.size()));
    out->append(text);
  }
  void Head(std::string_view key, GgufType type) {
    String(key, &values_);
    PutLittle(&values_, static_cast<uint32_t>(type));
    ++value_count_;
  }
  void Array(std::string_view key, GgufType type, size_t count) {
    Head(key, GgufType::kArray);
    PutLittle(&values_, static_cast<uint32_t>(type));
    PutLittle(&values_, static_cast<uint64_t>(count));
  }
  template <typename T>
  void Plain(std::string_view key, GgufType type, T value) {
    Head(key, type);
    PutLittle(&values_, value);
  }

  uint32_t version_;
  uint64_t tensor_count_ = 0, value_count_ = 0;
  std::string values_, tensors_, data_;
};

}  // namespace prefixd::testing_support
