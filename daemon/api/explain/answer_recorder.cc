#include "daemon/api/explain/answer_recorder.h"

#include <algorithm>
#include <utility>

#include "daemon/api/explain/explanation.h"
#include "daemon/api/explain/request_memory.h"
#include "daemon/api/reusing_encoder.h"

namespace prefixd {

AnswerRecorder::AnswerRecorder(const ApiContext* context, const InferenceRequest* request)
    : context_(context),
      request_(request),
      record_(request->prompts.front().record),
      ids_(request->prompts.front().place ? static_cast<size_t>(request->generation.best_of) : 0) {}

void AnswerRecorder::OnEvent(size_t choice, const RequestEvent& event) {
  if (choice != 0 || record_ == nullptr) return;
  RecordMisses(*context_, event, request_->prompts.front().tokens, record_.get());
  for (const GeneratedToken& token : event.tokens) record_->AddAnswerToken(token.token);
}

void AnswerRecorder::AddId(size_t choice, TokenId id) {
  if (choice < ids_.size()) ids_[choice].push_back(id);
}

void AnswerRecorder::AddPiece(size_t choice, const TextPiece& piece) {
  if (choice == 0 && record_ != nullptr) record_->AddAnswer(piece);
}

// The end token is no part of the text that a client sends back: the template writes it.
void AnswerRecorder::KeepIds(std::vector<TokenId> ids) {
  const auto ends = [](const std::vector<TokenId>& tokens, TokenId id) {
    return std::ranges::find(tokens, id) != tokens.end();
  };
  const SamplingParams& sampling = request_->generation.sampling;
  if (!ids.empty() && ((!sampling.ignore_eos && ends(context_->eos, ids.back())) ||
                       ends(sampling.stop_token_ids, ids.back())))
    ids.pop_back();
  const InferencePrompt& prompt = request_->prompts.front();
  const std::string text = TextOfAnswer(*context_->tokenizer, prompt.tokens, ids);
  context_->generated->Put(prompt.id_scope, *prompt.place, text, std::move(ids));
}

void AnswerRecorder::Remember() {
  for (std::vector<TokenId>& ids : std::exchange(ids_, {})) KeepIds(std::move(ids));
  const std::shared_ptr<PromptRecord> record = std::exchange(record_, nullptr);
  if (record == nullptr || record->usage.total() == 0) return;
  record->EndAnswer(*context_->tokenizer, request_->prompts.front().tokens);
  context_->remembered->Put(request_->owner, record);
}

}  // namespace prefixd
