// Kernels for 64-bit ARM: four lanes a register, for 8 and 32 lanes. Fewer lanes go to the scalar ones. See avx2.cpp,
// whose steps these are.
#include "../kernels.h"

#if defined(LVC_NEON)
#include <arm_neon.h>

#include <cstring>

#include "loops.h"
#include "scalar.h"

namespace lvc {

namespace {

// For each mask of four lanes: bytes that move the 16-bit words of these lanes to the top of a register in their
// order; those that move as many words to these lanes, and nothing to the others; and how many they are.
struct Permutations {
  alignas(8) uint8_t pack[16][8] = {};
  alignas(8) uint8_t spread[16][8] = {};
  uint8_t count[16] = {};
  constexpr Permutations() {
    for (uint32_t mask = 0; mask < 16; ++mask) {
      for (uint32_t bit = 0; bit < 4; ++bit) count[mask] = static_cast<uint8_t>(count[mask] + (mask >> bit & 1));
      for (uint32_t lane = 0, rank = 0; lane < 4; ++lane) {
        const bool in = (mask >> lane & 1) != 0;
        const uint32_t at = 4u - count[mask] + rank;
        for (uint32_t half = 0; half < 2; ++half) {
          spread[mask][2 * lane + half] = static_cast<uint8_t>(in ? 2 * rank + half : 0xff);
          if (in) pack[mask][2 * at + half] = static_cast<uint8_t>(2 * lane + half);
        }
        rank += in ? 1 : 0;
      }
    }
  }
};
constexpr Permutations kPermutations;

// Bit i: that of lane i of a comparison's result.
inline uint32_t mask_of(uint32x4_t v) {
  const uint32x4_t bits = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(v, bits));
}

inline uint32x4_t frequencies_of(uint32x4_t entry) {
  return vandq_u32(vshrq_n_u32(entry, 16), vdupq_n_u32(kTotal - 1));
}
inline uint32x4_t starts_of(uint32x4_t entry) { return vandq_u32(entry, vdupq_n_u32(kTotal - 1)); }

// One coding step of four lanes: words go below `top`.
inline uint32x4_t put4(uint32x4_t x, uint32x4_t entry, uint16_t*& top) {
  const uint32x4_t frequency = frequencies_of(entry);
  const uint32x4_t high = vshrq_n_u32(x, 16);
  const uint32x4_t full = vcgeq_u32(high, vshlq_n_u32(frequency, 2));
  const uint32_t mask = mask_of(full);
  const uint8x8_t low = vreinterpret_u8_u16(vmovn_u32(x));
  vst1_u16(top - 4, vreinterpret_u16_u8(vtbl1_u8(low, vld1_u8(kPermutations.pack[mask]))));
  top -= kPermutations.count[mask];
  x = vbslq_u32(full, high, x);
  // The ratio is below 2^18 and its float is off by less than 2^-4. Less 1/8 and rounded down (what is negative, to 0),
  // it is the quotient or one below it.
  const float32x4_t reciprocal = vdivq_f32(vdupq_n_f32(1.0f), vcvtq_f32_u32(frequency));
  const uint32x4_t quotient = vcvtq_u32_f32(vfmaq_f32(vdupq_n_f32(-0.125f), vcvtq_f32_u32(x), reciprocal));
  const uint32x4_t rest = vmlsq_u32(x, quotient, frequency);
  const uint32x4_t sum = vaddq_u32(vaddq_u32(vshlq_n_u32(quotient, kPrecision), starts_of(entry)), rest);
  const uint32x4_t more = vsubq_u32(vdupq_n_u32(kTotal), frequency);
  return vaddq_u32(sum, vandq_u32(vcgeq_u32(rest, frequency), more));
}

template <int kVectors>
void encode_groups(EncoderState& s, const Entry* entries, const uint16_t* ids, size_t groups, uint16_t*& top) {
  uint32x4_t x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = vld1q_u32(s.lane + 4 * v);
  uint16_t* out = top;
  for (const uint16_t* id = ids + groups * 4 * kVectors; id != ids;) {
    id -= 4 * kVectors;
#pragma GCC unroll 8
    for (int v = kVectors - 1; v >= 0; --v) {
      uint32x4_t entry = vld1q_dup_u32(entries + id[4 * v]);
      entry = vld1q_lane_u32(entries + id[4 * v + 1], entry, 1);
      entry = vld1q_lane_u32(entries + id[4 * v + 2], entry, 2);
      entry = vld1q_lane_u32(entries + id[4 * v + 3], entry, 3);
      x[v] = put4(x[v], entry, out);
    }
  }
  for (int v = 0; v < kVectors; ++v) vst1q_u32(s.lane + 4 * v, x[v]);
  top = out;
}

inline uint32x4_t load_index(const uint8_t* p) {
  uint32_t four;
  std::memcpy(&four, p, sizeof(four));
  return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}
inline uint32x4_t load_index(const int32_t* p) { return vreinterpretq_u32_s32(vld1q_s32(p)); }

// Four places in an array, taken out of a vector two at a time.
struct Places {
  uint64_t pair[2];
  explicit Places(uint32x4_t index)
      : pair{vgetq_lane_u64(vreinterpretq_u64_u32(index), 0), vgetq_lane_u64(vreinterpretq_u64_u32(index), 1)} {}
  template <typename T>
  const T* at(const T* base, int i) const {
    return base + (i % 2 == 0 ? static_cast<uint32_t>(pair[i / 2]) : pair[i / 2] >> 32);
  }
};

inline uint32x4_t pick(const uint32_t* base, uint32x4_t index) {
  const Places places(index);
  uint32x4_t v = vld1q_dup_u32(places.at(base, 0));
  v = vld1q_lane_u32(places.at(base, 1), v, 1);
  v = vld1q_lane_u32(places.at(base, 2), v, 2);
  return vld1q_lane_u32(places.at(base, 3), v, 3);
}

// Four intervals: their first halves, which are what Entry holds, and their values.
struct Picked {
  uint32x4_t entry, value;
  Picked(const Interval* base, uint32x4_t index) {
    const Places places(index);
    const auto two = [&](int i) {
      uint64_t each[2];
      static_assert(sizeof(Interval) == sizeof(each[0]), "both halves at once");
      std::memcpy(each, places.at(base, i), sizeof(each[0]));
      std::memcpy(each + 1, places.at(base, i + 1), sizeof(each[0]));
      return vreinterpretq_u32_u64(vcombine_u64(vcreate_u64(each[0]), vcreate_u64(each[1])));
    };
    const uint32x4_t front = two(0), back = two(2);
    entry = vuzp1q_u32(front, back);
    value = vuzp2q_u32(front, back);
  }
};

template <int kVectors, typename Index>
Status decode_groups(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t groups,
                     size_t& done) {
  const uint32x4_t slots = vdupq_n_u32(kTotal - 1), six = vdupq_n_u32(63), last = vdupq_n_u32(t.n_tables - 1);
  uint32x4_t x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = vld1q_u32(d.lane + 4 * v);
  const uint8_t* next = d.next;
  Status status = Status::kOk;
  size_t g = 0;
  for (; g < groups; ++g) {
    uint32x4_t word[kVectors], y[kVectors];
    uint32_t escapes = 0;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const uint32x4_t table = vminq_u32(load_index(index + 4 * v), last);
      const uint32x4_t bucket = vshrq_n_u32(vandq_u32(x[v], slots), kBucketShift);
      word[v] = pick(t.bucket, vorrq_u32(vshlq_n_u32(table, 8), bucket));
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const uint32x4_t slot = vandq_u32(x[v], slots), place = vandq_u32(x[v], six);
      uint32x4_t e = vshrq_n_u32(word[v], 12);
      e = vsubq_u32(e, vcgtq_u32(place, vandq_u32(vshrq_n_u32(word[v], 6), six)));
      e = vsubq_u32(e, vcgtq_u32(place, vandq_u32(word[v], six)));
      Picked found(t.interval, e);
      uint32x4_t frequency, above;
      for (;;) {
        frequency = frequencies_of(found.entry);
        above = vsubq_u32(slot, starts_of(found.entry));
        const uint32x4_t beyond = vcgeq_u32(above, frequency);
        if (__builtin_expect(vmaxvq_u32(beyond) == 0, 1)) break;
        e = vsubq_u32(e, beyond);
        found = Picked(t.interval, e);
      }
      y[v] = vmlaq_u32(above, frequency, vshrq_n_u32(x[v], kPrecision));
      escapes |= mask_of(vcgeq_u32(found.entry, vdupq_n_u32(uint32_t{1} << 31))) << 4 * v;
      vst1q_s32(out + 4 * v, vreinterpretq_s32_u32(found.value));
    }
    const uint8_t* after = next;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const uint32x4_t need = vcltq_u32(y[v], vdupq_n_u32(kInitialState));
      const uint32_t mask = mask_of(need);
      const uint8x8_t words = vtbl1_u8(vld1_u8(after), vld1_u8(kPermutations.spread[mask]));
      const uint32x4_t filled = vorrq_u32(vshlq_n_u32(y[v], 16), vmovl_u16(vreinterpret_u16_u8(words)));
      y[v] = vbslq_u32(need, filled, y[v]);
      after += 2 * kPermutations.count[mask];
    }
    if (__builtin_expect(after > d.end, 0)) break;  // too few words: the last group goes symbol by symbol
    for (int v = 0; v < kVectors; ++v) x[v] = y[v];
    next = d.next = after;
    status = end_group<4 * kVectors>(d, t, index, out, escapes);
    if (status != Status::kOk) break;
  }
  for (int v = 0; v < kVectors; ++v) vst1q_u32(d.lane + 4 * v, x[v]);
  done = g * 4 * kVectors;
  return status;
}

struct Neon : FindIds {
  template <typename Id>
  static void encode(EncoderState& s, const Tables& t, const Id* ids, size_t n, uint64_t first, uint16_t*& top) {
    if constexpr (sizeof(Id) == 2) {
      if (s.lanes >= 8) {
        const Entry* entries = t.view().by_value;
        const auto encode_whole = s.lanes == 8 ? encode_groups<2> : encode_groups<8>;
        return encode_by_groups(s, entries, ids, n, first, top, [&](const Id* whole, size_t groups) {
          encode_whole(s, entries, whole, groups, top);
        });
      }
    }
    encode_scalar(s, t, ids, n, first, top);
  }
  template <typename Index>
  static Status decode(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
    if (d.lanes < 8) return decode_scalar(d, t, index, out, n);
    return decode_by_groups(d, t, index, out, n, d.lanes == 8 ? decode_groups<2, Index> : decode_groups<8, Index>);
  }
};

}  // namespace

const Kernels kNeonKernels = LVC_KERNELS("neon", Neon);

}  // namespace lvc
#endif
