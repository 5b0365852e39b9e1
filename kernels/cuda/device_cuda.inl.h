// The functions of device.h for nvcc, sm_80 and later. This is the only file of kernels/cuda with PTX and
// with the intrinsics of a device; tests/tidy checks that. device.h includes it.
//
// Memory is read and written in words of 1, 2, 4, 8 or 16 bytes that may alias anything; a struct of small
// members is one of them. Instructions that the compiler cannot see through say that they touch memory: it
// then neither moves loads and stores across them nor keeps values in registers.

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "the kernels need a device of compute capability 8.0"
#endif

namespace prefixd::device {

namespace internal {

// A copy of so many bytes between aligned addresses is one access.
template <typename T>
PREFIXD_DEVICE T Load(const void* at) {
  T value;
  __builtin_memcpy(&value, __builtin_assume_aligned(at, sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
PREFIXD_DEVICE void Store(void* at, T value) {
  __builtin_memcpy(__builtin_assume_aligned(at, sizeof(T)), &value, sizeof(T));
}

// The address of shared memory that instructions take.
PREFIXD_DEVICE uint32_t SharedAddress(const void* at) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

inline constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

}  // namespace internal

PREFIXD_DEVICE int ThreadIndex() { return static_cast<int>(threadIdx.x); }
PREFIXD_DEVICE int BlockThreads() { return static_cast<int>(blockDim.x); }
PREFIXD_DEVICE int BlockX() { return static_cast<int>(blockIdx.x); }
PREFIXD_DEVICE int BlockY() { return static_cast<int>(blockIdx.y); }
PREFIXD_DEVICE int GridX() { return static_cast<int>(gridDim.x); }
PREFIXD_DEVICE int GridY() { return static_cast<int>(gridDim.y); }

PREFIXD_DEVICE std::byte* SharedMemory() {
  extern __shared__ __align__(1024) unsigned char prefixd_shared_memory[];
  return reinterpret_cast<std::byte*>(prefixd_shared_memory);
}

// The assumptions let the compiler use the instructions of one kind of memory where it has lost track of an
// address.
template <typename T>
PREFIXD_DEVICE T LoadShared(const void* at) {
  __builtin_assume(__isShared(at));
  return internal::Load<T>(at);
}
template <typename T>
PREFIXD_DEVICE void StoreShared(void* at, T value) {
  __builtin_assume(__isShared(at));
  internal::Store(at, value);
}
template <typename T>
PREFIXD_DEVICE T LoadGlobal(const void* at) {
  __builtin_assume(__isGlobal(at));
  return internal::Load<T>(at);
}
template <typename T>
PREFIXD_DEVICE void StoreGlobal(void* at, T value) {
  __builtin_assume(__isGlobal(at));
  internal::Store(at, value);
}

// Devices before 9.0 begin no launch early.
PREFIXD_DEVICE void AwaitPredecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}
PREFIXD_DEVICE void LetSuccessorBegin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" : : : "memory");
#endif
}

PREFIXD_DEVICE void SyncThreads(Where) { __syncthreads(); }
PREFIXD_DEVICE void SyncWarp(Where) { __syncwarp(); }
PREFIXD_DEVICE uint32_t ShuffleXor(uint32_t value, int mask, Where) {
  return __shfl_xor_sync(internal::kAllLanes, value, mask);
}
PREFIXD_DEVICE uint32_t Shuffle(uint32_t value, int lane, Where) {
  return __shfl_sync(internal::kAllLanes, value, lane);
}
PREFIXD_DEVICE uint32_t Ballot(bool value, Where) { return __ballot_sync(internal::kAllLanes, value); }

PREFIXD_DEVICE uint32_t AtomicAdd(uint32_t* at, uint32_t value) { return atomicAdd(at, value); }
PREFIXD_DEVICE uint64_t AtomicAdd(uint64_t* at, uint64_t value) {
  static_assert(sizeof(unsigned long long) == sizeof(uint64_t));
  return atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(value));
}
PREFIXD_DEVICE uint32_t AtomicMax(uint32_t* at, uint32_t value) { return atomicMax(at, value); }

// A source of 0 bytes fills the 16 with zeros and reads nothing.
PREFIXD_DEVICE void CopyAsync16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(internal::SharedAddress(shared)), "l"(__cvta_generic_to_global(global)),
                 "r"(valid ? 16 : 0)
               : "memory");
}
PREFIXD_DEVICE void CommitCopies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
template <int n>
PREFIXD_DEVICE void WaitCopies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(n) : "memory");
}

PREFIXD_DEVICE void LoadMatrix4(uint32_t (&registers)[4], const void* row, Where) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(internal::SharedAddress(row))
               : "memory");
}
PREFIXD_DEVICE void LoadMatrix4Transposed(uint32_t (&registers)[4], const void* row, Where) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(internal::SharedAddress(row))
               : "memory");
}

template <HalfType type>
PREFIXD_DEVICE void Mma16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where) {
  if constexpr (type == HalfType::kBF16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}

PREFIXD_DEVICE void Mma16832(int32_t (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Where) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// --- For sm_90a alone: code for others does not call them ---

PREFIXD_DEVICE uint32_t SharedAddress(const void* at) { return internal::SharedAddress(at); }

PREFIXD_DEVICE void BeginCopyBarrier(void* barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" : : "r"(SharedAddress(barrier)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" : : : "memory");
  asm volatile("fence.proxy.async.shared::cta;" : : : "memory");  // bulk copies find it begun, too
}
PREFIXD_DEVICE void EndCopyBarrier(void* barrier) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" : : "r"(SharedAddress(barrier)) : "memory");
}
PREFIXD_DEVICE void ExpectCopies(void* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"(SharedAddress(barrier)), "r"(bytes)
               : "memory");
}
PREFIXD_DEVICE void CopyBulk(void* shared, const void* global, int bytes, void* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :
               : "r"(SharedAddress(shared)), "l"(__cvta_generic_to_global(global)), "r"(bytes),
                 "r"(SharedAddress(barrier))
               : "memory");
}
PREFIXD_DEVICE void AwaitCopies(void* barrier, int parity, Where) {
  uint32_t ended = 0;
  while (ended == 0) {
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p;}"
                 : "=r"(ended)
                 : "r"(SharedAddress(barrier)), "r"(parity)
                 : "memory");
  }
}
PREFIXD_DEVICE void PublishShared() { asm volatile("fence.proxy.async.shared::cta;" : : : "memory"); }

// The compiler does not know that wgmma goes on after its statement. These empty ones, before the fence and
// after the wait, keep what it does with the registers outside.
namespace internal {
template <int tiles, int steps>
PREFIXD_DEVICE void PinRegisters(float (&c)[tiles][4], uint32_t (&a)[steps][4]) {
  PREFIXD_UNROLL
  for (int n = 0; n < tiles; ++n)
    asm volatile("" : "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3]) : : "memory");
  PREFIXD_UNROLL
  for (int k = 0; k < steps; ++k)
    asm volatile("" : "+r"(a[k][0]), "+r"(a[k][1]), "+r"(a[k][2]), "+r"(a[k][3]) : : "memory");
}
}  // namespace internal
template <int tiles, int steps>
PREFIXD_DEVICE void BeginWarpgroupMma(float (&c)[tiles][4], uint32_t (&a)[steps][4]) {
  internal::PinRegisters(c, a);
  asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
}

// With a predicate that is true: the product is added to c.
#define PREFIXD_WGMMA(shape_and_types, registers, others, ...)                                     \
  asm volatile("{.reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned." shape_and_types \
               " {" registers "}, " others ";}"                                                    \
               : __VA_ARGS__                                                                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(rows_together ? 1 : 0))
#define PREFIXD_C1(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define PREFIXD_C4(n) PREFIXD_C1(n), PREFIXD_C1(n + 1), PREFIXD_C1(n + 2), PREFIXD_C1(n + 3)
#define PREFIXD_REGISTERS_32                                                                       \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25," \
  "%26,%27,%28,%29,%30,%31"
#define PREFIXD_REGISTERS_64                                                                          \
  PREFIXD_REGISTERS_32                                                                                \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55," \
  "%56,%57,%58,%59,%60,%61,%62,%63"
template <HalfType type, bool rows_together, int tiles>
PREFIXD_DEVICE void WarpgroupMma(float (&c)[tiles][4], const uint32_t (&a)[4], uint64_t b, Where) {
  static_assert(tiles == 8 || tiles == 16);
  constexpr bool kBF16 = type == HalfType::kBF16;
  if constexpr (tiles == 8 && kBF16) {
    PREFIXD_WGMMA("m64n64k16.f32.bf16.bf16", PREFIXD_REGISTERS_32, "{%32,%33,%34,%35}, %36, p, 1, 1, %37",
                  PREFIXD_C4(0), PREFIXD_C4(4));
  } else if constexpr (tiles == 8) {
    PREFIXD_WGMMA("m64n64k16.f32.f16.f16", PREFIXD_REGISTERS_32, "{%32,%33,%34,%35}, %36, p, 1, 1, %37",
                  PREFIXD_C4(0), PREFIXD_C4(4));
  } else if constexpr (kBF16) {
    PREFIXD_WGMMA("m64n128k16.f32.bf16.bf16", PREFIXD_REGISTERS_64, "{%64,%65,%66,%67}, %68, p, 1, 1, %69",
                  PREFIXD_C4(0), PREFIXD_C4(4), PREFIXD_C4(8), PREFIXD_C4(12));
  } else {
    PREFIXD_WGMMA("m64n128k16.f32.f16.f16", PREFIXD_REGISTERS_64, "{%64,%65,%66,%67}, %68, p, 1, 1, %69",
                  PREFIXD_C4(0), PREFIXD_C4(4), PREFIXD_C4(8), PREFIXD_C4(12));
  }
}
#undef PREFIXD_WGMMA
#undef PREFIXD_C1
#undef PREFIXD_C4
#undef PREFIXD_REGISTERS_32
#undef PREFIXD_REGISTERS_64
template <int tiles, int steps>
PREFIXD_DEVICE void EndWarpgroupMma(float (&c)[tiles][4], uint32_t (&a)[steps][4]) {
  asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" : : : "memory");
  internal::PinRegisters(c, a);
}

// --- Numbers ---

PREFIXD_DEVICE float WidenF16(uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

PREFIXD_DEVICE uint32_t MulF16x2(uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}
PREFIXD_DEVICE uint32_t AddF16x2(uint32_t a, uint32_t b) {
  uint32_t sum;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
}

// Without the instruction: in f16, the bits of an e4m3 are a number 2^8 smaller.
PREFIXD_DEVICE uint32_t WidenE4M3x2(uint32_t pair) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint32_t numbers;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(numbers) : "h"(static_cast<uint16_t>(pair)));
  return numbers;
#else
  const uint32_t halves = (pair & 0xFFu) << 8 | (pair & 0xFF00u) << 16;
  const uint32_t sizes = (halves & 0x7F007F00u) >> 1;
  const uint32_t low = (sizes & 0xFFFFu) == 0x3F80u ? 0x7FFFu : 0u;  // a NaN
  const uint32_t high = sizes >> 16 == 0x3F80u ? 0x7FFF0000u : 0u;
  return MulF16x2(sizes | (halves & 0x80008000u), 0x5C005C00u) | low | high;
#endif
}

PREFIXD_DEVICE float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
PREFIXD_DEVICE float Add(float a, float b) { return __fadd_rn(a, b); }
PREFIXD_DEVICE float Mul(float a, float b) { return __fmul_rn(a, b); }
PREFIXD_DEVICE float Div(float a, float b) { return __fdiv_rn(a, b); }
PREFIXD_DEVICE float Sqrt(float a) { return __fsqrt_rn(a); }

}  // namespace prefixd::device
