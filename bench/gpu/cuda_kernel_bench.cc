// Times the kernels of the CUDA backend one by one, on the shape of a preset: it runs a step, keeps its
// launches, and repeats those of each kernel alone, layer after layer, so that weights come from memory as in
// a step. Each is compared with its ceiling: the larger of its bytes at --read-gb and its arithmetic at
// --peak-tflops. Products of cuBLASLt are timed as the step has them, and then by the kernel, on the same
// memory. The last row of a case is the step itself.
//
// It needs libprefixd_cuda.so and a device; without one it says why and exits with code 3. With --on-paper it
// needs neither: it reports what a step asks of a device, for bench/gpu/budget.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "bench/gpu/launch_recorder.h"
#include "bench/gpu/paper_runtime.h"
#include "bench/harness.h"
#include "bench/presets.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/module_loader.h"
#include "kernels/cuda/numerics.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;
constexpr int kNoDevice = 3;  // exit code

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "cuda_kernel_bench: %s\n", result.status().ToString().c_str());
  std::exit(1);
}
void OrDie(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "cuda_kernel_bench: %s\n", status.ToString().c_str());
  std::exit(1);
}

// A step of `sequences` sequences with `rows` rows each, the first at `position`.
struct Case {
  std::string name;
  int sequences, position, rows;
  int context() const { return position + rows; }
};

// What a launch must move and compute, at least.
struct Work {
  double bytes = 0, flop = 0;
};

bool IsOfQuantizedWeights(std::string_view kernel) {
  return (kernel.ends_with("Q8") && !kernel.ends_with("KvQ8")) || kernel.ends_with("Q4");
}

// Of the KV and of activations, with their scales where they are quantised.
double ElementBytes(cuda::KernelId kernel) {
  const std::string_view name = FactsOf(kernel).name;
  if (name.ends_with("KvQ8")) return KvType(KvType::kQ8_0).HeadBytes(kQuantBlock) / (1.0 * kQuantBlock);
  if (name.ends_with("KvFp8")) return 1;
  return name.ends_with("F32") ? 4 : name.ends_with("Q") || IsOfQuantizedWeights(name) ? 1.125 : 2;
}
double WeightBytes(cuda::KernelId kernel) {
  const std::string_view name = FactsOf(kernel).name;
  return name.ends_with("Q8") ? 34 / 32.0 : name.ends_with("Q4") ? 18 / 32.0 : ElementBytes(kernel);
}

// Attention of one layer over the case.
Work AttentionWork(const Case& c, const cuda::AttentionParams& p, double element) {
  Work work;
  const auto visible = [&](int position) {
    return p.window > 0 ? std::min(position + 1, p.window) : position + 1;
  };
  double scores = 0;
  for (int i = 0; i < c.rows; ++i) scores += visible(c.position + i);
  const double tokens = std::min(c.context(), visible(c.context() - 1) + c.rows - 1);
  work.flop = 4.0 * c.sequences * scores * p.heads * p.kv.head_dim;
  work.bytes = 2.0 * c.sequences * tokens * p.kv.kv_heads * p.kv.head_dim * element;
  return work;
}

Work WorkOf(const Case& c, const RecordedLaunch& recorded) {
  const cuda::KernelId kernel = recorded.launch.kernel;
  const std::string_view name = FactsOf(kernel).name;
  const double element = ElementBytes(kernel);
  if (name.starts_with("kEmbed")) {
    const auto& p = recorded.As<cuda::EmbedParams>();
    return {p.rows * p.dim * (WeightBytes(kernel) + 4.0)};
  }
  if (name.starts_with("kRmsNorm")) {
    const auto& p = recorded.As<cuda::RmsNormParams>();
    return {p.rows * p.dim * (4.0 + element)};
  }
  if (name.starts_with("kGather")) {
    const auto& p = recorded.As<cuda::GatherParams>();
    return {2.0 * p.rows * p.row_bytes};
  }
  if (name.starts_with("kActivation")) {
    const auto& p = recorded.As<cuda::ActivationParams>();
    return {p.rows * p.width * (8.0 + element)};
  }
  if (name.starts_with("kGemm")) {
    const auto& p = recorded.As<cuda::GemmParams>();
    const bool fused = name.starts_with("kGemmFewQkv") || name.starts_with("kGemmFewGate");
    const double x = 1.0 * p.rows * p.k * element;
    const double y = p.rows * p.n * (fused ? element : p.accumulate ? 8.0 : 4.0);
    return {1.0 * p.n * p.k * WeightBytes(kernel) + x + y, 2.0 * p.rows * p.n * p.k};
  }
  if (name.starts_with("kQkv")) {
    const auto& p = recorded.As<cuda::QkvParams>();
    return {1.0 * p.rows * (p.heads + 2 * p.kv.kv_heads) * p.kv.head_dim * (4.0 + element)};
  }
  if (name.starts_with("kAttention")) return AttentionWork(c, recorded.As<cuda::AttentionParams>(), element);
  if (name.starts_with("kDraw")) {
    const auto& p = recorded.As<cuda::DrawParamsTable>();
    return {4.0 * p.specs_count * p.vocab};
  }
  return {};  // how much a fold reads depends on the plan
}

// Blocks of a launch that have work. A launch of a graph may have more.
double WorkingBlocks(const Case& c, const RecordedLaunch& recorded) {
  const double blocks = 1.0 * recorded.launch.blocks_x * recorded.launch.blocks_y;
  if (!FactsOf(recorded.launch.kernel).name.starts_with("kAttention")) return blocks;
  const auto& p = recorded.As<cuda::AttentionParams>();
  const int spans = (c.context() + cuda::kSpanTokens - 1) / cuda::kSpanTokens;
  return p.list == nullptr ? blocks : std::min(blocks, 1.0 * c.sequences * p.kv.kv_heads * spans);
}

// The row of the table that a launch belongs to.
std::string KindOf(const RecordedLaunch& recorded) {
  const std::string name(FactsOf(recorded.launch.kernel).name.substr(1));
  if (!name.starts_with("Gemm")) return name;
  const auto& p = recorded.As<cuda::GemmParams>();
  return (recorded.product ? "cuBLASLt" : name) + " " + std::to_string(p.n) + "x" + std::to_string(p.k);
}

struct Limits {
  double read = 0, peak = 0;  // bytes/s, FLOP/s; 0: not known
  double Seconds(const Work& work) const {
    return std::max(read > 0 ? work.bytes / read : 0, peak > 0 ? work.flop / peak : 0);
  }
};

class Bench {
 public:
  Bench(std::unique_ptr<cuda::CudaRuntime> runtime, const Preset& preset, WeightFormat format, KvType kv_type,
        const std::vector<Case>& cases)
      : kv_type_(kv_type) {
    auto recorder = std::make_unique<LaunchRecorder>(std::move(runtime));
    recorder_ = recorder.get();
    backend_ = cuda::CreateCudaBackend(std::move(recorder));
    StepLimits limits;
    size_t blocks = 0;
    for (const Case& c : cases) {
      limits.context = std::max(limits.context, c.context());
      limits.max_rows = std::max(limits.max_rows, c.sequences * c.rows);
      limits.max_logit_rows = std::max(limits.max_logit_rows, c.sequences);
      blocks = std::max(blocks, static_cast<size_t>(c.sequences) * BlocksOf(c));
    }
    ModelPlan plan = OrDie(RandomPlan(preset, format, limits.context, *backend_));
    weight_bytes_ = static_cast<double>(plan.weights.bytes);
    const KvLayout layout = plan.shape.Kv(kBlockTokens, kv_type_);
    vocab_ = plan.shape.vocab;
    runner_ = OrDie(backend_->CreateRunner(std::move(plan), limits));
    pool_ = OrDie(backend_->AllocateKv(layout, static_cast<uint32_t>(blocks)));
    FillPool(layout);
  }

  double weight_bytes() const { return weight_bytes_; }

  // What the launches of a step move and compute, and how they lie on the device; the average of each kind.
  void RunOnPaper(Report& report, const Case& c) {
    recorder_->Begin();
    Step(c);
    const std::vector<RecordedLaunch> launches = recorder_->Take();
    for (const auto& [kind, of_kind] : ByKind(launches)) {
      const Work work = WorkOfAll(c, of_kind);
      const auto add = [&](const std::string& name, const cuda::KernelLaunch& launch) {
        const auto count = static_cast<double>(of_kind.size());
        report.Add(c.name + ": " + name, count, "launches",
                   {{"blocks", WorkingBlocks(c, *of_kind.front())},
                    {"threads", launch.threads},
                    {"shared_bytes", static_cast<double>(launch.shared_bytes)},
                    {"bytes", work.bytes / count},
                    {"flop", work.flop / count}});
      };
      add(kind, of_kind.front()->launch);
      if (const auto other = ByWarpgroups(*of_kind.front())) add(NameByWarpgroups(*other), *other);
    }
  }

  void Run(Report& report, const Case& c, const Limits& limits, int runs) {
    recorder_->Begin();
    Step(c);
    const std::vector<RecordedLaunch> launches = recorder_->Take();
    double all = 0;
    for (const auto& [kind, of_kind] : ByKind(launches)) {
      const Work work = WorkOfAll(c, of_kind);
      const auto add = [&](const std::string& name, double seconds) {
        const auto count = static_cast<double>(of_kind.size());
        report.Add(c.name + ": " + name, seconds / count * 1e6, "us",
                   {{"launches", count},
                    {"gb_per_s", work.bytes / seconds / 1e9},
                    {"tflops", work.flop / seconds / 1e12},
                    {"of_ceiling", limits.Seconds(work) / seconds}});
      };
      const auto again = [&](const RecordedLaunch& recorded) { return recorder_->Repeat(recorded); };
      const double seconds = SecondsOf(of_kind, runs, again);
      all += seconds;
      add(kind, seconds);
      // Beside attention of warps, that of warpgroups, and beside a product of the library, the kernel that
      // would make it. They are not part of the step.
      if (const auto other = ByWarpgroups(*of_kind.front()))
        add(NameByWarpgroups(*other), SecondsOf(of_kind, runs, [&](const RecordedLaunch& recorded) {
              return recorder_->Launch(cuda::Stream::kCompute,
                                       ByWarpgroups(recorded).value_or(recorded.launch));
            }));
      if (!of_kind.front()->product) continue;
      add(kind + " by the kernel", SecondsOf(of_kind, runs, [&](const RecordedLaunch& recorded) {
            return recorder_->Launch(cuda::Stream::kCompute, recorded.launch);
          }));
    }
    const Timing step = Measure(runs, [&] { Step(c); });
    report.Add(c.name + ": step", step.median * 1e6, "us",
               {{"best", step.best * 1e6},
                {"kernels", all * 1e6},
                {"launches", static_cast<double>(launches.size())},
                {"tokens_per_s", c.sequences * c.rows / step.median}});
  }

 private:
  // A launch of attention by warpgroups; none where that is not another one.
  std::optional<cuda::KernelLaunch> ByWarpgroups(const RecordedLaunch& recorded) const {
    if (!FactsOf(recorded.launch.kernel).name.starts_with("kAttention")) return {};
    const cuda::KernelLaunch launch = LaunchOf(recorded.As<cuda::AttentionParams>(), kv_type_,
                                               recorder_->facts(), cuda::AttentionWay::kWarpgroups);
    return launch.kernel == recorded.launch.kernel ? std::optional<cuda::KernelLaunch>() : launch;
  }
  static std::string NameByWarpgroups(const cuda::KernelLaunch& launch) {
    return std::string(FactsOf(launch.kernel).name.substr(1)) + " instead";
  }

  using OfKind = std::vector<const RecordedLaunch*>;

  // In the order of the step.
  static std::vector<std::pair<std::string, OfKind>> ByKind(const std::vector<RecordedLaunch>& launches) {
    std::vector<std::pair<std::string, OfKind>> kinds;
    for (const RecordedLaunch& launch : launches) {
      auto found = std::ranges::find(kinds, KindOf(launch), &std::pair<std::string, OfKind>::first);
      if (found == kinds.end()) found = kinds.insert(found, {KindOf(launch), {}});
      found->second.push_back(&launch);
    }
    return kinds;
  }
  static Work WorkOfAll(const Case& c, const OfKind& launches) {
    Work work;
    for (const RecordedLaunch* launch : launches) {
      const Work one = WorkOf(c, *launch);
      work.bytes += one.bytes;
      work.flop += one.flop;
    }
    return work;
  }

  static size_t BlocksOf(const Case& c) {
    return static_cast<size_t>((c.context() + kBlockTokens - 1) / kBlockTokens);
  }

  // Random numbers in every block: zeros take less power, so the device runs faster.
  void FillPool(const KvLayout& layout) {
    const auto copier = OrDie(backend_->CreateKvCopier(layout));
    const std::shared_ptr<std::byte> staged = copier->Stage();
    const std::span<std::byte> block(staged.get(), layout.BlockBytes());
    Prng prng(2);
    for (size_t i = 0; i + 2 <= block.size(); i += 2) {
      // f16 of +-[1, 1.5], bf16 of +-[0.0078, 0.0312]; a pair of them is an f32 of about that size.
      const auto half = static_cast<uint16_t>(0x3C00 | (prng.Next() & 0x81FF));
      block[i] = static_cast<std::byte>(half);
      block[i + 1] = static_cast<std::byte>(half >> 8);
    }
    for (BlockId b = 0; b < pool_->blocks(); ++b) OrDie(copier->Write(block, *pool_, b));
  }

  void Step(const Case& c) {
    const size_t blocks = BlocksOf(c);
    std::vector<std::vector<BlockId>> tables;
    std::vector<SequenceSpan> spans;
    std::vector<LogitRow> rows(static_cast<size_t>(c.sequences));
    for (int s = 0; s < c.sequences; ++s) {
      std::vector<BlockId>& table = tables.emplace_back();
      // Blocks of a sequence are far from each other, as after a while of serving.
      for (size_t b = 0; b < blocks; ++b)
        table.push_back(static_cast<BlockId>(b * static_cast<size_t>(c.sequences)) + static_cast<BlockId>(s));
      rows[static_cast<size_t>(s)].row = (s + 1) * c.rows - 1;
      rows[static_cast<size_t>(s)].draw.params.temperature = 0;
    }
    for (int s = 0; s < c.sequences; ++s)
      spans.push_back({s * c.rows, c.rows, c.position, tables[static_cast<size_t>(s)]});
    std::vector<TokenId> tokens;
    for (int i = 0; i < c.sequences * c.rows; ++i) tokens.push_back((c.position + i * 7919) % vocab_);
    runner_->Launch({{tokens, spans}, rows, pool_.get()}, {});
    OrDie(runner_->Collect());
  }

  // Of all launches of a kind, one after the other: the median of `runs` rounds, each of so many repeats that
  // the wait at its end does not count.
  template <typename Launch>
  double SecondsOf(const std::vector<const RecordedLaunch*>& launches, int runs, const Launch& launch) {
    constexpr double kRound = 0.005;  // seconds
    const auto round = [&](int repeats) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < repeats; ++i) {
        for (const RecordedLaunch* recorded : launches) OrDie(launch(*recorded));
      }
      OrDie(recorder_->Synchronize(OrDie(recorder_->Record(cuda::Stream::kCompute))));
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    round(1);
    const int repeats = std::clamp(static_cast<int>(kRound / round(1)), 1, 1000);
    std::vector<double> seconds;
    for (int i = 0; i < runs; ++i) seconds.push_back(round(repeats) / repeats);
    std::ranges::sort(seconds);
    return seconds[seconds.size() / 2];
  }

  const KvType kv_type_;
  LaunchRecorder* recorder_ = nullptr;  // owned by the backend
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<KvPool> pool_;
  double weight_bytes_ = 0;
  int vocab_ = 0;
};

// Decodes of one and of several sequences, and prompts without and with a cached prefix.
std::vector<Case> CasesOf(const Arguments& arguments) {
  const int context = static_cast<int>(arguments.IntegerOrExit("--context", 4, 1 << 20));
  const int rows = static_cast<int>(arguments.IntegerOrExit("--rows", 1, 1 << 16));
  const int sequences = static_cast<int>(arguments.IntegerOrExit("--sequences", 1, 4096));
  if (rows >= context) arguments.Fail(InvalidArgument("--rows must be below --context"));
  const int quarter = context / 4;
  const auto decode = [](int n, int length) {
    return Case{"decode " + std::to_string(n) + " at " + std::to_string(length), n, length - 1, 1};
  };
  const auto prefill = [&](int position) {
    return Case{"prefill " + std::to_string(rows) + " at " + std::to_string(position), 1, position, rows};
  };
  return {decode(1, quarter),         decode(1, context), decode(std::max(2, sequences / 4), quarter),
          decode(sequences, quarter), prefill(0),         prefill(context - rows)};
}

KvType KvTypeOf(const Arguments& arguments, const char* option) {
  const Result<std::string> name = arguments.OneOf(option, {"f32", "f16", "bf16", "q8_0", "fp8"});
  if (!name.ok()) arguments.Fail(name.status());
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0, KvType::kFp8})
    if (*name == type.name()) return type;
  return {};
}

int Main(int argc, char** argv) {
  std::string presets;
  for (const Preset& preset : Presets()) presets += (presets.empty() ? "" : ", ") + std::string(preset.name);
  Arguments arguments(
      "cuda_kernel_bench", "Times the kernels of the CUDA backend one by one.",
      {{"--preset", "NAME", "llama-8b", "shape of the model: one of " + presets},
       {"--dtype", "TYPE", "bf16", "of the weights: f32, f16, bf16, q8_0 or q4_0"},
       {"--head-dim", "N", "0", "size of the heads; 0: that of the preset"},
       {"--kv-dtype", "TYPE", "bf16", "of the KV: f32, f16, bf16, q8_0 or fp8"},
       {"--context", "N", "8192", "tokens of the longest sequence"},
       {"--rows", "N", "512", "tokens of a prefill"},
       {"--sequences", "N", "64", "most sequences that decode, with a quarter of the context"},
       {"--read-gb", "X", "", "ceiling of memory, GB/s"},
       {"--peak-tflops", "X", "", "ceiling of arithmetic"},
       {"--runs", "N", "5", "timed runs"},
       {"--module", "FILE", "", "libprefixd_cuda.so; without it, the one beside the program"},
       {"--device", "N", "0", "the device"},
       {"--on-paper", "", "", "no device: reports the launches of a model of --layers layers"},
       {"--layers", "N", "3", "with --on-paper"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const Preset* const found = FindPreset(arguments.Text("--preset"));
  if (found == nullptr) arguments.Fail(InvalidArgument("--preset: the presets are " + presets));
  Preset preset = *found;
  if (const int head_dim = static_cast<int>(arguments.IntegerOrExit("--head-dim", 0, 1024)); head_dim > 0)
    preset.head_dim = head_dim;
  const std::vector<Case> cases = CasesOf(arguments);
  const int runs = static_cast<int>(arguments.IntegerOrExit("--runs", 1, 1000));
  Limits limits;
  if (arguments.Given("--read-gb")) limits.read = 1e9 * arguments.PositiveOrExit("--read-gb");
  if (arguments.Given("--peak-tflops")) limits.peak = 1e12 * arguments.PositiveOrExit("--peak-tflops");
  Report report(arguments);
  const WeightFormat format = FormatOrExit(arguments, "--dtype");
  const KvType kv_type = KvTypeOf(arguments, "--kv-dtype");
  if (arguments.Given("--on-paper")) {
    preset.layers = static_cast<int>(arguments.IntegerOrExit("--layers", 2, 1024));
    Bench bench(std::make_unique<PaperRuntime>(), preset, format, kv_type, cases);
    for (const Case& c : cases) bench.RunOnPaper(report, c);
    return report.Finish();
  }

  const cuda::ModuleState state =
      arguments.Given("--module") ? cuda::StateOf(arguments.Text("--module")) : cuda::FindModule();
  if (state.devices == 0) {
    std::fprintf(stderr, "cuda_kernel_bench: no kernel was timed: %s\n", state.reason.c_str());
    return kNoDevice;
  }
  report.PrintMachine();
  const int device = static_cast<int>(arguments.IntegerOrExit("--device", 0, 1024));
  std::unique_ptr<cuda::CudaRuntime> runtime = OrDie(cuda::CreateRuntime(state, device));
  const cuda::DeviceFacts facts = runtime->facts();
  std::printf("device: %s, %d multiprocessors, %s\n", facts.name.c_str(), facts.multiprocessors,
              facts.versions.c_str());
  Bench bench(std::move(runtime), preset, format, kv_type, cases);
  std::printf("%s, %.0f MB of weights\n", arguments.Text("--preset").c_str(), bench.weight_bytes() / 1e6);
  for (const Case& c : cases) bench.Run(report, c, limits, runs);
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
