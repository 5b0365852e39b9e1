// Parses any bytes as a *.safetensors file. They are rejected, or give tensors that are inside the file,
// cover its data exactly once and have the sizes that follow from their shapes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  const auto tensors = prefixd::ParseSafetensors("fuzz.safetensors", file);
  if (!tensors.ok()) {
    PREFIXD_CHECK(!tensors.status().message().empty());
    return 0;
  }
  const std::byte* end = nullptr;
  for (const prefixd::TensorView& tensor : *tensors) {
    PREFIXD_CHECK(tensor.bytes.data() >= file.data() &&
                  tensor.bytes.data() + tensor.bytes.size() <= file.data() + size);
    PREFIXD_CHECK(end == nullptr || tensor.bytes.data() == end) << tensor.name;
    end = tensor.bytes.data() + tensor.bytes.size();
    uint64_t elements = 1;
    for (const int64_t extent : tensor.shape) elements *= static_cast<uint64_t>(extent);
    if (tensor.dtype) PREFIXD_CHECK(tensor.bytes.size() == tensor.dtype->Bytes(elements)) << tensor.name;
    unsigned sum = 0;  // reads every byte, so that the sanitizers check it
    for (const std::byte b : tensor.bytes) sum += static_cast<unsigned>(b);
    PREFIXD_CHECK(sum <= 255 * tensor.bytes.size());
  }
  PREFIXD_CHECK(end == nullptr || end == file.data() + size);
  return 0;
}
