#include "filter.h"

#include <algorithm>
#include <cstdlib>

#include "parallel.h"

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
constexpr int kStripRows = 4;  // of blocks, whose lines stay in the cache
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

// How coefficients of the samples of a chunk lie for chunk_row: [term][way][sample].
void spread_plainly(const int16_t* const* own, size_t n_terms, int16_t* to) {
  for (size_t way = 0; way < n_terms * kWays; ++way)
    for (int i = 0; i < kChunk; i += kSpread, to += kSpread) std::fill_n(to, kSpread, own[i / kSpread][way]);
}

struct Path {
  void (*spread)(const int16_t* const* own, size_t n_terms, int16_t* to);
  void (*row)(const std::vector<Plane>&, const std::vector<Term>&, const int16_t*, int, int, int32_t*);
};

#ifdef LVC_FILTERS_AVX2
constexpr int kLanes = 16;
constexpr size_t kPairs = 2 * kLanes;  // coefficients of two ways of as many samples

AVX2_INLINE __m256i load(const int16_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

AVX2_INLINE __m256i add_products(__m256i sums, __m256i a, __m256i b) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
}

// For chunk_row_avx2: [16 samples][two terms][the first two ways of one, of the other, the last way of both], each as
// pairs in the order that unpacking gives.
void spread_in_pairs(const int16_t* const* own, size_t n_terms, int16_t* to) {
  const auto pair = [&](int i, size_t one, size_t two, bool both) {
    for (const int half : {0, kLanes / 4})
      for (const int first : {i + half, i + half + kLanes / 2}) {
        const int16_t* row = own[first / kSpread];
        for (int k = 0; k < kLanes / 4; ++k) {
          *to++ = row[one];
          *to++ = both ? row[two] : int16_t{0};
        }
      }
  };
  for (int i = 0; i < kChunk; i += kLanes)
    for (size_t term = 0; term < n_terms; term += 2) {
      const size_t one = term * kWays, two = one + kWays;
      const bool both = term + 1 < n_terms;
      pair(i, one, one + 1, true);
      if (both) pair(i, two, two + 1, true);
      pair(i, one + 2, two + 2, both);
    }
}

struct Sums {
  __m256i plain, narrow, wide;
};

// `rows`: the places' rows, the reference's behind them.
AVX2_INLINE Sums term_avx2(const Term& term, const int16_t* const*& rows, int i) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i small = _mm256_set1_epi16(term.small), large = _mm256_set1_epi16(term.large);
  const __m256i less = _mm256_sub_epi16(zero, small), least = _mm256_sub_epi16(zero, large);
  const size_t count = term.places.size();
  const __m256i reference = term.reference < 0 ? zero : load(rows[count] + i);
  Sums sums{zero, zero, zero};
  for (size_t place = 0; place < count; ++place) {
    const __m256i d = _mm256_sub_epi16(load(rows[place] + i), reference);
    sums.plain = _mm256_add_epi16(sums.plain, d);
    sums.narrow = _mm256_add_epi16(sums.narrow, _mm256_max_epi16(less, _mm256_min_epi16(small, d)));
    sums.wide = _mm256_add_epi16(sums.wide, _mm256_max_epi16(least, _mm256_min_epi16(large, d)));
  }
  rows += count + 1;
  return sums;
}

// The same as chunk_row, 16 samples at a time, with sums in registers.
AVX2 void chunk_row_avx2(const std::vector<Plane>& planes, const std::vector<Term>& terms, const int16_t* coefficients,
                         int y, int x, int32_t* sums) {
  const __m256i zero = _mm256_setzero_si256();
  const int16_t* every[kAllPlaces + kMaxTerms];
  const int16_t** next = every;
  for (const Term& term : terms) {
    for (const Place& place : term.places)
      *next++ = planes[static_cast<size_t>(place.plane)].at(y + place.dy, x + place.dx);
    *next++ = term.reference < 0 ? nullptr : planes[static_cast<size_t>(term.reference)].at(y, x);
  }
  for (int i = 0; i < kChunk; i += kLanes) {
    const int16_t* const* rows = every;
    // unpacking keeps to halves of registers: low has samples 0..3 and 8..11, high the others
    __m256i low = _mm256_set1_epi32(1 << (kValueBits + kCoefficientBits - 1)), high = low;
    for (size_t term = 0; term < terms.size(); term += 2) {
      const Sums one = term_avx2(terms[term], rows, i);
      low = add_products(low, _mm256_unpacklo_epi16(one.plain, one.narrow), load(coefficients));
      high = add_products(high, _mm256_unpackhi_epi16(one.plain, one.narrow), load(coefficients + kLanes));
      coefficients += kPairs;
      __m256i wide = zero;
      if (term + 1 < terms.size()) {
        const Sums two = term_avx2(terms[term + 1], rows, i);
        low = add_products(low, _mm256_unpacklo_epi16(two.plain, two.narrow), load(coefficients));
        high = add_products(high, _mm256_unpackhi_epi16(two.plain, two.narrow), load(coefficients + kLanes));
        coefficients += kPairs;
        wide = two.wide;
      }
      low = add_products(low, _mm256_unpacklo_epi16(one.wide, wide), load(coefficients));
      high = add_products(high, _mm256_unpackhi_epi16(one.wide, wide), load(coefficients + kLanes));
      coefficients += kPairs;
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

Path path_of([[maybe_unused]] bool plain) {
#ifdef LVC_FILTERS_AVX2
  static const bool available = cpu_has_avx2();
  if (available && !plain) return {spread_in_pairs, chunk_row_avx2};
#endif
  return {spread_plainly, chunk_row};
}

int16_t value_of(uint8_t sample) { return static_cast<int16_t>(sample << kValueBits); }

int16_t value_of(int16_t value) {
  return std::max(static_cast<int16_t>(-kMaxValue), std::min(static_cast<int16_t>(kMaxValue), value));
}

}  // namespace

template <typename Sample>
void Plane::fill(const Sample* samples, int width, int height, int lines) {
  for (int line = 0; line < lines + 2 * kRadius; ++line) {
    const int y = std::clamp(first_ + line - kRadius, 0, height - 1);
    const Sample* from = samples + static_cast<ptrdiff_t>(y) * width;
    int16_t* to = values_.data() + line * stride_;
    for (int x = 0; x < width; ++x) to[x + kRadius] = value_of(from[x]);
    std::fill(to, to + kRadius, to[kRadius]);
    std::fill(to + kRadius + width, to + stride_, to[kRadius + width - 1]);
  }
}

Plane::Plane(const Source& source, int first, int lines)
    : first_(first),
      // lines are read in whole chunks, and by kBlock where blocks of half of that begin
      stride_((source.width + kChunk - 1) / kChunk * kChunk + 2 * kRadius + kBlock / 2),
      values_(static_cast<size_t>(stride_ * (lines + 2 * kRadius))) {
  if (source.samples)
    fill(source.samples, source.width, source.height, lines);
  else
    fill(source.values, source.width, source.height, lines);
}

void apply(const std::vector<Source>& sources, const std::vector<Term>& terms, const Classes& classes,
           const int16_t* coefficients, const uint8_t* samples, uint8_t* dst, int threads, bool plain) {
  const Path path = path_of(plain);
  const int width = sources[0].width, height = sources[0].height;
  const int lines = kStripRows * classes.side;
  const size_t ways = terms.size() * kWays;
  in_parallel((classes.rows + kStripRows - 1) / kStripRows, threads, [&](int strip) {
    std::vector<Plane> planes;
    for (const Source& source : sources)
      planes.emplace_back(source, strip * lines, std::min(lines, height - strip * lines));
    std::vector<int16_t> spread((terms.size() + 1) * kWays * kChunk);  // in pairs of terms
    alignas(64) int32_t sums[kChunk];
    const int16_t* own[kChunk / kSpread];
    for (int row = strip * kStripRows; row < std::min((strip + 1) * kStripRows, classes.rows); ++row)
      for (int x = 0; x < width; x += kChunk) {
        for (int i = 0; i < kChunk; i += kSpread) {
          const int col = std::min((x + i) / classes.side, classes.cols - 1);
          own[i / kSpread] = coefficients + classes.classes[row * classes.cols + col] * ways;
        }
        path.spread(own, terms.size(), spread.data());
        for (int y = row * classes.side; y < std::min((row + 1) * classes.side, height); ++y) {
          path.row(planes, terms, spread.data(), y, x, sums);
          const ptrdiff_t at = static_cast<ptrdiff_t>(y) * width + x;
          for (int i = 0; i < std::min(kChunk, width - x); ++i)
            dst[at + i] = static_cast<uint8_t>(
                std::clamp(samples[at + i] + (sums[i] >> (kValueBits + kCoefficientBits)), 0, 255));
        }
      }
  });
}

void features(const std::vector<Source>& sources, const std::vector<Term>& terms, const int32_t* blocks, size_t n_blocks,
              int cols, int side, float* dst) {
  const size_t samples = n_blocks * static_cast<size_t>(side) * static_cast<size_t>(side);
  std::vector<Plane> planes;
  for (const Source& source : sources) planes.emplace_back(source, 0, source.height);
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

void orient(const uint8_t* samples, int width, int height, uint8_t* dst) {
  const int cols = (width + kBlock - 1) / kBlock;
  const size_t wide = static_cast<size_t>(cols) * kBlock;
  std::vector<uint8_t> lines[3];  // those above, at and below a line, with a sample more on both sides
  for (std::vector<uint8_t>& line : lines) line.resize(wide + 2);
  const auto read = [&](int y, std::vector<uint8_t>& line) {
    const uint8_t* from = samples + static_cast<ptrdiff_t>(std::clamp(y, 0, height - 1)) * width;
    line[0] = from[0];
    std::copy_n(from, width, line.begin() + 1);
    std::fill(line.begin() + 1 + width, line.end(), from[width - 1]);
  };
  read(-1, lines[0]);
  read(0, lines[1]);
  std::vector<uint16_t> sums[4];
  for (std::vector<uint16_t>& sum : sums) sum.resize(wide);
  for (int top = 0; top < height; top += kBlock) {
    for (std::vector<uint16_t>& sum : sums) std::fill(sum.begin(), sum.end(), uint16_t{0});
    for (int y = top; y < std::min(top + kBlock, height); ++y) {
      read(y + 1, lines[2]);
      const uint8_t *above = lines[0].data(), *line = lines[1].data(), *below = lines[2].data();
      const auto add = [&](std::vector<uint16_t>& sum, const uint8_t* one, const uint8_t* two) {
        uint16_t* to = sum.data();
        for (size_t x = 0; x < wide; ++x)
          to[x] = static_cast<uint16_t>(to[x] + std::abs(static_cast<int16_t>(2 * line[x + 1] - one[x] - two[x])));
      };
      add(sums[0], line, line + 2);
      add(sums[1], above + 1, below + 1);
      add(sums[2], above, below + 2);
      add(sums[3], above + 2, below);
      std::swap(lines[0], lines[1]);
      std::swap(lines[1], lines[2]);
    }
    for (int col = 0; col < cols; ++col) {
      int total[4] = {};
      const int used = std::min(kBlock, width - col * kBlock);
      for (int i = 0; i < 4; ++i)
        for (int x = 0; x < used; ++x) total[i] += sums[i][static_cast<size_t>(col * kBlock + x)];
      *dst++ = static_cast<uint8_t>((total[1] > total[0]) + 2 * (total[3] > total[2]));
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
