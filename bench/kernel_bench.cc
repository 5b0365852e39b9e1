// Times the kernels one by one on the shape of a 135M Llama (30 layers, hidden 576, 9 query and 3 KV heads
// of 64, FFN 1536, vocabulary 32000, tied embeddings) with random weights and bf16 KV. It first compares
// products of such weights with those of `ref`, bit for bit. It runs every op in the order of a forward pass
// and compares the pass with the machine's ceilings. Then it times one product alone, and attention alone:
// by head size and window, and by KV dtype and context with the KV in memory. Last, the copy of a KV block,
// as the number of prefill tokens that take as long.
//
// The work of one pass:
//   prefill of 512 tokens   2 x 106.2 M weights x 512 + attention 9.1 = 117.8 GFLOP; 1.18 s at 100 GFLOP/s
//   decode of one token     124.6 M bf16 weights x 1.5 bytes (compressed) = 187 MB to read; 7.5 ms at 25 GB/s
// The ceiling of prefill is the time of its products at the peaks of the instructions that compute them, that
// of decode is the read bandwidth.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>

#include "base/prng.h"
#include "bench/harness.h"
#include "bench/kernel_products.h"
#include "kernels/host_memory.h"
#include "kernels/numerics.h"
#include "kernels/registry.h"

namespace prefixd::bench {
namespace {

constexpr int kLayers = 30, kHidden = 576, kHeads = 9, kKvHeads = 3, kHeadDim = 64, kFfn = 1536,
              kVocabulary = 32000;
constexpr int kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr double kLayerWeights =
    1.0 * kQkv * kHidden + 1.0 * kHeads * kHeadDim * kHidden + 3.0 * kFfn * kHidden;
constexpr double kHeadWeights = 1.0 * kVocabulary * kHidden;
constexpr int kBlockTokens = 16;

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(result.status().code() == Code::kNotFound ? 2 : 1);
}

// Writes every element of a 16-bit pool: +-[1, 1.5] as f16, +-[0.0078, 0.0312] as bf16. Memory that was never
// written is one shared page of zeros, which is always in the caches.
void Fill(KvPool& pool) {
  Prng prng(1);
  for (int layer = 0; layer < pool.layout().layers; ++layer) {
    auto* elements = reinterpret_cast<uint16_t*>(pool.layer(0, layer));
    for (size_t i = 0; i < pool.layout().LayerBytes() / 2; ++i)
      elements[i] = static_cast<uint16_t>(0x3C00 | (prng.Next() & 0x81FF));
  }
  for (BlockId b = 1; b < pool.blocks(); ++b) CopyHostBlock(pool, 0, b);
}

struct Layer {
  std::unique_ptr<Matrix> qkv, o, gate_up, down;
};

// A forward pass over random weights that times each of its ops.
class Model {
 public:
  Model(Operations& operations, WeightFormat weights, int max_rows, int max_context)
      : operations_(operations), blocks_((max_context + kBlockTokens - 1) / kBlockTokens) {
    for (Layer& layer : layers_) {
      layer = {RandomMatrix(operations, weights, kQkv, kHidden),
               RandomMatrix(operations, weights, kHidden, kHeads * kHeadDim),
               RandomMatrix(operations, weights, 2 * kFfn, kHidden),
               RandomMatrix(operations, weights, kHidden, kFfn)};
    }
    embedding_ = RandomMatrix(operations, weights, kVocabulary, kHidden);
    kv_ = OrDie(AllocateHostKv({kLayers, kKvHeads, kHeadDim, kBlockTokens, DType::kBF16},
                               static_cast<uint32_t>(blocks_ * kMaxSequences), KvOrder::kGroups));
    Fill(*kv_);
    norm_.assign(kHidden, 1.0f);
    rope_.assign(static_cast<size_t>(max_context) * kHeadDim, 0.7071f);
    for (auto [buffer, width] : {std::pair(&hidden_, kHidden),
                                 {&normed_, kHidden},
                                 {&projected_, kQkv},
                                 {&attended_, kHeads * kHeadDim},
                                 {&gated_, 2 * kFfn},
                                 {&ffn_, kFfn}}) {
      buffer->assign(static_cast<size_t>(max_rows) * width, 0.0f);
    }
    logits_.assign(static_cast<size_t>(kMaxSequences) * kVocabulary, 0.0f);
  }

  // That a pass reads.
  double WeightBytes() const {
    size_t bytes = embedding_->read_bytes();
    for (const Layer& layer : layers_) {
      for (const auto* matrix : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down})
        bytes += (*matrix)->read_bytes();
    }
    return static_cast<double>(bytes);
  }

  // One pass over `sequences` sequences of `rows` tokens each; the first token of each is at `position`.
  void Forward(int sequences, int position, int rows) {
    const int all = sequences * rows;
    tokens_.assign(all, 17);
    std::vector<SequenceSpan> spans;
    std::vector<std::vector<BlockId>> tables(sequences, std::vector<BlockId>(blocks_));
    std::vector<int> last;
    for (int s = 0; s < sequences; ++s) {
      std::iota(tables[s].begin(), tables[s].end(), static_cast<BlockId>(s * blocks_));
      spans.push_back({s * rows, rows, position, tables[s]});
      last.push_back((s + 1) * rows - 1);
    }
    op_ = 0;
    operations_.BeginStep({tokens_, spans});
    Timed("embed", [&] { operations_.Embed(*embedding_, hidden_.data()); });
    for (int i = 0; i < kLayers; ++i) RunLayer(layers_[i], i, all);
    Timed("norms", [&] {
      operations_.GatherRows(hidden_.data(), last, kHidden, normed_.data());
      operations_.RmsNorm(normed_.data(), norm_.data(), 1e-5f, sequences, kHidden, normed_.data());
    });
    Product("gemm lm_head", *embedding_, normed_, sequences, logits_, GemmOutput::kStore);
  }

  // Discards all times.
  void Reset() { ops_.clear(); }
  // Sum of the shortest time that each op of the pass took, in seconds. It estimates an undisturbed pass on a
  // machine where other processes disturb every whole pass.
  double Undisturbed() const {
    double sum = 0;
    for (const Op& op : ops_) sum += op.shortest;
    return sum;
  }
  // The shortest times of the ops of a kind together, in seconds, and their multiplications and additions; 0
  // for ops that are no products of weights.
  struct KindOfOp {
    double seconds = 0, flop = 0;
  };
  std::map<std::string, KindOfOp> Kinds() const {
    std::map<std::string, KindOfOp> kinds;
    for (const Op& op : ops_) {
      KindOfOp& kind = kinds[op.kind];
      kind.seconds += op.shortest;
      kind.flop += op.flop;
    }
    return kinds;
  }

  static constexpr int kMaxSequences = 8;

 private:
  template <typename Fn>
  void Timed(const char* kind, const Fn& fn, double flop = 0) {
    const auto start = std::chrono::steady_clock::now();
    fn();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (op_ == ops_.size()) ops_.push_back({kind, seconds, flop});
    ops_[op_].shortest = std::min(ops_[op_].shortest, seconds);
    ++op_;
  }

  void Product(const char* kind, const Matrix& w, const std::vector<float>& x, int rows,
               std::vector<float>& y, GemmOutput output) {
    Timed(
        kind, [&] { operations_.Gemm(w, x.data(), rows, y.data(), output); },
        2.0 * w.rows() * w.cols() * rows);
  }

  void RunLayer(const Layer& layer, int index, int rows) {
    float* q = projected_.data();
    float* k = q + kHeads * kHeadDim;
    float* v = k + kKvHeads * kHeadDim;
    float* hidden = hidden_.data();
    float* normed = normed_.data();
    Timed("norms", [&] { operations_.RmsNorm(hidden, norm_.data(), 1e-5f, rows, kHidden, normed); });
    Product("gemm qkv", *layer.qkv, normed_, rows, projected_, GemmOutput::kStore);
    Timed("rope", [&] { operations_.Rope(q, kQkv, kHeads + kKvHeads, kHeadDim, rope_.data()); });
    Timed("store kv", [&] { operations_.StoreKv(k, v, kQkv, index, *kv_); });
    Timed("attention", [&] {
      operations_.Attention(q, kQkv, {kHeads, 0.125f}, index, *kv_, attended_.data());
    });
    Product("gemm o", *layer.o, attended_, rows, hidden_, GemmOutput::kAccumulate);
    Timed("norms", [&] { operations_.RmsNorm(hidden, norm_.data(), 1e-5f, rows, kHidden, normed); });
    Product("gemm gate_up", *layer.gate_up, normed_, rows, gated_, GemmOutput::kStore);
    Timed("activation",
          [&] { operations_.GatedActivation(Activation::kSilu, gated_.data(), rows, kFfn, ffn_.data()); });
    Product("gemm down", *layer.down, ffn_, rows, hidden_, GemmOutput::kAccumulate);
  }

  Operations& operations_;
  int blocks_;  // per sequence
  Layer layers_[kLayers];
  std::unique_ptr<Matrix> embedding_;
  std::unique_ptr<KvPool> kv_;
  std::vector<float> norm_, rope_, hidden_, normed_, projected_, attended_, gated_, ffn_, logits_;
  std::vector<TokenId> tokens_;
  struct Op {
    const char* kind;
    double shortest;  // seconds
    double flop;      // of a product of weights
  };
  std::vector<Op> ops_;  // in the order of the pass
  size_t op_ = 0;
};

// Shapes whose attention and copies are timed alone. Their pools are larger than the caches.
struct Shape {
  const char* name;
  int heads, kv_heads, head_dim, layers;
};
constexpr Shape kShapes[] = {{"135m", kHeads, kKvHeads, kHeadDim, kLayers}, {"8b", 32, 8, 128, 8}};
constexpr int kPoolTokens = 8192;

double AttentionFlops(double position, double rows) {
  return 4.0 * kLayers * kHeads * kHeadDim * rows * (position + (rows + 1) / 2);
}

struct Case {
  std::string name;
  int sequences, position, rows;
  double bound;         // seconds of a pass at the ceilings of the machine; 0 if unknown
  double product_peak;  // FLOP/s of products of weights; 0 if unknown
};

Timing Run(Report& report, const Case& c, Model& model, int runs) {
  model.Reset();
  const Timing t = Measure(runs, [&] { model.Forward(c.sequences, c.position, c.rows); });
  const double undisturbed = model.Undisturbed();
  report.Add(c.name, t.median, "s",
             {{"best", t.best},
              {"undisturbed", undisturbed},
              {"tokens_per_s", c.sequences * c.rows / t.median},
              {"of_ceiling", c.bound / t.median},
              {"of_ceiling_best", c.bound / t.best},
              {"of_ceiling_undisturbed", c.bound / undisturbed}});
  for (const auto& [kind, op] : model.Kinds()) {
    Report::Extras extras;
    if (op.flop > 0 && c.product_peak > 0) extras = {{"of_peak", op.flop / op.seconds / c.product_peak}};
    report.Add("  " + c.name + ": " + kind, 100 * op.seconds / undisturbed, "%", extras);
  }
  return t;
}

// Attention of one sequence of `rows` rows, the first at `position`: 8 heads over 2 KV heads, one layer,
// bf16.
void RunAttention(Report& report, Operations& operations, int head_dim, int window, int position, int rows,
                  int runs) {
  constexpr int kQueryHeads = 8;
  const KvLayout layout = {1, 2, head_dim, kBlockTokens, DType::kBF16};
  const int blocks = (position + rows + kBlockTokens - 1) / kBlockTokens;
  const auto pool = OrDie(AllocateHostKv(layout, static_cast<uint32_t>(blocks), KvOrder::kGroups));
  Fill(*pool);
  std::vector<BlockId> table(blocks);
  std::iota(table.begin(), table.end(), 0);
  const SequenceSpan sequence = {0, rows, position, table};
  const std::vector<TokenId> tokens(rows, 17);
  const int width = kQueryHeads * head_dim;
  const std::vector<float> q(static_cast<size_t>(rows) * width, 0.5f);
  std::vector<float> out(q.size());
  double seen = 0;
  for (int p = position; p < position + rows; ++p) seen += p + 1 - numerics::WindowStart(p, window);
  operations.BeginStep({tokens, {&sequence, 1}});
  const Timing t = Measure(runs, [&] {
    operations.Attention(q.data(), width, {kQueryHeads, 0.125f, window}, 0, *pool, out.data());
  });
  const std::string name = "attention of " + std::to_string(rows) + " at " + std::to_string(position) +
                           ", heads of " + std::to_string(head_dim) + ", window " + std::to_string(window);
  report.Add(name, t.median, "s", {{"best", t.best}, {"gflops_best", 4 * width * seen / t.best / 1e9}});
}

void RunAttentionByHeads(Report& report, Operations& operations, int tokens, int runs) {
  for (const int head_dim : {64, 80, 96, 112, 128, 256}) {
    RunAttention(report, operations, head_dim, 0, 0, tokens, runs);
    RunAttention(report, operations, head_dim, 0, 2047, 1, 30 * runs);
  }
  for (const int window : {0, 512}) {
    RunAttention(report, operations, 64, window, 8191, 1, 30 * runs);
    RunAttention(report, operations, 64, window, 8192 - tokens, tokens, runs);
  }
}

std::unique_ptr<KvPool> FilledPool(const KvLayout& layout, size_t blocks) {
  auto pool = OrDie(AllocateHostKv(layout, static_cast<uint32_t>(blocks), KvOrder::kGroups));
  Fill(*pool);
  return pool;
}

// The blocks of a pool in random order: the worst that a sequence can have.
std::vector<BlockId> ShuffledBlocks(const KvPool& pool) {
  std::vector<BlockId> blocks(pool.blocks());
  std::iota(blocks.begin(), blocks.end(), 0);
  Prng prng(2);
  for (size_t i = blocks.size() - 1; i > 0; --i) std::swap(blocks[i], blocks[prng.Below(i + 1)]);
  return blocks;
}

// Attention of the last `rows` rows of a sequence of `context` tokens, per layer. Calls go through the layers
// and the pool in turn, as steps of a server do, so that a row's KV comes from memory. The ceiling is the
// larger of the time of the arithmetic at the FMA peak and that of reading the KV once.
void RunAttentionFromMemory(Report& report, Operations& operations, const Ceilings& ceilings,
                            const Shape& shape, const KvPool& pool, int context, int rows, int runs) {
  const std::vector<BlockId> blocks = ShuffledBlocks(pool);
  const std::vector<TokenId> tokens(rows, 17);
  const int width = shape.heads * shape.head_dim;
  const std::vector<float> q(static_cast<size_t>(rows) * width, 0.5f);
  std::vector<float> out(q.size());
  const size_t in_context = context / kBlockTokens;
  const int calls = rows > 1 ? 1 : shape.layers * static_cast<int>(blocks.size() / in_context);
  size_t first = 0;
  const Timing t = Measure(runs, [&] {
    for (int call = 0; call < calls; ++call) {
      if (call % shape.layers == 0) first = (first + in_context) % blocks.size();
      const SequenceSpan sequence = {0, rows, context - rows, std::span(blocks).subspan(first, in_context)};
      operations.BeginStep({tokens, {&sequence, 1}});
      operations.Attention(q.data(), width, {shape.heads, 0.1f}, call % shape.layers, pool, out.data());
    }
  });
  const double flops = 4.0 * width * rows * (context - (rows - 1) / 2.0);
  const double bytes = static_cast<double>(pool.layout().TokenBytes()) / shape.layers * context;
  const double peak = ceilings.Peak(std::string(operations.name()), operations.threads());
  const double read = ceilings.read.On(operations.threads());
  const double floor = std::max(peak > 0 ? flops / peak : 0, read > 0 ? bytes / read : 0);
  const std::string name = "attention " + std::string(shape.name) + " " +
                           std::string(pool.layout().type.name()) + ", " + std::to_string(rows) + " of " +
                           std::to_string(context);
  report.Add(name, t.median / calls * 1e3, "ms",
             {{"best", t.best / calls * 1e3},
              {"gflops", flops * calls / t.median / 1e9},
              {"kv_gb_per_s", bytes * calls / t.median / 1e9},
              {"of_ceiling", floor * calls / t.median}});
}

void RunAttentionByDType(Report& report, Operations& operations, const Ceilings& ceilings, int tokens,
                         int runs) {
  for (const Shape& shape : kShapes) {
    for (const KvType type : {KvType::kBF16, KvType::kF16, KvType::kQ8_0}) {
      const KvLayout layout = {shape.layers, shape.kv_heads, shape.head_dim, kBlockTokens, type};
      const auto pool = FilledPool(layout, kPoolTokens / kBlockTokens);
      for (const int context : {512, 2048, 8192}) {
        RunAttentionFromMemory(report, operations, ceilings, shape, *pool, context, 1, runs);
        RunAttentionFromMemory(report, operations, ceilings, shape, *pool, context, std::min(tokens, context),
                               runs);
      }
    }
  }
}

// Copies of one block into another, both in memory and not in a cache. `token_seconds` is the time of a token
// of prefill of the 135M Llama, in its best pass; the best copies are compared with it.
void RunCopy(Report& report, const Shape& shape, int layers, double token_seconds, int runs) {
  const KvLayout layout = {layers, shape.kv_heads, shape.head_dim, kBlockTokens, DType::kBF16};
  const auto pool = FilledPool(layout, (size_t{256} << 20) / layout.BlockBytes());
  const auto bytes = static_cast<double>(layout.BlockBytes());
  const std::vector<BlockId> blocks = ShuffledBlocks(*pool);
  const size_t copies = blocks.size() / 2;
  const Timing t = Measure(runs, [&] {
    for (size_t i = 0; i < copies; ++i) CopyHostBlock(*pool, blocks[2 * i], blocks[2 * i + 1]);
  });
  const double best = t.best / static_cast<double>(copies);
  report.Add("copy of a block, " + std::string(shape.name), t.median / static_cast<double>(copies) * 1e6,
             "us",
             {{"best", best * 1e6},
              {"bytes", bytes},
              {"gb_per_s_best", bytes / best / 1e9},
              {"prefill_tokens_of_135m", best / token_seconds}});
}

// Times the passes of the 135M Llama. Returns the seconds of one token of prefill, in the best pass.
double RunPasses(Report& report, Operations& operations, WeightFormat weights, const Ceilings& ceilings,
                 int tokens, int runs, bool decode) {
  CheckProducts(operations, weights, kHidden);
  constexpr int kMostDecodes = 8;  // rows of a pass
  Model model(operations, weights, std::max(tokens, kMostDecodes), 2048);
  const double bytes = model.WeightBytes();
  std::printf("%s weights, %.0f MB to read\n", std::string(weights.name()).c_str(), bytes / 1e6);
  const std::string backend(operations.name());
  const double peak = ceilings.Peak(backend, operations.threads());
  const double products = ceilings.ProductPeak(backend, weights, operations.threads());
  const double read = ceilings.read.On(operations.threads());
  const double flop = 2 * (kLayers * kLayerWeights * tokens + kHeadWeights);
  const double bound = peak > 0 ? flop / products + AttentionFlops(0, tokens) / peak : 0;
  const Timing t =
      Run(report, {"prefill " + std::to_string(tokens), 1, 0, tokens, bound, products}, model, runs);
  if (decode) {
    for (const auto& [rows, context] : {std::pair(1, 512), {2, 512}, {4, 512}, {8, 512}, {1, 2048}}) {
      const std::string name = "decode " + std::to_string(rows) + " at " + std::to_string(context);
      Run(report, {name, rows, context - 1, 1, read > 0 ? bytes / read : 0, products}, model, 3 * runs);
    }
  }
  return t.best / tokens;
}

int Main(int argc, char** argv) {
  Arguments arguments(
      "kernel_bench", "Times the kernels of a 135M Llama one by one.",
      {{"--backend", "NAME", "auto", "kernels to time, as in `prefixd serve --backend`"},
       {"--weights", "FORMAT", "bf16", "f32, f16, bf16, or a type of GGUF: q8_0, q4_0, q4_1 .."},
       {"--threads", "N", "0", "compute threads; 0: one per CPU"},
       {"--tokens", "N", "512", "tokens of a prefill"},
       {"--outputs", "N", "4096", "outputs of the matrix of --part products"},
       {"--terms", "N", "2048", "terms of each of them"},
       {"--runs", "N", "7", "timed runs of a prefill"},
       {"--part", "NAME", "all",
        "passes, products (one matrix), heads, attention (by KV dtype), copy or all"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const int threads = static_cast<int>(arguments.IntegerOrExit("--threads", 0, 1024));
  const int tokens = static_cast<int>(arguments.IntegerOrExit("--tokens", 1, 2048));
  const int outputs = static_cast<int>(arguments.IntegerOrExit("--outputs", 1, 1 << 17));
  const int terms = static_cast<int>(arguments.IntegerOrExit("--terms", 1, 1 << 15));
  const int runs = static_cast<int>(arguments.IntegerOrExit("--runs", 1, 1000000));
  const auto chosen = arguments.OneOf("--part", {"all", "passes", "products", "heads", "attention", "copy"});
  if (!chosen.ok()) arguments.Fail(chosen.status());
  const WeightFormat weights = FormatOrExit(arguments, "--weights");
  const auto wanted = [&](std::string_view part) { return *chosen == "all" || *chosen == part; };
  if ((wanted("passes") || wanted("copy")) && !weights.Fits(kHidden)) {
    arguments.Fail(InvalidArgument("--weights " + std::string(weights.name()) + " does not fit rows of " +
                                   std::to_string(kHidden) + " columns; choose --part products"));
  }
  if (wanted("products") && !weights.Fits(terms)) {
    arguments.Fail(InvalidArgument("--weights " + std::string(weights.name()) + " does not fit --terms " +
                                   std::to_string(terms)));
  }
  Report report(arguments);
  const Ceilings& ceilings = report.ProbeMachine();
  const auto operations = OrDie(CreateOperations(arguments.Text("--backend"), threads));
  std::printf("backend %s, %d threads\n", std::string(operations->name()).c_str(), operations->threads());
  double token_seconds = 0;
  if (wanted("passes") || wanted("copy")) {
    token_seconds = RunPasses(report, *operations, weights, ceilings, tokens, runs, wanted("passes"));
  }
  if (wanted("products")) RunProducts(report, *operations, weights, ceilings, {tokens, outputs, terms}, runs);
  if (wanted("heads")) RunAttentionByHeads(report, *operations, tokens, runs);
  if (wanted("attention")) RunAttentionByDType(report, *operations, ceilings, tokens, runs);
  if (wanted("copy")) {
    RunCopy(report, kShapes[0], kLayers, token_seconds, runs);
    RunCopy(report, kShapes[1], 32, token_seconds, runs);
  }
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
