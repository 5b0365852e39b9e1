// Unicode normalization forms and lower case, as the normalizers of a tokenizer.json define them. Pure
// functions; any thread. `text` and the result are valid UTF-8.
//
// Invariant: results equal those of the `tokenizers` library, whose tables have different ages. Its
// normalization forms use Unicode 10, where later marks count as letters; its lower case uses Unicode 17.
#pragma once

#include <string>
#include <string_view>

namespace prefixd {

enum class NormalForm : unsigned char { kNfc, kNfd, kNfkc, kNfkd };

// Takes O(n log n) time for any text. NFKC and NFKD make text up to 11 times longer, NFC and NFD up to 3
// times.
std::string Normalize(NormalForm form, std::string_view text);

// Maps each code point by itself, like `char::to_lowercase` in Rust, without regard to its neighbours.
std::string LowerCase(std::string_view text);

}  // namespace prefixd
