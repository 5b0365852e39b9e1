#include "daemon/api/inference.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/prng.h"
#include "daemon/api/choice_ranking.h"
#include "daemon/api/choice_text.h"
#include "daemon/api/engine_error.h"
#include "daemon/api/prompt_figures.h"
#include "daemon/api/request_log.h"
#include "daemon/api/sse.h"
#include "daemon/api/token_outbox.h"

namespace prefixd {

namespace {

constexpr int kClientGone = 499;  // in the log only

struct Choice {
  explicit Choice(ChoiceText text) : text(std::move(text)) {}
  ChoiceText text;
  std::optional<RequestId> id;  // in the engine, until it has ended there or was cancelled
  std::string finish_reason;
  ChoiceScore score;
  bool complete = false;               // nothing more is taken in
  bool begun = false, closed = false;  // the first, the last chunk was written

  ChoiceEnd end() const { return {finish_reason, text.stop_string(), text.stop_token()}; }
};

class Inference : public std::enable_shared_from_this<Inference> {
 public:
  Inference(std::shared_ptr<Exchange> exchange, const ApiContext* context, InferenceRequest request,
            std::unique_ptr<ResponseFormat> format)
      : exchange_(std::move(exchange)),
        context_(context),
        request_(std::move(request)),
        format_(std::move(format)),
        per_prompt_(static_cast<size_t>(request_.generation.best_of)),
        started_(context->clock->NowSeconds()),
        figures_(context->cache_block_tokens) {}

  void Start();

 private:
  enum class State { kOpen, kStreaming, kDone };  // no answer yet; head sent; answered, failed or gone

  std::optional<ApiError> SubmitAll();
  Request EngineRequest(const InferencePrompt& prompt, int k, uint64_t seed) const;
  ChoiceText NewText(const InferencePrompt& prompt) const;

  void OnEvent(size_t index, RequestEvent event);
  void TakePrompt(size_t prompt, RequestEvent& event);
  void TakeTokens(Choice& choice, RequestEvent& event);
  void EndOfSequence(Choice& choice, const RequestEvent& event);
  void Complete(Choice& choice, std::string finish_reason);
  void Cancel(Choice& choice);

  void Advance();
  void AnswerWhole();
  void EmitPrompt(size_t prompt);
  void Emit(size_t index);
  void StartStream();
  void SendEvents();
  void SchedulePing();
  void Ping();
  void Fail(const ApiError& error);
  void ClientGone();
  void Close(int status);
  void LogEnd() const;

  // A job for later, while this inference lives and is not done.
  std::function<void()> Later(double seconds, void (Inference::*job)());
  UsageFigures Usage() const;

  const std::shared_ptr<Exchange> exchange_;
  const ApiContext* const context_;
  const InferenceRequest request_;
  const std::unique_ptr<ResponseFormat> format_;
  const size_t per_prompt_;  // sequences; where they are more than the choices, the best become choices
  const double started_;
  State state_ = State::kOpen;
  int status_ = 0;               // of the answer, once done
  std::vector<Choice> choices_;  // per_prompt_ for each prompt
  PromptFigures figures_;
  size_t running_ = 0;     // sequences in the engine
  size_t incomplete_ = 0;  // of choices_
  std::string events_;     // of a stream, not yet written
  bool quiet_ = true;      // nothing was written since the last ping was due
  std::optional<double> first_token_;
  double last_token_ = 0;
  double queue_seconds_ = 0;
  std::function<void()> cancel_head_timer_, cancel_ping_;
};

void Inference::Start() {
  if (std::optional<ApiError> error = SubmitAll()) {
    Fail(*error);
    if (running_ == 0) LogEnd();
    return;
  }
  exchange_->OnDisconnect([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->ClientGone();
  });
  if (!request_.generation.stream) return;
  for (const std::string& chunk : format_->Opening()) events_ += SseEvent(chunk);
  cancel_head_timer_ = Later(kHeadSeconds, &Inference::StartStream);
}

std::function<void()> Inference::Later(double seconds, void (Inference::*job)()) {
  return exchange_->PostAfter(seconds, [weak = weak_from_this(), job] {
    const auto self = weak.lock();
    if (self && self->state_ != State::kDone) ((*self).*job)();
  });
}

ChoiceText Inference::NewText(const InferencePrompt& prompt) const {
  const GenerationRequest& asked = request_.generation;
  ChoiceTextOptions options{.skip_special_tokens = asked.skip_special_tokens,
                            .include_stop = asked.include_stop,
                            .min_tokens = asked.sampling.min_tokens,
                            .stops = asked.stop,
                            .end_tokens = asked.sampling.ignore_eos ? std::vector<TokenId>() : context_->eos,
                            .stop_token_ids = asked.sampling.stop_token_ids};
  return ChoiceText(*context_->tokenizer, std::move(options), prompt.tokens);
}

Request Inference::EngineRequest(const InferencePrompt& prompt, int k, uint64_t seed) const {
  Request request;
  request.prompt = prompt.tokens;
  request.sampling = request_.generation.sampling;
  request.sampling.max_tokens = prompt.max_tokens;
  request.sampling.seed = k == 0 ? seed : RandomAt(seed, static_cast<uint64_t>(k));
  if (k > 0) request.sampling.prompt_logprobs = -1;  // the same for all: the first one tells them
  if (request_.generation.best_of > request_.generation.n)
    request.sampling.logprobs = std::max(request.sampling.logprobs, 0);
  request.tenant_salt = request_.tenant;
  request.read_cache = request_.generation.read_cache;
  return request;
}

std::optional<ApiError> Inference::SubmitAll() {
  const uint64_t seed = request_.generation.seed.value_or(SplitMix64((*context_->seeds)++));
  choices_.reserve(request_.prompts.size() * per_prompt_);
  for (const InferencePrompt& prompt : request_.prompts) {
    figures_.AddPrompt(static_cast<int>(prompt.tokens.size()));
    for (size_t k = 0; k < per_prompt_; ++k) {
      const size_t index = choices_.size();
      choices_.emplace_back(NewText(prompt));
      Request request = EngineRequest(prompt, static_cast<int>(k), seed);
      request.listener = std::make_shared<TokenOutbox>(
          exchange_,
          [self = shared_from_this(), index](RequestEvent event) { self->OnEvent(index, std::move(event)); });
      Result<RequestId> id = context_->engine->Submit(std::move(request));
      if (!id.ok()) return EngineError(id.status());
      choices_[index].id = *id;
      ++running_;
      ++incomplete_;
    }
  }
  return std::nullopt;
}

void Inference::OnEvent(size_t index, RequestEvent event) {
  Choice& choice = choices_[index];
  if (index % per_prompt_ == 0) TakePrompt(index / per_prompt_, event);
  if (event.finish) {
    choice.id.reset();
    --running_;
    const double scheduled = event.times.scheduled > 0 ? event.times.scheduled : event.times.finished;
    queue_seconds_ = std::max(queue_seconds_, scheduled - event.times.submitted);
  }
  if (state_ != State::kDone) {
    TakeTokens(choice, event);
    if (event.finish) EndOfSequence(choice, event);
  }
  if (state_ != State::kDone) {
    if (request_.generation.stream) EmitPrompt(index / per_prompt_);
    Advance();
  }
  if (event.finish && running_ == 0) LogEnd();
}

// What a prompt's first sequence tells of the prompt.
void Inference::TakePrompt(size_t prompt, RequestEvent& event) {
  if (!event.prompt_logprobs.empty()) format_->AddPromptLogprobs(prompt, std::move(event.prompt_logprobs));
  if ((!event.tokens.empty() || event.finish) && event.prompt.total() > 0)
    figures_.SetUsage(prompt, event.prompt);
}

void Inference::TakeTokens(Choice& choice, RequestEvent& event) {
  if (event.tokens.empty()) return;
  last_token_ = context_->clock->NowSeconds();
  if (!first_token_) first_token_ = last_token_;
  for (GeneratedToken& token : event.tokens) {
    if (choice.complete) return;
    choice.score.logprob_sum += static_cast<double>(token.logprob);
    ++choice.score.tokens;
    choice.text.Push(std::move(token));
    if (!choice.text.ended()) continue;
    Complete(choice, "stop");
    Cancel(choice);
  }
}

void Inference::Cancel(Choice& choice) {
  if (choice.id) context_->engine->Cancel(*choice.id);
  choice.id.reset();
}

void Inference::EndOfSequence(Choice& choice, const RequestEvent& event) {
  if (choice.complete) return;
  switch (*event.finish) {
    case FinishReason::kStop:
      return Complete(choice, "stop");
    case FinishReason::kLength:
      choice.text.Finish();  // what was held back may complete a stop string
      return Complete(choice, choice.text.stop_string() == nullptr ? "length" : "stop");
    case FinishReason::kCancelled:
      return Fail(EngineError(Unavailable("the server is shutting down")));
    case FinishReason::kError:
      Log(LogLevel::kError, "the model failed on a request",
          {{"request_id", exchange_->request_id()}, {"error", event.error.message()}});
      return Fail(EngineError(event.error));
  }
}

void Inference::Complete(Choice& choice, std::string finish_reason) {
  choice.complete = true;
  choice.finish_reason = std::move(finish_reason);
  choice.text.Finish();
  --incomplete_;
}

// A prompt's choices speak once it is known how the prompt was served, so that the first of them speaks
// first.
void Inference::EmitPrompt(size_t prompt) {
  if (!figures_.Known(prompt)) return;
  for (size_t k = 0; k < per_prompt_; ++k) Emit(prompt * per_prompt_ + k);
}

// What is certain of a choice, as events. Its end is one of its own, without text.
void Inference::Emit(size_t index) {
  Choice& choice = choices_[index];
  if (choice.closed || !(choice.complete || choice.text.has_text())) return;
  const int number = static_cast<int>(index);
  const UsageFigures usage = Usage();
  const UsageFigures* shown = request_.generation.continuous_usage ? &usage : nullptr;
  if (choice.text.has_text()) {
    events_ += SseEvent(
        format_->Chunk(number, choice.text.Take(), !std::exchange(choice.begun, true), nullptr, shown));
  }
  if (!choice.complete) return;
  const ChoiceEnd end = choice.end();
  events_ +=
      SseEvent(format_->Chunk(number, choice.text.Take(), !std::exchange(choice.begun, true), &end, shown));
  choice.closed = true;
}

// Sends what is due.
void Inference::Advance() {
  if (!request_.generation.stream) {
    if (incomplete_ == 0) AnswerWhole();
    return;
  }
  if (state_ == State::kOpen && figures_.AllKnown()) StartStream();
  if (state_ == State::kStreaming) SendEvents();
}

void Inference::AnswerWhole() {
  std::vector<ChoiceAnswer> answers;
  for (size_t first = 0; first < choices_.size(); first += per_prompt_) {
    std::vector<ChoiceScore> scores;
    for (size_t k = 0; k < per_prompt_; ++k) scores.push_back(choices_[first + k].score);
    std::vector<size_t> shown = BestChoices(scores, static_cast<size_t>(request_.generation.n));
    // Where none is left out the order is that of their seeds.
    if (shown.size() == per_prompt_) std::sort(shown.begin(), shown.end());
    for (const size_t k : shown)
      answers.push_back({choices_[first + k].text.Take(), choices_[first + k].end()});
  }
  exchange_->Respond({.headers = figures_.Headers(), .body = format_->Full(answers, Usage())});
  Close(200);
}

void Inference::StartStream() {
  HttpResponse head{.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                    .content_type = "text/event-stream; charset=utf-8"};
  if (figures_.AllKnown()) {
    for (auto& header : figures_.Headers()) head.headers.push_back(std::move(header));
  }
  exchange_->StartStream(std::move(head));
  state_ = State::kStreaming;
  cancel_head_timer_();
  SchedulePing();
}

void Inference::SendEvents() {
  if (incomplete_ == 0) {
    if (request_.generation.include_usage) events_ += SseEvent(format_->UsageChunk(Usage()));
    events_ += kSseDone;
  }
  if (events_.empty()) return;
  quiet_ = false;
  if (!exchange_->Write(std::exchange(events_, {}))) return ClientGone();
  if (incomplete_ > 0) return;
  exchange_->EndStream();
  Close(200);
}

void Inference::SchedulePing() { cancel_ping_ = Later(kPingSeconds, &Inference::Ping); }

void Inference::Ping() {
  if (std::exchange(quiet_, true) && !exchange_->Write(std::string(kSsePing))) return ClientGone();
  SchedulePing();
}

void Inference::Fail(const ApiError& error) {
  if (state_ == State::kStreaming) {
    // The events before it still count; whether anybody reads this one does not matter.
    (void)exchange_->Write(std::exchange(events_, {}) + SseEvent(ErrorBody(error)));
    exchange_->EndStream();
  } else {
    exchange_->Respond(ErrorResponse(error));
  }
  Close(error.status);
}

void Inference::ClientGone() {
  if (state_ != State::kDone) Close(kClientGone);
}

// The answer is decided: what still runs is cancelled.
void Inference::Close(int status) {
  state_ = State::kDone;
  status_ = status;
  if (cancel_head_timer_) cancel_head_timer_();
  if (cancel_ping_) cancel_ping_();
  for (Choice& choice : choices_) Cancel(choice);
}

UsageFigures Inference::Usage() const {
  UsageFigures usage = figures_.Usage();
  for (const Choice& choice : choices_) usage.completion_tokens += choice.text.tokens();
  return usage;
}

void Inference::LogEnd() const {
  RequestRecord record{.request_id = exchange_->request_id(),
                       .endpoint = request_.endpoint,
                       .status = status_,
                       .prompts = request_.prompts.size(),
                       .choices = static_cast<int>(choices_.size()),
                       .usage = Usage(),
                       .sources = figures_.Sources(),
                       .finish_reasons = {},
                       .queue_seconds = queue_seconds_,
                       .first_token_seconds = first_token_ ? *first_token_ - started_ : 0.0,
                       .decode_seconds = first_token_ ? last_token_ - *first_token_ : 0.0,
                       .total_seconds = context_->clock->NowSeconds() - started_};
  for (const Choice& choice : choices_)
    ++record.finish_reasons[choice.complete ? choice.finish_reason : "cut"];
  LogRequest(record);
}

}  // namespace

void StartInference(std::shared_ptr<Exchange> exchange, const ApiContext* context, InferenceRequest request,
                    std::unique_ptr<ResponseFormat> format) {
  Exchange* const home = exchange.get();
  home->Post([inference = std::make_shared<Inference>(std::move(exchange), context, std::move(request),
                                                      std::move(format))] { inference->Start(); });
}

}  // namespace prefixd
