#include "daemon/api/explain/answer_recorder.h"

#include <utility>

#include "daemon/api/explain/explanation.h"
#include "daemon/api/explain/request_memory.h"

namespace prefixd {

AnswerRecorder::AnswerRecorder(const ApiContext* context, const InferenceRequest* request)
    : context_(context),
      request_(request),
      record_(request->prompts.front().record),
      ids_(request->prompts.front().answer ? static_cast<size_t>(request->generation.best_of) : 0) {}

void AnswerRecorder::OnEvent(size_t choice, const RequestEvent& event) {
  if (choice != 0 || record_ == nullptr) return;
  RecordMisses(*context_, event, request_->prompts.front().tokens, record_.get());
  for (const GeneratedToken& token : event.tokens) record_->AddAnswerToken(token.token);
}

void AnswerRecorder::AddPiece(size_t choice, const TextPiece& piece) {
  if (choice == 0 && record_ != nullptr) record_->AddAnswer(piece);
}

void AnswerRecorder::AddId(size_t choice, TokenId id) {
  if (choice < ids_.size()) ids_[choice].push_back(id);
}

size_t AnswerRecorder::held_bytes() const {
  size_t bytes = 0;
  for (const std::vector<TokenId>& ids : ids_) bytes += ids.capacity() * sizeof(TokenId);
  return bytes;
}

void AnswerRecorder::Remember() {
  for (std::vector<TokenId>& ids : std::exchange(ids_, {}))
    context_->generated->Put(*request_->prompts.front().answer, std::move(ids));
  const std::shared_ptr<PromptRecord> record = std::exchange(record_, nullptr);
  if (record == nullptr || record->usage.total() == 0) return;
  record->EndAnswer(*context_->tokenizer, request_->prompts.front().tokens);
  context_->remembered->Put(request_->owner, record);
}

}  // namespace prefixd
