// Resolves the special tokens of any folder. The input has one file a line: tokenizer_config.json,
// special_tokens_map.json, added_tokens.json; then the type of the model. An empty line is an absent file.
// The folder is refused with a message that names the file, or gives a tokenizer in which ids and texts of
// added tokens are unique and every name is a token.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json_fields.h"
#include "engine/special_tokens.h"
#include "text/tokenizer/tokenizer.h"

namespace {

// The ids 10 and 11 are free, 12 is taken.
constexpr std::string_view kTokenizer = R"({
  "version": "1.0", "padding": {"pad_token": "<pad>"}, "added_tokens": [
    {"id": 8, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
     "special": true},
    {"id": 9, "content": "<t>", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true,
     "special": false}],
  "normalizer": {"type": "Lowercase"}, "decoder": {"type": "Fuse"},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "x": 4, " ": 5, "<": 6, ">": 12},
            "merges": ["a b"]}})";

std::string_view NextLine(std::string_view* rest) {
  const size_t end = std::min(rest->find('\n'), rest->size());
  const std::string_view line = rest->substr(0, end);
  rest->remove_prefix(std::min(end + 1, rest->size()));
  return line;
}

// False where the line is neither empty nor an object.
bool Parse(std::string_view line, std::optional<boost::json::object>* object) {
  if (line.empty()) return true;
  auto parsed = prefixd::ParseJsonObject("", line, {.twice = prefixd::JsonParseOptions::Twice::kLast});
  if (parsed.ok()) *object = *std::move(parsed);
  return parsed.ok();
}

void Check(const prefixd::TokenizerSpec& spec, const prefixd::ResolvedTokens& tokens) {
  std::set<prefixd::TokenId> ids;
  std::set<std::string_view> texts;
  for (const auto& [text, id] : spec.model.vocab) ids.insert(id);
  for (const prefixd::AddedTokenSpec& token : spec.added) {
    PREFIXD_CHECK(!token.content.empty() && texts.insert(token.content).second) << token.content;
    const auto is_same = [&](const auto& entry) { return entry.first == token.content; };
    const bool in_vocabulary = std::any_of(spec.model.vocab.begin(), spec.model.vocab.end(), is_same);
    PREFIXD_CHECK(in_vocabulary || ids.insert(token.id).second) << token.id;
  }
  PREFIXD_CHECK(tokens.contradictions.size() <= 21) << tokens.contradictions.size();
  const auto tokenizer = prefixd::Tokenizer::FromSpec(spec);
  if (!tokenizer.ok()) return;
  for (const prefixd::NamedToken& token : tokens.named)
    PREFIXD_CHECK((*tokenizer)->TokenToId(token.text).has_value()) << token.name;
  const auto encoded = (*tokenizer)->Encode(" <s>ab <t> <PAD><pad>", {});
  PREFIXD_CHECK(encoded.ok());
  for (const prefixd::TokenId id : *encoded) PREFIXD_CHECK(id >= 0 && id < (*tokenizer)->vocab_size()) << id;
  (void)(*tokenizer)->Decode(*encoded, true);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const prefixd::TokenizerSpec kSpec = *prefixd::ParseTokenizerJson(kTokenizer);
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::optional<boost::json::object> config, map, added;
  for (auto* object : {&config, &map, &added}) {
    if (!Parse(NextLine(&rest), object)) return 0;
  }
  prefixd::SpecialTokenFiles files;
  if (config) files.config = &*config;
  if (map) files.map = &*map;
  if (added) files.added = &*added;
  files.model_type = NextLine(&rest);
  prefixd::TokenizerSpec spec = kSpec;
  const auto tokens = prefixd::ResolveSpecialTokens(files, &spec);
  if (tokens.ok()) {
    Check(spec, *tokens);
  } else {
    PREFIXD_CHECK(!tokens.status().message().empty());
  }
  return 0;
}
