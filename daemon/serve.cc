#include "daemon/serve.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <future>
#include <memory>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/admin/admin_server.h"
#include "daemon/api/context.h"
#include "daemon/api/routes.h"
#include "daemon/api/tool_request.h"
#include "daemon/engine_thread.h"
#include "daemon/http/listen.h"
#include "daemon/http/router.h"
#include "daemon/http/server.h"
#include "daemon/limit_table.h"
#include "daemon/load_engine.h"
#include "daemon/log_sink.h"
#include "daemon/memory_limit.h"
#include "daemon/metrics.h"
#include "daemon/process_control.h"
#include "daemon/ready_checks.h"
#include "daemon/relaunch.h"
#include "daemon/reload.h"
#include "daemon/running_config.h"
#include "daemon/serve_settings.h"
#include "daemon/server_state.h"
#include "daemon/service_socket.h"
#include "daemon/version.h"
#include "daemon/watchdog.h"
#include "engine/engine.h"
#include "grammar/constraint_cache.h"

namespace prefixd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTick{100};  // polling interval while loading or draining
constexpr milliseconds kSampleTick{static_cast<int64_t>(1000 * RateHistory::kSampleSeconds)};
// For clients to read the errors that end their requests, when a drain is cut short and at its end.
constexpr double kCutOffSeconds = 3, kCutOffAgainSeconds = 0.5, kLastConnectionsSeconds = 1;
// Beyond the deadline of a drain: to make durable what was decided for the disk, and to let go of a disk that
// may hang.
constexpr double kSyncSeconds = 1, kCloseSeconds = 5;

// How a wait ended: what was waited for came, or the time was up, or a second signal came.
enum class Waited { kDone, kLate, kSecondSignal };

class EngineAdapter final : public EngineClient {
 public:
  explicit EngineAdapter(Engine* engine) : engine_(engine) {}
  Result<RequestId> Submit(Request request) override { return engine_->Submit(std::move(request)); }
  void Cancel(RequestId id) override { engine_->Cancel(id); }

 private:
  Engine* const engine_;
};

// Of a start that cannot listen.
ExitCode ExitCodeOf(const Status& status) {
  return status.code() == Code::kInvalidArgument ? kExitUsage : kExitFailed;
}

// Says why the daemon does not start.
ExitCode Refuse(const Status& why, ExitCode code) {
  Log(LogLevel::kError, (code == kExitModelRefused ? "model refused: " : "") + why.message());
  return code;
}

// The running daemon, from its plan to its exit code.
class ServerProcess {
 public:
  ServerProcess(const Options& options, ServePlan plan, OptionsReader reader)
      : options_(options),
        described_(std::move(plan.described)),
        plan_(std::move(plan)),
        config_(
            options, std::move(reader),
            [this](const std::vector<ApiKey>& keys) { return CheckTenantCaches(keys, plan_.cache_room); },
            &context_.api_keys, tls_.get()) {
    FillContext();
  }

  ExitCode Run(StopSignals& signals) {
    Result<HttpServerOptions> http = HttpOptionsFrom(options_, plan_.cors, router_);
    if (!http.ok()) return Refuse(http.status(), kExitUsage);
    http->tls = tls_;
    Result<std::unique_ptr<HttpServer>> server = HttpServer::Start(
        std::move(http).value(),
        [this](std::shared_ptr<Exchange> exchange) { router_.Handle(std::move(exchange)); },
        [this](const HttpRequest& head) { return router_.WantsBody(head); });
    if (!server.ok()) return Refuse(server.status(), ExitCodeOf(server.status()));
    server_ = std::move(server).value();
    Log(LogLevel::kInfo, "answering 503 until the model is loaded", {{"address", server_->url()}});
    if (const Status admin = StartAdmin(); !admin.ok()) return Refuse(admin, ExitCodeOf(admin));
    const ExitCode loaded = LoadUntilSignal(signals);
    if (loaded != kExitOk) return loaded;
    BeginServing();
    return ServeUntilSignal(signals) ? Drain(signals) : Recover(signals);
  }

 private:
  void FillContext() {
    context_.state = &state_;
    context_.clock = &clock_;
    context_.version = Version();
    context_.model_names = {plan_.served_name};
    context_.api_keys = plan_.api_keys;
    *tls_ = plan_.tls;
    context_.limits.max_logprobs = static_cast<int>(options_.max_logprobs);
    context_.started = clock_.UnixSeconds();
    context_.metrics = [this](const InflightStats& inflight, bool operators) {
      return Metrics(inflight, operators);
    };
    context_.checks = [this] { return Checks(); };
    context_.seeds = &seeds_;
    seeds_ = static_cast<uint64_t>(context_.started);
    AddApiRoutes(&router_, &context_);
  }

  Status StartAdmin() {
    if (options_.admin_listen.empty()) return Status::Ok();
    const auto view = [this]() -> EngineView* { return loading() ? nullptr : &loaded_.engine->view(); };
    AdminContext context{.api = &context_, .listen = options_.admin_listen};
    context.facts = [this] { return Facts(); };
    context.view = view;
    context.actions = [this] { return loading() ? nullptr : loaded_.actions.get(); };
    context.drain = [] { StopSignals::RaiseStop(); };
    context.counters = &admin_counters_;
    PREFIXD_ASSIGN_OR_RETURN(admin_, AdminServer::Start(std::move(context)));
    Log(LogLevel::kInfo, "the admin listener answers", {{"address", admin_->url()}});
    return Status::Ok();
  }

  bool loading() const { return state_.phase() == ServerPhase::kLoading; }
  EngineStats Stats() const { return loading() ? PlannedStats(plan_) : loaded_.engine->Stats(); }
  RemoteTierStats Remote() const { return loading() ? RemoteTierStats() : loaded_.tiers->remote(); }
  DiskTierStats Disk() const { return loading() ? PlannedDisk(plan_) : loaded_.tiers->disk(); }

  AdminFacts Facts() const {
    return {.version = std::string(Version()),
            .revision = std::string(Revision()),
            .model = plan_.served_name,
            .backend = plan_.backend,
            .threads = plan_.threads.count,
            .block_tokens = plan_.limits.block_tokens,
            .started = context_.started,
            .config = ChangedOptions(config_.options()),
            .engine = Stats(),
            .disk = Disk(),
            .remote = Remote()};
  }

  std::string Metrics(const InflightStats& inflight, bool operators) const {
    MetricsSnapshot snapshot;
    snapshot.engine = operators ? Stats() : WithoutTenants(Stats());
    snapshot.disk = Disk();
    if (!loading()) snapshot.fingerprint = loaded_.engine->options().fingerprint;
    snapshot.remote = Remote();
    snapshot.warm = warm_.stats();
    if (!loading() && loaded_.hot_list != nullptr) snapshot.hot_list = loaded_.hot_list->stats();
    snapshot.process = ReadProcessUsage();
    snapshot.inflight = inflight;
    snapshot.answers = context_.answers->Read();
    if (operators && !context_.api_keys.empty()) snapshot.tenants = context_.api_keys.taken();
    snapshot.remembered_bytes = context_.remembered->bytes();
    if (!loading()) snapshot.formats = constraints_->counts();
    if (!loading() && loaded_.events != nullptr) snapshot.events = loaded_.events->stats();
    snapshot.model_name = plan_.served_name;
    snapshot.version = Version();
    snapshot.revision = Revision();
    snapshot.block_tokens = plan_.limits.block_tokens;
    snapshot.dropped_admin_streams = admin_counters_.dropped_streams;
    snapshot.ready = state_.phase() == ServerPhase::kServing;
    return RenderMetrics(snapshot);
  }

  ReadyChecks Checks() const {
    const ServerPhase phase = state_.phase();
    std::string_view lost_device;
    if (plan_.replaces_lost_device) lost_device = plan_.without_cuda;
    ReadyChecks checks = phase == ServerPhase::kLoading
                             ? ReadyChecksOf(phase, {}, {}, lost_device, {}, warm_.stats())
                             : ReadyChecksOf(phase, loaded_.engine->Stats(), loaded_.tiers->disk(),
                                             lost_device, loaded_.tiers->remote(), warm_.stats());
    checks.emplace_back("configuration", config_.check());
    return checks;
  }

  // A signal in this phase ends the process, since no request has been accepted yet.
  ExitCode LoadUntilSignal(StopSignals& signals) {
    const double begun = clock_.NowSeconds();
    ExitCode code = kExitOk;
    const bool draws = options_.log_format == "text" && isatty(STDERR_FILENO) == 1;
    std::future<Result<LoadedEngine>> load = std::async(std::launch::async, [this, draws, &code] {
      return LoadEngine(options_, plan_, std::move(*described_), &clock_, draws, &warm_, &code);
    });
    while (load.wait_for(kTick) != std::future_status::ready) {
      // The service manager watches a relaunched process as the one that was ready before.
      if (WasRelaunched()) NotifyWatchdog();
      if (!signals.Wait(milliseconds(0))) continue;
      Log(LogLevel::kInfo, "stopped while loading");
      NotifyStopping("stopped while loading");
      server_->Stop();  // removes a Unix socket; the load itself cannot be cancelled
      admin_.reset();
      ExitNow(kExitOk);
    }
    Result<LoadedEngine> result = load.get();
    if (!result.ok()) return Refuse(result.status(), code);
    loaded_ = std::move(result).value();
    Log(LogLevel::kInfo, "model loaded",
        {{"seconds", clock_.NowSeconds() - begun},
         {"backend", loaded_.backend->name()},
         {"threads", loaded_.backend->threads()},
         {"weights", FormatSize(loaded_.model->weight_bytes)},
         {"step_memory", FormatSize(loaded_.model->runner->memory().total())},
         {"fingerprint", ToHex(loaded_.engine->options().fingerprint)}});
    return kExitOk;
  }

  void BeginServing() {
    tokens_ = std::make_unique<EngineAdapter>(loaded_.engine.get());
    context_.engine = tokens_.get();
    context_.queue_share = plan_.limits.max_queue / 2;
    context_.token_share = plan_.limits.max_tokens / 2;
    loaded_.Describe(&context_);
    SetOutputFormat(options_.tool_format, options_.reasoning_format != "none", &context_);
    context_.special_tokens_in_content = options_.special_tokens_in_content;
    context_.reuse_generated_ids = options_.reuse_generated_ids;
    context_.context_length = plan_.limits.context;
    context_.max_prompt_bytes =
        loaded_.model->tokenizer->max_bytes_per_token() * static_cast<size_t>(plan_.limits.context);
    constraints_ = std::make_unique<grammar::ConstraintCache>(
        grammar::Vocabulary::Of(*context_.tokenizer, context_.eos, context_.vocab_size, context_.markers),
        grammar::ConstraintCache::Options{.most_cached = Limit<size_t>("cached-formats"),
                                          .most_bytes = Limit<size_t>("format-bytes"),
                                          .most_mask_bytes = Limit<size_t>("format-mask-bytes")});
    context_.constraints = constraints_.get();
    context_.defaults = SamplingDefaults(loaded_.model->generation);
    loaded_.SetTenants(context_.api_keys.Read());
    engine_thread_ = std::make_unique<EngineThread>(loaded_.engine.get());
    state_.set_phase(ServerPhase::kServing);
    NotifyReady("serving " + plan_.served_name + " on " + server_->url());
    std::printf("listening on %s\n", server_->url().c_str());
    std::fflush(stdout);
    loaded_.FillPageCache();
  }

  // Without an engine thread the process ends, in a time of its own.
  void TickWatchdog() {
    if (engine_thread_ == nullptr || watchdog_.Tick(engine_thread_->progress())) NotifyWatchdog();
  }

  void Reload() {
    config_.Reload();
    loaded_.SetTenants(context_.api_keys.Read());
  }

  // Returns false when the device is lost.
  bool ServeUntilSignal(StopSignals& signals) {
    milliseconds tick = plan_.device_info ? std::min(watchdog_.tick(), kTick) : watchdog_.tick();
    if (admin_ != nullptr) tick = std::min(tick, kSampleTick);
    do {
      TickWatchdog();
      if (loaded_.backend->lost()) return false;
      if (signals.TakeReload()) Reload();
      if (admin_ != nullptr) admin_->Sample();
    } while (!signals.Wait(tick));
    return true;
  }

  // The device is lost: every step fails, and ends its requests with an error. New ones are answered 503
  // while what the host tier has alone goes to the disk cache. Then the process executes its program again,
  // once, also when the disk was too slow. After a signal it ends in its place.
  ExitCode Recover(StopSignals& signals) {
    BeginDraining();
    NotifyStatus("the device is lost");
    Log(LogLevel::kError, "the device is lost; all requests end with an error",
        {{"running", loaded_.engine->Stats().running},
         {"relaunched_before", WasRelaunched() ? "yes" : "no"}});
    const double begun = clock_.NowSeconds();
    const Waited ended = WaitUntil(signals, begun + kCutOffSeconds,
                                   [this] { return loaded_.engine->idle() && server_->WaitIdle(0); });
    if (ended == Waited::kSecondSignal) EndAtOnce();
    const double deadline = begun + static_cast<double>(options_.drain_seconds);
    const bool written = SpillAll(signals, deadline);
    const int listener = stopping_ || WasRelaunched() ? -1 : server_->HandOverListener();
    server_->InterruptExchanges();
    if (WaitForConnections(signals, kLastConnectionsSeconds) == Waited::kSecondSignal) EndAtOnce();
    const bool closed = written && Close(signals, deadline + kCloseSeconds);
    if (!stopping_ && !WasRelaunched()) {
      Log(LogLevel::kWarning, "the process begins anew, because no process may use a lost device again");
      Log(LogLevel::kError, Relaunch(listener, options_.listen).message());
    } else if (stopping_ && closed) {
      Log(LogLevel::kInfo, "stopped");
    } else if (!stopping_) {
      Log(LogLevel::kError, "the device is lost again; ended");
    }
    if (listener >= 0 && !HasServiceListener()) CloseListener(listener);
    const ExitCode code = stopping_ && closed ? kExitOk : kExitFailed;
    if (!closed) ExitNow(code);
    return code;
  }

  ExitCode Drain(StopSignals& signals) {
    // New requests are refused from now on. The engine still takes the sequences of those that run in turn.
    BeginDraining();
    BeginStopping();
    Log(LogLevel::kInfo, "draining",
        {{"seconds", options_.drain_seconds}, {"running", loaded_.engine->Stats().running}});
    // Who connects now waits for the next process, instead of being refused by this one.
    if (HasServiceListener()) server_->StopAccepting();
    const double deadline = clock_.NowSeconds() + static_cast<double>(options_.drain_seconds);
    while (!(loaded_.engine->idle() && server_->WaitIdle(0))) {
      TickWatchdog();
      const bool again = signals.Wait(kTick);
      if (!again && clock_.NowSeconds() < deadline) continue;
      CutOff(signals, again);
    }
    server_->InterruptExchanges();  // bodies that have not arrived in full
    if (WaitForConnections(signals, kLastConnectionsSeconds) == Waited::kSecondSignal) EndAtOnce();
    if (!SpillAll(signals, deadline) || !Close(signals, deadline + kCloseSeconds)) ExitNow(kExitFailed);
    Log(LogLevel::kInfo, "stopped");
    return kExitOk;
  }

  void BeginDraining() {
    state_.set_phase(ServerPhase::kDraining);
    loaded_.page_cache.reset();  // the disk is for what a drain writes
  }

  void BeginStopping() {
    stopping_ = true;
    NotifyStopping("draining");
  }

  // Writes what is worth it to the disk cache, until the deadline. What was decided for it before, and not
  // deferred, has a second in any case; without time to drain it is all that is written. Returns false when
  // this was too short: the disk may hang, so nothing may wait for it any more.
  bool SpillAll(StopSignals& signals, double deadline) {
    const DiskPlan& disk = plan_.tiers.disk;
    if (!disk.on) return true;
    const double begun = clock_.NowSeconds();
    const DiskStoreStats before = loaded_.tiers->disk().store;
    const bool spills = options_.drain_seconds > 0;
    // What is there already may have half of the disk cache.
    const uint64_t most_blocks = disk.capacity / 2 / loaded_.engine->Stats().block_bytes + 1;
    loaded_.engine->SpillAll(spills ? most_blocks : 0);
    const Waited spilled = WaitUntil(signals, std::max(deadline, begun + kSyncSeconds), [this] {
      const EngineStats stats = loaded_.engine->Stats();
      return stats.spills_all && stats.pending_disk_blocks == 0;
    });
    if (spilled == Waited::kSecondSignal) EndAtOnce();
    synced_ = std::async(std::launch::async, [this] { return loaded_.tiers->SyncDisk(); });
    const Waited synced = WaitUntil(signals, std::max(deadline, clock_.NowSeconds() + kSyncSeconds),
                                    [this] { return IsReady(synced_); });
    if (synced == Waited::kSecondSignal) EndAtOnce();
    if (spilled == Waited::kLate || synced == Waited::kLate) {
      Log(LogLevel::kError, "drain-seconds ran out before the disk cache was written",
          {{"seconds", clock_.NowSeconds() - begun},
           {"spilled", spilled == Waited::kDone ? "all" : "a part"}});
      return false;
    }
    LogWritten(before, synced_.get(), clock_.NowSeconds() - begun);
    return true;
  }

  // What a drain has done with the blocks that were in memory alone.
  void LogWritten(const DiskStoreStats& before, const Status& synced, double seconds) const {
    const DiskTierStats disk = loaded_.tiers->disk();
    const uint64_t written = disk.store.written_bytes - before.written_bytes;
    const uint64_t lost = disk.store.lost_records - before.lost_records;
    const std::string error = !synced.ok()               ? synced.ToString()
                              : disk.store.writing_fails ? disk.store.last_write_error
                                                         : "";
    if (!error.empty()) {
      Log(LogLevel::kWarning, "the disk cache lacks blocks that were in memory alone",
          {{"error", error}, {"bytes", written}, {"lost_records", lost}, {"seconds", seconds}});
      return;
    }
    Log(LogLevel::kInfo,
        options_.drain_seconds > 0 ? "disk cache written"
                                   : "the disk cache got only what was decided for it before",
        {{"bytes", written}, {"seconds", seconds}});
  }

  // Destroys what waits for the disk: jobs of the tiers that have not ended, and the store. Returns false
  // when that is too slow, as SpillAll.
  bool Close(StopSignals& signals, double deadline) {
    engine_thread_.reset();  // no exchange is left to report to
    server_->Stop();
    admin_.reset();  // it asks the engine
    if (loaded_.events != nullptr) loaded_.events->Stop();
    closed_ = std::async(std::launch::async, [this] { loaded_.Close(); });
    const Waited waited = WaitUntil(signals, deadline, [this] { return IsReady(closed_); });
    if (waited == Waited::kDone) return true;
    if (waited == Waited::kSecondSignal) EndAtOnce();
    Log(LogLevel::kError, "the disk cache hangs; ended without closing it");
    return false;
  }

  // After a second signal, when no request is left that could be cut.
  [[noreturn]] static void EndAtOnce() {
    Log(LogLevel::kError, "ended by a second signal");
    ExitNow(kExitFailed);
  }

  // Ends all requests with an error that their clients can read, and the process. Does not wait long for
  // clients that do not read, and shorter yet after a second signal.
  [[noreturn]] void CutOff(StopSignals& signals, bool second_signal) {
    Log(LogLevel::kError,
        second_signal ? "ended by a second signal; running requests were cut"
                      : "drain-seconds ran out; running requests were cut",
        {{"running", loaded_.engine->Stats().running}});
    server_->InterruptExchanges();
    (void)WaitForConnections(signals, second_signal ? kCutOffAgainSeconds : kCutOffSeconds);
    ExitNow(kExitFailed);
  }

  // Waits until `done()` is true. The first signal does not end the wait.
  template <typename Done>
  Waited WaitUntil(StopSignals& signals, double deadline, const Done& done) {
    while (!done()) {
      if (clock_.NowSeconds() >= deadline) return Waited::kLate;
      if (signals.Wait(milliseconds(10))) {
        if (stopping_) return Waited::kSecondSignal;
        BeginStopping();
      }
      TickWatchdog();
    }
    return Waited::kDone;
  }

  template <typename Value>
  static bool IsReady(const std::future<Value>& future) {
    return future.wait_for(milliseconds(0)) == std::future_status::ready;
  }

  // Until all clients have read what they get, or `seconds` have passed.
  Waited WaitForConnections(StopSignals& signals, double seconds) {
    return WaitUntil(signals, clock_.NowSeconds() + seconds, [this] { return server_->connections() == 0; });
  }

  // Ends the process without destructors, because other threads may still use the objects.
  [[noreturn]] static void ExitNow(ExitCode code) {
    std::fflush(stdout);
    _exit(code);
  }

  const Options& options_;
  const std::unique_ptr<DescribedModel> described_;  // moved from when the load begins
  const ServePlan plan_;
  const SystemClock clock_;
  WarmStart warm_{&clock_, plan_.tiers.remote.warm_bytes > 0};
  Watchdog watchdog_{WatchdogInterval()};
  std::atomic<uint64_t> seeds_{0};
  ServerState state_;
  bool stopping_ = false;  // since the first signal
  std::unique_ptr<grammar::ConstraintCache> constraints_;
  const std::shared_ptr<TlsContext> tls_ = std::make_shared<TlsContext>();
  ApiContext context_;
  AdminCounters admin_counters_;
  RunningConfig config_;
  Router router_;
  LoadedEngine loaded_;
  std::unique_ptr<EngineAdapter> tokens_;
  // Both are destroyed before the members that their handlers use.
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<EngineThread> engine_thread_;
  // The last work on the disk. Whoever destroys one of them waits for it, so they are not local.
  std::future<Status> synced_;
  std::future<void> closed_;
};

}  // namespace

ExitCode Serve(const Options& options, const std::vector<std::string>& warnings, OptionsReader reader) {
  InstallLogSink(options.log_level, options.log_format == "json" ? LogFormat::kJson : LogFormat::kText);
  for (const std::string& warning : warnings) Log(LogLevel::kWarning, warning);
  StopSignals signals;  // before the first thread
  ExitCode code = kExitOk;
  Result<ServePlan> plan = MakeServePlan(options, ReadMemoryState(), &code);
  if (!plan.ok()) return Refuse(plan.status(), code);
  LogPlan(options, *plan);
  return ServerProcess(options, std::move(plan).value(), std::move(reader)).Run(signals);
}

}  // namespace prefixd
