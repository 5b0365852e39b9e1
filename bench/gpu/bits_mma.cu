// Compares mma.sync on the device with mma_model.h, bit for bit: `mma-model` the instruction m16n8k16, which
// every kernel uses, `mma-k8` m16n8k8. A row per class of operands. The first tiles are also compared with
// other rules, so that a model that is wrong shows which one is right. Exits with 1 if outputs differ.
#include "bench/gpu/mma_chain.cuh"
#include "bench/gpu/mma_model.h"
#include "bench/gpu/mma_operands.h"

namespace prefixd::gpu {
namespace {

constexpr int kTiles = 131072;       // of each class and type
constexpr int kVariantTiles = 4096;  // compared with the other rules
constexpr int kCasesShown = 3;       // differing outputs printed per class and type
constexpr int kOutputs = 16 * 8;

template <bool kF16, int kK>
__global__ void MmaKernel(const MmaTile* tiles, float* outputs) {
  const MmaTile& tile = tiles[blockIdx.x];
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = tile.c[g + 8 * (i / 2)][2 * t + i % 2];
  uint32_t a[4], b[2];
  for (int r = 0; r < 4; ++r) a[r] = Pair(&tile.a[g + 8 * (r % 2)][2 * t + 8 * (r / 2)]);
  for (int r = 0; r < 2; ++r) b[r] = Pair(&tile.b[g][2 * t + 8 * r]);
  if constexpr (kK == 16) {
    Mma16816<kF16>(d, a, b);
  } else if constexpr (kF16) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  }
  float* output = outputs + blockIdx.x * kOutputs;
  for (int i = 0; i < 4; ++i) output[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = d[i];
}

float Expected(const MmaTile& tile, int output, int k, InputType type, const MmaRule& rule) {
  return MmaDot(tile.a[output / 8], tile.b[output % 8], k, tile.c[output / 8][output % 8], type, rule);
}

int64_t Differing(const std::vector<MmaTile>& tiles, const std::vector<float>& outputs, int64_t count, int k,
                  InputType type, const MmaRule& rule) {
  std::atomic<int64_t> differing{0};
  ParallelFor(count, [&](int64_t i) {
    int64_t here = 0;
    for (int o = 0; o < kOutputs; ++o) {
      here += std::bit_cast<uint32_t>(Expected(tiles[i], o, k, type, rule)) !=
              std::bit_cast<uint32_t>(outputs[i * kOutputs + o]);
    }
    differing += here;
  });
  return differing;
}

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof(text), "%x", value);
  return text;
}

void ShowCases(const std::vector<MmaTile>& tiles, const std::vector<float>& outputs, int k, InputType type,
               const MmaRule& rule) {
  int shown = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(tiles.size()) * kOutputs && shown < kCasesShown; ++i) {
    const MmaTile& tile = tiles[i / kOutputs];
    const int o = i % kOutputs;
    const float expected = Expected(tile, o, k, type, rule);
    if (std::bit_cast<uint32_t>(expected) == std::bit_cast<uint32_t>(outputs[i])) continue;
    std::string a, b;
    for (int j = 0; j < k; ++j) {
      a += (j == 0 ? "" : " ") + Hex(tile.a[o / 8][j]);
      b += (j == 0 ? "" : " ") + Hex(tile.b[o % 8][j]);
    }
    Row("  case")
        .Add("device", Hex(std::bit_cast<uint32_t>(outputs[i])))
        .Add("model", Hex(std::bit_cast<uint32_t>(expected)))
        .Add("c", Hex(std::bit_cast<uint32_t>(tile.c[o / 8][o % 8])))
        .Add("a", a)
        .Add("b", b);
    ++shown;
  }
}

void ShowVariants(const std::string& name, const std::vector<MmaTile>& tiles,
                  const std::vector<float>& outputs, int k, InputType type, const MmaRule& rule) {
  Row row(name + " other rules");
  const auto add = [&](const char* variant, auto change) {
    MmaRule other = rule;
    change(other);
    row.Add(variant, Differing(tiles, outputs, kVariantTiles, k, type, other));
  };
  row.Add("outputs", static_cast<int64_t>(kVariantTiles) * kOutputs);
  add("model", [](MmaRule&) {});
  add("bits23", [](MmaRule& r) { r.fraction_bits = 23; });
  add("bits24", [](MmaRule& r) { r.fraction_bits = 24; });
  add("bits26", [](MmaRule& r) { r.fraction_bits = 26; });
  add("bits27", [](MmaRule& r) { r.fraction_bits = 27; });
  add("products8", [](MmaRule& r) { r.products = 8; });
  add("products8_bits24", [](MmaRule& r) { r.products = 8, r.fraction_bits = 24; });
  add("products4", [](MmaRule& r) { r.products = 4; });
  add("nearest", [](MmaRule& r) { r.round_to_nearest = true; });
  add("zero_with_exponent", [](MmaRule& r) { r.zero_has_exponent = true; });
}

// Returns the number of differing outputs of the classes that a served model can meet: all but kSpecial.
template <bool kF16, int kK>
int64_t ProbeType() {
  constexpr InputType kType = kF16 ? InputType::kF16 : InputType::kBF16;
  MmaRule rule;
  if (g_device_major < 9) rule = {.products = 8, .fraction_bits = 24};
  int64_t all = 0;
  for (const OperandClassName& kind : kOperandClasses) {
    std::vector<MmaTile> tiles(kTiles);
    ParallelFor(kTiles, [&](int64_t i) { DrawTile(tiles[i], kind.value, kType, i); });
    Buffer<MmaTile> device_tiles(tiles);
    Buffer<float> device_outputs(static_cast<size_t>(kTiles) * kOutputs);
    CHECK_CUDA(cudaMemsetAsync(device_outputs.get(), 0xA5, device_outputs.bytes(), g_stream));
    MmaKernel<kF16, kK><<<kTiles, 32, 0, g_stream>>>(device_tiles.get(), device_outputs.get());
    CHECK_CUDA(cudaGetLastError());
    const std::vector<float> outputs = device_outputs.Read();
    const int64_t differing = Differing(tiles, outputs, kTiles, kK, kType, rule);
    const std::string name = std::string(kF16 ? "f16 " : "bf16 ") + kind.name;
    Row(name)
        .Add("tiles", kTiles)
        .Add("outputs", static_cast<int64_t>(kTiles) * kOutputs)
        .Add("differing", differing);
    if (differing != 0) ShowCases(tiles, outputs, kK, kType, rule);
    ShowVariants(name, tiles, outputs, kK, kType, rule);
    if (kind.value != OperandClass::kSpecial) all += differing;
  }
  return all;
}

template <int kK>
void Probe() {
  const int64_t differing = ProbeType<false, kK>() + ProbeType<true, kK>();
  Row("verdict").Add("differing_outputs", differing).Add("model_holds", differing == 0 ? "yes" : "no");
  if (differing != 0) Fail("the model of mma differs from the device");
}

}  // namespace
}  // namespace prefixd::gpu

int main(int argc, char** argv) {
  using namespace prefixd::gpu;
  return RunPart(argc, argv, {{"mma-model", Probe<16>}, {"mma-k8", Probe<8>}});
}
