// The normalizer of a tokenizer.json: what is done to text before it is split. Immutable after creation: any
// thread.
//
// Invariant: at no time is a text in the making longer than kMaxGrowth times what came, and kGrowthAllowance.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/pretokenizer_regex.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

class TextNormalizer {
 public:
  static constexpr size_t kMaxGrowth = 32;  // NFKC alone may come to 11
  static constexpr size_t kGrowthAllowance = 64 << 10;

  static Result<TextNormalizer> Create(const std::vector<NormalizerSpec>& stages);
  // Valid UTF-8 to valid UTF-8. kInvalidArgument: the text grows beyond the invariant, or a regex gives up on
  // it; the message names the stage.
  Result<std::string> Run(std::string_view text) const;

 private:
  struct Stage {
    NormalizerSpec spec;
    std::optional<Regex> regex;  // kReplace by regex
  };
  static Result<std::string> Apply(const Stage& stage, std::string text, size_t limit);
  static Result<std::string> Replace(const Stage& stage, std::string_view text, size_t limit);

  std::vector<Stage> stages_;
};

// `text` with every occurrence of `pattern` (not empty), from left to right without overlap, replaced.
std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content);

}  // namespace prefixd
