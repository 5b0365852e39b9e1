// Cuts normalised text into the pieces that the model sees one by one: the pre_tokenizer of a tokenizer.json.
// Immutable after creation: any thread.
//
// Invariants of what Run returns
//   1. Pieces are in order, not empty, do not overlap and lie on borders of code points.
//   2. With `raw_bytes` the piece [begin, end) stands for SpellBytes of these bytes; otherwise for itself.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/pretokenizer_regex.h"
#include "text/tokenizer/pretokenizer_scan.h"
#include "text/tokenizer/spec.h"

namespace prefixd {

struct PreTokenized {
  std::string_view text;  // what the ranges refer to: the input, or `storage`
  std::vector<TextRange> pieces;
  bool raw_bytes = false;
  std::string storage;

  std::string_view Piece(const TextRange& range) const {
    return text.substr(range.begin, range.end - range.begin);
  }
};

class PreTokenizer {
 public:
  // `raw_bytes`: the model takes bytes as they are, so a ByteLevel at the end need not spell them.
  static Result<PreTokenizer> Create(const std::vector<PreTokenizerSpec>& stages, bool raw_bytes);

  // `text` is valid UTF-8 and must outlive what is put into `out`. `at_start`: it is the start of the input,
  // for a Metaspace that marks it. kInvalidArgument: a regex gives up on it.
  Status Run(std::string_view text, bool at_start, PreTokenized* out) const;

  // A stage looks at where in the input a piece begins; and there are stages before it.
  bool marks_start() const { return marks_start_; }
  bool splits_before_mark() const { return splits_before_mark_; }

 private:
  struct Stage {
    PreTokenizerSpec spec;
    std::optional<KnownPattern> known;  // kSplit, and kByteLevel with its regex
    std::optional<Regex> regex;         // kSplit by any other regex
    bool raw_bytes = false;             // kByteLevel that leaves bytes as they are
  };

  // `scratch` is kept from stage to stage.
  static Status Apply(const Stage& stage, bool at_start, PreTokenized* text, std::vector<TextRange>* scratch);
  static Status Split(const Stage& stage, PreTokenized* text, std::vector<TextRange>* scratch);
  static void AddPrefixSpaces(PreTokenized* text);
  static void MarkSpaces(const PreTokenizerSpec& spec, bool at_start, PreTokenized* text);

  std::vector<Stage> stages_;
  bool marks_start_ = false, splits_before_mark_ = false;
};

}  // namespace prefixd
