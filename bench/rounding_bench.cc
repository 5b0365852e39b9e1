// What does it cost to round the activations that bf16 weights multiply, to round keys and values, and to
// quantise weights? The program runs the beginning of a text through a model with each choice of the first:
// activations in f32 (the numerics cpu-1) or rounded to bf16, and to integers where the weights of a GGUF
// file are quantised (cpu-4); KV in f32 or in --kv-dtype. With --quantize it does so with quantised weights
// and activations in place of that. It compares distributions of the token after each token of the text:
//   KL          the Kullback-Leibler divergence of a run from its reference, in nats
//   perplexity  of the text, exp of minus the mean log probability of its tokens
// It exits with 1 when rounding activations, or quantising, costs more than a bound, by the mean KL or the
// share by which perplexity changes. The reference of that is the run in which nothing is rounded. KV has a
// bound of its own, of the mean KL: rounded KV over that run, and KV of 8 bits also over KV in bf16.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "engine/model_description.h"
#include "kernels/registry.h"
#include "model/mapped_file.h"
#include "model/model_loader.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;
constexpr int kChunk = 64;  // tokens of a step
constexpr size_t kLargestFile = 64 << 20;

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(1);
}

// Turns logits into natural logarithms of probabilities.
void LogSoftmax(std::span<float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double log_sum = largest + std::log(sum);
  for (float& logit : logits) logit = static_cast<float>(logit - log_sum);
}

struct Model {
  std::filesystem::path path;
  ModelConfig config;
  std::string backend;
  int threads;
};

struct Rounding {
  numerics::Version version;  // what is done to activations
  KvType kv;
  Quantization quantize = {};  // of the weights
};

// Calls row(i, logs) for every token i with the log probabilities of the token after it.
template <typename Row>
void ForEachDistribution(const Model& options, std::span<const TokenId> ids, const Rounding& rounding,
                         const Row& row) {
  const WeightFiles files = OrDie(WeightFiles::Open(options.path));
  const auto backend = OrDie(CreateBackend(options.backend, options.threads, {}, rounding.version));
  const int tokens = static_cast<int>(ids.size());
  LoadedPlan plan = OrDie(LoadPlan(options.config, files, *backend, tokens, {}, rounding.quantize));
  const auto model = OrDie(backend->CreateRunner(std::move(plan.plan), {tokens, kChunk, kChunk}));
  const auto pool = OrDie(backend->AllocateKv(model->shape().Kv(kBlockTokens, rounding.kv),
                                              static_cast<uint32_t>(tokens / kBlockTokens + 1)));
  std::vector<BlockId> table(pool->blocks());
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<BlockId>(i);
  const auto vocab = static_cast<size_t>(model->shape().vocab);
  std::vector<float> logits(kChunk * vocab);
  for (int done = 0; done < tokens; done += kChunk) {
    const int rows = std::min(kChunk, tokens - done);
    std::vector<LogitRow> wanted(static_cast<size_t>(rows));
    for (int i = 0; i < rows; ++i) {
      wanted[static_cast<size_t>(i)].row = i;
      wanted[static_cast<size_t>(i)].given = 0;  // nothing is drawn
    }
    const SequenceSpan span = {0, rows, done, table};
    const auto chunk = ids.subspan(static_cast<size_t>(done), static_cast<size_t>(rows));
    model->Launch({{chunk, {&span, 1}}, wanted, pool.get(), logits.data()}, {});
    if (const Status status = model->Collect(); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
    for (int i = 0; i < rows; ++i) {
      const std::span<float> logs(logits.data() + static_cast<size_t>(i) * vocab, vocab);
      LogSoftmax(logs);
      row(static_cast<size_t>(done + i), logs);
    }
  }
}

// One run over the text.
struct Distributions {
  std::vector<float> logs;  // [tokens][vocab]
  double perplexity = 0;    // of the text
};

Distributions Run(const Model& model, std::span<const TokenId> ids, const Rounding& rounding) {
  Distributions run;
  double loss = 0;
  ForEachDistribution(model, ids, rounding, [&](size_t i, std::span<const float> logs) {
    run.logs.insert(run.logs.end(), logs.begin(), logs.end());
    if (i + 1 < ids.size()) loss -= logs[static_cast<size_t>(ids[i + 1])];
  });
  run.perplexity = std::exp(loss / static_cast<double>(ids.size() - 1));  // tokens that have one before them
  return run;
}

struct Cost {
  double mean_kl = 0, largest_kl = 0;
  double change = 0;       // share by which perplexity differs
  double same_choice = 0;  // share of the tokens after which both have the same likeliest token
};

// What `run` costs over `reference`.
Cost CostOf(const Distributions& run, const Distributions& reference, size_t tokens) {
  Cost cost{.change = std::abs(run.perplexity / reference.perplexity - 1)};
  const size_t vocab = run.logs.size() / tokens;
  for (size_t i = 0; i < tokens; ++i) {
    const std::span<const float> p(reference.logs.data() + i * vocab, vocab);
    const std::span<const float> q(run.logs.data() + i * vocab, vocab);
    double kl = 0;
    for (size_t t = 0; t < vocab; ++t) kl += std::exp(p[t]) * (static_cast<double>(p[t]) - q[t]);
    cost.mean_kl += kl / static_cast<double>(tokens);
    cost.largest_kl = std::max(cost.largest_kl, kl);
    const bool same =
        std::max_element(p.begin(), p.end()) - p.begin() == std::max_element(q.begin(), q.end()) - q.begin();
    cost.same_choice += same / static_cast<double>(tokens);
  }
  return cost;
}

double BoundOf(const Arguments& arguments, const char* option) {
  char* end = nullptr;
  const std::string text = arguments.Text(option);
  const double bound = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(bound >= 0))
    arguments.Fail(InvalidArgument(std::string(option) + " '" + text + "' is no number from 0 on"));
  return bound;
}

Cost AddRow(Report& report, const std::string& name, const Distributions& run, const Distributions& reference,
            size_t tokens) {
  const Cost cost = CostOf(run, reference, tokens);
  report.Add(name, cost.mean_kl, "nats",
             {{"largest", cost.largest_kl},
              {"perplexity", run.perplexity},
              {"of_reference", reference.perplexity},
              {"change", cost.change},
              {"same_likeliest", cost.same_choice}});
  return cost;
}

struct Costs {
  Cost activations;  // rounding them, or quantising
  double kv_kl = 0;  // of rounding KV, the largest mean
};

Costs AddRows(Report& report, const Model& model, std::span<const TokenId> ids, const std::string& kv_name,
              KvType kv, const std::string& format, const Quantization& quantize) {
  using numerics::Version;
  const Distributions exact = Run(model, ids, {Version::kCpu1, DType::kF32});
  if (format != "none") {
    const Distributions quantised = Run(model, ids, {Version::kCpu4, DType::kF32, quantize});
    return {AddRow(report, format + " weights", quantised, exact, ids.size())};
  }
  Costs costs{AddRow(report, "rounded activations", Run(model, ids, {Version::kCpu4, DType::kF32}), exact,
                     ids.size())};
  if (kv == DType::kF32) return costs;
  const Distributions rounded_kv = Run(model, ids, {Version::kCpu1, kv});
  costs.kv_kl = AddRow(report, kv_name + " KV", rounded_kv, exact, ids.size()).mean_kl;
  if (kv.quantized()) {
    const Distributions of_bf16 = Run(model, ids, {Version::kCpu1, DType::kBF16});
    const Cost over = AddRow(report, kv_name + " KV over bf16 KV", rounded_kv, of_bf16, ids.size());
    costs.kv_kl = std::max(costs.kv_kl, over.mean_kl);
  }
  const Distributions both = Run(model, ids, {Version::kCpu4, kv});
  AddRow(report, "both", both, exact, ids.size());
  AddRow(report, "both over " + kv_name + " KV", both, rounded_kv, ids.size());
  return costs;
}

int Main(int argc, char** argv) {
  Arguments arguments(
      "rounding_bench", "Compares a model with rounded and unrounded activations and KV.",
      {{"--model", "PATH", "", "model folder or GGUF file; bench/fetch_smollm2.py makes a trained one"},
       {"--text", "FILE", "", "text that the model reads"},
       {"--tokens", "N", "1500", "tokens of it, from its beginning"},
       {"--kv-dtype", "TYPE", "bf16", "rounded KV: bf16, f16 or q8_0; f32: no run rounds KV"},
       {"--quantize", "FORMAT", "none", "none, q8_0 or q4_0"},
       {"--backend", "NAME", "auto", "a backend of the CPU"},
       {"--threads", "N", "0", "compute threads; 0: one per CPU"},
       {"--most-kl", "X", "0.0002", "bound of the mean KL of rounded activations, or of --quantize"},
       {"--most-kv-kl", "X", "0.005", "bound of the mean KL of rounded KV"},
       {"--most-change", "X", "0.001", "bound of the share by which they change perplexity"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const auto tokens = static_cast<size_t>(arguments.IntegerOrExit("--tokens", 2, 1 << 20));
  const double most_kl = BoundOf(arguments, "--most-kl"), most_change = BoundOf(arguments, "--most-change");
  const double most_kv_kl = BoundOf(arguments, "--most-kv-kl");
  const Result<std::string> kv = arguments.OneOf("--kv-dtype", {"f32", "f16", "bf16", "q8_0"});
  if (!kv.ok()) arguments.Fail(kv.status());
  KvType kv_type;
  for (const KvType type : {KvType::kF16, KvType::kBF16, KvType::kQ8_0})
    if (*kv == type.name()) kv_type = type;
  const Result<std::string> format = arguments.OneOf("--quantize", {"none", "q8_0", "q4_0"});
  if (!format.ok()) arguments.Fail(format.status());
  const Quantization quantize = *format == "q8_0"   ? Quantization(WeightFormat::kQ8_0)
                                : *format == "q4_0" ? Quantization(WeightFormat::kQ4_0)
                                                    : Quantization();
  Report report(arguments);
  const std::filesystem::path path = OrDie(FindModel(arguments.Text("--model")));
  const ModelDescription description = OrDie(DescribeModelFiles(path, "", WeightSource::kFiles));
  const Model model{path, description.config, arguments.Text("--backend"),
                    static_cast<int>(arguments.IntegerOrExit("--threads", 0, 1024))};
  std::vector<TokenId> ids = OrDie(
      description.files.tokenizer->Encode(OrDie(ReadSmallFile(arguments.Text("--text"), kLargestFile)), {}));
  if (ids.size() < tokens) {
    std::fprintf(stderr, "the text has %zu tokens, not %zu\n", ids.size(), tokens);
    return 1;
  }
  ids.resize(tokens);
  const auto [cost, kv_kl] = AddRows(report, model, ids, *kv, kv_type, *format, quantize);
  int code = report.Finish();
  if (!(cost.mean_kl <= most_kl && cost.change <= most_change)) {
    std::fprintf(stderr, "%s costs more than %g nats or %g of perplexity\n",
                 *format == "none" ? "rounding activations" : "quantising", most_kl, most_change);
    code = 1;
  }
  if (!(kv_kl <= most_kv_kl)) {
    std::fprintf(stderr, "rounding KV costs more than %g nats\n", most_kv_kl);
    code = 1;
  }
  return code;
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
