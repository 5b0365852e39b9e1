#include "bench/word_tokenizer.h"

#include <string_view>

#include "base/check.h"

namespace prefixd::bench {
namespace {

// The code points, in UTF-8, that byte-level BPE uses to spell bytes: a printable byte is itself, the n-th of
// the others is U+0100 + n.
std::vector<std::string> ByteSpellings() {
  std::vector<std::string> spellings;
  int others = 0;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = printable ? byte : 256 + others++;
    std::string spelling;
    if (code < 0x80) {
      spelling = static_cast<char>(code);
    } else {
      spelling += static_cast<char>(0xC0 | (code >> 6));
      spelling += static_cast<char>(0x80 | (code & 0x3F));
    }
    spellings.push_back(spelling);
  }
  return spellings;
}

std::vector<std::string> Syllables() {
  std::vector<std::string> syllables;
  for (const char consonant : std::string_view("bcdfghjklmnpqrstvwxz")) {
    for (const char vowel : std::string_view("aeiou")) syllables.push_back({consonant, vowel});
  }
  return syllables;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

std::string AddedToken(int id, std::string_view content) {
  return "{\"id\": " + std::to_string(id) + ", \"content\": \"" + std::string(content) +
         "\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
         "\"special\": true}";
}

}  // namespace

std::vector<std::string> TwoSyllableWords() {
  const std::vector<std::string> syllables = Syllables();
  std::vector<std::string> words;
  for (const std::string& first : syllables) {
    for (const std::string& second : syllables) words.push_back(first + second);
  }
  return words;
}

WordTokenizer::WordTokenizer(int vocab) : vocab_(vocab), tokens_(ByteSpellings()) {
  PREFIXD_CHECK(vocab >= 1000) << vocab;
  const std::string space = tokens_[' '];
  const auto merge = [this](const std::string& left, const std::string& right) {
    if (static_cast<int>(tokens_.size()) == vocab_ - 3) return;
    merges_.emplace_back(left, right);
    tokens_.push_back(left + right);
  };
  const std::vector<std::string> syllables = Syllables();
  for (const std::string& syllable : syllables) merge(syllable.substr(0, 1), syllable.substr(1));
  // Each round appends one syllable to the words of the previous round.
  std::vector<std::string> words = {space};
  while (static_cast<int>(tokens_.size()) < vocab_ - 3) {
    const size_t first = tokens_.size();
    for (const std::string& word : words) {
      for (const std::string& syllable : syllables) merge(word, syllable);
    }
    words.assign(tokens_.begin() + static_cast<std::ptrdiff_t>(first), tokens_.end());
  }
}

std::string WordTokenizer::TokenizerJson() const {
  std::string json = R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [)";
  json += AddedToken(end_of_text(), "<|endoftext|>") + ", " + AddedToken(start_of_turn(), "<|im_start|>") +
          ", " + AddedToken(end_of_turn(), "<|im_end|>");
  json +=
      R"(], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,)"
      R"( "trim_offsets": true, "use_regex": true}, "post_processor": null, "decoder": {"type": "ByteLevel",)"
      R"( "add_prefix_space": true, "trim_offsets": true, "use_regex": true}, "model": {"type": "BPE",)"
      R"( "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,)"
      R"( "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": {)";
  for (size_t id = 0; id < tokens_.size(); ++id) {
    json += (id == 0 ? "" : ", ") + Quoted(tokens_[id]) + ": " + std::to_string(id);
  }
  json += "}, \"merges\": [";
  for (size_t i = 0; i < merges_.size(); ++i) {
    json += (i == 0 ? "" : ", ") + Quoted(merges_[i].first + " " + merges_[i].second);
  }
  return json + "]}}\n";
}

std::string WordTokenizer::TokenizerConfigJson() const {
  return R"({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": null, "eos_token": "<|im_end|>",)"
         R"( "clean_up_tokenization_spaces": false, "chat_template": "{% for message in messages %})"
         R"(<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %})"
         R"({% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"})"
         "\n";
}

}  // namespace prefixd::bench
