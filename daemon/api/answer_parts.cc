#include "daemon/api/answer_parts.h"

#include <utility>

#include "base/check.h"

namespace prefixd {

void AnswerParts::Begin(AnswerPart part, std::vector<Step>* steps) {
  End(steps);
  held_bytes_ += sizeof(AnswerPart) + part.name.size() + part.id.size();
  parts_.push_back(std::move(part));
  open_ = true;
  steps->push_back({Step::Kind::kBegin, parts_.size() - 1, ""});
}

void AnswerParts::Delta(AnswerPart::Kind kind, const std::string& text, std::vector<Step>* steps) {
  if (text.empty()) return;
  if (!open_ || parts_.back().kind != kind) {
    PREFIXD_CHECK(kind != AnswerPart::Kind::kCall) << "arguments without a call";
    Begin({.kind = kind, .text = {}, .name = {}, .id = {}}, steps);
  }
  if (keeps_) {
    parts_.back().text += text;
    held_bytes_ += text.size();
  }
  steps->push_back({Step::Kind::kDelta, parts_.size() - 1, text});
}

void AnswerParts::End(std::vector<Step>* steps) {
  if (std::exchange(open_, false)) steps->push_back({Step::Kind::kEnd, parts_.size() - 1, ""});
}

std::vector<AnswerParts::Step> AnswerParts::Add(const TextPiece& piece) {
  std::vector<Step> steps;
  Delta(AnswerPart::Kind::kText, piece.text, &steps);
  for (const OutputEvent& event : piece.events) {
    switch (event.kind) {
      case OutputEvent::Kind::kContent:
        Delta(AnswerPart::Kind::kText, event.text, &steps);
        break;
      case OutputEvent::Kind::kReasoning:
        Delta(AnswerPart::Kind::kReasoning, event.text, &steps);
        break;
      case OutputEvent::Kind::kCall:
        Begin({.kind = AnswerPart::Kind::kCall, .text = {}, .name = event.text, .id = event.id}, &steps);
        break;
      case OutputEvent::Kind::kArguments:
        Delta(AnswerPart::Kind::kCall, event.text, &steps);
        break;
      case OutputEvent::Kind::kCallEnd:
        End(&steps);
        break;
    }
  }
  return steps;
}

std::vector<AnswerParts::Step> AnswerParts::Finish() {
  std::vector<Step> steps;
  End(&steps);
  return steps;
}

std::vector<AnswerPart> AnswerParts::Of(const TextPiece& piece) {
  AnswerParts parts;
  (void)parts.Add(piece);
  return parts.parts_;
}

}  // namespace prefixd
