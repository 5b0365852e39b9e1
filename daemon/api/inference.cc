#include "daemon/api/inference.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/prng.h"
#include "daemon/api/choice_text.h"
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
  bool complete = false;               // nothing more is taken in
  bool begun = false, closed = false;  // the first, the last chunk was written

  ChoiceEnd end() const { return {finish_reason, text.stop_string(), text.stop_token()}; }
};

struct PromptFigures {
  int tokens = 0;
  std::optional<PromptUsage> usage;  // of its first choice
};

class Inference : public std::enable_shared_from_this<Inference> {
 public:
  Inference(std::shared_ptr<Exchange> exchange, const ApiContext* context, InferenceRequest request,
            std::unique_ptr<ResponseFormat> format)
      : exchange_(std::move(exchange)),
        context_(context),
        request_(std::move(request)),
        format_(std::move(format)),
        started_(context->clock->NowSeconds()) {}

  void Start();

 private:
  enum class State { kOpen, kStreaming, kDone };  // no answer yet; head sent; answered, failed or gone

  std::optional<ApiError> SubmitAll();
  Request EngineRequest(const InferencePrompt& prompt, int k, uint64_t seed) const;
  ChoiceText NewText(const InferencePrompt& prompt) const;

  void OnEvent(size_t index, RequestEvent event);
  void TakeTokens(Choice& choice, RequestEvent& event);
  void EndOfSequence(Choice& choice, const RequestEvent& event);
  void Complete(Choice& choice, std::string finish_reason);
  void Cancel(Choice& choice);

  void Advance();
  void AnswerWhole();
  void Emit(size_t index);
  void StartStream();
  void SendEvents();
  void SchedulePing();
  void Ping();
  void Fail(const ApiError& error);
  void ClientGone();
  void Close(int status);
  void LogLine() const;

  // A job for later, while this inference lives and is not done.
  std::function<void()> Later(double seconds, void (Inference::*job)());
  bool AllFiguresKnown() const;
  PromptUsage Sources() const;
  UsageFigures Usage() const;
  HttpHeaders FigureHeaders() const;

  const std::shared_ptr<Exchange> exchange_;
  const ApiContext* const context_;
  const InferenceRequest request_;
  const std::unique_ptr<ResponseFormat> format_;
  const double started_;
  State state_ = State::kOpen;
  int status_ = 0;  // of the answer, once done
  std::vector<Choice> choices_;
  std::vector<PromptFigures> figures_;
  size_t running_ = 0;     // sequences in the engine
  size_t incomplete_ = 0;  // choices
  std::string events_;     // of a stream, not yet written
  bool quiet_ = true;      // nothing was written since the last ping was due
  double first_token_ = 0;
  std::function<void()> cancel_head_timer_, cancel_ping_;
};

void Inference::Start() {
  if (std::optional<ApiError> error = SubmitAll()) {
    Fail(*error);
    if (running_ == 0) LogLine();
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
  request.tenant_salt = request_.tenant;
  return request;
}

std::optional<ApiError> Inference::SubmitAll() {
  const int n = request_.generation.n;
  const uint64_t seed = request_.generation.seed.value_or(SplitMix64((*context_->seeds)++));
  choices_.reserve(request_.prompts.size() * static_cast<size_t>(n));
  for (const InferencePrompt& prompt : request_.prompts) {
    figures_.push_back({static_cast<int>(prompt.tokens.size()), std::nullopt});
    for (int k = 0; k < n; ++k) {
      const size_t index = choices_.size();
      choices_.emplace_back(NewText(prompt));
      Request request = EngineRequest(prompt, k, seed);
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
  const size_t n = static_cast<size_t>(request_.generation.n);
  if (index % n == 0 && event.prompt.total() > 0) figures_[index / n].usage = event.prompt;
  if (event.finish) {
    choice.id.reset();
    --running_;
  }
  if (state_ != State::kDone) {
    TakeTokens(choice, event);
    if (event.finish) EndOfSequence(choice, event);
  }
  if (state_ != State::kDone) {
    if (request_.generation.stream) Emit(index);
    Advance();
  }
  if (event.finish && running_ == 0) LogLine();
}

void Inference::TakeTokens(Choice& choice, RequestEvent& event) {
  if (first_token_ == 0 && !event.tokens.empty()) first_token_ = context_->clock->NowSeconds();
  for (GeneratedToken& token : event.tokens) {
    if (choice.complete) return;
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
      return Fail(EngineError(event.error));
  }
}

void Inference::Complete(Choice& choice, std::string finish_reason) {
  choice.complete = true;
  choice.finish_reason = std::move(finish_reason);
  choice.text.Finish();
  --incomplete_;
}

// What is certain of a choice, as events. Its end is one of its own, without text.
void Inference::Emit(size_t index) {
  Choice& choice = choices_[index];
  if (choice.closed) return;
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
  if (state_ == State::kOpen && AllFiguresKnown()) StartStream();
  if (state_ == State::kStreaming) SendEvents();
}

void Inference::AnswerWhole() {
  std::vector<ChoiceAnswer> answers;
  for (Choice& choice : choices_) answers.push_back({choice.text.Take(), choice.end()});
  exchange_->Respond({.headers = FigureHeaders(), .body = format_->Full(answers, Usage())});
  Close(200);
}

void Inference::StartStream() {
  HttpResponse head{.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                    .content_type = "text/event-stream; charset=utf-8"};
  if (AllFiguresKnown()) {
    for (auto& header : FigureHeaders()) head.headers.push_back(std::move(header));
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

bool Inference::AllFiguresKnown() const {
  return std::all_of(figures_.begin(), figures_.end(),
                     [](const PromptFigures& figures) { return figures.usage.has_value(); });
}

// By source, over all prompts.
PromptUsage Inference::Sources() const {
  PromptUsage sum;
  for (const PromptFigures& figures : figures_) {
    if (!figures.usage) continue;
    for (int i = 0; i < kTokenSources; ++i)
      sum.tokens[static_cast<size_t>(i)] += figures.usage->tokens[static_cast<size_t>(i)];
  }
  return sum;
}

UsageFigures Inference::Usage() const {
  UsageFigures usage;
  for (const PromptFigures& figures : figures_) {
    const int cached = figures.usage ? figures.usage->cached() : 0;
    usage.prompt_tokens += figures.tokens;
    usage.cached_tokens += cached;
    // Full blocks enter the cache as soon as they are computed.
    const int block = context_->cache_block_tokens;
    if (block > 0) usage.cache_write_tokens += std::max(0, figures.tokens / block * block - cached);
  }
  for (const Choice& choice : choices_) usage.completion_tokens += choice.text.tokens();
  return usage;
}

HttpHeaders Inference::FigureHeaders() const {
  const UsageFigures usage = Usage();
  const PromptUsage sources = Sources();
  const auto from = [&](TokenSource source) {
    return std::to_string(sources.tokens[static_cast<size_t>(source)]);
  };
  return {{"x-prefixd-cached-tokens", std::to_string(usage.cached_tokens)},
          {"x-prefixd-computed-tokens", std::to_string(usage.computed_tokens())},
          {"x-prefixd-cache-source",
           "device=" + from(TokenSource::kDevice) + ",host=" + from(TokenSource::kHost) +
               ",disk=" + from(TokenSource::kDisk) + ",shared=" + from(TokenSource::kShared)}};
}

void Inference::LogLine() const {
  const UsageFigures usage = Usage();
  const double now = context_->clock->NowSeconds();
  Log(LogLevel::kInfo, "request",
      {{"request_id", exchange_->request_id()},
       {"endpoint", request_.endpoint},
       {"status", status_},
       {"prompt_tokens", usage.prompt_tokens},
       {"cached_tokens", usage.cached_tokens},
       {"computed_tokens", usage.computed_tokens()},
       {"generated_tokens", usage.completion_tokens},
       {"ttft_seconds", first_token_ > 0 ? first_token_ - started_ : 0.0},
       {"duration_seconds", now - started_}});
}

}  // namespace

ApiError EngineError(const Status& status) {
  switch (status.code()) {
    case Code::kInvalidArgument:
      return {.status = 400, .code = "invalid_value", .message = status.message()};
    case Code::kResourceExhausted:
      return {.status = 429,
              .type = "rate_limit_error",
              .code = "rate_limit_exceeded",
              .message = status.message() + "; try again later",
              .retry_after = 1};
    case Code::kUnavailable:
      return {.status = 503,
              .type = "server_error",
              .code = "overloaded",
              .message = status.message() + "; try again later",
              .retry_after = 5};
    default:
      return {.status = 500,
              .type = "server_error",
              .code = "internal_error",
              .message = "The model failed on this request."};
  }
}

void StartInference(std::shared_ptr<Exchange> exchange, const ApiContext* context, InferenceRequest request,
                    std::unique_ptr<ResponseFormat> format) {
  std::make_shared<Inference>(std::move(exchange), context, std::move(request), std::move(format))->Start();
}

}  // namespace prefixd
