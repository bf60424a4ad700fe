// The kernels for x86 CPUs with AVX2. Compiled function by function for that instruction set, so that the rest
// of the module runs on any CPU; chosen at run time.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>

#include <cstring>

#if defined(__GNUC__) || defined(__clang__)
#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE AVX2 inline __attribute__((always_inline))
#else
#include <intrin.h>
#define AVX2
#define AVX2_INLINE __forceinline
#endif

namespace lvc::motion {

namespace {

AVX2_INLINE __m128i load8(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
AVX2_INLINE __m128i load16(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
AVX2_INLINE __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
AVX2_INLINE void store8(void* p, __m128i v) { _mm_storel_epi64(static_cast<__m128i*>(p), v); }
AVX2_INLINE void store16(void* p, __m128i v) { _mm_storeu_si128(static_cast<__m128i*>(p), v); }
AVX2_INLINE void store32(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

AVX2_INLINE uint32_t sum_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(s));
}

AVX2 uint32_t sad(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, int w, int h) {
  __m256i sum = _mm256_setzero_si256();
  int x = 0;
  for (; x + 32 <= w; x += 32) {
    const uint8_t *p = a + x, *q = b + x;
    for (int y = 0; y < h; ++y, p += a_stride, q += b_stride)
      sum = _mm256_add_epi32(sum, _mm256_sad_epu8(load32(p), load32(q)));
  }
  __m128i rest = _mm_setzero_si128();
  for (; x + 16 <= w; x += 16) {
    const uint8_t *p = a + x, *q = b + x;
    for (int y = 0; y < h; ++y, p += a_stride, q += b_stride)
      rest = _mm_add_epi32(rest, _mm_sad_epu8(load16(p), load16(q)));
  }
  if (x < w) {
    const uint8_t *p = a + x, *q = b + x;
    for (int y = 0; y < h; ++y, p += a_stride, q += b_stride)
      rest = _mm_add_epi32(rest, _mm_sad_epu8(load8(p), load8(q)));
  }
  return sum_of(_mm256_add_epi32(sum, _mm256_castsi128_si256(rest)));
}

// The operations that one 8x8 block (128 bits a row) and two blocks side by side (256 bits a row) share.
struct One {
  using V = __m128i;
  static AVX2_INLINE V difference(const uint8_t* a, const uint8_t* b) {
    return _mm_sub_epi16(_mm_cvtepu8_epi16(load8(a)), _mm_cvtepu8_epi16(load8(b)));
  }
  static AVX2_INLINE V add(V a, V b) { return _mm_add_epi16(a, b); }
  static AVX2_INLINE V sub(V a, V b) { return _mm_sub_epi16(a, b); }
  static AVX2_INLINE V max_abs(V a, V b) { return _mm_max_epi16(_mm_abs_epi16(a), _mm_abs_epi16(b)); }
  static AVX2_INLINE V low16(V a, V b) { return _mm_unpacklo_epi16(a, b); }
  static AVX2_INLINE V high16(V a, V b) { return _mm_unpackhi_epi16(a, b); }
  static AVX2_INLINE V low32(V a, V b) { return _mm_unpacklo_epi32(a, b); }
  static AVX2_INLINE V high32(V a, V b) { return _mm_unpackhi_epi32(a, b); }
  static AVX2_INLINE V low64(V a, V b) { return _mm_unpacklo_epi64(a, b); }
  static AVX2_INLINE V high64(V a, V b) { return _mm_unpackhi_epi64(a, b); }
  static AVX2_INLINE __m256i widened(V a) {
    return _mm256_castsi128_si256(_mm_madd_epi16(a, _mm_set1_epi16(1)));
  }
};

struct Two {
  using V = __m256i;
  static AVX2_INLINE V difference(const uint8_t* a, const uint8_t* b) {
    return _mm256_sub_epi16(_mm256_cvtepu8_epi16(load16(a)), _mm256_cvtepu8_epi16(load16(b)));
  }
  static AVX2_INLINE V add(V a, V b) { return _mm256_add_epi16(a, b); }
  static AVX2_INLINE V sub(V a, V b) { return _mm256_sub_epi16(a, b); }
  static AVX2_INLINE V max_abs(V a, V b) { return _mm256_max_epi16(_mm256_abs_epi16(a), _mm256_abs_epi16(b)); }
  static AVX2_INLINE V low16(V a, V b) { return _mm256_unpacklo_epi16(a, b); }
  static AVX2_INLINE V high16(V a, V b) { return _mm256_unpackhi_epi16(a, b); }
  static AVX2_INLINE V low32(V a, V b) { return _mm256_unpacklo_epi32(a, b); }
  static AVX2_INLINE V high32(V a, V b) { return _mm256_unpackhi_epi32(a, b); }
  static AVX2_INLINE V low64(V a, V b) { return _mm256_unpacklo_epi64(a, b); }
  static AVX2_INLINE V high64(V a, V b) { return _mm256_unpackhi_epi64(a, b); }
  static AVX2_INLINE __m256i widened(V a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
};

template <typename T>
AVX2_INLINE void butterfly(typename T::V& a, typename T::V& b) {
  const typename T::V sum = T::add(a, b);
  b = T::sub(a, b);
  a = sum;
}

// Half the sum of absolute Hadamard coefficients: |a + b| + |a - b| = 2 max(|a|, |b|) saves the last stage.
template <typename T>
AVX2_INLINE __m256i hadamard(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride) {
  typename T::V r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = T::difference(a + i * a_stride, b + i * b_stride);
  for (int half = 4; half > 0; half /= 2)
    for (int i = 0; i < 8; ++i)
      if ((i & half) == 0) butterfly<T>(r[i], r[i + half]);
  for (int i = 0; i < 4; ++i) {  // transpose
    t[i] = T::low16(r[2 * i], r[2 * i + 1]);
    t[i + 4] = T::high16(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 8; i += 2) {
    r[i] = T::low32(t[i], t[i + 1]);
    r[i + 1] = T::high32(t[i], t[i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    t[4 * i + 0] = T::low64(r[4 * i + 0], r[4 * i + 2]);
    t[4 * i + 1] = T::high64(r[4 * i + 0], r[4 * i + 2]);
    t[4 * i + 2] = T::low64(r[4 * i + 1], r[4 * i + 3]);
    t[4 * i + 3] = T::high64(r[4 * i + 1], r[4 * i + 3]);
  }
  for (int half = 4; half > 1; half /= 2)
    for (int i = 0; i < 8; ++i)
      if ((i & half) == 0) butterfly<T>(t[i], t[i + half]);
  __m256i sum = T::widened(T::max_abs(t[0], t[1]));
  for (int i = 2; i < 8; i += 2) sum = _mm256_add_epi32(sum, T::widened(T::max_abs(t[i], t[i + 1])));
  return sum;
}

AVX2 uint32_t satd(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, int w, int h) {
  uint32_t total = 0;
  for (int y = 0; y < h; y += 8, a += 8 * a_stride, b += 8 * b_stride) {
    int x = 0;
    __m256i sum = _mm256_setzero_si256();
    for (; x + 16 <= w; x += 16)
      sum = _mm256_add_epi32(sum, hadamard<Two>(a + x, a_stride, b + x, b_stride));
    if (x < w) {
      // The upper half of what one block gives is undefined.
      const __m256i one = hadamard<One>(a + x, a_stride, b + x, b_stride);
      sum = _mm256_add_epi32(sum, _mm256_inserti128_si256(one, _mm_setzero_si128(), 1));
    }
    total += sum_of(sum);
  }
  return (2 * total + 2) / 4;
}

// Two neighbouring taps in each 16-bit lane, as pmaddubsw takes them.
AVX2_INLINE __m256i tap_bytes(const int8_t* filter, int pair) {
  int16_t both;
  std::memcpy(&both, filter + 2 * pair, 2);
  return _mm256_set1_epi16(both);
}

// The same in each 32-bit lane, as pmaddwd takes them.
AVX2_INLINE __m256i tap_words(const int8_t* filter, int pair) {
  const uint32_t low = static_cast<uint16_t>(filter[2 * pair]), high = static_cast<uint16_t>(filter[2 * pair + 1]);
  return _mm256_set1_epi32(static_cast<int>(low | high << 16));
}

// Samples (i, i + 1) for each of eight outputs, in each half.
AVX2_INLINE __m256i pair_order(int first) {
  const __m128i order = _mm_setr_epi8(0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8);
  return _mm256_broadcastsi128_si256(_mm_add_epi8(order, _mm_set1_epi8(static_cast<char>(first))));
}

template <int taps>
AVX2 void across(const uint8_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
                 const int8_t* filter) {
  __m256i tap[taps / 2], order[taps / 2];
  for (int i = 0; i < taps / 2; ++i) {
    tap[i] = tap_bytes(filter, i);
    order[i] = pair_order(2 * i);
  }
  src -= taps / 2 - 1;
  for (int y = 0; y < h; ++y, src += src_stride, dst += dst_stride) {
    for (int x = 0; x < w; x += 16) {
      const bool two = x + 16 <= w;
      const __m128i first = load16(src + x);
      const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(first), two ? load16(src + x + 8) : first, 1);
      // No pair of taps gets out of int16, and no sum of pairs either: pmaddubsw never saturates here.
      __m256i sum = _mm256_maddubs_epi16(_mm256_shuffle_epi8(v, order[0]), tap[0]);
      for (int i = 1; i < taps / 2; ++i)
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_shuffle_epi8(v, order[i]), tap[i]));
      if (two)
        store32(dst + x, sum);
      else
        store16(dst + x, _mm256_castsi256_si128(sum));
    }
  }
}

AVX2 void widen(const uint8_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h) {
  for (int y = 0; y < h; ++y, src += src_stride, dst += dst_stride)
    for (int x = 0; x < w; x += 8)
      store16(dst + x, _mm_slli_epi16(_mm_cvtepu8_epi16(load8(src + x)), kIntermediateShift));
}

template <int taps>
AVX2 void down(const int16_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
               const int8_t* filter) {
  __m256i tap[taps / 2];
  for (int i = 0; i < taps / 2; ++i) tap[i] = tap_words(filter, i);
  src -= (taps / 2 - 1) * src_stride;
  for (int x = 0; x < w; x += 16) {
    const bool two = x + 16 <= w;
    const int16_t* p = src + x;
    int16_t* q = dst + x;
    for (int y = 0; y < h; ++y, p += src_stride, q += dst_stride) {
      __m256i low = _mm256_setzero_si256(), high = low;
      for (int i = 0; i < taps / 2; ++i) {
        const int16_t* r = p + 2 * i * src_stride;
        __m256i a, b;
        if (two) {
          a = load32(r);
          b = load32(r + src_stride);
        } else {
          a = _mm256_castsi128_si256(load16(r));
          b = _mm256_castsi128_si256(load16(r + src_stride));
        }
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), tap[i]));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), tap[i]));
      }
      const __m256i sum = _mm256_packs_epi32(_mm256_srai_epi32(low, kIntermediateShift),
                                             _mm256_srai_epi32(high, kIntermediateShift));
      if (two)
        store32(q, sum);
      else
        store16(q, _mm256_castsi256_si128(sum));
    }
  }
}

AVX2 void narrow(const int16_t* src, ptrdiff_t src_stride, uint8_t* dst, ptrdiff_t dst_stride, int w, int h) {
  const __m128i half = _mm_set1_epi16(1 << (kIntermediateShift - 1));
  for (int y = 0; y < h; ++y, src += src_stride, dst += dst_stride)
    for (int x = 0; x < w; x += 8) {
      // Saturation at 32767 keeps the sign, and so the clipped result.
      const __m128i v = _mm_srai_epi16(_mm_adds_epi16(load16(src + x), half), kIntermediateShift);
      store8(dst + x, _mm_packus_epi16(v, v));
    }
}

AVX2_INLINE __m128i eight_words(const int16_t* p) { return load16(p); }
AVX2_INLINE __m128i eight_words(const uint8_t* p) { return _mm_cvtepu8_epi16(load8(p)); }

template <typename T, int shift>
AVX2 void blend(const T* const predictions[4], ptrdiff_t stride, const int16_t* weights, uint8_t* dst,
                ptrdiff_t dst_stride, int w, int h) {
  const __m256i half = _mm256_set1_epi32(1 << (shift - 1));
  for (int y = 0; y < h; ++y, dst += dst_stride)
    for (int x = 0; x < w; x += 8, weights += 32) {
      const ptrdiff_t i = y * stride + x;
      const __m128i a = eight_words(predictions[0] + i), b = eight_words(predictions[1] + i);
      const __m128i c = eight_words(predictions[2] + i), d = eight_words(predictions[3] + i);
      const __m128i ab0 = _mm_unpacklo_epi16(a, b), ab1 = _mm_unpackhi_epi16(a, b);
      const __m128i cd0 = _mm_unpacklo_epi16(c, d), cd1 = _mm_unpackhi_epi16(c, d);
      // (a, b, c, d) of samples 0, 1 | 4, 5 and 2, 3 | 6, 7; pmaddwd leaves two sums a sample.
      const __m256i s01 = _mm256_set_m128i(_mm_unpacklo_epi32(ab1, cd1), _mm_unpacklo_epi32(ab0, cd0));
      const __m256i s23 = _mm256_set_m128i(_mm_unpackhi_epi32(ab1, cd1), _mm_unpackhi_epi32(ab0, cd0));
      const __m256i w01 = _mm256_set_m128i(load16(weights + 16), load16(weights));
      const __m256i w23 = _mm256_set_m128i(load16(weights + 24), load16(weights + 8));
      __m256i sum = _mm256_hadd_epi32(_mm256_madd_epi16(s01, w01), _mm256_madd_epi16(s23, w23));
      sum = _mm256_srai_epi32(_mm256_add_epi32(sum, half), shift);
      const __m128i v = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
      store8(dst + x, _mm_packus_epi16(v, v));
    }
}

AVX2 void average(int16_t* a, const int16_t* b, ptrdiff_t stride, int w, int h) {
  const __m128i sign = _mm_set1_epi16(-32768);  // pavgw takes unsigned numbers
  for (int y = 0; y < h; ++y, a += stride, b += stride)
    for (int x = 0; x < w; x += 8) {
      const __m128i mean = _mm_avg_epu16(_mm_xor_si128(load16(a + x), sign), _mm_xor_si128(load16(b + x), sign));
      store16(a + x, _mm_xor_si128(mean, sign));
    }
}

AVX2 void average_samples(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, uint8_t* dst,
                          ptrdiff_t dst_stride, int w, int h) {
  for (int y = 0; y < h; ++y, a += a_stride, b += b_stride, dst += dst_stride) {
    int x = 0;
    for (; x + 16 <= w; x += 16) store16(dst + x, _mm_avg_epu8(load16(a + x), load16(b + x)));
    if (x < w) store8(dst + x, _mm_avg_epu8(load8(a + x), load8(b + x)));
  }
}

bool cpu_has_avx2() {
#if defined(__GNUC__) || defined(__clang__)
  return __builtin_cpu_supports("avx2") != 0;
#else
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  __cpuidex(leaf7, 7, 0);
  const bool saved = (leaf1[2] >> 27 & 1) != 0 && (_xgetbv(0) & 6) == 6;  // the system keeps the registers
  return saved && (leaf7[1] >> 5 & 1) != 0;
#endif
}

}  // namespace

const Kernels* avx2_kernels() {
  static const Kernels table = {"avx2",
                                sad,
                                satd,
                                across<8>,
                                across<4>,
                                widen,
                                down<8>,
                                down<4>,
                                narrow,
                                blend<int16_t, kIntermediateShift + kBlendShift>,
                                blend<uint8_t, kBlendShift>,
                                average,
                                average_samples};
  static const bool available = cpu_has_avx2();
  return available ? &table : nullptr;
}

}  // namespace lvc::motion

#else

namespace lvc::motion {

const Kernels* avx2_kernels() { return nullptr; }

}  // namespace lvc::motion

#endif
