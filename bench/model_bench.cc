// Times the steps of a model through ModelRunner: prefill of a prompt and single decode steps, compared with
// the machine's ceilings. kernel_bench times the ops; model_bench uses the real shapes, the chunking and
// everything that runs between the ops. The model is a folder, or a preset with random weights.
//
// prefill: --prompt tokens of one sequence in chunks of --chunk. of_peak is the time that all products take
// at the peaks of the instructions that compute them, over the measured time; layers_of_peak is the same of
// the weights of the layers alone, without attention and head. decode: --decode steps, each one token of
// --sequences sequences that have --prompt tokens, of which all share the first --shared; the bytes of
// weights and KV that a step must read per second, over the read bandwidth, and of_peak as above. The larger
// of the two is its share of its bound.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "bench/bench_model.h"
#include "bench/harness.h"
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

int Number(const Arguments& arguments, const char* name, int low = 1) {
  return static_cast<int>(arguments.IntegerOrExit(name, low, 1 << 24));
}

KvType KvTypeOf(const Arguments& arguments, const char* option) {
  const Result<std::string> name = arguments.OneOf(option, {"f32", "f16", "bf16", "q8_0"});
  if (!name.ok()) arguments.Fail(name.status());
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0})
    if (*name == type.name()) return type;
  return DType::kF32;
}

double LayerWeights(const ModelShape& c) {
  return 2.0 * c.hidden * c.QueryWidth() + 2.0 * c.hidden * c.KvWidth() + 3.0 * c.hidden * c.intermediate;
}

// Multiplications and additions of a prefill of `tokens` tokens with one row of logits.
struct Flop {
  double layers, head, attention;
};
Flop PrefillFlop(const ModelShape& c, double tokens) {
  const double attention = 2.0 * c.QueryWidth() * tokens * (tokens + 1) / 2;  // scores and sums
  return {2 * c.layers * LayerWeights(c) * tokens, 2.0 * c.vocab * c.hidden, 2 * c.layers * attention};
}

// Those of a token that sees `context` tokens, with its logits.
Flop DecodeFlop(const ModelShape& c, double context) {
  return {2 * c.layers * LayerWeights(c), 2.0 * c.vocab * c.hidden,
          2 * c.layers * 2.0 * c.QueryWidth() * context};
}

struct Settings {
  int prompt, chunk, decode, sequences;
  int shared;  // whole blocks
  int run;     // blocks of a sequence with consecutive ids; 0: all
  KvType kv_dtype;
  int context() const { return prompt + decode; }
};

// Runs steps of several sequences that share one pool. Beside the blocks of the tokens that all share, each
// sequence has its own.
class Runner {
 public:
  Runner(ModelRunner& model, Backend& backend, const Settings& settings)
      : model_(model), backend_(backend), blocks_((settings.context() + kBlockTokens - 1) / kBlockTokens) {
    const KvLayout layout = model.shape().Kv(kBlockTokens, settings.kv_dtype);
    const int shared = settings.shared / kBlockTokens;
    pool_ = OrDie(
        backend.AllocateKv(layout, static_cast<uint32_t>(shared + (blocks_ - shared) * settings.sequences)));
    // Each sequence in turn gets the next run of blocks.
    const int own = blocks_ - shared, run = settings.run == 0 ? own : settings.run;
    std::vector<BlockId> all(static_cast<size_t>(shared));
    std::iota(all.begin(), all.end(), 0);
    tables_.assign(static_cast<size_t>(settings.sequences), all);
    auto next = static_cast<BlockId>(shared);
    for (int begin = 0; begin < own; begin += run) {
      for (std::vector<BlockId>& table : tables_)
        for (int b = begin; b < std::min(begin + run, own); ++b) table.push_back(next++);
    }
  }

  // Computes the prompt of the first sequence.
  void Prefill(int tokens, int chunk) {
    for (int done = 0; done < tokens; done += chunk) {
      const int rows = std::min(chunk, tokens - done);
      const bool last = done + rows == tokens;
      Step(std::vector<SequenceSpan>{{0, rows, done, tables_[0]}}, rows,
           last ? std::vector<int>{rows - 1} : std::vector<int>());
    }
  }

  // Gives the other sequences the KV of the first, whose tokens they have, in their own blocks.
  void CopyPrompt() {
    for (const std::vector<BlockId>& table : tables_) {
      for (size_t b = 0; b < table.size(); ++b) {
        if (table[b] != tables_[0][b]) backend_.CopyBlock(*pool_, tables_[0][b], table[b]);
      }
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
  Backend& backend_;
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
  settings.shared = Number(arguments, "--shared", 0) / kBlockTokens * kBlockTokens;
  if (settings.shared > settings.prompt)
    arguments.Fail(InvalidArgument("--shared " + arguments.Text("--shared") + " is more than --prompt"));
  settings.run = Number(arguments, "--block-run", 0);
  settings.kv_dtype = KvTypeOf(arguments, "--kv-dtype");
  return settings;
}

std::string PresetNames() {
  std::string names;
  for (const Preset& preset : Presets()) names += (names.empty() ? "" : ", ") + std::string(preset.name);
  return names;
}

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments(
      "model_bench", "Times the forward pass of a model: prefill and decode.",
      {{"--model", "PATH", "", "model folder, or GGUF file; make_model writes a folder of random weights"},
       {"--preset", "NAME", "", "random weights of a shape, instead of a folder: one of " + PresetNames()},
       {"--dtype", "TYPE", "bf16", "of the weights of a preset: f32, f16, bf16, q8_0, q4_k .."},
       {"--backend", "NAME", "auto", "kernels to time, as in `prefixd serve --backend`"},
       {"--threads", "N", "0", "compute threads; 0: one per CPU"},
       {"--peak-tflops", "X", "", "ceiling of prefill; without it, that of the CPU"},
       {"--read-gb", "X", "", "ceiling of decode, GB/s; without it, that of the CPU"},
       {"--kv-dtype", "TYPE", "f16", "f32, f16, bf16 or q8_0"},
       {"--prompt", "N", "512", "prompt tokens"},
       {"--chunk", "N", "512", "prompt tokens per step"},
       {"--decode", "N", "32", "decode steps per run"},
       {"--sequences", "N", "1", "sequences that decode together"},
       {"--shared", "N", "0", "prompt tokens that all sequences share, in whole blocks of 16"},
       {"--block-run", "N", "0", "blocks of a sequence that lie together, between those of others; 0: all"},
       {"--runs", "N", "5", "timed runs"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  return arguments;
}

// The model that the options name; ends the program when they name none, or two.
Result<BenchModel> OpenModel(const Arguments& arguments, Backend& backend, int positions) {
  if (arguments.Given("--model")) return LoadBenchFolder(arguments.Text("--model"), backend, positions);
  const Preset* const preset = FindPreset(arguments.Text("--preset"));
  return MakeBenchModel(*preset, FormatOrExit(arguments, "--dtype"), backend, positions);
}

void CheckModelOptions(const Arguments& arguments) {
  if (arguments.Given("--model") == arguments.Given("--preset"))
    arguments.Fail(
        InvalidArgument("one of --model PATH and --preset NAME is needed; make_model writes a folder"));
  if (arguments.Given("--preset") && FindPreset(arguments.Text("--preset")) == nullptr) {
    arguments.Fail(
        InvalidArgument("--preset '" + arguments.Text("--preset") + "': the presets are " + PresetNames()));
  }
}

// In FLOP/s and bytes/s, of a program that uses this backend: of products of the weights, of attention, and
// of reading. A peak of 0 is not known.
struct BackendCeilings {
  double products, attention, read;
};
BackendCeilings CeilingsOf(const Arguments& arguments, const Ceilings& machine, const Backend& backend,
                           WeightFormat weights) {
  const std::string name(backend.name());
  BackendCeilings ceilings{machine.ProductPeak(name, weights, backend.threads()),
                           machine.Peak(name, backend.threads()), machine.read.On(backend.threads())};
  if (arguments.Given("--peak-tflops"))
    ceilings.products = ceilings.attention = 1e12 * arguments.PositiveOrExit("--peak-tflops");
  if (arguments.Given("--read-gb")) ceilings.read = 1e9 * arguments.PositiveOrExit("--read-gb");
  return ceilings;
}

double At(double work, double peak) { return peak > 0 ? work / peak : 0; }

// The seconds that the work takes at the peaks.
double Bound(const Flop& flop, const BackendCeilings& ceilings) {
  return At(flop.layers + flop.head, ceilings.products) + At(flop.attention, ceilings.attention);
}

void AddPrefill(Report& report, const ModelShape& shape, int tokens, double seconds,
                const BackendCeilings& ceilings) {
  const Flop flop = PrefillFlop(shape, tokens);
  report.Add("prefill", tokens / seconds, "tokens/s",
             {{"seconds", seconds},
              {"gflops", (flop.layers + flop.head + flop.attention) / seconds / 1e9},
              {"of_peak", Bound(flop, ceilings) / seconds},
              {"layers_of_peak", At(flop.layers, ceilings.products) / seconds}});
}

// Reports the step of decode in the middle of an answer, which takes `seconds`.
void AddDecode(Report& report, const Settings& settings, const BackendCeilings& ceilings,
               const ModelRunner& model, double weight_bytes, double seconds) {
  const double context = settings.prompt + settings.decode / 2.0;
  const double tokens = settings.shared + settings.sequences * (context - settings.shared);
  const auto token_bytes =
      static_cast<double>(model.shape().Kv(kBlockTokens, settings.kv_dtype).TokenBytes());
  const double read = (weight_bytes + token_bytes * tokens) / seconds;
  const Flop flop = DecodeFlop(model.shape(), context);
  const double of_read = read / ceilings.read;
  const double of_peak = settings.sequences * Bound(flop, ceilings) / seconds;
  report.Add("decode", settings.sequences / seconds, "tokens/s",
             {{"step_ms", seconds * 1e3},
              {"gb_per_s", read / 1e9},
              {"of_read", of_read},
              {"gflops", settings.sequences * (flop.layers + flop.head + flop.attention) / seconds / 1e9},
              {"of_peak", of_peak},
              {"of_bound", std::max(of_read, of_peak)},
              {"kv_read_mb", static_cast<double>(model.attention_reads().read_bytes) / 1e6},
              {"kv_saved_mb", static_cast<double>(model.attention_reads().saved_bytes) / 1e6}});
}

int Main(int argc, char** argv) {
  const Arguments arguments = ParseArguments(argc, argv);
  const Settings settings = ReadSettings(arguments);
  const int runs = Number(arguments, "--runs");
  const int threads = Number(arguments, "--threads", 0);
  CheckModelOptions(arguments);
  Report report(arguments);
  const auto backend = OrDie(CreateBackend(arguments.Text("--backend"), threads));
  const Ceilings& machine = report.ProbeMachine();

  const auto start = std::chrono::steady_clock::now();
  const StepLimits limits = {settings.context(), std::max(settings.chunk, settings.sequences),
                             settings.sequences};
  BenchModel opened = OrDie(OpenModel(arguments, *backend, limits.context));
  const BackendCeilings ceilings = CeilingsOf(arguments, machine, *backend, opened.weights);
  const double step_bytes = opened.step_bytes - SavedBytes(opened.plan.weights);
  const auto model = OrDie(backend->CreateRunner(std::move(opened.plan), limits));
  const double load = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.Add("load", load, "s", {{"bytes", opened.bytes}});

  Runner runner(*model, *backend, settings);
  const Timing prefill = Measure(runs, [&] { runner.Prefill(settings.prompt, settings.chunk); });
  AddPrefill(report, model->shape(), settings.prompt, prefill.median, ceilings);

  runner.CopyPrompt();
  const Timing decode = Measure(runs, [&] {
    for (int i = 0; i < settings.decode; ++i) runner.Decode(settings.prompt + i);
  });
  AddDecode(report, settings, ceilings, *model, step_bytes, decode.median / settings.decode);
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
