// The forward pass of a model folder through Transformer: prefill of a prompt and single decode steps, over
// the ceilings of the machine. What kernel_bench times op by op, here with real shapes, chunking and all that
// lies between the ops.
//
//   model_bench --model DIR [--backend NAME] [--threads N] [--kv-dtype f32|f16|bf16] [--prompt N] [--chunk N]
//   [--decode N]
//               [--sequences N] [--runs N] [--json FILE]
//
// prefill: --prompt tokens of one sequence in chunks of --chunk; its FLOP over the FMA peak of the
// instruction set. decode: --decode steps, one token of each of --sequences that have --prompt tokens; the
// bytes of weights and KV that a step
//         must read, over the read bandwidth.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "model/mapped_file.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "kernels/registry.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(1);
}

int Number(const Report& report, const std::string& name, const std::string& otherwise) {
  const std::string text = report.Option(name, otherwise);
  const int number = std::atoi(text.c_str());
  if (number >= 0 && number <= 1 << 24 && std::to_string(number) == text) return number;
  std::fprintf(stderr, "--%s %s: a whole number is expected\n", name.c_str(), text.c_str());
  std::exit(2);
}

DType KvDType(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (DTypeName(dtype) == name) return dtype;
  }
  std::fprintf(stderr, "--kv-dtype %s: one of f32, f16, bf16 is expected\n", name.c_str());
  std::exit(2);
}

// Multiplications and additions that a prefill of `tokens` with one row of logits needs.
double PrefillFlop(const ModelConfig& c, double tokens) {
  const double layer =
      2.0 * c.hidden * c.QueryWidth() + 2.0 * c.hidden * c.KvWidth() + 3.0 * c.hidden * c.intermediate;
  const double attention = 2.0 * c.QueryWidth() * tokens * (tokens + 1) / 2;  // scores and sums
  return 2 * (c.layers * (layer * tokens + attention) + 1.0 * c.vocab * c.hidden);
}

// Bytes of weights that a step reads whatever its rows: all but an embedding that is no lm_head.
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

// Sequences side by side in one pool, each with its own blocks.
class Runner {
 public:
  Runner(Transformer& model, Backend& backend, const Settings& settings)
      : model_(model), blocks_((settings.context() + kBlockTokens - 1) / kBlockTokens) {
    const KvLayout layout = model.kv_layout(kBlockTokens, settings.kv_dtype);
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

  // One token of every sequence.
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
    for (int i = 0; i < rows; ++i) tokens_[i] = (spans[0].position + i * 7919) % model_.config().vocab;
    OrDie(model_.Forward({tokens_, spans}, logit_rows, *pool_));
  }

  Transformer& model_;
  int blocks_;
  std::unique_ptr<KvPool> pool_;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<TokenId> tokens_;
};

Settings ReadSettings(const Report& report) {
  Settings settings;
  settings.prompt = std::max(1, Number(report, "prompt", "512"));
  settings.chunk = std::max(1, Number(report, "chunk", "512"));
  settings.decode = std::max(1, Number(report, "decode", "32"));
  settings.sequences = std::max(1, Number(report, "sequences", "1"));
  settings.kv_dtype = KvDType(report.Option("kv-dtype", "f16"));
  return settings;
}

int Main(int argc, char** argv) {
  Report report("model_bench", argc, argv);
  const Settings settings = ReadSettings(report);
  const int runs = std::max(1, Number(report, "runs", "5"));
  const std::string folder = report.Option("model", "");
  if (folder.empty()) {
    std::fprintf(stderr, "--model DIR is missing; make_model writes one\n");
    return 2;
  }
  const ModelConfig config = OrDie(ParseModelConfig(OrDie(ReadSmallFile(folder + "/config.json", 1 << 20))));
  const WeightFiles files = OrDie(WeightFiles::Open(folder));
  const auto backend = OrDie(CreateBackend(report.Option("backend", "auto"), Number(report, "threads", "0")));
  const std::string name(backend->name());
  const Ceilings& ceilings = report.PrintMachine();

  const auto start = std::chrono::steady_clock::now();
  const TransformerLimits limits = {settings.context(), std::max(settings.chunk, settings.sequences),
                                    settings.sequences};
  const auto model = OrDie(Transformer::Create(config, files, *backend, limits, {}));
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
