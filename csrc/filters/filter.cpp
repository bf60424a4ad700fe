#include "filter.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <thread>

#if defined(__x86_64__) || defined(_M_X64)
#define LVC_FILTERS_AVX2 1
#include <immintrin.h>
#if defined(__GNUC__) || defined(__clang__)
#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE AVX2 inline __attribute__((always_inline))
#else
#include <intrin.h>
#define AVX2
#define AVX2_INLINE __forceinline
#endif
#endif

namespace lvc::filters {

namespace {

constexpr int kChunk = 64;  // samples of a row at a time
constexpr int kSpread = 4;  // that surely are of one block
constexpr int kBlock = 8;   // luma samples along a side of a block that has a class

// A row of a term, one way each.
template <int kLength>
struct Ways {
  alignas(64) int16_t values[kWays][kLength];
};

// Plain loops of fixed length, which compilers turn into vector instructions of whatever set they are asked for.
template <int kLength>
void add_place(const int16_t* source, const int16_t* reference, const Term& term, Ways<kLength>& ways) {
  const int16_t small = term.small, large = term.large;
  const int16_t less = static_cast<int16_t>(-small), least = static_cast<int16_t>(-large);
  for (int x = 0; x < kLength; ++x) {
    const int16_t d = static_cast<int16_t>(source[x] - (reference ? reference[x] : 0));
    ways.values[0][x] = static_cast<int16_t>(ways.values[0][x] + d);
    ways.values[1][x] = static_cast<int16_t>(ways.values[1][x] + std::max(less, std::min(small, d)));
    ways.values[2][x] = static_cast<int16_t>(ways.values[2][x] + std::max(least, std::min(large, d)));
  }
}

template <int kLength>
void term_row(const std::vector<Plane>& planes, const Term& term, int y, int x, Ways<kLength>& ways) {
  ways = Ways<kLength>{};
  const int16_t* reference = term.reference < 0 ? nullptr : planes[static_cast<size_t>(term.reference)].at(y, x);
  for (const Place& place : term.places) {
    const int16_t* source = planes[static_cast<size_t>(place.plane)].at(y + place.dy, x + place.dx);
    if (reference)
      add_place(source, reference, term, ways);
    else
      add_place(source, nullptr, term, ways);
  }
}

void chunk_row(const std::vector<Plane>& planes, const std::vector<Term>& terms, const int16_t* coefficients,
                      int y, int x, int32_t* sums) {
  for (int i = 0; i < kChunk; ++i) sums[i] = 1 << (kValueBits + kCoefficientBits - 1);
  Ways<kChunk> ways;
  for (const Term& term : terms) {
    term_row(planes, term, y, x, ways);
    for (int way = 0; way < kWays; ++way, coefficients += kChunk)
      for (int i = 0; i < kChunk; ++i) sums[i] += ways.values[way][i] * coefficients[i];
  }
}

using ChunkRow = void (*)(const std::vector<Plane>&, const std::vector<Term>&, const int16_t*, int, int, int32_t*);

#ifdef LVC_FILTERS_AVX2
AVX2_INLINE __m256i load(const int16_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

AVX2_INLINE __m256i add_products(__m256i sums, __m256i a, __m256i b) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
}

// The same, 16 samples at a time, with sums in registers.
AVX2 void chunk_row_avx2(const std::vector<Plane>& planes, const std::vector<Term>& terms, const int16_t* coefficients,
                         int y, int x, int32_t* sums) {
  const __m256i zero = _mm256_setzero_si256();
  for (int i = 0; i < kChunk; i += 16) {
    // unpacking keeps to halves of registers: low has samples 0..3 and 8..11, high the others
    __m256i low = _mm256_set1_epi32(1 << (kValueBits + kCoefficientBits - 1)), high = low;
    const int16_t* weights = coefficients + i;
    for (const Term& term : terms) {
      const __m256i small = _mm256_set1_epi16(term.small), large = _mm256_set1_epi16(term.large);
      const __m256i less = _mm256_sub_epi16(zero, small), least = _mm256_sub_epi16(zero, large);
      const __m256i reference =
          term.reference < 0 ? zero : load(planes[static_cast<size_t>(term.reference)].at(y, x + i));
      __m256i plain = zero, narrow = zero, wide = zero;
      for (const Place& place : term.places) {
        const int16_t* source = planes[static_cast<size_t>(place.plane)].at(y + place.dy, x + place.dx + i);
        const __m256i d = _mm256_sub_epi16(load(source), reference);
        plain = _mm256_add_epi16(plain, d);
        narrow = _mm256_add_epi16(narrow, _mm256_max_epi16(less, _mm256_min_epi16(small, d)));
        wide = _mm256_add_epi16(wide, _mm256_max_epi16(least, _mm256_min_epi16(large, d)));
      }
      const __m256i a = load(weights), b = load(weights + kChunk), c = load(weights + 2 * kChunk);
      low = add_products(low, _mm256_unpacklo_epi16(plain, narrow), _mm256_unpacklo_epi16(a, b));
      high = add_products(high, _mm256_unpackhi_epi16(plain, narrow), _mm256_unpackhi_epi16(a, b));
      low = add_products(low, _mm256_unpacklo_epi16(wide, zero), _mm256_unpacklo_epi16(c, zero));
      high = add_products(high, _mm256_unpackhi_epi16(wide, zero), _mm256_unpackhi_epi16(c, zero));
      weights += kWays * kChunk;
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i + 8), _mm256_permute2x128_si256(low, high, 0x31));
  }
}

bool cpu_has_avx2() {
#if defined(__GNUC__) || defined(__clang__)
  return __builtin_cpu_supports("avx2") != 0;
#else
  int words[4];
  __cpuidex(words, 7, 0);
  return (words[1] & (1 << 5)) != 0 && (_xgetbv(0) & 6) == 6;
#endif
}
#endif

ChunkRow chunk_row_of(bool plain) {
#ifdef LVC_FILTERS_AVX2
  static const bool available = cpu_has_avx2();
  if (available && !plain) return chunk_row_avx2;
#endif
  return chunk_row;
}

int16_t value_of(uint8_t sample) { return static_cast<int16_t>(sample << kValueBits); }

int16_t value_of(int16_t value) {
  return std::max(static_cast<int16_t>(-kMaxValue), std::min(static_cast<int16_t>(kMaxValue), value));
}

// Rows of blocks are independent of each other.
template <typename Work>
void in_parallel(int count, int threads, const Work& work) {
  std::atomic<int> next{0};
  const auto run = [&] {
    for (int i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> others;
  try {
    for (int i = 1; i < std::min(threads, count); ++i) others.emplace_back(run);
  } catch (const std::exception&) {
    // The system gives no more threads; those that there are do it all.
  }
  run();
  for (std::thread& other : others) other.join();
}

}  // namespace

template <typename Sample>
void Plane::fill(const Sample* samples) {
  // rows are read in whole chunks, and by kBlock where blocks of half of that begin
  stride_ = (width_ + kChunk - 1) / kChunk * kChunk + 2 * kRadius + kBlock / 2;
  values_.resize(static_cast<size_t>(stride_ * (height_ + 2 * kRadius)));
  for (int row = 0; row < height_ + 2 * kRadius; ++row) {
    const Sample* from = samples + static_cast<ptrdiff_t>(std::clamp(row - kRadius, 0, height_ - 1)) * width_;
    int16_t* to = values_.data() + row * stride_;
    for (int x = 0; x < width_; ++x) to[x + kRadius] = value_of(from[x]);
    std::fill(to, to + kRadius, to[kRadius]);
    std::fill(to + kRadius + width_, to + stride_, to[kRadius + width_ - 1]);
  }
}

Plane::Plane(const uint8_t* samples, int width, int height) : width_(width), height_(height) {
  fill(samples);
}

Plane::Plane(const int16_t* values, int width, int height) : width_(width), height_(height) { fill(values); }

void apply(const std::vector<Plane>& planes, const std::vector<Term>& terms, const Classes& classes,
           const int16_t* coefficients, const uint8_t* samples, uint8_t* dst, int threads, bool plain) {
  const ChunkRow row_of_chunk = chunk_row_of(plain);
  const int width = planes[0].width(), height = planes[0].height();
  const size_t ways = terms.size() * kWays;
  in_parallel(classes.rows, threads, [&](int row) {
    std::vector<int16_t> spread(ways * kChunk);
    alignas(64) int32_t sums[kChunk];
    for (int x = 0; x < width; x += kChunk) {
      for (int i = 0; i < kChunk; i += kSpread) {
        const int col = std::min((x + i) / classes.side, classes.cols - 1);
        const int16_t* own = coefficients + classes.classes[row * classes.cols + col] * ways;
        for (size_t way = 0; way < ways; ++way)
          std::fill_n(&spread[way * kChunk + static_cast<size_t>(i)], kSpread, own[way]);
      }
      for (int y = row * classes.side; y < std::min((row + 1) * classes.side, height); ++y) {
        row_of_chunk(planes, terms, spread.data(), y, x, sums);
        const ptrdiff_t at = static_cast<ptrdiff_t>(y) * width + x;
        for (int i = 0; i < std::min(kChunk, width - x); ++i)
          dst[at + i] = static_cast<uint8_t>(
              std::clamp(samples[at + i] + (sums[i] >> (kValueBits + kCoefficientBits)), 0, 255));
      }
    }
  });
}

void features(const std::vector<Plane>& planes, const std::vector<Term>& terms, const int32_t* blocks, size_t n_blocks,
              int cols, int side, float* dst) {
  const size_t samples = n_blocks * static_cast<size_t>(side) * static_cast<size_t>(side);
  Ways<kBlock> ways;
  for (const Term& term : terms) {
    float* row = dst;
    for (size_t n = 0; n < n_blocks; ++n) {
      const int top = blocks[n] / cols * side, left = blocks[n] % cols * side;
      for (int y = top; y < top + side; ++y, row += side) {
        term_row(planes, term, y, left, ways);  // planes are wide enough for smaller blocks, too
        for (int way = 0; way < kWays; ++way)
          std::copy_n(ways.values[way], side, row + static_cast<size_t>(way) * samples);
      }
    }
    dst += kWays * samples;
  }
}

void classify(const uint8_t* frame, const uint8_t* before, const uint8_t* after, int width, int height,
              const int32_t activity[2], const int32_t change[2], uint8_t* dst) {
  for (int top = 0; top < height; top += kBlock) {
    for (int left = 0; left < width; left += kBlock) {
      int64_t n = 0, sum = 0, squares = 0, difference = 0;
      for (int y = top; y < std::min(top + kBlock, height); ++y) {
        const ptrdiff_t row = static_cast<ptrdiff_t>(y) * width;
        for (int x = left; x < std::min(left + kBlock, width); ++x) {
          const int value = frame[row + x];
          ++n;
          sum += value;
          squares += value * value;
          difference += std::abs(before[row + x] + after[row + x] - 2 * value);
        }
      }
      const int64_t variance = (n * squares - sum * sum) << (2 * kValueBits);  // times n^2
      const int64_t moved = difference << (kValueBits - 1);                    // times n
      int found = 0;
      for (int i = 0; i < 2; ++i) {
        found += 3 * (variance >= n * n * activity[i] * activity[i]);
        found += moved >= n * change[i];
      }
      *dst++ = static_cast<uint8_t>(found);
    }
  }
}

void halve(const uint8_t* samples, int width, int height, int16_t* dst) {
  for (int y = 0; y < height; y += 2) {
    const uint8_t* one = samples + static_cast<ptrdiff_t>(y) * width;
    const uint8_t* two = y + 1 < height ? one + width : one;
    for (int x = 0; x < width; x += 2) {
      const int right = std::min(x + 1, width - 1);
      *dst++ = static_cast<int16_t>((one[x] + one[right] + two[x] + two[right]) << (kValueBits - 2));
    }
  }
}

}  // namespace lvc::filters
