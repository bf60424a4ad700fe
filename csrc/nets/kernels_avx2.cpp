// The kernels for x86 CPUs with AVX2, chosen at run time.
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "loops.h"

namespace lvc::nets {

namespace {

constexpr int kRows = 4;

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline __m256i pair_of(const uint8_t* p) {
  int32_t group;
  std::memcpy(&group, p, sizeof group);
  return _mm256_set1_epi32(group);
}

// The sums of 8 outputs with one more group of inputs.
template <Format format>
inline __m256i multiply_add(__m256i sum, __m256i inputs, __m256i weights) {
  if constexpr (format == Format::kBytes)
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(inputs, weights), _mm256_set1_epi16(1)));
  else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(inputs, weights));
}

// Both formats keep a group in four bytes.
template <Format format>
void product_of(const Product& p, const uint8_t* rows, size_t row_bytes, int count, int32_t* total,
                bool add) {
  const size_t step = 4 * static_cast<size_t>(p.outputs), piece_weights = p.padded_groups() * step;
  const __m256i low = _mm256_set1_epi32(p.low), high = _mm256_set1_epi32(p.high);
  const __m256i multiplier = _mm256_set1_epi32(p.multiplier);
  const __m128i shift = _mm_cvtsi32_si128(p.shift);
  for (int first = 0; first < p.outputs; first += kOutputBlock)
    for (int row = 0; row < count; row += kRows) {
      __m256i sum[kRows][2];
      const __m256i bias0 = load(p.bias + first), bias1 = load(p.bias + first + 8);
      for (int r = 0; r < kRows; ++r) sum[r][0] = bias0, sum[r][1] = bias1;
      for (size_t piece = 0; piece < static_cast<size_t>(p.pieces); ++piece) {
        const uint8_t* x = rows + static_cast<size_t>(row) * row_bytes + piece * p.piece_bytes;
        const uint8_t* w = static_cast<const uint8_t*>(p.weights) + piece * piece_weights + 4 * first;
        for (size_t k = 0; k < p.groups; ++k, x += 4, w += step) {
          const __m256i w0 = load(w), w1 = load(w + 32);
          for (int r = 0; r < kRows; ++r) {
            const __m256i inputs = pair_of(x + r * row_bytes);
            sum[r][0] = multiply_add<format>(sum[r][0], inputs, w0);
            sum[r][1] = multiply_add<format>(sum[r][1], inputs, w1);
          }
        }
      }
      for (int r = 0; r < kRows; ++r)
        for (int half = 0; half < 2; ++half) {
          __m256i* out = reinterpret_cast<__m256i*>(total + (row + r) * p.outputs + first + 8 * half);
          __m256i v = _mm256_sra_epi32(sum[r][half], shift);
          v = _mm256_mullo_epi32(_mm256_min_epi32(_mm256_max_epi32(v, low), high), multiplier);
          _mm256_storeu_si256(out, add ? _mm256_add_epi32(v, load(out)) : v);
        }
    }
}

void product(const Product& p, const void* rows, size_t row_bytes, int count, int32_t* total, bool add) {
  const auto function = p.format == Format::kBytes ? product_of<Format::kBytes> : product_of<Format::kWords>;
  function(p, static_cast<const uint8_t*>(rows), row_bytes, count, total, add);
}

constexpr Kernels kTable = {"avx2", true, true, nullptr, nullptr, product, finish<uint8_t>, finish<int16_t>,
                                quotients, magnitudes};

}  // namespace

}  // namespace lvc::nets

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lvc::nets {

const Kernels* avx2_kernels() {
  static const bool there = (__builtin_cpu_init(), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  return there ? &kTable : nullptr;
}

}  // namespace lvc::nets

#else

namespace lvc::nets {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace lvc::nets

#endif
