// Vectors, and what they cost: the rate model of the motion search. No Python.
#ifndef LVC_MOTION_COST_H
#define LVC_MOTION_COST_H

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace lvc::motion {

struct Vec {
  int x = 0, y = 0;
  bool operator==(const Vec& other) const { return x == other.x && y == other.y; }
  bool operator!=(const Vec& other) const { return !(*this == other); }
  Vec operator+(const Vec& other) const { return {x + other.x, y + other.y}; }
};

inline int median3(int a, int b, int c) { return std::max(std::min(a, b), std::min(std::max(a, b), c)); }

// Bits are counted in eighths. The model stands for a good adaptive entropy coder, not for a certain one.
constexpr uint32_t kBit = 8;

// A component of a difference of this size: about 0.75 + 2 log2(n + 1) bits, and one more unless it is zero.
constexpr uint32_t magnitude_bits(uint32_t magnitude) {
  const uint32_t n = magnitude + 1;
  uint32_t log2 = 0;
  while (n >> (log2 + 1) != 0) ++log2;
  const uint32_t power = 1u << log2;
  const uint32_t fraction = (2 * kBit * (n - power)) / power;  // linear between powers of two
  return 3 * kBit / 4 + (magnitude != 0 ? kBit : 0) + 2 * kBit * log2 + fraction;
}

template <size_t... i>
constexpr std::array<uint16_t, sizeof...(i)> magnitude_table(std::index_sequence<i...>) {
  return {static_cast<uint16_t>(magnitude_bits(static_cast<uint32_t>(i)))...};
}

inline uint32_t component_bits(int difference) {
  static constexpr auto kTable = magnitude_table(std::make_index_sequence<256>());
  const uint32_t magnitude = static_cast<uint32_t>(std::abs(difference));
  return magnitude < kTable.size() ? kTable[magnitude] : magnitude_bits(magnitude);
}

inline uint32_t vector_bits(const Vec& v, const Vec& predictor) {
  return component_bits(v.x - predictor.x) + component_bits(v.y - predictor.y);
}

constexpr uint32_t kMergeBits[4] = {4, 14, 22, 26};  // the vector of the i-th candidate
constexpr uint32_t kNoMergeBits = 14;                // a vector of its own, beside its difference
// A square is predicted by one reference or by two, where of its neighbours (left and above) none, one or both are
// predicted by two.
constexpr uint32_t kCompoundBits[3][2] = {{2, 18}, {8, 8}, {16, 3}};
constexpr uint32_t kSplitBits = 10, kNoSplitBits = 6;

// Rate on the scale of SATD.
class Lagrangian {
 public:
  explicit Lagrangian(double value) : scaled_(static_cast<uint64_t>(value * 256.0 + 0.5)) {}
  uint32_t operator()(uint32_t eighth_bits) const {
    return static_cast<uint32_t>((scaled_ * eighth_bits + 1024) >> 11);
  }

 private:
  uint64_t scaled_;
};

}  // namespace lvc::motion

#endif  // LVC_MOTION_COST_H
