// Filters of decoded planes whose coefficients differ from class to class of blocks. No Python.
//
// What a filter adds to a sample is a sum of terms. A term is a sum of differences between samples around a place of
// one or another plane and the sample of a reference plane there; it counts three times, with a coefficient each:
// as it is, with each difference limited to a small range, and with each limited to a larger one. Values have four
// fractional bits, coefficients eight.
#ifndef LVC_FILTERS_FILTER_H
#define LVC_FILTERS_FILTER_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lvc::filters {

constexpr int kValueBits = 4;
constexpr int kCoefficientBits = 8;
constexpr int kRadius = 2;      // of the places around a sample
constexpr int kWays = 3;        // that a term counts in
constexpr int kMaxTerms = 32;
constexpr int kMaxPlaces = 4;   // of a term
constexpr int kAllPlaces = 80;  // of all terms: so that, with the limits below, sums stay within 32 bits
constexpr int kMaxCoefficient = 1023;
constexpr int kMaxValue = 255 << kValueBits;

// The samples of a plane: 0..255 or, if `values`, values, of which those outside of +-kMaxValue are limited.
struct Source {
  const uint8_t* samples;
  const int16_t* values;
  int width, height;
};

// Some lines of a plane as values, with a margin around them: further lines of the plane; its edges are repeated.
class Plane {
 public:
  Plane(const Source& source, int first, int lines);

  const int16_t* at(int y, int x) const {
    return values_.data() + static_cast<ptrdiff_t>(y - first_ + kRadius) * stride_ + x + kRadius;
  }

 private:
  template <typename Sample>
  void fill(const Sample* samples, int width, int height, int lines);

  int first_;
  ptrdiff_t stride_;
  std::vector<int16_t> values_;
};

struct Place {
  int plane, dy, dx;
};

struct Term {
  int reference;         // plane that is subtracted, or -1
  int16_t small, large;  // limits of the differences, 0 or more
  std::vector<Place> places;
};

// Classes of the blocks of a plane, in rows.
struct Classes {
  const uint8_t* classes;
  int rows, cols;
  int side;  // samples along a side of a block: 4 or 8
};

// dst = samples + what the filter adds, limited to 0..255. `coefficients`: for each class, for each term, kWays.
// `plain`: without vector instructions, with the same result.
// All planes are of one size.
void apply(const std::vector<Source>& sources, const std::vector<Term>& terms, const Classes& classes,
           const int16_t* coefficients, const uint8_t* samples, uint8_t* dst, int threads, bool plain);

// What the terms are at the samples of some blocks: dst[(term, way)][block][sample]. Blocks lie in the plane entirely.
void features(const std::vector<Source>& sources, const std::vector<Term>& terms, const int32_t* blocks, size_t n_blocks,
              int cols, int side, float* dst);

// Classes 0..8 of the 8x8 blocks of a luma plane: 3 * (activity: standard deviation below, between, above two limits)
// + (change: mean difference of the neighbours' mean likewise). Limits have four fractional bits.
void classify(const uint8_t* frame, const uint8_t* before, const uint8_t* after, int width, int height,
              const int32_t activity[2], const int32_t change[2], uint8_t* dst);

// Orientations 0..3 of the 8x8 blocks of a luma plane, by sums of |2 s - a - b| where a and b are the samples on both
// sides of a sample s, on a line through it: 1 if the vertical line's is above the horizontal one's, plus 2 if that
// from top right to bottom left is above the other diagonal's. Edges are repeated.
void orient(const uint8_t* samples, int width, int height, uint8_t* dst);

// Means of 2x2 samples, with four fractional bits; edges are repeated. dst: ceil(height / 2) x ceil(width / 2).
void halve(const uint8_t* samples, int width, int height, int16_t* dst);

}  // namespace lvc::filters

#endif  // LVC_FILTERS_FILTER_H
