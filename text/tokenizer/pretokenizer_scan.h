// Hand-written scanners for the three patterns that most models split with: those of GPT-2, Llama 3 and Qwen
// 2. Each finds exactly the matches of its pattern, in time linear in the text and several times faster than
// a regex engine. Pure functions; any thread.
//
// Invariant: the pieces cover the text without gaps, because each pattern matches every code point.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/tokenizer/pretokenizer_regex.h"

namespace prefixd {

enum class KnownPattern : unsigned char { kGpt2, kLlama3, kQwen2 };

// Returns the text of a known pattern in tokenizer files.
std::string_view KnownPatternText(KnownPattern pattern);
// Returns the known pattern with exactly this text; nothing if there is none.
std::optional<KnownPattern> RecognisePattern(std::string_view regex);

// Appends the matches in text[range.begin, range.end), which is valid UTF-8, to `out`. Assertions do not see
// text outside the range.
void ScanKnownPattern(KnownPattern pattern, std::string_view text, TextRange range,
                      std::vector<TextRange>* out);

}  // namespace prefixd
