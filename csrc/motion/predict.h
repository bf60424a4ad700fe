// Motion compensation from one or two reference pictures, in integers throughout. No Python.
#ifndef LVC_MOTION_PREDICT_H
#define LVC_MOTION_PREDICT_H

#include <array>

#include "kernels.h"
#include "plane.h"

namespace lvc::motion {

constexpr int kBlock = 8;          // luma samples along a side of a block, the unit of the vector field
constexpr int kVectorBits = 2;     // vectors count quarters of a luma sample
constexpr int kMaxRun = 8;         // blocks of one vector that are predicted at once
constexpr int kBorder = 96;        // around planes that vectors point into: a run, the filter, and slack

// A field of block vectors: rows x cols values of each component, without gaps.
struct Field {
  const int16_t *dx, *dy;
  int rows, cols;
};

// A second reference: its samples, the vectors into it, and which blocks are predicted by the mean of the
// predictions from both (not 0). A block's value of the mean is rounded before predictions are blended.
struct Second {
  PlaneView reference;
  Field field;
  const uint8_t* compound;
};

enum class Window { kNone, kLinear, kCosine };

// Four weights a sample in 1/256, for the blocks above left, above right, below left and below right of the square
// between four centres. Rows are 8 samples long, for chroma, too, where the last four are nothing.
using BlendWeights = std::array<int16_t, kBlock * kBlock * 4>;
BlendWeights blend_weights(Window window, bool chroma);

// Predicts one plane of width x height luma samples (or (width + 1) / 2 x (height + 1) / 2 chroma samples).
// The field has ceil(width / 8) x ceil(height / 8) blocks; with a window other than kNone, the predictions by
// the vectors of the four blocks whose centres are nearest are blended. `second`: null for none.
void predict_plane(const Kernels& kernels, const PlaneView& reference, const Field& field, bool chroma,
                   Window window, uint8_t* out, ptrdiff_t out_stride, const Second* second = nullptr);

}  // namespace lvc::motion

#endif  // LVC_MOTION_PREDICT_H
