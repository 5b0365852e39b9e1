// A load generator for OpenAI-style servers (prefixd, vLLM, llama.cpp's server and others): sends the
// workloads of bench/serve_workload.h as streamed, greedy requests and reports latencies, throughput and the
// share of prompt tokens that the server took from its cache. Exits with 1 when a request failed.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <limits>

#include "bench/harness.h"
#include "bench/serve_load.h"
#include "bench/serve_pairs.h"

namespace prefixd::bench {
namespace {

struct Settings {
  std::vector<std::string> workloads;
  WorkloadOptions shape;
  LoadOptions load;
  std::string samples;  // a file; empty: none
  bool used_tree = false;
  int pairs = 0;  // above 0: measure pairs instead of the workloads
};

const std::vector<OptionSpec> kOptions = {
    {"URL", "", "", "the server, as in http://127.0.0.1:8080"},
    {"--workload", "NAME", "all", "shared, cold, turns, tenants or all; see bench/README.md"},
    {"--clients", "N", "", "closed loop: requests in flight at once (default: the workload's)"},
    {"--rate", "R", "", "open loop: R requests per second, Poisson arrivals"},
    {"--requests", "N", "", "requests per workload (default: the workload's)"},
    {"--output-tokens", "N", "32", "tokens of each answer"},
    {"--prefix-words", "N", "", "words of an opening (default: the workload's)"},
    {"--question-words", "N", "", "words of a user message (default: the workload's)"},
    {"--tenants", "N", "",
     "openings that the requests of tenants and shared draw from (default: the workload's)"},
    {"--seed", "N", "11", "seed of all texts and arrivals"},
    {"--model", "NAME", "", "model to ask for (default: the first of /v1/models)"},
    {"--endpoint", "NAME", "chat", "chat or completions"},
    {"--used-tree", "", "", "first fill the server's cache with related and unrelated prompts, not measured"},
    {"--pairs", "N", "", "instead: N pairs of requests, which share one token or none with a cached prompt"},
    {"--api-key", "KEY", "", "sent as a bearer token"},
    {"--timeout", "SECONDS", "600", "limit for one request"},
    {"--samples", "FILE", "", "write the seconds to the first token of each request, a line each"},
    {"--ceilings", "", "", "probe the ceilings of this machine first, which takes seconds"},
    kJsonOption};

// An error is a wrong value.
Result<Settings> ReadSettings(const Arguments& arguments) {
  Settings settings;
  WorkloadOptions& shape = settings.shape;
  LoadOptions& load = settings.load;
  std::vector<std::string> names = WorkloadNames();
  names.emplace_back("all");
  PREFIXD_ASSIGN_OR_RETURN(const std::string workload, arguments.OneOf("--workload", names));
  settings.workloads = workload == "all" ? WorkloadNames() : std::vector<std::string>{workload};
  const std::pair<const char*, int*> counts[] = {{"--clients", &shape.clients},
                                                 {"--requests", &shape.requests},
                                                 {"--prefix-words", &shape.prefix_words},
                                                 {"--question-words", &shape.question_words},
                                                 {"--tenants", &shape.tenants}};
  for (const auto& [name, value] : counts) {
    if (!arguments.Given(name)) continue;
    PREFIXD_ASSIGN_OR_RETURN(const int64_t number, arguments.Integer(name, 1, 100'000));
    *value = static_cast<int>(number);
  }
  if (arguments.Given("--pairs")) {
    PREFIXD_ASSIGN_OR_RETURN(const int64_t pairs, arguments.Integer("--pairs", 1, kMaxPairs));
    settings.pairs = static_cast<int>(pairs);
  }
  if (shape.clients > 1024)
    return InvalidArgument("--clients " + arguments.Text("--clients") + ": at most 1024");
  if (arguments.Given("--rate")) {
    if (arguments.Given("--clients")) {
      return InvalidArgument(
          "--clients (closed loop) and --rate (open loop) exclude each other; give one of them");
    }
    PREFIXD_ASSIGN_OR_RETURN(load.rate, arguments.Positive("--rate"));
  }
  PREFIXD_ASSIGN_OR_RETURN(load.output_tokens, arguments.Integer("--output-tokens", 1, 1'000'000));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t seed,
                           arguments.Integer("--seed", 0, std::numeric_limits<int64_t>::max()));
  shape.seed = load.seed = static_cast<uint64_t>(seed);
  PREFIXD_ASSIGN_OR_RETURN(const std::string endpoint,
                           arguments.OneOf("--endpoint", {"chat", "completions"}));
  load.chat = endpoint == "chat";
  PREFIXD_ASSIGN_OR_RETURN(load.server.url, ServerUrl(arguments.Text("URL")));
  PREFIXD_ASSIGN_OR_RETURN(load.server.timeout, arguments.Positive("--timeout"));
  if (load.server.timeout > 1e6)
    return InvalidArgument("--timeout " + arguments.Text("--timeout") + ": at most 1000000");
  load.server.api_key = arguments.Text("--api-key");
  load.model = arguments.Text("--model");
  settings.used_tree = arguments.Given("--used-tree");
  settings.samples = arguments.Text("--samples");
  return settings;
}

// The model to ask for: `wanted`, or the first that the server has.
Result<std::string> ChooseModel(const Server& server, const std::string& wanted) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> models, Client(server).Models());
  if (models.empty()) return NotFound(server.url + " serves no model");
  if (wanted.empty()) return models.front();
  std::string list;
  for (const std::string& model : models) {
    if (model == wanted) return wanted;
    list += (list.empty() ? "" : ", ") + model;
  }
  return NotFound("no model '" + wanted + "' at " + server.url + "; pass one of these by --model: " + list);
}

// Prints how far a workload is to stderr, at most once in some seconds.
class Progress {
 public:
  explicit Progress(const Workload& workload) : name_(workload.name), requests_(workload.requests()) {}
  void operator()(int done) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::seconds(3)) return;
    last_ = now;
    std::fprintf(stderr, "serve_bench: %s: %d of %d requests\n", name_.c_str(), done, requests_);
  }

 private:
  const std::string name_;
  const int requests_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

Summary Run(const Workload& workload, LoadOptions options) {
  options.progress = [progress = Progress(workload)](int done) mutable { progress(done); };
  const LoadResult result = RunLoad(workload, options);
  const Summary summary = Summarize(result.requests, result.seconds, options.output_tokens);
  const char* name = workload.name.c_str();
  if (summary.failed > 0) {
    std::fprintf(stderr, "serve_bench: %s: %d of %d requests failed; the first error: %s\n", name,
                 summary.failed, workload.requests(), summary.first_error.c_str());
  }
  if (summary.short_answers > 0) {
    std::fprintf(
        stderr, "serve_bench: %s: %d answers have fewer than %lld tokens; does the server know ignore_eos?\n",
        name, summary.short_answers, static_cast<long long>(options.output_tokens));
  }
  if (summary.without_usage > 0) {
    std::fprintf(
        stderr, "serve_bench: %s: %d answers came without usage; their output is counted in chunks of text\n",
        name, summary.without_usage);
  }
  return summary;
}

void AddRows(const Workload& workload, const Summary& s, double rate, Report* report) {
  const std::pair<std::string, double> load = {rate > 0 ? "rate" : "clients",
                                               rate > 0 ? rate : workload.clients};
  const auto name = [&](const char* what) { return workload.name + ": " + what; };
  report->Add(name("wall"), s.seconds, "s", {{"requests_ok", s.ok}, {"requests_failed", s.failed}, load});
  report->Add(name("ttft_p50"), s.ttft_p50, "s",
              {{"ttft_p90", s.ttft_p90}, {"ttft_p95", s.ttft_p95}, {"ttft_p99", s.ttft_p99}});
  report->Add(name("itl_p50"), s.itl_p50, "s", {{"itl_p95", s.itl_p95}});
  report->Add(name("output"), s.output_rate, "tokens/s",
              {{"output_tokens", static_cast<double>(s.output_tokens)}});
  report->Add(name("prompt"), s.prompt_rate, "tokens/s",
              {{"prompt_tokens", static_cast<double>(s.prompt_tokens)}});
  report->Add(name("cached_share"), s.cached_share, "share",
              {{"cached_tokens", static_cast<double>(s.cached_tokens)}});
}

// Returns the number of requests that failed.
int MeasurePairs(const Settings& settings, Report* report) {
  LoadOptions load = settings.load;
  load.progress = [pairs = settings.pairs](int done) {
    if (done % 50 == 0) std::fprintf(stderr, "serve_bench: %d of %d pairs\n", done, pairs);
  };
  const PairResult result = RunPairs({.pairs = settings.pairs, .seed = settings.shape.seed}, load);
  if (result.failed > 0) {
    std::fprintf(stderr, "serve_bench: %d requests failed; the first error: %s\n", result.failed,
                 result.first_error.c_str());
  }
  const double shared = Percentile(result.shared, 0.5), unshared = Percentile(result.unshared, 0.5);
  report->Add("pairs: ttft_p50 sharing one token", shared, "s",
              {{"requests", static_cast<double>(result.shared.size())}});
  report->Add("pairs: ttft_p50 sharing none", unshared, "s",
              {{"requests", static_cast<double>(result.unshared.size())}});
  report->Add("pairs: ratio", shared / unshared, "",
              {{"not_as_intended", static_cast<double>(result.unlike)}});
  if (100 * result.unlike > settings.pairs) {
    std::fprintf(stderr, "serve_bench: %d of %d pairs did not share one token and none; discard the ratio\n",
                 result.unlike, settings.pairs);
    return result.failed + 1;
  }
  return result.failed;
}

bool WriteLines(const std::vector<double>& values, const std::string& path) {
  std::ofstream file(path);
  for (const double value : values) file << value << '\n';
  file.close();
  if (!file) std::fprintf(stderr, "serve_bench: cannot write %s\n", path.c_str());
  return file.good();
}

int Main(int argc, char** argv) {
  Arguments arguments("serve_bench",
                      "Sends workloads to an OpenAI-style server and reports what it measures.", kOptions);
  arguments.ParseOrExit(argc, argv);
  Result<Settings> settings = ReadSettings(arguments);
  if (!settings.ok()) arguments.Fail(settings.status());
  Report report(arguments);
  InitializeHttp();
  LoadOptions& load = settings->load;
  const Result<std::string> model = ChooseModel(load.server, load.model);
  if (!model.ok()) {
    std::fprintf(stderr, "serve_bench: %s\n", model.status().message().c_str());
    return 1;
  }
  load.model = *model;
  arguments.Given("--ceilings") ? void(report.ProbeMachine()) : report.PrintMachine();
  std::printf("server: %s, model %s, %s, seed %llu%s\n", load.server.url.c_str(), load.model.c_str(),
              load.chat ? "chat" : "completions", static_cast<unsigned long long>(load.seed),
              settings->used_tree ? ", used tree" : "");
  std::fflush(stdout);
  int failed = 0;
  std::vector<double> samples;
  if (settings->pairs > 0) {
    settings->workloads.clear();
    failed = MeasurePairs(*settings, &report);
  }
  for (const std::string& name : settings->workloads) {
    const Workload workload = MakeWorkload(name, settings->shape);
    if (settings->used_tree) {
      LoadOptions unmeasured = load;
      unmeasured.output_tokens = 1;
      unmeasured.rate = 0;
      failed += Run(MakeCacheWarmup(workload, settings->shape.seed), unmeasured).failed;
    }
    const Summary summary = Run(workload, load);
    failed += summary.failed;
    samples.insert(samples.end(), summary.ttfts.begin(), summary.ttfts.end());
    AddRows(workload, summary, load.rate, &report);
  }
  if (!settings->samples.empty() && !WriteLines(samples, settings->samples)) failed = 1;
  const int written = report.Finish();
  return failed > 0 ? 1 : written;
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
