// A part of a text: the bytes from `begin` up to, not including, `end`. A plain value; any thread.
#pragma once

#include <cstddef>

namespace prefixd {

struct ByteRange {
  size_t begin = 0, end = 0;
  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

}  // namespace prefixd
