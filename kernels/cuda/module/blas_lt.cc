#include "kernels/cuda/module/blas_lt.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "kernels/cuda/module/device_runtime.h"

namespace prefixd::cuda {
namespace {

constexpr size_t kOldestVersion = 120000;

// "cuBLASLt 13.1.0" for 130100.
std::string NameOf(size_t version) {
  return "cuBLASLt " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

cudaDataType_t TypeOf(DType type) {
  PREFIXD_CHECK(type == DType::kBF16 || type == DType::kF16) << DTypeName(type);
  return type == DType::kBF16 ? CUDA_R_16BF : CUDA_R_16F;
}

cublasLtMatmulAlgo_t AlgorithmOf(const ProductWay& way) {
  cublasLtMatmulAlgo_t algorithm;
  static_assert(sizeof algorithm == sizeof way.words);
  std::memcpy(&algorithm, way.words, sizeof algorithm);
  return algorithm;
}

}  // namespace

// The matrices of a product. Those of the library are column-major: W is k by n, and transposed by the
// operation; x is k by rows, and y n by rows.
class BlasLt::Operands {
 public:
  explicit Operands(const Functions& functions) : functions_(functions) {}
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;
  ~Operands() {
    for (const cublasLtMatrixLayout_t layout : {w, x, y}) {
      if (layout != nullptr) (void)functions_.MatrixLayoutDestroy(layout);
    }
  }

  cublasStatus_t Describe(DType type, int rows, int n, int k) {
    const auto unsigned_n = static_cast<uint64_t>(n), unsigned_k = static_cast<uint64_t>(k),
               unsigned_rows = static_cast<uint64_t>(rows);
    cublasStatus_t status = functions_.MatrixLayoutCreate(&w, TypeOf(type), unsigned_k, unsigned_n, k);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = functions_.MatrixLayoutCreate(&x, TypeOf(type), unsigned_k, unsigned_rows, k);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = functions_.MatrixLayoutCreate(&y, CUDA_R_32F, unsigned_n, unsigned_rows, n);
    return status;
  }

  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;

 private:
  const Functions& functions_;
};

Result<std::unique_ptr<BlasLt>> BlasLt::Load(DeviceRuntime* device, std::span<const char* const> files) {
  std::string names;
  Status why_not = Status::Ok();
  for (const char* const file : files) {
    std::unique_ptr<BlasLt> library(new BlasLt(device));
    Status opened = library->Open(file);
    if (opened.ok()) return library;
    if (opened.code() == Code::kUnavailable) return opened;
    if (opened.code() != Code::kNotFound) why_not = std::move(opened);
    names += (names.empty() ? "" : ", ") + std::string(file);
  }
  return why_not.ok() ? NotFound("none of these files can be loaded: " + names) : why_not;
}

Status BlasLt::Open(const char* file) {
  void* const library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return NotFound(file);
  // Nothing of it has been called yet that outlives it.
  const auto refuse = [&](const std::string& why) {
    dlclose(library);
    return Unsupported(std::string(file) + why);
  };
  const char* absent = nullptr;
#define PREFIXD_BLASLT_FIND(function)                                                        \
  functions_.function =                                                                      \
      reinterpret_cast<decltype(functions_.function)>(dlsym(library, "cublasLt" #function)); \
  if (functions_.function == nullptr) absent = "cublasLt" #function;
  PREFIXD_BLASLT_FUNCTIONS(PREFIXD_BLASLT_FIND)
#undef PREFIXD_BLASLT_FIND
  if (absent != nullptr) return refuse(std::string(" lacks ") + absent);
  name_ = NameOf(functions_.GetVersion());
  if (functions_.GetVersion() < kOldestVersion) return refuse(" is " + name_ + "; it must be 12.0 or later");
  return Begin();
}

Status BlasLt::Begin() {
  PREFIXD_RETURN_IF_ERROR(device_->Enter());
  PREFIXD_RETURN_IF_ERROR(Take(functions_.Create(&handle_), "cublasLtCreate"));
  PREFIXD_RETURN_IF_ERROR(Describe(&operation_));
  PREFIXD_RETURN_IF_ERROR(Describe(&operation_with_bias_));
  // Each row of y, which is n by rows, gets an element of the bias, before it is rounded to the type of y.
  const cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
  return Take(functions_.MatmulDescSetAttribute(operation_with_bias_, CUBLASLT_MATMUL_DESC_EPILOGUE, &bias,
                                                sizeof bias),
              "cublasLtMatmulDescSetAttribute");
}

Status BlasLt::Describe(cublasLtMatmulDesc_t* operation) {
  PREFIXD_RETURN_IF_ERROR(Take(functions_.MatmulDescCreate(operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
                               "cublasLtMatmulDescCreate"));
  const cublasOperation_t transposed = CUBLAS_OP_T;
  return Take(functions_.MatmulDescSetAttribute(*operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                                sizeof transposed),
              "cublasLtMatmulDescSetAttribute");
}

BlasLt::~BlasLt() {
  for (const cublasLtMatmulDesc_t operation : {operation_, operation_with_bias_})
    if (operation != nullptr) (void)functions_.MatmulDescDestroy(operation);
  if (handle_ != nullptr) (void)functions_.Destroy(handle_);
}

Status BlasLt::Take(cublasStatus_t status, const char* call) const {
  if (status == CUBLAS_STATUS_SUCCESS) return Status::Ok();
  return IoError(std::string(call) + ": " + functions_.GetStatusName(status));
}

Result<std::vector<ProductWay>> BlasLt::Ways(const ProductShape& shape, int most) {
  constexpr int kMost = 16;
  PREFIXD_CHECK(most > 0 && most <= kMost) << most;
  PREFIXD_RETURN_IF_ERROR(device_->Enter());
  Operands operands(functions_);
  PREFIXD_RETURN_IF_ERROR(
      Take(operands.Describe(shape.type, shape.rows, shape.n, shape.k), "cublasLtMatrixLayoutCreate"));
  cublasLtMatmulPreference_t created = nullptr;
  PREFIXD_RETURN_IF_ERROR(
      Take(functions_.MatmulPreferenceCreate(&created), "cublasLtMatmulPreferenceCreate"));
  const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, decltype(functions_.MatmulPreferenceDestroy)>
      preference(created, functions_.MatmulPreferenceDestroy);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    return Take(functions_.MatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value),
                "cublasLtMatmulPreferenceSetAttribute");
  };
  PREFIXD_RETURN_IF_ERROR(prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kProductWorkspaceBytes}));
  PREFIXD_RETURN_IF_ERROR(
      prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE}));
  std::array<cublasLtMatmulHeuristicResult_t, kMost> results = {};
  int found = 0;
  const cublasStatus_t status = functions_.MatmulAlgoGetHeuristic(
      handle_, shape.has_bias ? operation_with_bias_ : operation_, operands.w, operands.x, operands.y,
      operands.y, preference.get(), most, results.data(), &found);
  std::vector<ProductWay> ways;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return ways;
  PREFIXD_RETURN_IF_ERROR(Take(status, "cublasLtMatmulAlgoGetHeuristic"));
  for (size_t i = 0; i < static_cast<size_t>(found); ++i) {
    int32_t split = 1;
    size_t written = 0;
    // An algorithm without this attribute cannot split.
    (void)functions_.MatmulAlgoConfigGetAttribute(&results[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split,
                                                  sizeof split, &written);
    if (results[i].state != CUBLAS_STATUS_SUCCESS || split > 1 ||
        results[i].workspaceSize > kProductWorkspaceBytes)
      continue;
    std::memcpy(ways.emplace_back().words, &results[i].algo, sizeof results[i].algo);
  }
  return ways;
}

Result<bool> BlasLt::Multiply(Stream stream, const ProductWay& way, DType type, const GemmParams& params,
                              std::byte* workspace) {
  PREFIXD_CHECK((params.bias == nullptr || !params.accumulate) && workspace != nullptr)
      << params.n << " by " << params.k;
  PREFIXD_RETURN_IF_ERROR(device_->Enter());
  Operands operands(functions_);
  if (operands.Describe(type, params.rows, params.n, params.k) != CUBLAS_STATUS_SUCCESS) return false;
  const cublasLtMatmulAlgo_t algorithm = AlgorithmOf(way);
  const float alpha = 1, beta = params.accumulate ? 1 : 0;
  const cublasLtMatmulDesc_t operation = params.bias != nullptr ? operation_with_bias_ : operation_;
  if (params.bias != nullptr) {
    PREFIXD_RETURN_IF_ERROR(
        Take(functions_.MatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &params.bias,
                                               sizeof params.bias),
             "cublasLtMatmulDescSetAttribute"));
  }
  const cublasStatus_t status = functions_.Matmul(
      handle_, operation, &alpha, params.w, operands.w, params.x, operands.x, &beta, params.y, operands.y,
      params.y, operands.y, &algorithm, workspace, kProductWorkspaceBytes, device_->StreamOf(stream));
  // The library looks at its arguments before it gives anything to the stream.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return false;
  PREFIXD_RETURN_IF_ERROR(Take(status, "cublasLtMatmul"));
  return true;
}

}  // namespace prefixd::cuda
