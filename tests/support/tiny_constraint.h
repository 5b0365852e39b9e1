// Constraints for models with a vocabulary of 64 tokens, the texts of which are characters of JSON and some
// that are longer. The end tokens are 3 and 9. Its tokenizer joins two characters to each token of two, so
// that many sequences of tokens are no encoding of their text. Any thread.
#pragma once

#include <boost/json.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "grammar/constraint.h"
#include "grammar/json_text.h"

namespace prefixd::testing_support {

inline const Tokenizer& TinyTokenizer() {
  static const auto made = [] {
    constexpr std::string_view kCharacters = "{}[]\":,-.0123456789aelnrstuf";
    constexpr std::string_view kLonger[] = {"{\"", "\":",  "\",", "\"}", "},", "]}",
                                            "12",  "true", "[]",  "tru", "ea"};
    std::vector<std::string> texts(64);
    boost::json::array merges;
    size_t id = 0;
    const auto add = [&](std::string_view text) {
      while (id == 0 || id == 3 || id == 9) ++id;
      if (text.size() == 2) merges.push_back({text.substr(0, 1), text.substr(1)});
      texts[id++] = text;
    };
    for (const char& c : kCharacters) add({&c, 1});
    for (const std::string_view text : kLonger) add(text);
    for (const char& c : kCharacters) {
      if (id + 1 < texts.size()) add(std::string(2, c));
    }
    boost::json::object vocab;
    boost::json::array added;
    for (id = 0; id < texts.size(); ++id) {
      vocab.emplace(texts[id].empty() ? "<" + std::to_string(id) + ">" : texts[id], id);
      if (texts[id].empty())
        added.push_back({{"id", id},
                         {"content", "<" + std::to_string(id) + ">"},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", true}});
    }
    const boost::json::object json = {{"added_tokens", added},
                                      {"decoder", {{"type", "Fuse"}}},
                                      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
    auto tokenizer = Tokenizer::FromJson(boost::json::serialize(json));
    PREFIXD_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
    return *std::move(tokenizer);
  }();
  return *made;
}

inline std::shared_ptr<const grammar::Vocabulary> TinyVocabulary() {
  static const auto made = grammar::Vocabulary::Of(TinyTokenizer(), {3, 9}, 64);
  return made;
}

// One of kTinyConstraints: any JSON object; numbers in a list, which may end early; a few letters, counted.
inline constexpr size_t kTinyConstraints = 3;
inline std::shared_ptr<const grammar::Constraint> TinyConstraint(size_t which) {
  PREFIXD_CHECK(which < kTinyConstraints) << which;
  grammar::Expressions to;
  grammar::JsonText json(&to);
  const grammar::RuleId root = to.AddRule("root");
  const grammar::ExprId numbers =
      to.Repeat(to.Sequence({json.Number(), to.Text(",")}), 0, grammar::kUnbounded);
  const grammar::ExprId letters = to.Repeat(to.Choice({to.Bytes('a', 'z'), to.Text("-ea")}), 3, 40);
  to.Define(root, which == 0 ? json.ObjectOf(json.Value()) : which == 1 ? numbers : letters);
  Result<grammar::Grammar> grammar = grammar::Grammar::Compile(to, root);
  PREFIXD_CHECK(grammar.ok()) << grammar.status().ToString();
  return std::make_shared<const grammar::Constraint>(*std::move(grammar), TinyVocabulary(), size_t{1} << 16);
}

// The bytes of an answer, without the end token.
inline std::string TinyText(const std::vector<TokenId>& tokens) {
  std::string text;
  for (const TokenId id : tokens) text += TinyVocabulary()->text(id);
  return text;
}

}  // namespace prefixd::testing_support
