// AnswerParts: an answer as a list of parts, for APIs whose answers are blocks or items: a text, reasoning,
// or one call. Adjacent events of one kind are one part.
//
// Threads: one owner.
//
// Invariants
//   1. The steps of all Add calls and of Finish are, for each part in order: kBegin, any number of kDelta,
//      kEnd. A part ends before the next one begins.
//   2. The deltas of a part, joined, are its text; `parts` has it from its kEnd on, unless `keeps` is false.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "daemon/api/choice_decoder.h"

namespace prefixd {

struct AnswerPart {
  enum class Kind : uint8_t { kText, kReasoning, kCall };
  Kind kind = Kind::kText;
  std::string text;      // of a call: its arguments, a JSON object as the model wrote it
  std::string name, id;  // of a call
};

class AnswerParts {
 public:
  struct Step {
    enum class Kind : uint8_t { kBegin, kDelta, kEnd };
    Kind kind;
    size_t part;
    std::string delta;  // of kDelta; not empty
  };

  explicit AnswerParts(bool keeps = true) : keeps_(keeps) {}

  std::vector<Step> Add(const TextPiece& piece);
  // Ends the last part, if one is open.
  std::vector<Step> Finish();
  const std::vector<AnswerPart>& parts() const { return parts_; }
  size_t held_bytes() const { return held_bytes_; }

  // The parts of a whole answer.
  static std::vector<AnswerPart> Of(const TextPiece& piece);

 private:
  void Begin(AnswerPart part, std::vector<Step>* steps);
  void Delta(AnswerPart::Kind kind, const std::string& text, std::vector<Step>* steps);
  void End(std::vector<Step>* steps);

  const bool keeps_;
  std::vector<AnswerPart> parts_;
  size_t held_bytes_ = 0;
  bool open_ = false;
};

}  // namespace prefixd
