// The pre_tokenizer of a tokenizer.json: cuts normalised text into the pieces that the model encodes one by
// one. Immutable after creation; any thread.
//
// Invariants of the result of Run
//   1. Pieces are in order, not empty and do not overlap, and begin and end at code points.
//   2. With `raw_bytes`, the piece [begin, end) is SpellBytes of these bytes; otherwise it is the bytes
//      themselves.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/pretokenizer_regex.h"
#include "text/tokenizer/pretokenizer_scan.h"
#include "text/tokenizer/spec.h"
#include "text/tokenizer/text_start.h"

namespace prefixd {

struct PreTokenized {
  std::string_view text;  // the text of the ranges: the input or `storage`
  std::vector<TextRange> pieces;
  bool raw_bytes = false;
  std::string storage;

  std::string_view Piece(const TextRange& range) const {
    return text.substr(range.begin, range.end - range.begin);
  }
};

class PreTokenizer {
 public:
  // `raw_bytes`: the model takes raw bytes, so a ByteLevel as the last stage need not spell them.
  static Result<PreTokenizer> Create(const std::vector<PreTokenizerSpec>& stages, bool raw_bytes);

  // `text` is valid UTF-8 and must outlive `out`. Some stages mark the start of the input, or of each text;
  // none marks a text that goes on. kInvalidArgument: a regex needs too many steps.
  Status Run(std::string_view text, TextStart start, PreTokenized* out) const;

  // Whether a stage depends on where in the input a piece begins, and whether a stage before it splits.
  bool marks_start() const { return marks_start_; }
  bool splits_before_mark() const { return splits_before_mark_; }

 private:
  struct Stage {
    PreTokenizerSpec spec;
    std::optional<KnownPattern> known;  // kSplit, and kByteLevel with its regex
    std::optional<Regex> regex;         // kSplit by any other regex
    bool raw_bytes = false;             // kByteLevel that does not spell bytes
  };

  // `scratch` is reused by all stages.
  static Status Apply(const Stage& stage, TextStart start, PreTokenized* text,
                      std::vector<TextRange>* scratch);
  static Status Split(const Stage& stage, PreTokenized* text, std::vector<TextRange>* scratch);
  static void AddPrefixSpaces(TextStart start, PreTokenized* text);
  static void MarkSpaces(const PreTokenizerSpec& spec, TextStart start, PreTokenized* text);

  std::vector<Stage> stages_;
  bool marks_start_ = false, splits_before_mark_ = false;
};

}  // namespace prefixd
