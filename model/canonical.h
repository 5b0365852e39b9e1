// The text of numbers in canonical descriptions. Pure functions; any thread.
#pragma once

#include <array>
#include <charconv>
#include <string>

namespace prefixd {

// Returns the shortest decimal that reads back as the same number, so that one value has one text.
template <typename T>
std::string Shortest(T number) {
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  return std::string(text.data(), end);
}

}  // namespace prefixd
