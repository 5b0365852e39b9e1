#include "daemon/api/inference.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "daemon/api/choice_decoder.h"
#include "daemon/api/choice_ranking.h"
#include "daemon/api/decoder_options.h"
#include "daemon/api/engine_error.h"
#include "daemon/api/explain/answer_recorder.h"
#include "daemon/api/inference_memory.h"
#include "daemon/api/prompt_usage_tracker.h"
#include "daemon/api/request_log.h"
#include "daemon/api/submission.h"
#include "daemon/api/tenant_use.h"
#include "daemon/api/token_outbox.h"
#include "daemon/http/heap.h"

namespace prefixd {
namespace {
constexpr int kClientClosedRequest = 499;  // nginx's "client closed request"; logged, never sent

struct Choice {
  explicit Choice(ChoiceDecoder text) : text(std::move(text)) {}
  ChoiceDecoder text;
  std::string finish_reason;
  ChoiceScore score;
  bool complete = false;               // ignores further tokens
  bool begun = false, closed = false;  // the first chunk, the last chunk was written

  ChoiceFinish end() const { return {finish_reason, text.stop_string(), text.stop_token()}; }
};

class Inference : public std::enable_shared_from_this<Inference> {
 public:
  // `prompts_reserved` are the bytes of the prompts and of what each sequence copies of the request.
  Inference(std::shared_ptr<Exchange> exchange, const ApiContext* context, InferenceRequest request,
            std::unique_ptr<ResponseFormat> format, ByteBudget::Reservation prompts_reserved)
      : exchange_(std::move(exchange)),
        context_(context),
        request_(std::move(request)),
        format_(std::move(format)),
        per_prompt_(static_cast<size_t>(request_.generation.best_of)),
        started_(context->clock->NowSeconds()),
        recorder_(context, &request_),
        submission_(context, &request_, SubmissionCallbacks()),
        prompts_reserved_(std::move(prompts_reserved)),
        reserved_(exchange_->budget(), ByteBudget::Use::kAnswer) {}

  void Start();

 private:
  // Nothing sent; head sent; responded, failed or disconnected.
  enum class State { kOpen, kStreaming, kDone };

  Submission::Callbacks SubmissionCallbacks();
  void AddChoices();
  void SubmitMore();

  void OnDelivery(size_t index, TokenOutbox::Delivery delivery);
  void OnEvent(size_t index, RequestEvent event);
  void RecordPromptResults(size_t prompt, RequestEvent& event);
  void AppendTokens(size_t index, RequestEvent& event);
  void OnSequenceFinished(Choice& choice, const RequestEvent& event);
  void Complete(Choice& choice, std::string finish_reason);

  bool ReserveFormatting(size_t token_bytes, size_t text_bytes);
  void FailIfUnformattable();
  size_t PieceBytes(const TextPiece& piece) const {
    return FormattedBytes(request_.generation, *context_->tokenizer, piece);
  }
  void ShrinkReserved();
  void Advance();
  void RespondFull();
  void EmitPrompt(size_t prompt);
  void Emit(size_t index);
  void EmitChunk(size_t index, const ChoiceFinish* end);
  void StartStream();
  void SendEvents();
  void SchedulePing();
  void Ping();
  void Fail(const ApiError& error);
  void OnWriteFailed();
  void OnClientDisconnect();
  void Close(int status);
  void CountAndLogIfEnded();

  // Runs `job` after `seconds`, if this inference still exists and is not done.
  std::function<void()> RunAfter(double seconds, void (Inference::*job)());
  TokenUsage Usage() const;

  const std::shared_ptr<Exchange> exchange_;
  const ApiContext* const context_;
  const InferenceRequest request_;
  const std::unique_ptr<ResponseFormat> format_;
  const size_t per_prompt_;  // sequences per prompt (best_of); the best n are returned
  const double started_;
  State state_ = State::kOpen;
  int status_ = 0;  // of the response, once done
  bool logged_ = false;
  std::vector<Choice> choices_;  // per_prompt_ for each prompt
  PromptUsageTracker prompts_;
  AnswerRecorder recorder_;
  Submission submission_;
  size_t incomplete_ = 0;        // of choices_
  std::string events_;           // events of a stream that are not written yet
  bool opened_ = false;          // events_ has had the opening chunks
  bool idle_since_ping_ = true;  // nothing was written since the last ping
  std::optional<double> first_token_;
  double last_token_ = 0;
  double queue_seconds_ = 0;
  std::function<void()> cancel_head_timer_, cancel_ping_;
  size_t collected_bytes_ = 0;                      // FormattedBytes of all tokens
  size_t prompt_entries_ = 0;                       // log probabilities of prompts, given to format_
  const ByteBudget::Reservation prompts_reserved_;  // the exchange, above, keeps the budget alive
  ByteBudget::Reservation reserved_;                // of tokens in choices_, format_ and events_
};

void Inference::Start() {
  AddChoices();
  if (std::optional<ApiError> error = submission_.Start()) {
    ChargeTokens(*context_, *exchange_, -PromptTokens(request_));
    return Fail(*error);
  }
  exchange_->OnDisconnect([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->OnClientDisconnect();
  });
  if (!request_.generation.stream) return;
  cancel_head_timer_ = RunAfter(context_->limits.stream_head_seconds, &Inference::StartStream);
}

std::function<void()> Inference::RunAfter(double seconds, void (Inference::*job)()) {
  return exchange_->PostAfter(seconds, [weak = weak_from_this(), job] {
    const auto self = weak.lock();
    if (self && self->state_ != State::kDone) ((*self).*job)();
  });
}

void Inference::AddChoices() {
  choices_.reserve(request_.prompts.size() * per_prompt_);
  for (const InferencePrompt& prompt : request_.prompts) {
    prompts_.AddPrompt(static_cast<int>(prompt.tokens.size()));
    for (size_t k = 0; k < per_prompt_; ++k) {
      ChoiceDecoderOptions options = DecoderOptions(request_.generation, *context_, choices_.size());
      choices_.emplace_back(ChoiceDecoder(*context_->tokenizer, std::move(options), prompt.tokens));
    }
  }
  incomplete_ = choices_.size();
}

// They are called on the exchange's io thread, when this object is owned by a shared_ptr.
Submission::Callbacks Inference::SubmissionCallbacks() {
  const auto listener = [this](size_t index) {
    return std::make_shared<TokenOutbox>(exchange_,
                                         [self = shared_from_this(), index](TokenOutbox::Delivery delivery) {
                                           self->OnDelivery(index, std::move(delivery));
                                         });
  };
  const auto wake = [this] {
    return [self = shared_from_this()] { self->exchange_->Post([self] { self->SubmitMore(); }); };
  };
  return {.listener = listener, .wake = wake};
}

void Inference::SubmitMore() {
  if (state_ == State::kDone) return;
  if (std::optional<ApiError> error = submission_.Continue()) Fail(*error);
}

void Inference::OnDelivery(size_t index, TokenOutbox::Delivery delivery) {
  reserved_.Absorb(std::move(delivery.reserved));
  if (state_ != State::kDone && (delivery.over_budget || !reserved_.WithinShare()))
    Fail(NoRoomError(exchange_->budget(), reserved_.bytes()));
  context_->answers->AddTokens(delivery.dropped, 0);
  OnEvent(index, std::move(delivery.event));
  ShrinkReserved();
}

// Reserves what formatting takes, on top of what is formatted. Fails the request when there is no room.
bool Inference::ReserveFormatting(size_t token_bytes, size_t text_bytes) {
  constexpr size_t kHead = 2048;  // the members of a body or chunk that do not depend on its tokens
  constexpr size_t kTextCopies = 8;
  const size_t bytes = token_bytes + kTextCopies * text_bytes + kHead;
  if (reserved_.TryGrow(bytes)) return true;
  Fail(NoRoomError(exchange_->budget(), reserved_.bytes() + bytes));
  return false;
}

// Fails a request whose log probabilities could not be formatted at the end, before it computes more of them.
void Inference::FailIfUnformattable() {
  const GenerationRequest& asked = request_.generation;
  if (asked.stream || asked.sampling.logprobs < 0) return;
  // With best_of, only a part of the choices is formatted.
  const size_t bytes = collected_bytes_ / per_prompt_ * static_cast<size_t>(asked.n);
  if (bytes > exchange_->budget().LargeLimit()) Fail(NoRoomError(exchange_->budget(), bytes));
}

// Returns the bytes of what has been sent or dropped.
void Inference::ShrinkReserved() {
  constexpr size_t kWorthTrimming = 8 << 20;
  const size_t before = reserved_.bytes();
  size_t held = events_.capacity() + kHeldPromptEntry * prompt_entries_ + format_->held_bytes();
  for (const Choice& choice : choices_) held += choice.text.held_bytes();
  held += recorder_.held_bytes();
  reserved_.ShrinkTo(held);
  // If the workers are busy, they trim after their own work.
  if (before - reserved_.bytes() >= kWorthTrimming) (void)exchange_->PostWork(TrimHeap);
}

void Inference::OnEvent(size_t index, RequestEvent event) {
  Choice& choice = choices_[index];
  if (index % per_prompt_ == 0) RecordPromptResults(index / per_prompt_, event);
  recorder_.OnEvent(index, event);
  prompts_.SetWritten(index / per_prompt_, index % per_prompt_, event.prompt.written);
  submission_.OnEvent(index, event.finish.has_value());
  if (event.finish) {
    const double scheduled = event.times.scheduled > 0 ? event.times.scheduled : event.times.finished;
    queue_seconds_ = std::max(queue_seconds_, scheduled - event.times.submitted);
  }
  const int before = choice.text.tokens();
  if (state_ != State::kDone) {
    AppendTokens(index, event);
    if (event.finish) OnSequenceFinished(choice, event);
  }
  context_->answers->AddTokens(event.tokens.size(), choice.text.tokens() - before);
  ChargeTokens(*context_, *exchange_, choice.text.tokens() - before);
  SubmitMore();
  if (state_ != State::kDone) FailIfUnformattable();
  if (state_ != State::kDone) {
    if (request_.generation.stream) EmitPrompt(index / per_prompt_);
    if (state_ != State::kDone) Advance();
  }
  CountAndLogIfEnded();
}

// Stores what the first sequence of a prompt reports about the prompt.
void Inference::RecordPromptResults(size_t prompt, RequestEvent& event) {
  for (const GeneratedToken& token : event.prompt_logprobs) prompt_entries_ += 1 + token.top.size();
  if (!event.prompt_logprobs.empty()) format_->AddPromptLogprobs(prompt, std::move(event.prompt_logprobs));
  if ((!event.tokens.empty() || event.finish) && event.prompt.total() > 0)
    prompts_.SetUsage(prompt, event.prompt);
}

void Inference::AppendTokens(size_t index, RequestEvent& event) {
  Choice& choice = choices_[index];
  if (event.tokens.empty()) return;
  last_token_ = context_->clock->NowSeconds();
  if (!first_token_) first_token_ = last_token_;
  for (GeneratedToken& token : event.tokens) {
    if (choice.complete) return;
    choice.score.logprob_sum += static_cast<double>(token.logprob);
    ++choice.score.tokens;
    collected_bytes_ += FormattedBytes(request_.generation, *context_->tokenizer, token);
    recorder_.AddId(index, token.token);
    choice.text.Push(std::move(token));
    if (!choice.text.ended()) continue;
    Complete(choice, "stop");
    submission_.Cancel(index);
  }
}

void Inference::OnSequenceFinished(Choice& choice, const RequestEvent& event) {
  if (choice.complete) return;
  switch (*event.finish) {
    case FinishReason::kStop:
      return Complete(choice, "stop");
    case FinishReason::kLength:
      choice.text.Finish();  // the held-back text may complete a stop string
      return Complete(choice, choice.text.stop_string() == nullptr ? "length" : "stop");
    case FinishReason::kCancelled:
      return Fail(EngineError(Unavailable("the server is shutting down")));
    case FinishReason::kError:
      Log(LogLevel::kError, "the model failed on a request",
          {{"request_id", exchange_->request_id()}, {"error", event.error.message()}});
      return Fail(EngineError(event.error, request_.generation));
  }
}

void Inference::Complete(Choice& choice, std::string finish_reason) {
  choice.complete = true;
  choice.finish_reason = std::move(finish_reason);
  choice.text.Finish();
  if (choice.finish_reason == "stop" && choice.text.calls() > 0)
    choice.finish_reason = request_.generation.function_call ? "function_call" : "tool_calls";
  --incomplete_;
}

// Emits the choices of a prompt. They wait until the usage of the prompt is known; thus choice 0 comes first.
void Inference::EmitPrompt(size_t prompt) {
  if (!prompts_.HasUsage(prompt)) return;
  if (!std::exchange(opened_, true)) {
    if (!ReserveFormatting(0, choices_.size() * request_.repeated_bytes)) return;
    events_ += format_->Opening(prompts_.Usage());
  }
  for (size_t k = 0; k < per_prompt_ && state_ != State::kDone; ++k) Emit(prompt * per_prompt_ + k);
}

// Appends the final text of a choice as an event. The finish is an event of its own, without text.
void Inference::Emit(size_t index) {
  Choice& choice = choices_[index];
  if (choice.closed || !(choice.complete || choice.text.has_text())) return;
  if (choice.text.has_text()) EmitChunk(index, nullptr);
  if (!choice.complete || state_ == State::kDone) return;
  const ChoiceFinish end = choice.end();
  EmitChunk(index, &end);
  choice.closed = true;
}

void Inference::EmitChunk(size_t index, const ChoiceFinish* end) {
  Choice& choice = choices_[index];
  TextPiece piece = choice.text.Take();
  recorder_.AddPiece(index, piece);
  const bool first = !std::exchange(choice.begun, true);
  const size_t prompt_bytes = first ? prompt_entries_ * kFormatPromptEntry : 0;
  const size_t repeated_bytes = first ? request_.repeated_bytes : 0;
  const size_t token_bytes = PieceBytes(piece);
  const size_t held_bytes = end == nullptr ? 0 : format_->held_bytes();  // the end may repeat it
  if (!ReserveFormatting(token_bytes + prompt_bytes, piece.text_bytes() + repeated_bytes + held_bytes))
    return;
  const TokenUsage usage = Usage();
  std::vector<TextPiece> parts = SplitEvents(std::move(piece), /*shows_tokens=*/token_bytes > 0);
  if (parts.empty() && end != nullptr) parts.emplace_back();
  for (size_t i = 0; i < parts.size(); ++i) {
    const ChoiceFinish* finish = i + 1 == parts.size() ? end : nullptr;
    events_ += format_->Chunk(static_cast<int>(index), parts[i], first && i == 0, finish, usage);
  }
}

// Sends what can be sent now.
void Inference::Advance() {
  if (!request_.generation.stream) {
    if (incomplete_ == 0) RespondFull();
    return;
  }
  // The figures of all prompts come late when the request runs in turn.
  const bool in_turn = !submission_.complete();
  if (state_ == State::kOpen && (prompts_.HasAllUsage() || (in_turn && first_token_))) StartStream();
  if (state_ == State::kStreaming) SendEvents();
}

void Inference::RespondFull() {
  std::vector<ChoiceResult> answers;
  for (size_t first = 0; first < choices_.size(); first += per_prompt_) {
    std::vector<ChoiceScore> scores;
    for (size_t k = 0; k < per_prompt_; ++k) scores.push_back(choices_[first + k].score);
    std::vector<size_t> shown = BestChoices(scores, static_cast<size_t>(request_.generation.n));
    // If all choices are returned, they keep the order of their seeds.
    if (shown.size() == per_prompt_) std::sort(shown.begin(), shown.end());
    for (const size_t k : shown)
      answers.push_back({choices_[first + k].text.Take(), choices_[first + k].end()});
  }
  if (per_prompt_ == 1) recorder_.AddPiece(0, answers.front().piece);
  const auto per_prompt = static_cast<size_t>(request_.generation.n);
  size_t token_bytes = per_prompt * prompt_entries_ * kFormatPromptEntry;
  size_t text_bytes = per_prompt * request_.repeated_bytes;
  for (const ChoiceResult& answer : answers) {
    token_bytes += PieceBytes(answer.piece);
    text_bytes += answer.piece.text_bytes();
  }
  if (!ReserveFormatting(token_bytes, text_bytes)) return;
  std::string body = format_->FullBody(answers, Usage());
  answers.clear();
  // The answer takes its room along, so that it cannot lose it to others.
  ByteBudget::Reservation body_bytes = reserved_.Split(body.size());
  ShrinkReserved();
  if (!body_bytes.TryGrow(body.size() - body_bytes.bytes())) return Fail(NoRoomError(exchange_->budget()));
  recorder_.Remember();
  exchange_->Respond(
      {.headers = prompts_.Headers(), .body = std::move(body), .reserved = std::move(body_bytes)});
  Close(200);
}

void Inference::StartStream() {
  HttpResponse head{.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                    .content_type = "text/event-stream; charset=utf-8"};
  if (prompts_.HasAllUsage()) {
    for (auto& header : prompts_.Headers()) head.headers.push_back(std::move(header));
  }
  exchange_->StartStream(std::move(head));
  state_ = State::kStreaming;
  cancel_head_timer_();
  SchedulePing();
}

void Inference::SendEvents() {
  if (incomplete_ == 0) {
    events_ += format_->Ending(Usage());
    recorder_.Remember();
  }
  if (events_.empty()) return;
  idle_since_ping_ = false;
  constexpr size_t kPiece = 256;  // more than what a piece takes besides its bytes
  ByteBudget::Reservation bytes = reserved_.Split(events_.size() + kPiece);
  if (!exchange_->WriteReserved(std::exchange(events_, {}), std::move(bytes))) return OnWriteFailed();
  if (incomplete_ > 0) return;
  exchange_->EndStream();
  Close(200);
}

void Inference::SchedulePing() { cancel_ping_ = RunAfter(context_->limits.ping_seconds, &Inference::Ping); }

void Inference::Ping() {
  if (std::exchange(idle_since_ping_, true) && !exchange_->Write(std::string(format_->Ping())))
    return OnWriteFailed();
  SchedulePing();
}

void Inference::Fail(const ApiError& error) {
  if (state_ == State::kStreaming) {
    // The pending events are sent first, if there is room. A piece that is refused for want of room can be
    // written again, as the last one. The result does not matter, because the stream ends here.
    (void)exchange_->Write(std::exchange(events_, {}));
    const std::string event = format_->Failure(error, exchange_->errors(), exchange_->request_id());
    if (!exchange_->Write(event)) (void)exchange_->Write(event);
    exchange_->EndStream();
  } else {
    RespondError(*exchange_, error);
  }
  Close(error.status);
}

void Inference::OnWriteFailed() {
  exchange_->disconnected() ? OnClientDisconnect() : Fail(NoRoomError(exchange_->budget()));
}

void Inference::OnClientDisconnect() {
  if (state_ != State::kDone)
    Close(exchange_->interrupted() ? ShuttingDownError().status : kClientClosedRequest);
}

// Ends the inference and cancels the sequences that still run.
void Inference::Close(int status) {
  state_ = State::kDone;
  status_ = status;
  if (cancel_head_timer_) cancel_head_timer_();
  if (cancel_ping_) cancel_ping_();
  std::string().swap(events_);
  submission_.Close();
  recorder_.Remember();
  for (Choice& choice : choices_) choice.text.Drop();
  CountAndLogIfEnded();
}

TokenUsage Inference::Usage() const {
  TokenUsage usage = prompts_.Usage();
  for (const Choice& choice : choices_) {
    usage.completion_tokens += choice.text.tokens();
    usage.reasoning_tokens += choice.text.reasoning_tokens();
  }
  return usage;
}

// Counts and logs the request when it is done and its last sequence has ended.
void Inference::CountAndLogIfEnded() {
  if (state_ != State::kDone || submission_.running() > 0 || std::exchange(logged_, true)) return;
  RequestRecord record{.request_id = exchange_->request_id(),
                       .endpoint = request_.endpoint,
                       .status = status_,
                       .prompts = request_.prompts.size(),
                       .choices = static_cast<int>(choices_.size()),
                       .usage = Usage(),
                       .sources = prompts_.TokensBySource(),
                       .finish_reasons = {},
                       .queue_seconds = queue_seconds_,
                       .first_token_seconds = first_token_ ? *first_token_ - started_ : 0.0,
                       .decode_seconds = first_token_ ? last_token_ - *first_token_ : 0.0,
                       .total_seconds = context_->clock->NowSeconds() - started_};
  for (const Choice& choice : choices_)
    ++record.finish_reasons[choice.complete ? choice.finish_reason : "cut"];
  LogRequest(record);
  if (status_ != 200)
    context_->answers->AddUnanswered(prompts_.CompleteTokens(), record.usage.completion_tokens);
}

}  // namespace

std::optional<ApiError> StartInference(std::shared_ptr<Exchange> exchange, const ApiContext* context,
                                       InferenceRequest request, std::unique_ptr<ResponseFormat> format) {
  PREFIXD_CHECK(context->engine != nullptr && !request.prompts.empty() &&
                request.generation.best_of >= request.generation.n)
      << request.prompts.size() << " prompts, n " << request.generation.n << ", best_of "
      << request.generation.best_of;
  ByteBudget::Reservation reserved(exchange->budget(), ByteBudget::Use::kAnswer);
  const size_t bytes = PromptBytes(request);
  if (!reserved.TryGrow(bytes)) return NoRoomError(exchange->budget(), bytes);
  if (std::optional<ApiError> error = TakePrompts(*context, *exchange, &request)) return error;
  request.id = exchange->request_id();
  Exchange* const raw = exchange.get();  // valid: the posted job owns the exchange
  raw->Post([inference = std::make_shared<Inference>(std::move(exchange), context, std::move(request),
                                                     std::move(format), std::move(reserved))] {
    inference->Start();
  });
  return std::nullopt;
}

}  // namespace prefixd
