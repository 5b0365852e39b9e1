// Text in which the bytes that came from a request are marked. The others are the server's own: of a chat
// template its text, its constants, and what its filters write between values. The tokenizer reads control
// tokens only in own text, so that the content of a message cannot spell one.
//
// A plain value; one thread at a time may change it.
//
// Invariants
//   1. The ranges of input() are sorted, not empty, and neither overlap nor touch.
//   2. Text that is made from marked text is marked: a part keeps the marks of its bytes. Where an operation
//      mixes bytes, the whole result is marked. So a byte from a request is never taken for own text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/byte_range.h"

namespace prefixd {

class MarkedText {
 public:
  MarkedText() = default;
  static MarkedText Own(std::string bytes);    // not from a request
  static MarkedText Input(std::string bytes);  // from a request
  // Own, or Input if `from` has marks. For text that was made from that of `from` in a way that mixes bytes.
  static MarkedText MadeFrom(const MarkedText& from, std::string bytes);

  const std::string& bytes() const { return bytes_; }
  const std::vector<ByteRange>& input() const { return input_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  MarkedText& operator+=(char own);
  MarkedText& operator+=(std::string_view own);
  MarkedText& operator+=(const std::string& own) { return *this += std::string_view(own); }
  MarkedText& operator+=(const char* own) { return *this += std::string_view(own); }
  MarkedText& operator+=(const MarkedText& text);
  void AppendInput(std::string_view input);
  // Appends the bytes of `text` from `begin` to `end`, with their marks.
  void AppendPart(const MarkedText& text, size_t begin, size_t end);

  // Returns a part with its marks. Requires begin <= end <= size(), or that `part` points into bytes().
  MarkedText Part(size_t begin, size_t end) const;
  MarkedText Part(std::string_view part) const;

  // Applies a function of the text to each run of marked or unmarked bytes. Only for functions that give the
  // same result for the whole text as for its parts.
  template <typename Map>
  MarkedText MapRuns(Map map) const;
  // Applies any function. The result of a text with marks is marked as a whole, unless the function gives the
  // same result for its runs.
  template <typename Map>
  MarkedText MapWhole(Map map) const;

  // Takes the bytes out of the text.
  std::string TakeBytes() && { return std::move(bytes_); }

 private:
  void Mark(size_t begin, size_t end);

  std::string bytes_;
  std::vector<ByteRange> input_;
};

template <typename Map>
MarkedText MarkedText::MapRuns(Map map) const {
  const std::string_view bytes = bytes_;
  MarkedText out;
  size_t at = 0;
  for (const ByteRange& range : input_) {
    if (at < range.begin) out += std::string_view(map(bytes.substr(at, range.begin - at)));
    out.AppendInput(map(bytes.substr(range.begin, range.end - range.begin)));
    at = range.end;
  }
  if (at < bytes.size()) out += std::string_view(map(bytes.substr(at)));
  return out;
}

template <typename Map>
MarkedText MarkedText::MapWhole(Map map) const {
  std::string whole = map(std::string_view(bytes_));
  if (input_.empty()) return Own(std::move(whole));
  if (input_[0] == ByteRange{0, bytes_.size()}) return Input(std::move(whole));
  MarkedText runs = MapRuns(map);
  return runs.bytes() == whole ? runs : Input(std::move(whole));
}

}  // namespace prefixd
