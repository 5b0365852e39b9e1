#include "base/marked_text.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

MarkedText MarkedText::Own(std::string bytes) {
  MarkedText text;
  text.bytes_ = std::move(bytes);
  return text;
}

MarkedText MarkedText::Input(std::string bytes) {
  MarkedText text = Own(std::move(bytes));
  text.Mark(0, text.size());
  return text;
}

MarkedText MarkedText::MadeFrom(const MarkedText& from, std::string bytes) {
  return from.input_.empty() ? Own(std::move(bytes)) : Input(std::move(bytes));
}

void MarkedText::Mark(size_t begin, size_t end) {
  if (begin == end) return;
  if (!input_.empty() && input_.back().end == begin) {
    input_.back().end = end;
  } else {
    input_.push_back({begin, end});
  }
}

MarkedText& MarkedText::operator+=(char own) {
  bytes_ += own;
  return *this;
}

MarkedText& MarkedText::operator+=(std::string_view own) {
  bytes_ += own;
  return *this;
}

MarkedText& MarkedText::operator+=(const MarkedText& text) {
  AppendPart(text, 0, text.size());
  return *this;
}

void MarkedText::AppendInput(std::string_view input) {
  bytes_ += input;
  Mark(bytes_.size() - input.size(), bytes_.size());
}

void MarkedText::AppendPart(const MarkedText& text, size_t begin, size_t end) {
  PREFIXD_CHECK(&text != this && begin <= end && end <= text.size()) << begin << " " << end;
  const size_t base = bytes_.size();
  bytes_.append(text.bytes_, begin, end - begin);
  auto range = std::partition_point(text.input_.begin(), text.input_.end(),
                                    [&](const ByteRange& r) { return r.end <= begin; });
  for (; range != text.input_.end() && range->begin < end; ++range)
    Mark(base + std::max(range->begin, begin) - begin, base + std::min(range->end, end) - begin);
}

MarkedText MarkedText::Part(size_t begin, size_t end) const {
  MarkedText part;
  part.AppendPart(*this, begin, end);
  return part;
}

MarkedText MarkedText::Part(std::string_view part) const {
  if (part.empty()) return MarkedText();
  const auto begin = static_cast<size_t>(part.data() - bytes_.data());
  return Part(begin, begin + part.size());
}

}  // namespace prefixd
