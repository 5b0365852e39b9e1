// The vectors of the loops of a draw (sample_loops.inl.h) for every machine: 16 floats, and 8 integers. The
// functions are those of vec_avx2.h, which documents them. Pure functions; any thread.
#pragma once

#include <cstdint>

#define PREFIXD_ISA plain

namespace prefixd::plain {

struct F32x16 {
  float lanes[16];
};

inline F32x16 Set(float x) {
  F32x16 result;
  for (float& lane : result.lanes) lane = x;
  return result;
}
inline F32x16 Load(const float* p) {
  F32x16 result;
  for (int i = 0; i < 16; ++i) result.lanes[i] = p[i];
  return result;
}
inline F32x16 Max(F32x16 a, F32x16 b) {
  for (int i = 0; i < 16; ++i) b.lanes[i] = a.lanes[i] > b.lanes[i] ? a.lanes[i] : b.lanes[i];
  return b;
}
inline float MergeMax(F32x16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i)
      a.lanes[i] = a.lanes[i] > a.lanes[i + half] ? a.lanes[i] : a.lanes[i + half];
  }
  return a.lanes[0];
}

struct U32x8 {
  uint64_t lanes[8];
};

inline U32x8 SetU32(uint32_t x) {
  U32x8 result;
  for (uint64_t& lane : result.lanes) lane = x;
  return result;
}
inline U32x8 CountFrom(uint32_t first) {
  U32x8 result;
  for (uint32_t i = 0; i < 8; ++i) result.lanes[i] = first + i;
  return result;
}
inline U32x8 WideProduct(U32x8 a, U32x8 b) {
  for (int i = 0; i < 8; ++i) a.lanes[i] = (a.lanes[i] & 0xFFFFFFFFu) * (b.lanes[i] & 0xFFFFFFFFu);
  return a;
}
inline U32x8 UpperHalves(U32x8 a) {
  for (uint64_t& lane : a.lanes) lane >>= 32;
  return a;
}
inline U32x8 Xor(U32x8 a, U32x8 b) {
  for (int i = 0; i < 8; ++i) a.lanes[i] ^= b.lanes[i];
  return a;
}
inline void StoreHalved(int32_t* p, U32x8 a, U32x8 b, U32x8 c, U32x8 d) {
  for (int i = 0; i < 8; ++i, p += 4) {
    p[0] = static_cast<int32_t>(static_cast<uint32_t>(a.lanes[i]) >> 1);
    p[1] = static_cast<int32_t>(static_cast<uint32_t>(b.lanes[i]) >> 1);
    p[2] = static_cast<int32_t>(static_cast<uint32_t>(c.lanes[i]) >> 1);
    p[3] = static_cast<int32_t>(static_cast<uint32_t>(d.lanes[i]) >> 1);
  }
}

}  // namespace prefixd::plain
