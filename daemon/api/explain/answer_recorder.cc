#include "daemon/api/explain/answer_recorder.h"

#include <utility>

#include "daemon/api/explain/explanation.h"
#include "daemon/api/explain/request_memory.h"

namespace prefixd {

void AnswerRecorder::OnEvent(size_t choice, const RequestEvent& event) {
  if (choice != 0 || record_ == nullptr) return;
  RecordMisses(*context_, event, request_->prompts.front().tokens, record_.get());
  for (const GeneratedToken& token : event.tokens) record_->AddAnswerToken(token.token);
}

void AnswerRecorder::AddPiece(size_t choice, const TextPiece& piece) {
  if (choice == 0 && record_ != nullptr) record_->AddAnswer(piece);
}

void AnswerRecorder::Remember() {
  const std::shared_ptr<PromptRecord> record = std::exchange(record_, nullptr);
  if (record == nullptr || record->usage.total() == 0) return;
  record->EndAnswer(*context_->tokenizer);
  context_->remembered->Put(request_->owner, record);
}

}  // namespace prefixd
