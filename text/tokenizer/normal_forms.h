// Unicode normalization forms and lower case, as the normalizers of a tokenizer.json make them. Pure
// functions; any thread. `text` is valid UTF-8, and so is the result.
//
// Invariant: equal to the `tokenizers` library, whose tables are of several ages: normalization forms know
// Unicode 10 (a mark that came later is a letter to them), lower case knows Unicode 17.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

enum class NormalForm : unsigned char { kNfc, kNfd, kNfkc, kNfkd };

// Time is O(n log n) whatever the text. NFKC and NFKD make text up to 11 times longer, NFC and NFD 3 times.
std::string Normalize(NormalForm form, std::string_view text);

// Every code point by itself, as `char::to_lowercase` of Rust: no rule looks at the neighbours.
std::string LowerCase(std::string_view text);

}  // namespace prefixd
