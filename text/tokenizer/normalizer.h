// The normalizer of a tokenizer.json: changes text before it is split. Immutable after creation; any thread.
//
// Invariant: no intermediate text is longer than kMaxGrowth times the input plus kGrowthAllowance bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/marked_text.h"
#include "text/tokenizer/pretokenizer_regex.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

class TextNormalizer {
 public:
  static constexpr size_t kMaxGrowth = 32;  // NFKC alone may reach 11
  static constexpr size_t kGrowthAllowance = 64 << 10;

  static Result<TextNormalizer> Create(const std::vector<NormalizerSpec>& stages);
  // Returns the normalised text. `text` and the result are valid UTF-8. With `within`, the text goes on
  // behind other text, and Prepend does nothing. kInvalidArgument: the text would grow beyond the invariant,
  // or a regex needs too many steps; the message names the stage.
  Result<std::string> Run(std::string_view text, bool within = false) const;
  // The same text, with marks. Where a stage mixes marked and unmarked bytes, the result is marked.
  Result<MarkedText> Run(const MarkedText& text, bool within = false) const;

 private:
  struct Stage {
    NormalizerSpec spec;
    std::optional<Regex> regex;  // kReplace by regex
  };
  static Result<std::string> Apply(const Stage& stage, std::string text, size_t limit);
  static Result<std::string> Replace(const Stage& stage, std::string_view text, size_t limit);
  static Result<MarkedText> ApplyMarked(const Stage& stage, const MarkedText& text, size_t limit);

  std::vector<Stage> stages_;
};

// Returns `text` with each occurrence of `pattern` replaced, from left to right, without overlap. `pattern`
// is not empty.
std::string ReplaceAll(std::string_view text, std::string_view pattern, std::string_view content);

}  // namespace prefixd
