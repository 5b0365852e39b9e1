// GgufWriter makes the bytes of a whole GGUF file, for tests. One owner.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "model/gguf_header.h"

namespace prefixd::testing_support {

class GgufWriter : public GgufHeader {
 public:
  using GgufHeader::GgufHeader;

  // `shape` has the outermost size first.
  void AddTensor(std::string_view name, uint32_t type, std::span<const int64_t> shape,
                 std::string_view bytes) {
    data_.resize(GgufHeader::AddTensor(name, type, shape, bytes.size()));
    data_.append(bytes);
  }

  std::string File() const {
    std::string file = Bytes() + data_;
    file.resize(Bytes().size() + data_bytes());
    return file;
  }

 private:
  std::string data_;
};

}  // namespace prefixd::testing_support
