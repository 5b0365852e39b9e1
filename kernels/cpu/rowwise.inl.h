// Exp, and the operations on single rows: norms, biases, rotation, gated activations, rounding and
// quantising. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// Computes numerics::Exp in every lane.
PREFIXD_INLINE F32x16 Exp(F32x16 x) {
  const F32x16 round = Set(numerics::kRound);
  const F32x16 one = Set(1.0f);
  const F32x16 shifted = Fma(x, Set(numerics::kLog2E), round);
  const F32x16 n = Sub(shifted, round);
  const F32x16 r = Fma(n, Set(-numerics::kLn2Low), Fma(n, Set(-numerics::kLn2High), x));
  F32x16 p = Fma(Set(numerics::kExp6), r, Set(numerics::kExp5));
  p = Fma(p, r, Set(numerics::kExp4));
  p = Fma(p, r, Set(numerics::kExp3));
  p = Fma(p, r, Set(numerics::kExp2));
  p = Fma(p, r, one);
  p = Fma(p, r, one);
  const F32x16 inside = Mul(p, LowBitsAsPowerOfTwo(shifted));
  const F32x16 upper = WhereLess(Set(numerics::kExpMax), x, Set(__builtin_inff()), inside);
  return WhereLess(x, Set(numerics::kExpMin), Zero(), upper);
}

void RmsNorm(const float* x, const float* weight, float eps, int rows, int dim, float* out) {
  for (int row = 0; row < rows; ++row, x += dim, out += dim) {
    F32x16 sums = Zero();
    // Lanes past the end add 0 * 0. That does not change a sum, because no sum is -0.
    for (int i = 0; i < dim; i += kLanes) {
      const F32x16 v = LoadUpTo(x + i, dim - i);
      sums = Fma(v, v, sums);
    }
    const F32x16 mean = Div(Set(MergeSum(sums)), Set(static_cast<float>(dim)));
    const F32x16 scale = Div(Set(1.0f), Sqrt(Add(mean, Set(eps))));
    for (int i = 0; i < dim; i += kLanes) {
      StoreUpTo(out + i, dim - i, Mul(Mul(LoadUpTo(x + i, dim - i), scale), LoadUpTo(weight + i, dim - i)));
    }
  }
}

void Rope(float* x, int heads, int head_dim, const float* cosines) {
  const int half = head_dim / 2;
  const float* sines = cosines + half;
  for (int h = 0; h < heads; ++h, x += head_dim) {
    for (int i = 0; i < half; i += kLanes) {
      const int n = half - i;
      const F32x16 a = LoadUpTo(x + i, n);
      const F32x16 b = LoadUpTo(x + half + i, n);
      const F32x16 cosine = LoadUpTo(cosines + i, n);
      const F32x16 sine = LoadUpTo(sines + i, n);
      StoreUpTo(x + i, n, Fma(a, cosine, Negate(Mul(b, sine))));
      StoreUpTo(x + half + i, n, Fma(b, cosine, Mul(a, sine)));
    }
  }
}

void AddBias(const float* bias, int rows, int width, float* x) {
  for (int row = 0; row < rows; ++row, x += width) {
    for (int i = 0; i < width; i += kLanes) {
      StoreUpTo(x + i, width - i, Add(LoadUpTo(x + i, width - i), LoadUpTo(bias + i, width - i)));
    }
  }
}

PREFIXD_INLINE F32x16 Silu(F32x16 x) { return Div(x, Add(Set(1.0f), Exp(Negate(x)))); }
PREFIXD_INLINE F32x16 GeluTanh(F32x16 x) {
  const F32x16 slope = Fma(Set(numerics::kGelu3), Mul(x, x), Set(numerics::kGelu1));
  return Div(x, Add(Set(1.0f), Exp(Mul(x, slope))));
}
PREFIXD_INLINE F32x16 Relu(F32x16 x) { return WhereLess(x, Zero(), Zero(), x); }

template <F32x16 (*kActivation)(F32x16)>
void Gated(const float* x, int rows, int width, float* out) {
  for (int row = 0; row < rows; ++row, x += 2 * static_cast<size_t>(width), out += width) {
    for (int i = 0; i < width; i += kLanes) {
      const F32x16 gate = LoadUpTo(x + i, width - i);
      const F32x16 up = LoadUpTo(x + width + i, width - i);
      StoreUpTo(out + i, width - i, Mul(kActivation(gate), up));
    }
  }
}

void GatedActivation(Activation activation, const float* x, int rows, int width, float* out) {
  switch (activation) {
    case Activation::kSilu:
      return Gated<Silu>(x, rows, width, out);
    case Activation::kGeluTanh:
      return Gated<GeluTanh>(x, rows, width, out);
    case Activation::kRelu:
      return Gated<Relu>(x, rows, width, out);
  }
}

void Narrow(const float* from, int n, DType dtype, void* to) {
  for (int i = 0; i < n; i += kLanes) {
    const F32x16 v = LoadUpTo(from + i, n - i);
    switch (dtype) {
      case DType::kF32:
        Store(static_cast<float*>(to) + i, v);
        break;
      case DType::kF16:
        ToF16(static_cast<uint16_t*>(to) + i, v);
        break;
      case DType::kBF16:
        ToBF16(static_cast<uint16_t*>(to) + i, v);
        break;
    }
  }
}

// Computes numerics::QuantizeBlock for kQuantBlock numbers.
uint16_t QuantizeBlock(const float* x, int8_t* integers) {
  const F32x16 a = Load(x), b = Load(x + kLanes);
  const float largest = MergeMax(Max(Max(a, Negate(a)), Max(b, Negate(b))));
  const bool finite = MergeSum(Fma(a, Zero(), Mul(b, Zero()))) == 0.0f;  // a product with 0 is 0, or a NaN
  const bool some = finite && largest >= numerics::kQuantLeast;
  const F32x16 inverse = Set(some ? 127.0f / largest : 0.0f);
  ToI8(integers, some ? Mul(a, inverse) : Zero());
  ToI8(integers + kLanes, some ? Mul(b, inverse) : Zero());
  uint16_t scale[kLanes];
  ToF16(scale, Set(some ? largest / 127.0f : finite ? 0.0f : __builtin_nanf("")));
  return scale[0];
}

}  // namespace prefixd::PREFIXD_ISA
