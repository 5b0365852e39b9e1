// Says where the files of a model folder contradict each other about tokens. Included by special_tokens*.cc
// only. Used by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/special_token_values.h"
#include "engine/special_tokens.h"

namespace prefixd {

class SpecialTokenReport {
 public:
  // A file says that `name` is `text`; "" is null.
  void Name(std::string_view name, std::string_view text, std::string_view from);
  // A file says that a token has an id.
  void Id(std::string_view content, int64_t id, std::string_view from);
  // Anything else, as a sentence.
  void Say(std::string sentence) { sentences_.push_back(std::move(sentence)); }
  // The names and ids of files that are not read. Values of wrong types are ignored.
  void UnreadMap(const boost::json::object& map);
  void UnreadAdded(const boost::json::object& added);

  // Returns the sentences, at most kMostSentences and one that counts the others. `before` has the added
  // tokens of tokenizer.json, `spec` those of all files, and `tokens` those that were added, in order.
  static constexpr size_t kMostSentences = 20;
  std::vector<std::string> Sentences(const std::vector<NamedToken>& named,
                                     const std::vector<AddedTokenSpec>& before,
                                     const std::vector<WrittenToken>& tokens,
                                     const TokenizerSpec& spec) const;

 private:
  struct SaidName {
    std::string name, text, from;
  };
  struct SaidId {
    std::string content;
    int64_t id;
    std::string from;
  };
  std::vector<SaidName> names_;
  std::vector<SaidId> ids_;
  std::vector<std::string> sentences_;
};

}  // namespace prefixd
