// Codes block motion with integer networks: lvc.models.swiftmotion, whose steps these are, in C++. No Python.
#ifndef LVC_NETS_MOTION_H
#define LVC_NETS_MOTION_H

#include <array>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "coder.h"
#include "layer.h"

namespace lvc::nets {

// Features of n items, a row each, go through three layers: indices.
struct Head {
  const Kernels* kernels;
  std::array<const Layer*, 3> layers;
  int32_t offset;  // of the indices

  size_t outputs() const { return static_cast<size_t>(layers[2]->outputs()); }
  // [outputs][n]
  std::vector<uint8_t> indices(const std::vector<uint8_t>& features, size_t n) const;
};

// Magnitudes of vectors' components and their differences -> 0..63.
struct LogTable {
  const uint8_t* values;
  size_t size;
  uint8_t operator()(int64_t x) const;
};

constexpr int kRoot = 4;              // blocks along a side of the largest squares
constexpr int kVectorMax = (1 << 14) - 1;
constexpr size_t kCandidates = 7;     // the median, up to five neighbours, the former frame's vector
constexpr size_t kLevels = 9;
constexpr size_t kVectorFeatures = 3 * kCandidates + kLevels + 2;
constexpr size_t kSplitFeatures = 2 * 4 + 4 + 2 + 3;
constexpr size_t kCompoundFeatures = 2 * 4 + 2 + 3 + 5;

// Fields are [2][height][width], the horizontal components first; sizes and flags [height][width].
struct MotionCall {
  int height, width, quality;
  Head vectors, splits;
  LogTable log;
  const int16_t* former;        // or null
  const uint8_t* former_sizes;  // or null
  const int16_t* field;         // what to write, or null when reading
  const uint8_t* sizes;         // as `field`
  int16_t* out_field;
  uint8_t* out_sizes;
};
void code_motion(Coder& coder, const MotionCall& call);

// Which squares of a finished field are predicted by two references.
struct CompoundCall {
  int height, width, quality, age;
  Head head;
  LogTable log;
  const int16_t* field;
  const uint8_t* sizes;
  const int16_t* second;       // vectors into the second reference
  const int32_t* difference;   // [height][width]
  const uint8_t* former;       // flags, or null
  const uint8_t* wanted;       // what to write, or null when reading
  uint8_t* out;
};
void code_compound(Coder& coder, const CompoundCall& call);

}  // namespace lvc::nets

#endif  // LVC_NETS_MOTION_H
