// The kernels for x86 CPUs with AVX-512 and its instruction for products of bytes (VNNI), chosen at run time.
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#if !defined(__clang__)
// GCC 12 takes the undefined registers inside its own header for a mistake of ours (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,prefer-vector-width=512")
#endif

#include "loops.h"

namespace lvc::nets {

namespace {

inline __m512i group_of(const uint8_t* p) {
  int32_t group;
  std::memcpy(&group, p, sizeof group);
  return _mm512_set1_epi32(group);
}

template <Format format>
inline __m512i multiply_add(__m512i sum, __m512i inputs, __m512i weights) {
  if constexpr (format == Format::kBytes)
    return _mm512_dpbusd_epi32(sum, inputs, weights);
  else
    return _mm512_dpwssd_epi32(sum, inputs, weights);
}

// `blocks` registers of outputs from `first` on, `height` rows at a time: height * blocks sums in registers.
template <Format format, int height, int blocks>
void columns(const Product& p, const uint8_t* rows, size_t row_bytes, int count, int32_t* total, bool add, int first) {
  const size_t step = 4 * static_cast<size_t>(p.outputs), piece_weights = p.padded_groups() * step;
  const __m512i low = _mm512_set1_epi32(p.low), high = _mm512_set1_epi32(p.high);
  const __m512i multiplier = _mm512_set1_epi32(p.multiplier);
  const __m128i shift = _mm_cvtsi32_si128(p.shift);
  for (int row = 0; row < count; row += height) {
    __m512i sum[height][blocks];
    for (int b = 0; b < blocks; ++b) {
      const __m512i bias = _mm512_loadu_si512(p.bias + first + 16 * b);
      for (int r = 0; r < height; ++r) sum[r][b] = bias;
    }
    for (size_t piece = 0; piece < static_cast<size_t>(p.pieces); ++piece) {
      const uint8_t* x = rows + static_cast<size_t>(row) * row_bytes + piece * p.piece_bytes;
      const uint8_t* w = static_cast<const uint8_t*>(p.weights) + piece * piece_weights + 4 * first;
      for (size_t k = 0; k < p.groups; ++k, x += 4, w += step) {
        __m512i weights[blocks];
        for (int b = 0; b < blocks; ++b) weights[b] = _mm512_loadu_si512(w + 64 * b);
        for (int r = 0; r < height; ++r) {
          const __m512i inputs = group_of(x + r * row_bytes);
          for (int b = 0; b < blocks; ++b) sum[r][b] = multiply_add<format>(sum[r][b], inputs, weights[b]);
        }
      }
    }
    for (int r = 0; r < height; ++r)
      for (int b = 0; b < blocks; ++b) {
        int32_t* out = total + (row + r) * p.outputs + first + 16 * b;
        __m512i v = _mm512_sra_epi32(sum[r][b], shift);
        v = _mm512_mullo_epi32(_mm512_min_epi32(_mm512_max_epi32(v, low), high), multiplier);
        _mm512_storeu_si512(out, add ? _mm512_add_epi32(v, _mm512_loadu_si512(out)) : v);
      }
  }
}

template <Format format>
void product_of(const Product& p, const uint8_t* rows, size_t row_bytes, int count, int32_t* total,
                bool add) {
  int first = 0;
  // 96 outputs as 48 and 48: more rows share the weights than with 64 and 32.
  if (p.outputs % 64 != 0)
    for (; p.outputs - first >= 48; first += 48) columns<format, 8, 3>(p, rows, row_bytes, count, total, add, first);
  for (; p.outputs - first >= 64; first += 64) columns<format, 6, 4>(p, rows, row_bytes, count, total, add, first);
  if (p.outputs - first >= 32) {
    columns<format, 12, 2>(p, rows, row_bytes, count, total, add, first);
    first += 32;
  }
  if (p.outputs - first >= 16) columns<format, 24, 1>(p, rows, row_bytes, count, total, add, first);
}

void product(const Product& p, const void* rows, size_t row_bytes, int count, int32_t* total, bool add) {
  const auto function = p.format == Format::kBytes ? product_of<Format::kBytes> : product_of<Format::kWords>;
  function(p, static_cast<const uint8_t*>(rows), row_bytes, count, total, add);
}

// 16 results of a row, or as many as the mask has.
template <typename T>
inline void finish16(const int32_t* total, const int32_t* offset, const uint8_t* residual, __m512i low, __m512i high,
                     __mmask16 mask, T* out) {
  __m512i v = _mm512_maskz_loadu_epi32(mask, total);
  if (offset != nullptr) v = _mm512_add_epi32(v, _mm512_maskz_loadu_epi32(mask, offset));
  if (residual != nullptr) v = _mm512_add_epi32(v, _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, residual)));
  v = _mm512_min_epi32(_mm512_max_epi32(v, low), high);
  if constexpr (sizeof(T) == 1)
    _mm_mask_storeu_epi8(out, mask, _mm512_cvtepi32_epi8(v));
  else
    _mm256_mask_storeu_epi16(out, mask, _mm512_cvtepi32_epi16(v));
}

template <typename T>
void finish_rows(const Finish& f, size_t rows) {
  const __m512i low = _mm512_set1_epi32(f.low), high = _mm512_set1_epi32(f.high);
  const __mmask16 all = 0xffff, rest = static_cast<__mmask16>((1u << f.outputs % 16) - 1);
  for (size_t r = 0; r < rows; ++r) {
    const int32_t* total = f.total + r * f.total_stride;
    const uint8_t* residual = f.residual == nullptr ? nullptr : f.residual + r * f.outputs;
    T* const out = static_cast<T*>(f.out) + r * f.outputs;
    for (size_t n = 0; n < f.outputs; n += 16)
      finish16(total + n, f.offset == nullptr ? nullptr : f.offset + n, residual == nullptr ? nullptr : residual + n,
               low, high, n + 16 <= f.outputs ? all : rest, out + n);
  }
}

constexpr Kernels kTable = {"avx512", true, false, nullptr, nullptr, product, finish_rows<uint8_t>,
                            finish_rows<int16_t>, quotients, magnitudes};

}  // namespace

}  // namespace lvc::nets

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lvc::nets {

const Kernels* avx512_kernels() {
  static const bool there =
      (__builtin_cpu_init(), __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                                 __builtin_cpu_supports("avx512vnni") && avx2_kernels() != nullptr);
  return there ? &kTable : nullptr;
}

}  // namespace lvc::nets

#else

namespace lvc::nets {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace lvc::nets

#endif
