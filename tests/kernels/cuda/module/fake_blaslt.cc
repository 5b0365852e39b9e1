#include "tests/kernels/cuda/module/fake_blaslt.h"

#include <cstring>
#include <new>

#include "kernels/numerics.h"

#ifndef FAKE_BLASLT_VERSION
#define FAKE_BLASLT_VERSION 130100
#endif
// The library that lacks a function has it under another name.
#ifdef FAKE_BLASLT_LACKS_MATMUL
#define cublasLtMatmul another_function
#endif

struct cublasLtContext {};

namespace prefixd::fake_blaslt {
namespace {

State& Get() {
  static State state;
  return state;
}

// Behind the opaque structs of the header, which are large enough.
struct Operation {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t a, b;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const float* bias = nullptr;
};
struct Layout {
  cudaDataType_t type;
  uint64_t rows, cols;
  int64_t ld;
};
struct Preference {
  uint64_t workspace;
  uint32_t reductions;
};
template <typename Opaque, typename Real>
void Make(Opaque** opaque, const Real& real) {
  static_assert(sizeof(Real) <= sizeof(Opaque));
  ++Get().alive;
  *opaque = new Opaque;
  new (static_cast<void*>(*opaque)) Real(real);
}
template <typename Opaque>
void Destroy(Opaque* opaque) {
  --Get().alive;
  delete opaque;
}
Operation& Of(cublasLtMatmulDesc_t opaque) { return *reinterpret_cast<Operation*>(opaque); }
Layout& Of(cublasLtMatrixLayout_t opaque) { return *reinterpret_cast<Layout*>(opaque); }
Preference& Of(cublasLtMatmulPreference_t opaque) { return *reinterpret_cast<Preference*>(opaque); }

cublasStatus_t Count() {
  State& state = Get();
  return state.calls++ == state.fails_at ? state.error : CUBLAS_STATUS_SUCCESS;
}

double ElementOf(const Layout& layout, const void* matrix, uint64_t row, uint64_t col) {
  const uint64_t at = col * static_cast<uint64_t>(layout.ld) + row;
  if (row >= layout.rows || col >= layout.cols) Get().faults += "an element outside of a matrix; ";
  switch (layout.type) {
    case CUDA_R_16BF:
      return numerics::F32FromBF16(static_cast<const uint16_t*>(matrix)[at]);
    case CUDA_R_16F:
      return numerics::F32FromF16(static_cast<const uint16_t*>(matrix)[at]);
    case CUDA_R_32F:
      return static_cast<const float*>(matrix)[at];
    default:
      Get().faults += "a type of a matrix; ";
      return 0;
  }
}

// The number of an offer is in the first word of its algorithm, its split in the second.
void Describe(const Offer& offer, uint64_t number, cublasLtMatmulHeuristicResult_t* result) {
  *result = {};
  result->algo.data[0] = number;
  result->algo.data[1] = static_cast<uint64_t>(offer.split);
  result->workspaceSize = offer.workspace;
  result->state = offer.state;
}

}  // namespace
}  // namespace prefixd::fake_blaslt

using namespace prefixd::fake_blaslt;

#define FAKE_CALL \
  if (const cublasStatus_t failure = Count(); failure != CUBLAS_STATUS_SUCCESS) return failure

extern "C" {

State* fake_blaslt_state() { return &Get(); }

size_t cublasLtGetVersion() { return FAKE_BLASLT_VERSION; }
const char* cublasLtGetStatusName(cublasStatus_t status) {
  return status == CUBLAS_STATUS_EXECUTION_FAILED ? "CUBLAS_STATUS_EXECUTION_FAILED" : "a status of the test";
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  FAKE_CALL;
  *handle = new cublasLtContext;
  ++Get().alive;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  Destroy(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  FAKE_CALL;
  Make(operation, Operation{compute, scale, CUBLAS_OP_N, CUBLAS_OP_N});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  Destroy(operation);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  FAKE_CALL;
  if (attribute == CUBLASLT_MATMUL_DESC_EPILOGUE && bytes == sizeof(cublasLtEpilogue_t)) {
    std::memcpy(&Of(operation).epilogue, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  if (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER && bytes == sizeof(void*)) {
    std::memcpy(&Of(operation).bias, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  const bool a = attribute == CUBLASLT_MATMUL_DESC_TRANSA;
  if ((!a && attribute != CUBLASLT_MATMUL_DESC_TRANSB) || bytes != sizeof(cublasOperation_t)) {
    Get().faults += "an attribute of an operation; ";
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(a ? &Of(operation).a : &Of(operation).b, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  FAKE_CALL;
  if (ld < static_cast<int64_t>(rows)) Get().faults += "columns that overlap; ";
  Make(layout, Layout{type, rows, cols, ld});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(const cublasLtMatrixLayout_t layout) {
  Destroy(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  FAKE_CALL;
  Make(preference, Preference{0, CUBLASLT_REDUCTION_SCHEME_MASK});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  Destroy(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  FAKE_CALL;
  Preference& to = Of(preference);
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == sizeof to.workspace) {
    std::memcpy(&to.workspace, value, bytes);
  } else if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK && bytes == sizeof to.reductions) {
    std::memcpy(&to.reductions, value, bytes);
  } else {
    Get().faults += "an attribute of a preference; ";
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  FAKE_CALL;
  State& state = Get();
  state.workspace = Of(preference).workspace;
  state.reductions = Of(preference).reductions;
  state.requested = requested;
  state.asked_with_bias = Of(operation).epilogue == CUBLASLT_EPILOGUE_BIAS;
  *found = 0;
  if (state.offers_nothing) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const Offer& offer : state.offers) {
    if (*found == requested) break;
    Describe(offer, static_cast<uint64_t>(*found), &results[*found]);
    ++*found;
  }
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void* value, size_t bytes, size_t* written) {
  FAKE_CALL;
  const auto split = static_cast<int32_t>(algorithm->data[1]);
  if (attribute != CUBLASLT_ALGO_CONFIG_SPLITK_NUM || bytes != sizeof split) {
    Get().faults += "an attribute of an algorithm; ";
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::memcpy(value, &split, bytes);
  *written = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t of_a, const void* b,
                              cublasLtMatrixLayout_t of_b, const void* beta, const void* c,
                              cublasLtMatrixLayout_t of_c, void* d, cublasLtMatrixLayout_t of_d,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  FAKE_CALL;
  State& state = Get();
  const Operation op = Of(operation);
  const Layout &la = Of(of_a), &lb = Of(of_b), &lc = Of(of_c), &ld = Of(of_d);
  if (op.compute != CUBLAS_COMPUTE_32F || op.scale != CUDA_R_32F) state.faults += "not of f32; ";
  if (handle == nullptr || algorithm == nullptr || stream == nullptr || workspace == nullptr)
    state.faults += "a null; ";
  if (ld.type != CUDA_R_32F) state.faults += "an output that is not f32; ";
  const bool has_bias = op.epilogue == CUBLASLT_EPILOGUE_BIAS;
  if (has_bias && op.bias == nullptr) {
    state.faults += "no bias; ";
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  state.streams.push_back(stream);
  state.algorithms.push_back(algorithm->data[0]);
  state.workspaces.push_back(workspace_bytes);
  float scale = 0, keep = 0;
  std::memcpy(&scale, alpha, sizeof scale);
  std::memcpy(&keep, beta, sizeof keep);
  const bool ta = op.a == CUBLAS_OP_T, tb = op.b == CUBLAS_OP_T;
  const uint64_t sums = ta ? la.rows : la.cols;
  if (sums != (tb ? lb.cols : lb.rows) || ld.rows != (ta ? la.cols : la.rows) ||
      ld.cols != (tb ? lb.rows : lb.cols)) {
    state.faults += "matrices that do not fit; ";
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  for (uint64_t row = 0; row < ld.rows; ++row) {
    for (uint64_t col = 0; col < ld.cols; ++col) {
      double sum = 0;
      for (uint64_t k = 0; k < sums; ++k)
        sum += ElementOf(la, a, ta ? k : row, ta ? row : k) * ElementOf(lb, b, tb ? col : k, tb ? k : col);
      // With a beta of 0, c is not read.
      const double before = keep == 0 ? 0 : static_cast<double>(keep) * ElementOf(lc, c, row, col);
      const double bias = has_bias ? op.bias[row] : 0;
      static_cast<float*>(d)[col * static_cast<uint64_t>(ld.ld) + row] =
          static_cast<float>(static_cast<double>(scale) * sum + before + bias);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
