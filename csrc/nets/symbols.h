// What stands between the networks and the entropy coder: integers of blocks in, out and chosen. No Python.
#ifndef LVC_NETS_SYMBOLS_H
#define LVC_NETS_SYMBOLS_H

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace lvc::nets {

// Channels [first, first + count) of rows of `channels` integers.
struct Slice {
  size_t channels, first, count;
};

// values [count][n] to the rows at n positions, and table[min(|value|, size - 1)] beside it.
void place(const int32_t* values, const int32_t* positions, size_t n, const Slice& slice, const uint8_t* table,
           size_t size, int16_t* symbols, uint8_t* context);

// The inverse: [count][n].
void take(const int16_t* symbols, const int32_t* positions, size_t n, const Slice& slice, int16_t* values);

// Groups of channels: group k is [edges[k], edges[k + 1]); the first `luma` groups are of luma, the others of chroma.
struct Groups {
  std::vector<int> edges;
  size_t luma;
  size_t size() const { return edges.size() - 1; }
  size_t channels() const { return static_cast<size_t>(edges.back()); }
};

// [n][groups] of 0 and 1: whether a group or a later one of the same kind of plane holds anything.
void flags_of(const int16_t* symbols, size_t n, const Groups& groups, uint8_t* flags);

// table[min(|symbol|, size - 1)] of n symbols.
void contexts(const int16_t* symbols, size_t n, const uint8_t* table, size_t size, uint8_t* out);

// sign(c) * floor(|c| + rounding), for |c| < 2^15.
void first_guess(const float* coefficients, size_t n, float rounding, int16_t* symbols);

// Bits of magnitudes 0..reach and of the escape, for each index: [64][reach + 2].
struct BitsTable {
  const float* bits;
  int reach;
};

// Rate-distortion optimized quantization (lvc.codecs.swiftquant): the integers of least cost, first each for itself,
// then the number of groups that are kept, none after the last one that the nearest integers do not leave empty (whose
// indices are not looked at). All in float32, in the order of operations of the reference.
//   coefficients: [n][channels], in steps; index: for each group, [n][channels of the group];
//   flag_index: [n][groups]; weights: [channels]; cost: [n], of the choice, in bits.
void choose(const float* coefficients, const std::vector<const uint8_t*>& index, const uint8_t* flag_index, size_t n,
            const Groups& groups, const BitsTable& values, const BitsTable& flags, const float* weights,
            int16_t* symbols, float* cost, int threads);

}  // namespace lvc::nets

#endif  // LVC_NETS_SYMBOLS_H
