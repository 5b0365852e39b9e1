// Hand-written scanners for the three patterns that most models split with: GPT-2's, Llama 3's, Qwen 2's.
// Each finds exactly the matches of its pattern, several times faster than an engine would, in time linear in
// the text. Pure functions; any thread.
//
// Invariant: the pieces tile the text; every code point is in some match of each of these patterns.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "text/tokenizer/pretokenizer_regex.h"

namespace prefixd {

enum class KnownPattern : unsigned char { kGpt2, kLlama3, kQwen2 };

// The text of a known pattern as tokenizer files spell it.
std::string_view KnownPatternText(KnownPattern pattern);
// The known pattern whose text this is, character by character.
std::optional<KnownPattern> RecognisePattern(std::string_view regex);

// Appends the matches in text[range.begin, range.end) to `out`; valid UTF-8. Assertions see nothing beyond
// the range.
void ScanKnownPattern(KnownPattern pattern, std::string_view text, TextRange range,
                      std::vector<TextRange>* out);

}  // namespace prefixd
