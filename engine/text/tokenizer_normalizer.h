// The normalizer of a tokenizer.json: what is done to text before it is split. Immutable after creation: any
// thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/pretokenizer_regex.h"
#include "engine/text/tokenizer_spec.h"

namespace prefixd {

class TextNormalizer {
 public:
  static Result<TextNormalizer> Create(const std::vector<NormalizerSpec>& stages);
  // Valid UTF-8 to valid UTF-8.
  std::string Run(std::string_view text) const;

 private:
  struct Stage {
    NormalizerSpec spec;
    std::optional<Regex> regex;  // kReplace by regex
  };
  static std::string Replace(const Stage& stage, std::string_view text);

  std::vector<Stage> stages_;
};

// `text` with every occurrence of `pattern` (not empty), from left to right without overlap, replaced.
std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content);

}  // namespace prefixd
