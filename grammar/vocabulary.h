// Vocabulary: the bytes of all tokens of a model as a tree, so that tokens that begin with the same bytes are
// looked at once. Immutable; any thread.
//
// Invariants
//   1. Special tokens are in no node, but for those that are named as control tokens, and neither are tokens
//      without bytes: a grammar never allows them.
//   2. A control token is spelled between two kMark, which is no byte of UTF-8 and in no other token. So it
//      stands only where a grammar has that spelling, and no schema, regex or grammar of a client has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd::grammar {

class Vocabulary {
 public:
  // In preorder, the children of a node by byte. Node 0 is the root.
  struct Node {
    uint32_t end;          // one past the last node below it
    uint32_t first_token;  // of its tokens in tokens(); they end where those of the next node begin
    uint16_t depth;        // bytes from the root
    uint16_t height;       // and to the deepest node below it
    uint8_t byte;          // the last of them
    uint8_t classes;       // of `byte` and the bytes of all nodes below it
  };
  // Bytes of a class are mostly taken alike by a grammar: letters, capitals, digits, blanks, quotes and
  // backslashes, other ASCII, control bytes, what is not ASCII. One bit.
  static constexpr size_t kClasses = 8;
  static uint8_t ClassOf(uint8_t byte);

  // `texts` are the bytes of each token; empty: no grammar allows it. `end` are the tokens that end an
  // answer. Masks have `size` bits, which is at least texts.size(). Tokens longer than 65535 bytes are left
  // out. Requires that the ids of `end` are below size.
  Vocabulary(std::vector<std::string> texts, std::vector<TokenId> end, int size);
  // `controls` are special tokens that a grammar may have. The tokenizer outlives it.
  static std::shared_ptr<const Vocabulary> Of(const Tokenizer& tokenizer, std::vector<TokenId> end, int size,
                                              std::span<const TokenId> controls = {});
  static constexpr char kMark = '\xFF';

  int size() const { return size_; }
  size_t mask_words() const { return (static_cast<size_t>(size_) + 31) / 32; }
  std::span<const TokenId> end() const { return end_; }
  std::string_view text(TokenId id) const {
    return static_cast<size_t>(id) < texts_.size() ? std::string_view(texts_[static_cast<size_t>(id)])
                                                   : std::string_view();
  }
  // A text in which each control token is spelled as above.
  std::string Spelled(std::string_view text) const;
  // The tokens of a text that is spelled like that, up to a control token that is cut off, where it follows
  // the tokens `before`, if encoding both leaves those as they are. Nothing where it has none, because the
  // tokenizer would write another text. Of `before` the last kContext tokens count, up to a special one.
  std::vector<TokenId> Encode(std::string_view spelled, std::span<const TokenId> before = {}) const;
  // Whether a prompt that has the texts of these tokens again, of `next` after them and then `follows`, is
  // encoded to `next` there. Within a code point: whether it is with some end of it. True where that is not
  // known, because the tokenizer changes the text.
  bool EncodesBack(std::span<const TokenId> before, TokenId next, std::string_view follows = {}) const;
  // Where a text is cut between two tokens that encoding gives, byte-pair merging gives the same tokens on
  // both sides. A pre-tokenizer may see another beginning, which seldom changes more than a word. It counts
  // digits and spaces, so no context begins among these, up to kMostContext.
  static constexpr size_t kContext = 8, kMostContext = 40;
  std::span<const Node> nodes() const { return std::span(nodes_).first(nodes_.size() - 1); }
  // The tokens of a node, or of the nodes from `node` to `end`.
  std::span<const TokenId> tokens(size_t node, size_t end) const {
    return std::span(tokens_).subspan(nodes_[node].first_token,
                                      nodes_[end].first_token - nodes_[node].first_token);
  }
  size_t longest() const { return longest_; }  // bytes of a token
  size_t bytes() const;

 private:
  // What encoding gives where a text follows tokens.
  struct Joint {
    bool is_known = false;        // the text comes out as it was
    bool keeps_before = false;    // encoding the tokens before gives the same with the text as without it
    std::vector<TokenId> tokens;  // of the text, then
  };
  Joint JointOf(std::span<const TokenId> context, std::string_view added) const;
  // The tokens at the end that count for what follows them.
  std::span<const TokenId> ContextOf(std::span<const TokenId> before) const;
  bool AreEncodedAfter(std::span<const TokenId> context, std::span<const TokenId> tokens,
                       std::string_view follows) const;
  std::vector<TokenId> EncodePlain(std::string_view text) const;
  bool IsPlain(TokenId id) const { return !text(id).empty() && text(id)[0] != kMark; }
  std::string TextOf(std::span<const TokenId> ids) const;

  const int size_;
  const std::vector<TokenId> end_;
  std::vector<std::string> texts_;  // by id
  struct Control {
    std::string text;  // without marks
    TokenId id;
  };
  std::vector<Control> controls_;         // the longest first
  const Tokenizer* tokenizer_ = nullptr;  // null: it encodes nothing
  std::vector<TokenId> tokens_;           // by text
  std::vector<Node> nodes_;               // and one more, at which the tokens of the last one end
  size_t longest_ = 0;
};

}  // namespace prefixd::grammar
