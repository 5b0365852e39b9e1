#include "text/tokenizer/tokenizer_json_writer.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

namespace prefixd {
namespace {

namespace json = boost::json;

json::value TextOrNull(const std::string& text) { return text.empty() ? json::value() : json::value(text); }

json::object Pattern(const TextPattern& pattern) {
  return {{pattern.is_regex ? "Regex" : "String", pattern.text}};
}

std::string_view Name(SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kRemoved:
      return "Removed";
    case SplitBehavior::kIsolated:
      return "Isolated";
    case SplitBehavior::kMergedWithPrevious:
      return "MergedWithPrevious";
    case SplitBehavior::kMergedWithNext:
      return "MergedWithNext";
    case SplitBehavior::kContiguous:
      break;
  }
  return "Contiguous";
}

std::string_view Name(PrependScheme scheme) {
  return scheme == PrependScheme::kFirst ? "first" : scheme == PrependScheme::kAlways ? "always" : "never";
}

json::object ByteLevel(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json::object Metaspace(const std::string& replacement, PrependScheme scheme, bool split) {
  return {{"type", "Metaspace"},
          {"replacement", replacement},
          {"prepend_scheme", Name(scheme)},
          {"split", split}};
}

json::object Component(const NormalizerSpec& spec) {
  switch (spec.kind) {
    case NormalizerSpec::kNfc:
      return {{"type", "NFC"}};
    case NormalizerSpec::kNfd:
      return {{"type", "NFD"}};
    case NormalizerSpec::kNfkc:
      return {{"type", "NFKC"}};
    case NormalizerSpec::kNfkd:
      return {{"type", "NFKD"}};
    case NormalizerSpec::kLowercase:
      return {{"type", "Lowercase"}};
    case NormalizerSpec::kStrip:
      return {{"type", "Strip"}, {"strip_left", spec.strip_left}, {"strip_right", spec.strip_right}};
    case NormalizerSpec::kPrepend:
      return {{"type", "Prepend"}, {"prepend", spec.content}};
    case NormalizerSpec::kReplace:
      break;
  }
  return {{"type", "Replace"}, {"pattern", Pattern(spec.pattern)}, {"content", spec.content}};
}

json::object Component(const PreTokenizerSpec& spec) {
  switch (spec.kind) {
    case PreTokenizerSpec::kSplit:
      return {{"type", "Split"},
              {"pattern", Pattern(spec.pattern)},
              {"behavior", Name(spec.behavior)},
              {"invert", spec.invert}};
    case PreTokenizerSpec::kByteLevel:
      return ByteLevel(spec.add_prefix_space, spec.use_regex);
    case PreTokenizerSpec::kDigits:
      return {{"type", "Digits"}, {"individual_digits", spec.individual_digits}};
    case PreTokenizerSpec::kPunctuation:
      return {{"type", "Punctuation"}, {"behavior", Name(spec.behavior)}};
    case PreTokenizerSpec::kWhitespace:
      return {{"type", "Whitespace"}};
    case PreTokenizerSpec::kWhitespaceSplit:
      return {{"type", "WhitespaceSplit"}};
    case PreTokenizerSpec::kMetaspace:
      break;
  }
  return Metaspace(spec.replacement, spec.prepend, spec.split);
}

json::object Component(const DecoderSpec& spec) {
  switch (spec.kind) {
    case DecoderSpec::kByteLevel:
      return ByteLevel(true, true);
    case DecoderSpec::kReplace:
      return {{"type", "Replace"}, {"pattern", {{"String", spec.pattern}}}, {"content", spec.content}};
    case DecoderSpec::kByteFallback:
      return {{"type", "ByteFallback"}};
    case DecoderSpec::kFuse:
      return {{"type", "Fuse"}};
    case DecoderSpec::kStrip:
      return {{"type", "Strip"}, {"content", spec.content}, {"start", spec.start}, {"stop", spec.stop}};
    case DecoderSpec::kMetaspace:
      break;
  }
  return Metaspace(spec.pattern, spec.prepends ? PrependScheme::kAlways : PrependScheme::kNever, true);
}

// Null for no components, the component, or a sequence of several.
template <typename Spec>
json::value Components(const std::vector<Spec>& specs, std::string_view list_key) {
  if (specs.empty()) return nullptr;
  if (specs.size() == 1) return Component(specs.front());
  json::array list;
  for (const Spec& spec : specs) list.push_back(Component(spec));
  return json::object{{"type", "Sequence"}, {list_key, std::move(list)}};
}

json::array AddedTokens(const TokenizerSpec& spec) {
  json::array tokens;
  for (const AddedTokenSpec& token : spec.added) {
    tokens.push_back(json::object{{"id", token.id},
                                  {"content", token.content},
                                  {"single_word", token.single_word},
                                  {"lstrip", token.lstrip},
                                  {"rstrip", token.rstrip},
                                  {"normalized", token.normalized},
                                  {"special", token.special}});
  }
  return tokens;
}

// The tokens before and behind a text. A pair of texts, which prefixd does not encode, gets those before it.
json::value PostProcessor(const TokenizerSpec& spec) {
  if (spec.prefix_ids.empty() && spec.suffix_ids.empty()) return nullptr;
  std::map<TokenId, std::string> texts;
  for (const auto& [text, id] : spec.model.vocab) texts[id] = text;
  for (const AddedTokenSpec& token : spec.added) texts[token.id] = token.content;
  json::array single, pair;
  json::object table;
  const auto add = [&](TokenId id) {
    const std::string& text = texts[id];
    const json::object piece{{"SpecialToken", {{"id", text}, {"type_id", 0}}}};
    single.push_back(piece);
    pair.push_back(piece);
    table[text] = {{"id", text}, {"ids", json::array{id}}, {"tokens", json::array{text}}};
  };
  const auto sequence = [](const char* name, int type) {
    return json::object{{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  for (const TokenId id : spec.prefix_ids) add(id);
  single.push_back(sequence("A", 0));
  pair.push_back(sequence("A", 0));
  pair.push_back(sequence("B", 1));
  for (const TokenId id : spec.suffix_ids) add(id);
  return json::object{{"type", "TemplateProcessing"},
                      {"single", std::move(single)},
                      {"pair", std::move(pair)},
                      {"special_tokens", std::move(table)}};
}

json::object Model(const BpeSpec& spec) {
  json::object vocab;
  vocab.reserve(spec.vocab.size());
  for (const auto& [text, id] : spec.vocab) vocab.emplace(text, id);
  json::array merges;
  merges.reserve(spec.merges.size());
  for (const auto& [left, right] : spec.merges) merges.push_back(json::array{left, right});
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", spec.unk_token ? json::value(*spec.unk_token) : json::value()},
          {"continuing_subword_prefix", TextOrNull(spec.continuing_subword_prefix)},
          {"end_of_word_suffix", TextOrNull(spec.end_of_word_suffix)},
          {"fuse_unk", spec.fuse_unk},
          {"byte_fallback", spec.byte_fallback},
          {"ignore_merges", spec.ignore_merges},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

}  // namespace

std::string WriteTokenizerJson(const TokenizerSpec& spec) {
  const json::object root{{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", AddedTokens(spec)},
                          {"normalizer", Components(spec.normalizers, "normalizers")},
                          {"pre_tokenizer", Components(spec.pre_tokenizers, "pretokenizers")},
                          {"post_processor", PostProcessor(spec)},
                          {"decoder", spec.decoders ? Components(*spec.decoders, "decoders") : json::value()},
                          {"model", Model(spec.model)}};
  return json::serialize(root) + "\n";
}

}  // namespace prefixd
