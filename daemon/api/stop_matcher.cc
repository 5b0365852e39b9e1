#include "daemon/api/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace prefixd {

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include) : include_(include) {
  for (std::string& stop : stops) {
    PREFIXD_CHECK(!stop.empty()) << "an empty stop string matches everywhere";
    Pattern pattern{.text = std::move(stop), .border = {}};
    pattern.border.assign(pattern.text.size() + 1, 0);
    for (size_t i = 1, k = 0; i < pattern.text.size(); ++i) {
      while (k > 0 && pattern.text[i] != pattern.text[k]) k = pattern.border[k];
      if (pattern.text[i] == pattern.text[k]) ++k;
      pattern.border[i + 1] = k;
    }
    patterns_.push_back(std::move(pattern));
  }
}

bool StopMatcher::Advance(Pattern& pattern, char c) {
  while (pattern.matched > 0 && pattern.text[pattern.matched] != c)
    pattern.matched = pattern.border[pattern.matched];
  if (pattern.text[pattern.matched] == c) ++pattern.matched;
  return pattern.matched == pattern.text.size();
}

bool StopMatcher::Push(std::string_view text, std::string* out) {
  if (found_ >= 0) return true;
  for (const char c : text) {
    held_.push_back(c);
    size_t longest = 0;
    for (size_t i = 0; i < patterns_.size(); ++i) {
      if (Advance(patterns_[i], c) && patterns_[i].text.size() > longest) {
        longest = patterns_[i].text.size();
        found_ = static_cast<int>(i);
      }
    }
    if (found_ < 0) continue;
    out->append(held_, 0, include_ ? held_.size() : held_.size() - longest);
    held_.clear();
    return true;
  }
  size_t undecided = 0;
  for (const Pattern& pattern : patterns_) undecided = std::max(undecided, pattern.matched);
  out->append(held_, 0, held_.size() - undecided);
  held_.erase(0, held_.size() - undecided);
  return false;
}

void StopMatcher::PushExempt(std::string_view text, std::string* out) {
  if (found_ >= 0) return;
  Flush(out);
  out->append(text);
  for (Pattern& pattern : patterns_) pattern.matched = 0;
}

void StopMatcher::Flush(std::string* out) {
  out->append(held_);
  held_.clear();
}

}  // namespace prefixd
