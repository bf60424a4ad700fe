#include "vectors.h"

#include <algorithm>
#include <cstdlib>

#include "parallel.h"

#if defined(__SSE2__) || defined(_M_X64)
#define LVC_FILTERS_SSE2 1
#include <emmintrin.h>
#endif

namespace lvc::filters {

namespace {

constexpr int kBlock = 8;
constexpr int kMargin = 2 * kBlock;  // further outside everything is alike
constexpr int kQuarters = 4;

// Samples with a margin that repeats the edges; the size is one of whole blocks.
class Wide {
 public:
  Wide(const uint8_t* samples, int width, int height)
      : width_((width + kBlock - 1) / kBlock * kBlock),
        height_((height + kBlock - 1) / kBlock * kBlock),
        stride_(width_ + 2 * kMargin),
        samples_(static_cast<size_t>(stride_) * static_cast<size_t>(height_ + 2 * kMargin)) {
    for (int row = 0; row < height_ + 2 * kMargin; ++row) {
      const uint8_t* from = samples + static_cast<ptrdiff_t>(std::clamp(row - kMargin, 0, height - 1)) * width;
      uint8_t* to = samples_.data() + row * stride_;
      std::fill_n(to, kMargin, from[0]);
      std::copy_n(from, width, to + kMargin);
      std::fill(to + kMargin + width, to + stride_, from[width - 1]);
    }
  }

  ptrdiff_t stride() const { return stride_; }
  const uint8_t* at(int y, int x) const { return samples_.data() + (y + kMargin) * stride_ + x + kMargin; }
  // A block at any place, with a row and a column more behind it.
  const uint8_t* near(int y, int x) const {
    return at(std::clamp(y, -kMargin, height_ + kMargin - kBlock - 1),
              std::clamp(x, -kMargin, width_ + kMargin - kBlock - 1));
  }

 private:
  int width_, height_;
  ptrdiff_t stride_;
  std::vector<uint8_t> samples_;
};

struct Vector {
  int dx, dy;
};

// Sum of absolute differences between a block and a prediction of it, by linear interpolation.
#ifdef LVC_FILTERS_SSE2
__m128i eight(const uint8_t* from) {
  return _mm_unpacklo_epi8(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)), _mm_setzero_si128());
}

int difference(const uint8_t* own, ptrdiff_t stride, const uint8_t* from, ptrdiff_t from_stride, int right, int below) {
  const __m128i x = _mm_set1_epi16(static_cast<int16_t>(right)), y = _mm_set1_epi16(static_cast<int16_t>(below));
  const __m128i half = _mm_set1_epi16(8), zero = _mm_setzero_si128();
  const auto across = [&](const uint8_t* row) {
    const __m128i a = eight(row);
    return _mm_add_epi16(_mm_slli_epi16(a, 2), _mm_mullo_epi16(x, _mm_sub_epi16(eight(row + 1), a)));
  };
  __m128i sum = zero, above = across(from);
  for (int row = 0; row < kBlock; ++row, own += stride) {
    from += from_stride;
    const __m128i next = across(from);
    const __m128i both = _mm_add_epi16(_mm_slli_epi16(above, 2), _mm_mullo_epi16(y, _mm_sub_epi16(next, above)));
    const __m128i mean = _mm_srli_epi16(_mm_add_epi16(both, half), 4);
    const __m128i samples = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(own));
    sum = _mm_add_epi64(sum, _mm_sad_epu8(_mm_packus_epi16(mean, zero), samples));
    above = next;
  }
  return _mm_cvtsi128_si32(sum);
}
#else
int difference(const uint8_t* own, ptrdiff_t stride, const uint8_t* from, ptrdiff_t from_stride, int right, int below) {
  const auto across = [&](const uint8_t* row, int x) { return row[x] * (kQuarters - right) + row[x + 1] * right; };
  int sum = 0;
  for (int row = 0; row < kBlock; ++row, own += stride, from += from_stride)
    for (int x = 0; x < kBlock; ++x) {
      const int both = across(from, x) * (kQuarters - below) + across(from + from_stride, x) * below;
      sum += std::abs(((both + 8) >> 4) - own[x]);
    }
  return sum;
}
#endif

}  // namespace

void refine(const uint8_t* current, const uint8_t* reference, int width, int height,
            const std::vector<Vectors>& fields, int reach, const std::vector<int>& steps, int threads,
            int16_t* dst) {
  const Wide now(current, width, height), other(reference, width, height);
  const int rows = (height + kBlock - 1) / kBlock, cols = (width + kBlock - 1) / kBlock;
  const int count = rows * cols;
  constexpr int kSides[][2] = {{0, 1}, {0, -1}, {1, 0}, {-1, 0}};
  in_parallel(rows, threads, [&](int row) {
    std::vector<Vector> tried;
    for (int col = 0; col < cols; ++col) {
      Vector best{0, 0};
      int least = -1;
      tried.clear();
      const auto consider = [&](Vector v) {
        for (const Vector& former : tried)
          if (former.dx == v.dx && former.dy == v.dy) return;
        tried.push_back(v);
        const uint8_t* from = other.near(row * kBlock + (v.dy >> 2), col * kBlock + (v.dx >> 2));
        const int sum = difference(now.at(row * kBlock, col * kBlock), now.stride(), from, other.stride(), v.dx & 3,
                                   v.dy & 3);
        if (least < 0 || sum < least) best = v, least = sum;
      };
      const auto of = [&](Vectors field, int y, int x) {
        const int at = std::clamp(y, 0, rows - 1) * cols + std::clamp(x, 0, cols - 1);
        return Vector{field[at], field[count + at]};
      };
      consider(of(fields[0], row, col));
      for (int away = 1; away <= reach; ++away)
        for (const auto& [dy, dx] : kSides) consider(of(fields[0], row + away * dy, col + away * dx));
      for (size_t i = 1; i < fields.size(); ++i) consider(of(fields[i], row, col));
      for (const int step : steps) {
        const Vector center = best;
        for (const Vector& move : {Vector{step, 0}, Vector{-step, 0}, Vector{0, step}, Vector{0, -step}})
          consider({std::clamp(center.dx + move.dx, -32768, 32767), std::clamp(center.dy + move.dy, -32768, 32767)});
      }
      dst[row * cols + col] = static_cast<int16_t>(best.dx);
      dst[count + row * cols + col] = static_cast<int16_t>(best.dy);
    }
  });
}

}  // namespace lvc::filters
