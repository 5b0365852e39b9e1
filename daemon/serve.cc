#include "daemon/serve.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <future>
#include <memory>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/api/context.h"
#include "daemon/api/routes.h"
#include "daemon/engine_thread.h"
#include "daemon/http/router.h"
#include "daemon/http/server.h"
#include "daemon/limit_table.h"
#include "daemon/log_sink.h"
#include "daemon/memory_limit.h"
#include "daemon/metrics.h"
#include "daemon/process_control.h"
#include "daemon/server_state.h"
#include "daemon/version.h"
#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "hashing/fingerprint.h"
#include "kernels/registry.h"

namespace prefixd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTick{
    100};  // while loading or draining; also the least interval between signs of life
constexpr std::chrono::seconds kLoadingPatience{120};  // between two signs of progress of a load
constexpr double kProgressSeconds = 3;                 // between two lines about it

// What a load gives: the engine and all below it, in the order of their lives.
struct LoadedEngine {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<LoadedModel> model;
  std::unique_ptr<Engine> engine;
};

class EngineAdapter final : public EngineClient {
 public:
  explicit EngineAdapter(Engine* engine) : engine_(engine) {}
  Result<RequestId> Submit(Request request) override { return engine_->Submit(std::move(request)); }
  void Cancel(RequestId id) override { engine_->Cancel(id); }

 private:
  Engine* const engine_;
};

// Tells the log every few seconds how far a long load is, and the service manager that it goes on.
LoadProgress TellProgress(const Clock* clock) {
  return [clock, begun = clock->NowSeconds(), told = clock->NowSeconds()](double share) mutable {
    const double now = clock->NowSeconds();
    if (now - told < kProgressSeconds) return;
    told = now;
    const int percent = static_cast<int>(share * 100);
    Log(LogLevel::kInfo, "loading weights", {{"percent", percent}, {"seconds", now - begun}});
    NotifyLoading("loading: weights " + std::to_string(percent) + " %", kLoadingPatience);
  };
}

Result<LoadedEngine> Load(const Options& options, const Plan& plan, const Clock* clock) {
  LoadedEngine loaded;
  const int threads = options.threads == kAuto ? 0 : static_cast<int>(options.threads);
  PREFIXD_ASSIGN_OR_RETURN(loaded.backend, CreateBackend(plan.backend, threads));
  const Limits& limits = plan.limits;
  const LoadOptions load{.limits = StepLimits(options, limits.context), .chat_template = plan.chat_template};
  PREFIXD_ASSIGN_OR_RETURN(loaded.model,
                           LoadModel(options.model, *loaded.backend, load, TellProgress(clock)));
  const Transformer& transformer = *loaded.model->transformer;
  const KvLayout layout = transformer.kv_layout(limits.block_tokens, plan.kv_dtype);
  const EngineOptions engine{.context = limits.context,
                             .max_sequences = limits.max_sequences,
                             .step_tokens = limits.step_tokens,
                             .max_queue = limits.max_queue,
                             .prompt_logit_rows = Limit("prompt-logit-rows"),
                             .block_tokens = limits.block_tokens,
                             .blocks = limits.blocks,
                             .kv_dtype = plan.kv_dtype,
                             .prefix_cache = !options.no_prefix_cache,
                             .eos = loaded.model->eos,
                             .fingerprint = Fingerprint(IdentityOf(transformer, *loaded.backend, layout))};
  PREFIXD_ASSIGN_OR_RETURN(
      loaded.engine, Engine::Create(engine, loaded.model->transformer.get(), loaded.backend.get(), clock));
  return loaded;
}

SamplingParams Defaults(const GenerationDefaults& recommended) {
  SamplingParams sampling;
  sampling.temperature = recommended.temperature.value_or(sampling.temperature);
  if (recommended.do_sample == false) sampling.temperature = 0;
  sampling.top_p = recommended.top_p.value_or(sampling.top_p);
  sampling.top_k = recommended.top_k.value_or(sampling.top_k);
  sampling.min_p = recommended.min_p.value_or(sampling.min_p);
  sampling.repetition_penalty = recommended.repetition_penalty.value_or(sampling.repetition_penalty);
  return sampling;
}

HttpServerOptions HttpOptions(const Options& options) {
  HttpServerOptions http;
  http.listen = options.listen;
  http.io_threads = static_cast<int>(options.io_threads);
  http.max_connections = static_cast<int>(options.max_connections);
  http.max_body_bytes = static_cast<size_t>(options.max_body);
  http.max_bodies_bytes = static_cast<size_t>(options.max_bodies);
  http.max_backlog_bytes = static_cast<size_t>(options.stream_backlog);
  http.header_seconds = static_cast<double>(options.header_seconds);
  http.body_seconds = static_cast<double>(options.body_seconds);
  http.idle_seconds = static_cast<double>(options.idle_seconds);
  return http;
}

// The process between its plan and its end.
class ServerProcess {
 public:
  ServerProcess(const Options& options, Plan plan) : options_(options), plan_(std::move(plan)) {
    FillContext();
  }

  ExitCode Run(StopSignals& signals) {
    Result<std::unique_ptr<HttpServer>> server = HttpServer::Start(
        HttpOptions(options_),
        [this](std::shared_ptr<Exchange> exchange) { router_.Handle(std::move(exchange)); });
    if (!server.ok()) {
      Log(LogLevel::kError, server.status().message());
      return server.status().code() == Code::kInvalidArgument ? kExitWrongUsage : kExitFailed;
    }
    server_ = std::move(server).value();
    Log(LogLevel::kInfo, "answering 503 until the model is loaded", {{"address", server_->url()}});
    const ExitCode loaded = LoadWhileWatching(signals);
    if (loaded != kExitWell) return loaded;
    BeginServing();
    WatchUntilSignal(signals);
    return Drain(signals);
  }

 private:
  void FillContext() {
    context_.state = &state_;
    context_.clock = &clock_;
    context_.version = Version();
    context_.model_names = {plan_.served_name};
    context_.api_keys = plan_.api_keys;
    context_.limits.max_logprobs = static_cast<int>(options_.max_logprobs);
    context_.started = clock_.UnixSeconds();
    context_.metrics = [this] { return Metrics(); };
    context_.checks = [this] { return Checks(); };
    context_.seeds = &seeds_;
    seeds_ = static_cast<uint64_t>(context_.started);
    AddApiRoutes(&router_, &context_);
  }

  std::string Metrics() const {
    MetricsSnapshot snapshot;
    const ServerPhase phase = state_.phase();
    if (phase != ServerPhase::kLoading) snapshot.engine = loaded_.engine->Stats();
    snapshot.process = ReadProcessUsage();
    snapshot.model_name = plan_.served_name;
    snapshot.version = Version();
    snapshot.block_tokens = plan_.limits.block_tokens;
    snapshot.ready = phase == ServerPhase::kServing;
    return RenderMetrics(snapshot);
  }

  ReadyChecks Checks() const {
    const std::string model = state_.phase() == ServerPhase::kLoading ? "loading" : "ok";
    return {{"model", model}, {"device", model}, {"host", "off"}, {"disk", "off"}};
  }

  // A signal in this phase ends the process: nothing has been accepted yet.
  ExitCode LoadWhileWatching(StopSignals& signals) {
    const double begun = clock_.NowSeconds();
    std::future<Result<LoadedEngine>> load =
        std::async(std::launch::async, [this] { return Load(options_, plan_, &clock_); });
    while (load.wait_for(milliseconds(0)) != std::future_status::ready) {
      if (!signals.Wait(kTick)) continue;
      Log(LogLevel::kInfo, "stopped while loading");
      NotifyStopping("stopped while loading");
      server_->Stop();  // removes a Unix socket; the load itself cannot be called off
      EndNow(kExitWell);
    }
    Result<LoadedEngine> result = load.get();
    if (!result.ok()) {
      Log(LogLevel::kError, "model refused: " + result.status().message());
      return kExitModelRefused;
    }
    loaded_ = std::move(result).value();
    const Transformer& transformer = *loaded_.model->transformer;
    Log(LogLevel::kInfo, "model loaded",
        {{"seconds", clock_.NowSeconds() - begun},
         {"backend", loaded_.backend->name()},
         {"threads", loaded_.backend->threads()},
         {"weights", FormatSize(transformer.weight_bytes())},
         {"activations", FormatSize(transformer.activation_bytes())}});
    return kExitWell;
  }

  void BeginServing() {
    tokens_ = std::make_unique<EngineAdapter>(loaded_.engine.get());
    context_.engine = tokens_.get();
    context_.tokenizer = loaded_.model->tokenizer.get();
    context_.chat_template = loaded_.model->chat_template.get();
    context_.fingerprint = "fp_" + ToHex(loaded_.engine->options().fingerprint).substr(0, 12);
    context_.context_length = plan_.limits.context;
    context_.max_prompt_bytes =
        loaded_.model->tokenizer->max_bytes_per_token() * static_cast<size_t>(plan_.limits.context);
    context_.vocab_size = loaded_.model->config.vocab;
    context_.cache_block_tokens = options_.no_prefix_cache ? 0 : plan_.limits.block_tokens;
    context_.eos = loaded_.model->eos;
    context_.defaults = Defaults(loaded_.model->generation);
    engine_thread_ = std::make_unique<EngineThread>(loaded_.engine.get());
    state_.set_phase(ServerPhase::kServing);
    NotifyReady("serving " + plan_.served_name + " on " + server_->url());
    std::printf("listening on %s\n", server_->url().c_str());
    std::fflush(stdout);
  }

  // The engine thread is the witness: no progress, no sign.
  void TickWatchdog() {
    const uint64_t progress = engine_thread_->progress();
    if (watchdog_ && progress != watched_progress_) NotifyWatchdog();
    watched_progress_ = progress;
  }

  void WatchUntilSignal(StopSignals& signals) {
    milliseconds tick{3600'000};
    if (watchdog_) tick = std::max(kTick, std::chrono::duration_cast<milliseconds>(*watchdog_ / 3));
    while (!signals.Wait(tick)) TickWatchdog();
  }

  ExitCode Drain(StopSignals& signals) {
    state_.set_phase(ServerPhase::kDraining);
    loaded_.engine->Drain();
    NotifyStopping("draining");
    Log(LogLevel::kInfo, "draining",
        {{"seconds", options_.drain_seconds}, {"running", loaded_.engine->Stats().running}});
    const double deadline = clock_.NowSeconds() + static_cast<double>(options_.drain_seconds);
    while (!(loaded_.engine->idle() && server_->WaitIdle(0))) {
      TickWatchdog();
      const bool again = signals.Wait(kTick);
      if (!again && clock_.NowSeconds() < deadline) continue;
      Log(LogLevel::kError,
          again ? "ended by a second signal; running requests were cut"
                : "drain-seconds ran out; running requests were cut",
          {{"running", loaded_.engine->Stats().running}});
      EndNow(kExitFailed);
    }
    server_->StopAccepting();
    server_->WaitIdle(1);
    engine_thread_.reset();  // nothing is left that it would report to
    server_->Stop();
    Log(LogLevel::kInfo, "stopped");
    return kExitWell;
  }

  // Threads may hold what destructors would take away.
  [[noreturn]] static void EndNow(ExitCode code) {
    std::fflush(stdout);
    _exit(code);
  }

  const Options& options_;
  const Plan plan_;
  const SystemClock clock_;
  const std::optional<std::chrono::microseconds> watchdog_ = WatchdogInterval();
  uint64_t watched_progress_ = 0;
  std::atomic<uint64_t> seeds_{0};
  ServerState state_;
  ApiContext context_;
  Router router_;
  LoadedEngine loaded_;
  std::unique_ptr<EngineAdapter> tokens_;
  std::unique_ptr<HttpServer> server_;  // goes before what its handlers use
  std::unique_ptr<EngineThread> engine_thread_;
};

// Three lines: the program, the model, the limits.
void LogPlan(const Options& options, const Plan& plan) {
  const ModelSummary& model = plan.model;
  const Limits& limits = plan.limits;
  Log(LogLevel::kInfo, "starting",
      {{"version", Version()}, {"model", options.model}, {"backend", plan.backend}});
  Log(LogLevel::kInfo, "model",
      {{"name", plan.served_name},
       {"architecture", CanonicalArchitecture(model.config)},
       {"parameters", model.parameters},
       {"weights", FormatSize(model.weight_bytes)},
       {"tokenizer", model.tokenizer.kind},
       {"chat_template", model.chat_template ? model.chat_template->place : "none"}});
  Log(LogLevel::kInfo, "limits",
      {{"context", limits.context},
       {"max_sequences", limits.max_sequences},
       {"step_tokens", limits.step_tokens},
       {"max_queue", limits.max_queue},
       {"max_connections", options.max_connections},
       {"device_cache", FormatSize(limits.device_cache_bytes)},
       {"blocks", limits.blocks},
       {"block_tokens", limits.block_tokens},
       {"kv_dtype", DTypeName(plan.kv_dtype)},
       {"kv_bytes_per_token", limits.kv_bytes_per_token}});
  for (const std::string& warning : limits.warnings) Log(LogLevel::kWarning, warning);
}

}  // namespace

ExitCode Serve(const Options& options, const std::vector<std::string>& warnings) {
  InstallLogSink(options.log_level, options.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  for (const std::string& warning : warnings) Log(LogLevel::kWarning, warning);
  StopSignals signals;  // before the first thread
  ExitCode code = kExitWell;
  Result<Plan> plan = MakePlan(options, ReadMemoryState(), &code);
  if (!plan.ok()) {
    Log(LogLevel::kError, (code == kExitModelRefused ? "model refused: " : "") + plan.status().message());
    return code;
  }
  LogPlan(options, *plan);
  return ServerProcess(options, std::move(plan).value()).Run(signals);
}

}  // namespace prefixd
