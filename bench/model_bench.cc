// Times the steps of a model folder through ModelRunner: prefill of a prompt and single decode steps,
// compared with the machine's ceilings. kernel_bench times the ops; model_bench uses the real shapes, the
// chunking and everything that runs between the ops.
//
// prefill: --prompt tokens of one sequence in chunks of --chunk; its FLOP/s over the FMA peak of the
// instruction set. decode: --decode steps, each one token of --sequences sequences that have --prompt tokens;
// the bytes of weights and KV that a step must read per second, over the read bandwidth.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "kernels/registry.h"
#include "model/mapped_file.h"
#include "model/model_loader.h"
#include "model/weights.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(1);
}

int Number(const Arguments& arguments, const char* name, int low = 1) {
  return static_cast<int>(arguments.IntegerOrExit(name, low, 1 << 24));
}

DType KvDType(const Arguments& arguments) {
  const Result<std::string> name = arguments.OneOf("--kv-dtype", {"f32", "f16", "bf16"});
  if (!name.ok()) arguments.Fail(name.status());
  return *name == "f32" ? DType::kF32 : *name == "f16" ? DType::kF16 : DType::kBF16;
}

// Multiplications and additions of a prefill of `tokens` tokens with one row of logits.
double PrefillFlop(const ModelConfig& c, double tokens) {
  const double layer =
      2.0 * c.hidden * c.QueryWidth() + 2.0 * c.hidden * c.KvWidth() + 3.0 * c.hidden * c.intermediate;
  const double attention = 2.0 * c.QueryWidth() * tokens * (tokens + 1) / 2;  // scores and sums
  return 2 * (c.layers * (layer * tokens + attention) + 1.0 * c.vocab * c.hidden);
}

// Bytes of weights that every step reads: all weights except an embedding that is not also the lm_head.
double StepWeightBytes(const ModelConfig& config, const WeightFiles& files) {
  double bytes = 0;
  for (const WeightSpec& spec : RequiredWeights(config)) {
    if (config.tied_embeddings || spec.name != kEmbeddingWeight)
      bytes += static_cast<double>(files.Find(spec.name)->bytes.size());
  }
  return bytes;
}

struct Settings {
  int prompt, chunk, decode, sequences;
  DType kv_dtype;
  int context() const { return prompt + decode; }
};

// Runs steps of several sequences that share one pool; each sequence has its own blocks.
class Runner {
 public:
  Runner(ModelRunner& model, Backend& backend, const Settings& settings)
      : model_(model), blocks_((settings.context() + kBlockTokens - 1) / kBlockTokens) {
    const KvLayout layout = model.shape().Kv(kBlockTokens, settings.kv_dtype);
    pool_ = OrDie(backend.AllocateKv(layout, static_cast<uint32_t>(blocks_ * settings.sequences)));
    for (int s = 0; s < settings.sequences; ++s) {
      std::vector<BlockId>& table = tables_.emplace_back();
      for (int b = 0; b < blocks_; ++b) table.push_back(static_cast<BlockId>(b * settings.sequences + s));
    }
  }

  void Prefill(int sequence, int tokens, int chunk) {
    for (int done = 0; done < tokens; done += chunk) {
      const int rows = std::min(chunk, tokens - done);
      const bool last = done + rows == tokens;
      Step(std::vector<SequenceSpan>{{0, rows, done, tables_[sequence]}}, rows,
           last ? std::vector<int>{rows - 1} : std::vector<int>());
    }
  }

  // Decodes one token of every sequence.
  void Decode(int position) {
    std::vector<SequenceSpan> spans;
    std::vector<int> rows;
    for (size_t s = 0; s < tables_.size(); ++s) {
      rows.push_back(static_cast<int>(s));
      spans.push_back({rows.back(), 1, position, tables_[s]});
    }
    Step(spans, static_cast<int>(rows.size()), rows);
  }

 private:
  void Step(const std::vector<SequenceSpan>& spans, int rows, const std::vector<int>& logit_rows) {
    tokens_.resize(rows);
    for (int i = 0; i < rows; ++i) tokens_[i] = (spans[0].position + i * 7919) % model_.shape().vocab;
    std::vector<LogitRow> rows_with_logits(logit_rows.size());
    for (size_t i = 0; i < logit_rows.size(); ++i) {
      rows_with_logits[i].row = logit_rows[i];
      rows_with_logits[i].draw.params.temperature = 0;
    }
    model_.Launch({{tokens_, spans}, rows_with_logits, pool_.get()}, {});
    const Status status = model_.Collect();
    if (!status.ok()) std::exit(1);
  }

  ModelRunner& model_;
  int blocks_;
  std::unique_ptr<KvPool> pool_;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<TokenId> tokens_;
};

Settings ReadSettings(const Arguments& arguments) {
  Settings settings;
  settings.prompt = Number(arguments, "--prompt");
  settings.chunk = Number(arguments, "--chunk");
  settings.decode = Number(arguments, "--decode");
  settings.sequences = Number(arguments, "--sequences");
  settings.kv_dtype = KvDType(arguments);
  return settings;
}

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments(
      "model_bench", "Times the forward pass of a model: prefill and decode.",
      {{"--model", "DIR", "", "model folder; required; make_model writes one with random weights"},
       {"--backend", "NAME", "auto", "kernels to time, as in `prefixd serve --backend`"},
       {"--threads", "N", "0", "compute threads; 0: one per CPU"},
       {"--kv-dtype", "TYPE", "f16", "f32, f16 or bf16"},
       {"--prompt", "N", "512", "prompt tokens"},
       {"--chunk", "N", "512", "prompt tokens per step"},
       {"--decode", "N", "32", "decode steps per run"},
       {"--sequences", "N", "1", "sequences that decode together"},
       {"--runs", "N", "5", "timed runs"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  return arguments;
}

int Main(int argc, char** argv) {
  const Arguments arguments = ParseArguments(argc, argv);
  const Settings settings = ReadSettings(arguments);
  const int runs = Number(arguments, "--runs");
  const int threads = Number(arguments, "--threads", 0);
  const std::string folder = arguments.Text("--model");
  if (folder.empty()) arguments.Fail(InvalidArgument("--model DIR is missing; make_model writes one"));
  Report report(arguments);
  const ModelConfig config = OrDie(ParseModelConfig(OrDie(ReadSmallFile(folder + "/config.json", 1 << 20))));
  const WeightFiles files = OrDie(WeightFiles::Open(folder));
  const auto backend = OrDie(CreateBackend(arguments.Text("--backend"), threads));
  const std::string name(backend->name());
  const Ceilings& ceilings = report.PrintMachine();

  const auto start = std::chrono::steady_clock::now();
  const StepLimits limits = {settings.context(), std::max(settings.chunk, settings.sequences),
                             settings.sequences};
  LoadedPlan plan = OrDie(LoadPlan(config, files, *backend, limits.context, {}));
  const auto model = OrDie(backend->CreateRunner(std::move(plan.plan), limits));
  const double load = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.Add("load", load, "s", {{"bytes", static_cast<double>(files.total_bytes())}});

  Runner runner(*model, *backend, settings);
  const Timing prefill = Measure(runs, [&] { runner.Prefill(0, settings.prompt, settings.chunk); });
  const double flops = PrefillFlop(config, settings.prompt) / prefill.median;
  const double peak = ceilings.Peak(name, backend->threads());
  report.Add(
      "prefill", settings.prompt / prefill.median, "tokens/s",
      {{"seconds", prefill.median}, {"gflops", flops / 1e9}, {"of_peak", peak > 0 ? flops / peak : 0}});

  for (int s = 1; s < settings.sequences; ++s) runner.Prefill(s, settings.prompt, settings.chunk);
  const Timing decode = Measure(runs, [&] {
    for (int i = 0; i < settings.decode; ++i) runner.Decode(settings.prompt + i);
  });
  const double step = decode.median / settings.decode;
  const double kv_bytes = static_cast<double>(KvBytesPerToken(config, settings.kv_dtype)) *
                          settings.sequences * (settings.prompt + settings.decode / 2.0);
  const double bandwidth = (StepWeightBytes(config, files) + kv_bytes) / step;
  const double read = backend->threads() == 1 ? ceilings.read_1 : ceilings.read_all;
  report.Add("decode", settings.sequences / step, "tokens/s",
             {{"step_ms", step * 1e3}, {"gb_per_s", bandwidth / 1e9}, {"of_read", bandwidth / read}});
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
