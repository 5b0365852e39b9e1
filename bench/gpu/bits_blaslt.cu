// `blaslt`: which algorithms of cuBLASLt, without a split of K, return the bits of the chain of mma.sync, for
// the shapes of llama-8b and several numbers of rows, with a workspace of 0 and of 32 MiB, with f32 and with
// bf16 outputs. A second question is whether one algorithm returns the same bits of a row at every number of
// rows. Every algorithm that the heuristic offers for one number of rows is tried at all of them.
#include "bench/gpu/blaslt.cuh"
#include "bench/gpu/mma_chain.cuh"

namespace prefixd::gpu {
namespace {

constexpr int kRows[] = {512, 1,  2,   7,  16,
                         17,  64, 128, 256};  // the largest first: it is the reference of the rest
constexpr int kMaxRows = 512;
constexpr int kHeuristics = Matmul::kMaxAlgos;
constexpr size_t kWorkspace = size_t{32} << 20;

struct Operands {
  Operands(const Shape& shape, Data data)
      : w(static_cast<size_t>(shape.n) * shape.k),
        x(static_cast<size_t>(kMaxRows) * shape.k),
        chain(static_cast<size_t>(kMaxRows) * shape.n) {
    Fill(w.get(), shape.n, shape.k, data, 1.0f, -1.0f, 1);
    Fill(x.get(), kMaxRows, shape.k, data, 1.0f, 1.0f, 2);
    ChainGemm(w.get(), x.get(), chain.get(), kMaxRows, shape.n, shape.k);
  }
  Buffer<uint16_t> w, x;
  Buffer<float> chain;
};

struct Setting {
  const Shape& shape;
  bool bf16;
  size_t workspace;
  std::string Text() const {
    return std::string(shape.name) + (bf16 ? " bf16" : " f32") + (workspace == 0 ? " ws0" : " ws32M");
  }
};

// What one algorithm did at one number of rows.
struct Outcome {
  bool ran = false;          // false where the library refuses
  int64_t differing = 0;     // outputs that differ from the chain
  int64_t inconsistent = 0;  // outputs that differ from the algorithm's own at kMaxRows; f32 only
  double microseconds = 0;
};
struct Candidate {
  std::string name;
  Algo algo;
  Outcome outcomes[std::size(kRows)];
  bool RanEverywhere() const {
    return std::all_of(std::begin(outcomes), std::end(outcomes), [](const Outcome& o) { return o.ran; });
  }
  int64_t Differing() const {
    int64_t sum = 0;
    for (const Outcome& outcome : outcomes) sum += outcome.differing;
    return sum;
  }
  int64_t Inconsistent() const {
    int64_t sum = 0;
    for (const Outcome& outcome : outcomes) sum += outcome.inconsistent;
    return sum;
  }
  double Microseconds() const {
    double sum = 0;
    for (const Outcome& outcome : outcomes) sum += outcome.microseconds;
    return sum;
  }
};

class Probe {
 public:
  explicit Probe(const Shape& shape)
      : shape_(shape),
        random_(shape, Data::kRandom),
        cancelling_(shape, Data::kCancelling),
        y_(static_cast<size_t>(kMaxRows) * shape.n),
        own_random_(static_cast<size_t>(kMaxRows) * shape.n),
        own_cancelling_(static_cast<size_t>(kMaxRows) * shape.n),
        workspace_(kWorkspace) {}

  // Returns the number of candidates that equal the chain at every number of rows.
  int Run(bool bf16, size_t workspace) {
    const Setting setting{shape_, bf16, workspace};
    std::vector<Candidate> candidates;
    for (const int rows : kRows) {
      const Matmul matmul(rows, shape_.n, shape_.k, bf16);
      for (const uint32_t schemes :
           {CUBLASLT_REDUCTION_SCHEME_NONE, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE}) {
        for (Algo algo : matmul.Algos(workspace, schemes, kHeuristics)) {
          if (!matmul.WithoutSplit(algo, workspace)) continue;
          const std::string name = NameOf(algo).Text();
          const auto same = [&](const Candidate& candidate) { return candidate.name == name; };
          if (std::any_of(candidates.begin(), candidates.end(), same)) continue;
          Candidate& added = candidates.emplace_back();
          added.name = name;
          added.algo = algo;
        }
      }
    }
    for (Candidate& candidate : candidates) {
      for (size_t i = 0; i < std::size(kRows); ++i) Try(setting, kRows[i], candidate, candidate.outcomes[i]);
    }
    for (size_t i = 0; i < std::size(kRows); ++i) ReportRows(setting, i, candidates);
    return ReportCandidates(setting, candidates);
  }

  // The heuristic's own first choice, with splits and reductions allowed.
  void RunDefault() {
    for (const int rows : kRows) {
      const Matmul matmul(rows, shape_.n, shape_.k, true);
      const auto algos = matmul.Algos(kWorkspace, CUBLASLT_REDUCTION_SCHEME_MASK, 1);
      if (algos.empty()) continue;
      Row row(std::string(shape_.name) + " default");
      row.Add("rows", rows);
      row.Add("differing_random", Differing(matmul, rows, algos[0], true, kWorkspace, random_));
      row.Add("differing_cancelling", Differing(matmul, rows, algos[0], true, kWorkspace, cancelling_));
      row.Add("us", Time(matmul, algos[0], kWorkspace)).Add("algo", NameOf(algos[0]).Text());
    }
  }

 private:
  // Outputs that differ from the chain, or -1 if the library refuses.
  int64_t Differing(const Matmul& matmul, int rows, const Algo& algo, bool bf16, size_t workspace,
                    const Operands& data) {
    CHECK_CUDA(cudaMemsetAsync(y_.get(), 0xA5, y_.bytes(), g_stream));
    if (!matmul.Run(data.w.get(), data.x.get(), y_.get(), algo, workspace_.get(), workspace)) {
      return -1;
    }
    return CountDiffering(data.chain.get(), y_.get(), bf16, static_cast<int64_t>(rows) * shape_.n);
  }

  double Time(const Matmul& matmul, const Algo& algo, size_t workspace) {
    return MicrosecondsPerCall(3, 4, [&](int i) {
      const Operands& data = i % 2 == 0 ? random_ : cancelling_;
      (void)matmul.Run(data.w.get(), data.x.get(), y_.get(), algo, workspace_.get(), workspace);
    });
  }

  void Try(const Setting& setting, int rows, const Candidate& candidate, Outcome& outcome) {
    const Matmul matmul(rows, shape_.n, shape_.k, setting.bf16);
    Algo algo = candidate.algo;
    if (!matmul.WithoutSplit(algo, setting.workspace)) return;
    for (const bool cancelling : {false, true}) {
      Buffer<float>& own = cancelling ? own_cancelling_ : own_random_;
      const int64_t differing =
          Differing(matmul, rows, algo, setting.bf16, setting.workspace, cancelling ? cancelling_ : random_);
      if (differing < 0) return;
      outcome.differing += differing;
      if (setting.bf16) continue;
      if (rows == kMaxRows) {
        CHECK_CUDA(cudaMemcpyAsync(own.get(), y_.get(), y_.bytes(), cudaMemcpyDeviceToDevice, g_stream));
      } else if (candidate.outcomes[0].ran) {
        outcome.inconsistent +=
            CountDiffering(own.get(), y_.get(), false, static_cast<int64_t>(rows) * shape_.n);
      }
    }
    outcome.microseconds = Time(matmul, algo, setting.workspace);
    outcome.ran = true;
  }

  static void ReportRows(const Setting& setting, size_t index, const std::vector<Candidate>& candidates) {
    int equal = 0, ran = 0;
    const Candidate *fastest = nullptr, *fastest_equal = nullptr;
    const auto faster = [&](const Candidate& candidate, const Candidate* than) {
      return than == nullptr || candidate.outcomes[index].microseconds < than->outcomes[index].microseconds;
    };
    for (const Candidate& candidate : candidates) {
      const Outcome& outcome = candidate.outcomes[index];
      if (!outcome.ran) continue;
      ++ran;
      if (faster(candidate, fastest)) fastest = &candidate;
      if (outcome.differing != 0) continue;
      ++equal;
      if (faster(candidate, fastest_equal)) fastest_equal = &candidate;
    }
    Row row(setting.Text());
    row.Add("rows", kRows[index]).Add("algos", ran).Add("equal", equal);
    if (fastest != nullptr) {
      row.Add("fastest_us", fastest->outcomes[index].microseconds).Add("fastest", fastest->name);
    }
    if (fastest_equal != nullptr && fastest_equal != fastest) {
      row.Add("fastest_equal_us", fastest_equal->outcomes[index].microseconds);
      row.Add("fastest_equal", fastest_equal->name);
    }
  }

  static int ReportCandidates(const Setting& setting, const std::vector<Candidate>& candidates) {
    int everywhere = 0, equal = 0, consistent = 0, shown = 0;
    const Candidate* fastest = nullptr;
    for (const Candidate& candidate : candidates) {
      for (size_t i = 0; i < std::size(kRows) && shown < 3; ++i) {
        if (candidate.outcomes[i].differing == 0) continue;
        Row(setting.Text() + " differs")
            .Add("rows", kRows[i])
            .Add("differing", candidate.outcomes[i].differing)
            .Add("algo", candidate.name);
        ++shown;
        break;
      }
      if (!candidate.RanEverywhere()) continue;
      ++everywhere;
      consistent += candidate.Inconsistent() == 0;
      if (candidate.Differing() != 0) continue;
      ++equal;
      if (fastest == nullptr || candidate.Microseconds() < fastest->Microseconds()) fastest = &candidate;
    }
    Row summary(setting.Text() + " summary");
    summary.Add("algos", static_cast<int64_t>(candidates.size()))
        .Add("run_at_all_rows", everywhere)
        .Add("equal_to_chain_at_all_rows", equal);
    if (!setting.bf16) summary.Add("same_bits_at_all_rows", consistent);
    if (fastest != nullptr) summary.Add("fastest_of_them", fastest->name);
    return equal;
  }

  const Shape& shape_;
  Operands random_, cancelling_;
  Buffer<float> y_, own_random_, own_cancelling_;
  Buffer<char> workspace_;
};

void ProbeBlasLt() {
  LoadBlasLt();
  int settings = 0, held = 0;
  for (const Shape& shape : kShapes) {
    Probe probe(shape);
    for (const bool bf16 : {true, false}) {
      for (const size_t workspace : {kWorkspace, size_t{0}}) {
        ++settings;
        held += probe.Run(bf16, workspace) != 0;
      }
    }
    probe.RunDefault();
  }
  Row("verdict").Add("settings", settings).Add("settings_with_an_algo_equal_at_all_rows", held);
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) {
  return prefixd::gpu::RunPart(argc, argv, {{"blaslt", prefixd::gpu::ProbeBlasLt}});
}
