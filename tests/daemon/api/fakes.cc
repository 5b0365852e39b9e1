#include "tests/daemon/api/fakes.h"

#include <boost/json.hpp>

#include "base/check.h"
#include "text/tokenizer/unicode.h"

namespace prefixd::testing_support {

namespace json = boost::json;

namespace {

// The printable character that GPT-2 uses for a byte.
char32_t ByteCharacter(int byte) {
  const auto printable = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  if (printable(byte)) return static_cast<char32_t>(byte);
  char32_t next = 256;
  for (int b = 0; b < byte; ++b) next += printable(b) ? 0 : 1;
  return next;
}

json::object AddedToken(TokenId id, std::string_view content) {
  return {{"id", id},
          {"content", std::string(content)},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", false},
          {"special", true}};
}

}  // namespace

std::unique_ptr<Tokenizer> MakeByteTokenizer() {
  json::object vocab;
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    AppendUtf8(&text, ByteCharacter(byte));
    vocab.emplace(text, byte);
  }
  const json::object byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const json::array template_single = {json::object{{"SpecialToken", {{"id", "<|begin|>"}, {"type_id", 0}}}},
                                       json::object{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}};
  const json::array template_pair = {json::object{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                                     json::object{{"Sequence", {{"id", "B"}, {"type_id", 1}}}}};
  const json::object root = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens",
       json::array{AddedToken(kEndToken, "<|end|>"), AddedToken(kUserToken, "<|user|>"),
                   AddedToken(kAssistantToken, "<|assistant|>"), AddedToken(kBeginToken, "<|begin|>")}},
      {"normalizer", nullptr},
      {"pre_tokenizer", byte_level},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", template_single},
        {"pair", template_pair},
        {"special_tokens",
         {{"<|begin|>",
           {{"id", "<|begin|>"},
            {"ids", json::array{kBeginToken}},
            {"tokens", json::array{"<|begin|>"}}}}}}}},
      {"decoder", byte_level},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", nullptr},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", false},
        {"byte_fallback", false},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", json::array()}}}};
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(json::serialize(root));
  PREFIXD_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
  return *std::move(tokenizer);
}

std::unique_ptr<ChatTemplate> MakeToyTemplate() {
  constexpr std::string_view kSource =
      "{%- for t in tools or [] -%}{{ t.function.name }}{%- endfor -%}"
      "{%- for d in documents or [] -%}{{ d.title }}{%- endfor -%}"
      "{%- for m in messages -%}"
      "{%- if m.content == 'refuse' -%}{{ raise_exception('No such talk.') }}{%- endif -%}"
      "<|user|>{{ m.role }}:{{ m.content }}"
      "{%- endfor -%}"
      "{%- if add_generation_prompt -%}<|assistant|>{{ mood|default('') }}{%- endif -%}";
  Result<std::unique_ptr<ChatTemplate>> parsed = ChatTemplate::Parse(kSource, {});
  PREFIXD_CHECK(parsed.ok()) << parsed.status().ToString();
  return *std::move(parsed);
}

std::vector<TokenId> Bytes(std::string_view text) {
  std::vector<TokenId> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

Result<RequestId> ScriptedEngine::Submit(prefixd::Request request) {
  if (!submit_results.empty()) {
    Status result = submit_results.front();
    submit_results.erase(submit_results.begin());
    if (!result.ok()) return result;
  }
  if (waiting_.size() >= places) return ResourceExhausted("the queue is full");
  waiting_.insert(requests_.size());
  requests_.push_back(std::move(request));
  return static_cast<RequestId>(requests_.size());
}

PromptUsage ScriptedEngine::Usage(const prefixd::Request& request) const {
  PromptUsage usage;
  usage.tokens[static_cast<size_t>(TokenSource::kDevice)] = cached_tokens;
  usage.tokens[static_cast<size_t>(TokenSource::kComputed)] =
      static_cast<int>(request.prompt.size()) - cached_tokens;
  usage.written = written_tokens;
  usage.asked_kept = usage.kept = request.prefix_use.asked_tokens();
  for (size_t i = 0; i < kLongLifetimes.size(); ++i)
    usage.written_for[i] = std::min(written_tokens, request.prefix_use.TokensFor(kLongLifetimes[i]));
  return usage;
}

MissReport ScriptedEngine::Misses(const prefixd::Request& request) const {
  MissReport report;
  const int computed = Usage(request).computed();
  report.tokens[static_cast<size_t>(miss.reason)] = static_cast<uint64_t>(computed);
  if (computed == 0) return report;
  report.first = miss;
  report.first->place.token = cached_tokens;
  return report;
}

std::vector<GeneratedToken> ScriptedEngine::PromptLogprobs(prefixd::Request& request) const {
  std::vector<GeneratedToken> logprobs;
  const int top = std::exchange(request.sampling.prompt_logprobs, -1);
  if (top < 0) return logprobs;
  for (size_t i = 1; i < request.prompt.size(); ++i) {
    GeneratedToken token{request.prompt[i], -0.125f * static_cast<float>(i), {}, static_cast<int>(i)};
    for (int k = 0; k < top; ++k) token.top.push_back({k, -0.5f - static_cast<float>(k)});
    logprobs.push_back(std::move(token));
  }
  return logprobs;
}

void ScriptedEngine::Generate(size_t index, std::vector<TokenId> tokens, std::optional<FinishReason> finish) {
  prefixd::Request& request = requests_.at(index);
  waiting_.erase(index);
  RequestEvent event;
  event.prompt_logprobs = PromptLogprobs(request);
  event.times.scheduled = 1 + queue_seconds;
  event.times.submitted = 1;
  for (const TokenId token : tokens) {
    GeneratedToken generated{token, -0.1f * static_cast<float>(token % 7 + 1), {}};
    for (int i = 0; i < request.sampling.logprobs; ++i)
      generated.top.push_back({i, -0.5f - static_cast<float>(i)});
    event.tokens.push_back(std::move(generated));
  }
  event.prompt = Usage(request);
  if (begun_.insert(index).second || finish)
    event.misses = std::make_shared<const MissReport>(Misses(request));
  event.finish = finish;
  request.listener->OnEvent(std::move(event));
}

void ScriptedEngine::Fail(size_t index, Status error) {
  waiting_.erase(index);
  RequestEvent event;
  event.finish = error.code() == Code::kCancelled ? FinishReason::kCancelled : FinishReason::kError;
  event.error = std::move(error);
  requests_.at(index).listener->OnEvent(std::move(event));
}

void MemoryExchange::Respond(HttpResponse value) {
  PREFIXD_CHECK(answers == 0) << "a second response";
  ++answers;
  response = std::move(value);
  response.reserved = {};
  ended = true;
  // Written as by a client that reads all of it.
  for (size_t before = SIZE_MAX; response.source != nullptr && before != response.body.size();) {
    before = response.body.size();
    std::string part;
    response.source->Next(1000, &part);
    response.body += part;
  }
  response.source = nullptr;
}

void MemoryExchange::StartStream(HttpResponse head) {
  PREFIXD_CHECK(answers == 0) << "a second response";
  ++answers;
  response = std::move(head);
  streaming = true;
}

bool MemoryExchange::Write(std::string piece) {
  PREFIXD_CHECK(answers > 0) << "Write before StartStream";
  if (!streaming || ended || !accepting) return false;
  if (!piece.empty() && !std::exchange(room, true)) return false;
  response.body += piece;
  return true;
}

void MemoryExchange::EndStream() { ended = streaming; }

void MemoryExchange::OnDisconnect(std::function<void()> callback) {
  PREFIXD_CHECK(!std::exchange(has_callback_, true)) << "a second OnDisconnect";
  on_disconnect_ = std::move(callback);
}

std::function<void()> MemoryExchange::PostAfter(double seconds, std::function<void()> job) {
  const int id = next_timer_++;
  timers_[id] = {now_ + seconds, std::move(job)};
  return [this, id] { timers_.erase(id); };
}

bool MemoryExchange::PostWork(std::function<void()> job) {
  if (!workers) return false;
  ++works;
  Post(std::move(job));
  return true;
}

void MemoryExchange::RunJobs() {
  while (!jobs_.empty()) {
    const auto job = std::move(jobs_.front());
    jobs_.pop_front();
    job();
  }
}

void MemoryExchange::AdvanceTime(double seconds) {
  const double end = now_ + seconds;
  while (true) {
    auto next = timers_.end();
    for (auto it = timers_.begin(); it != timers_.end(); ++it) {
      if (it->second.due <= end && (next == timers_.end() || it->second.due < next->second.due)) next = it;
    }
    if (next == timers_.end()) break;
    now_ = next->second.due;
    const auto job = std::move(next->second.job);
    timers_.erase(next);
    job();
    RunJobs();
  }
  now_ = end;
}

void MemoryExchange::Disconnect() {
  if (on_disconnect_ && !ended) std::exchange(on_disconnect_, nullptr)();
  accepting = false;
  RunJobs();
}

std::string MemoryExchange::header(std::string_view name) const {
  for (const HttpHeaders* headers : {&response.headers, &headers_}) {
    for (const auto& [key, value] : *headers) {
      if (key == name) return value;
    }
  }
  return {};
}

ApiHarness::ApiHarness() : tokenizer_(MakeByteTokenizer()), template_(MakeToyTemplate()) {
  state.set_phase(ServerPhase::kServing);
  context.state = &state;
  context.clock = &clock;
  context.version = "1.2.3";
  context.model_names = {"org/toy model:1", "alias"};
  context.metrics = [](const InflightStats&, bool) { return std::string("prefixd_up 1\n"); };
  context.seeds = &seeds_;
  context.engine = &engine;
  context.tokenizer = tokenizer_.get();
  context.chat_template = template_.get();
  context.fingerprint = "fp_toy";
  context.context_length = 200;
  context.vocab_size = kToyVocab;
  context.eos = {kEndToken};
  constraints_ = std::make_unique<grammar::ConstraintCache>(
      grammar::Vocabulary::Of(*tokenizer_, context.eos, kToyVocab), grammar::ConstraintCache::Options());
  context.constraints = constraints_.get();
  AddApiRoutes(&router, &context);
}

std::shared_ptr<MemoryExchange> ApiHarness::Request(std::string method, std::string path, std::string body,
                                                    HttpHeaders headers) {
  HttpRequest request{.method = std::move(method),
                      .path = std::move(path),
                      .query = "",
                      .headers = std::move(headers),
                      .body = std::move(body)};
  auto exchange = std::make_shared<MemoryExchange>(std::move(request), budget.get());
  exchange->style = &router.ErrorsOf(exchange->request().path);
  router.Handle(exchange);
  exchange->RunJobs();
  return exchange;
}

}  // namespace prefixd::testing_support
