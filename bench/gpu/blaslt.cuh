// cuBLASLt, loaded at run time: y[m][n] = sum over k of w[n][k] x[m][k], with bf16 inputs, f32 accumulation
// and bf16 or f32 outputs, by algorithms of its heuristic. One host thread.
//
//   1. LoadBlasLt fails if no library is found. PREFIXD_CUBLASLT names the file; else the loader looks for
//      libcublasLt.so.13, .12 and libcublasLt.so.
//   2. A status other than success that is not part of a function's result ends the process by Fail.
#pragma once

#include <cublasLt.h>
#include <dlfcn.h>

#include "bench/gpu/probe_base.cuh"

namespace prefixd::gpu {

struct BlasLt {
#define BLASLT_FUNCTION(name) decltype(&cublasLt##name) name = nullptr
  BLASLT_FUNCTION(Create);
  BLASLT_FUNCTION(GetVersion);
  BLASLT_FUNCTION(GetStatusString);
  BLASLT_FUNCTION(Matmul);
  BLASLT_FUNCTION(MatmulDescCreate);
  BLASLT_FUNCTION(MatmulDescDestroy);
  BLASLT_FUNCTION(MatmulDescSetAttribute);
  BLASLT_FUNCTION(MatrixLayoutCreate);
  BLASLT_FUNCTION(MatrixLayoutDestroy);
  BLASLT_FUNCTION(MatmulPreferenceCreate);
  BLASLT_FUNCTION(MatmulPreferenceDestroy);
  BLASLT_FUNCTION(MatmulPreferenceSetAttribute);
  BLASLT_FUNCTION(MatmulAlgoGetHeuristic);
  BLASLT_FUNCTION(MatmulAlgoCheck);
  BLASLT_FUNCTION(MatmulAlgoConfigGetAttribute);
  BLASLT_FUNCTION(MatmulAlgoConfigSetAttribute);
#undef BLASLT_FUNCTION
  cublasLtHandle_t handle = nullptr;
};
inline BlasLt g_blaslt;

inline void CheckBlasLt(cublasStatus_t status, const char* call, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  Fail(std::string(call) + ": " + g_blaslt.GetStatusString(status) + " (line " + std::to_string(line) + ")");
}
#define CHECK_BLASLT(call) ::prefixd::gpu::CheckBlasLt((call), #call, __LINE__)

inline void LoadBlasLt() {
  void* library = nullptr;
  const char* named = std::getenv("PREFIXD_CUBLASLT");
  for (const char* file : {named, "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}) {
    if (library == nullptr && file != nullptr && *file != '\0') library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) Fail(std::string("cuBLASLt cannot be loaded; set PREFIXD_CUBLASLT: ") + dlerror());
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (function == nullptr) Fail(std::string("cuBLASLt lacks ") + name);
  };
#define BLASLT_LOAD(name) load(g_blaslt.name, "cublasLt" #name)
  BLASLT_LOAD(Create);
  BLASLT_LOAD(GetVersion);
  BLASLT_LOAD(GetStatusString);
  BLASLT_LOAD(Matmul);
  BLASLT_LOAD(MatmulDescCreate);
  BLASLT_LOAD(MatmulDescDestroy);
  BLASLT_LOAD(MatmulDescSetAttribute);
  BLASLT_LOAD(MatrixLayoutCreate);
  BLASLT_LOAD(MatrixLayoutDestroy);
  BLASLT_LOAD(MatmulPreferenceCreate);
  BLASLT_LOAD(MatmulPreferenceDestroy);
  BLASLT_LOAD(MatmulPreferenceSetAttribute);
  BLASLT_LOAD(MatmulAlgoGetHeuristic);
  BLASLT_LOAD(MatmulAlgoCheck);
  BLASLT_LOAD(MatmulAlgoConfigGetAttribute);
  BLASLT_LOAD(MatmulAlgoConfigSetAttribute);
#undef BLASLT_LOAD
  CHECK_BLASLT(g_blaslt.Create(&g_blaslt.handle));
  Row("cuBLASLt").Add("version", static_cast<int64_t>(g_blaslt.GetVersion()));
}

// Wraps the library's struct, which has no name of its own and so cannot be an element of a std::vector.
struct Algo {
  cublasLtMatmulAlgo_t value;
};

// What an algorithm is: two with the same text have the same configuration.
struct AlgoName {
  int id = -1, split_k = 1;
  uint32_t tile = 0, reduction = 0, swizzle = 0, custom = 0, stages = 0;
  uint16_t inner = 0, cluster = 0;
  std::string Text() const {
    char text[160];
    std::snprintf(text, sizeof(text),
                  "id%d_tile%u_stages%u_split%d_reduction%u_swizzle%u_custom%u_inner%u_cluster%u", id, tile,
                  stages, split_k, reduction, swizzle, custom, inner, cluster);
    return text;
  }
};

inline AlgoName NameOf(const Algo& algo) {
  AlgoName name;
  size_t written;
  const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto& value) {
    // An attribute that this algorithm lacks keeps its default.
    (void)g_blaslt.MatmulAlgoConfigGetAttribute(&algo.value, attribute, &value, sizeof(value), &written);
  };
  get(CUBLASLT_ALGO_CONFIG_ID, name.id);
  get(CUBLASLT_ALGO_CONFIG_TILE_ID, name.tile);
  get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, name.split_k);
  get(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, name.reduction);
  get(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, name.swizzle);
  get(CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, name.custom);
  get(CUBLASLT_ALGO_CONFIG_STAGES_ID, name.stages);
  get(CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, name.inner);
  get(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, name.cluster);
  return name;
}

class Matmul {
 public:
  static constexpr int kMaxAlgos = 16;

  Matmul(int m, int n, int k, bool bf16_output) {
    const cudaDataType_t output = bf16_output ? CUDA_R_16BF : CUDA_R_32F;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    CHECK_BLASLT(g_blaslt.MatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CHECK_BLASLT(g_blaslt.MatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                                 sizeof(transposed)));
    // cuBLASLt's matrices are column-major, so w is k by n and transposed, x is k by m, y is n by m.
    CHECK_BLASLT(g_blaslt.MatrixLayoutCreate(&w_, CUDA_R_16BF, k, n, k));
    CHECK_BLASLT(g_blaslt.MatrixLayoutCreate(&x_, CUDA_R_16BF, k, m, k));
    CHECK_BLASLT(g_blaslt.MatrixLayoutCreate(&y_, output, n, m, n));
  }
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul() {
    (void)g_blaslt.MatrixLayoutDestroy(y_);
    (void)g_blaslt.MatrixLayoutDestroy(x_);
    (void)g_blaslt.MatrixLayoutDestroy(w_);
    (void)g_blaslt.MatmulDescDestroy(operation_);
  }

  // Up to `count` algorithms of the heuristic, best guess first; none is an answer too. `reductions` is a
  // mask of cublasLtReductionScheme_t. Requires count <= kMaxAlgos.
  std::vector<Algo> Algos(size_t workspace, uint32_t reductions, int count) const {
    cublasLtMatmulPreference_t preference;
    CHECK_BLASLT(g_blaslt.MatmulPreferenceCreate(&preference));
    const uint64_t bytes = workspace;
    CHECK_BLASLT(g_blaslt.MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                       &bytes, sizeof(bytes)));
    CHECK_BLASLT(g_blaslt.MatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                       &reductions, sizeof(reductions)));
    cublasLtMatmulHeuristicResult_t results[kMaxAlgos];
    int found = 0;
    const cublasStatus_t status = g_blaslt.MatmulAlgoGetHeuristic(
        g_blaslt.handle, operation_, w_, x_, y_, y_, preference, std::min(count, kMaxAlgos), results, &found);
    (void)g_blaslt.MatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
    CHECK_BLASLT(status);
    std::vector<Algo> algos;
    for (int i = 0; i < found; ++i) {
      if (results[i].state == CUBLAS_STATUS_SUCCESS) algos.push_back({results[i].algo});
    }
    return algos;
  }

  // Makes the algorithm one without a split of K and without a reduction, if it is not that already. False if
  // it cannot be, or cannot do this product in `workspace` bytes.
  bool WithoutSplit(Algo& algo, size_t workspace) const {
    const AlgoName name = NameOf(algo);
    const int32_t split = 1;
    const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    if (name.split_k != 1 &&
        g_blaslt.MatmulAlgoConfigSetAttribute(&algo.value, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split,
                                              sizeof(split)) != CUBLAS_STATUS_SUCCESS) {
      return false;
    }
    if (name.reduction != none &&
        g_blaslt.MatmulAlgoConfigSetAttribute(&algo.value, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &none,
                                              sizeof(none)) != CUBLAS_STATUS_SUCCESS) {
      return false;
    }
    cublasLtMatmulHeuristicResult_t result;
    return g_blaslt.MatmulAlgoCheck(g_blaslt.handle, operation_, w_, x_, y_, y_, &algo.value, &result) ==
               CUBLAS_STATUS_SUCCESS &&
           result.workspaceSize <= workspace;
  }

  // Enqueues the product. Returns whether the library accepted it.
  bool Run(const uint16_t* w, const uint16_t* x, void* y, const Algo& algo, void* workspace,
           size_t workspace_bytes) const {
    const float one = 1, zero = 0;
    const cublasStatus_t status =
        g_blaslt.Matmul(g_blaslt.handle, operation_, &one, w, w_, x, x_, &zero, y, y_, y, y_, &algo.value,
                        workspace, workspace_bytes, g_stream);
    if (status != CUBLAS_STATUS_SUCCESS) (void)cudaGetLastError();  // a refusal is an answer, not a fault
    return status == CUBLAS_STATUS_SUCCESS;
  }

 private:
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, y_ = nullptr;
};

}  // namespace prefixd::gpu
