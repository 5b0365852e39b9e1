#include "model/gguf_header.h"

namespace prefixd {
namespace {

void PutString(std::string_view text, std::string* out) {
  PutLittle(out, static_cast<uint64_t>(text.size()));
  out->append(text);
}

uint64_t Aligned(uint64_t bytes) { return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

}  // namespace

void GgufHeader::AddHead(std::string_view key, GgufType type) {
  PutString(key, &values_);
  PutLittle(&values_, static_cast<uint32_t>(type));
  ++value_count_;
}

void GgufHeader::AddArrayHead(std::string_view key, GgufType type, size_t count) {
  AddHead(key, GgufType::kArray);
  PutLittle(&values_, static_cast<uint32_t>(type));
  PutLittle(&values_, static_cast<uint64_t>(count));
}

void GgufHeader::Add(std::string_view key, std::string_view text) {
  AddHead(key, GgufType::kString);
  PutString(text, &values_);
}

void GgufHeader::Add(std::string_view key, const std::vector<std::string>& texts) {
  AddArrayHead(key, GgufType::kString, texts.size());
  for (const std::string& text : texts) PutString(text, &values_);
}

uint64_t GgufHeader::AddTensor(std::string_view name, uint32_t type_number, std::span<const int64_t> shape,
                               uint64_t bytes) {
  const uint64_t offset = data_bytes_;
  PutString(name, &tensors_);
  PutLittle(&tensors_, static_cast<uint32_t>(shape.size()));
  for (size_t i = shape.size(); i-- > 0;) PutLittle(&tensors_, static_cast<uint64_t>(shape[i]));
  PutLittle(&tensors_, type_number);
  PutLittle(&tensors_, offset);
  data_bytes_ += Aligned(bytes);
  ++tensor_count_;
  return offset;
}

std::string GgufHeader::Bytes() const {
  std::string bytes = "GGUF";
  PutLittle(&bytes, version_);
  PutLittle(&bytes, tensor_count_);
  PutLittle(&bytes, value_count_);
  bytes += values_ + tensors_;
  if (tensor_count_ > 0) bytes.resize(Aligned(bytes.size()));
  return bytes;
}

}  // namespace prefixd
