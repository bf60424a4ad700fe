// What networks see of planes, and what they do to them. No Python.
#ifndef LVC_NETS_PLANES_H
#define LVC_NETS_PLANES_H

#include <cstddef>
#include <cstdint>

#include "transform.h"

namespace lvc::nets {

// Sums of absolute differences of each 8x8 samples: int32 [height / 8][width / 8].
void differences(const uint8_t* a, const uint8_t* b, int height, int width, int32_t* out);

// Rows of `bytes` bytes of a [height][width] grid, each from where a vector (in quarters of a luma sample) points,
// rounded to the nearest position and limited to the grid.
void displaced(const uint8_t* rows, size_t bytes, const int16_t* dx, const int16_t* dy, int height, int width,
               uint8_t* out);

// Cells of 4x4 luma, 2x2 U and 2x2 V samples.
constexpr int kCell = 24;

// Numerators and limit of what a filter sees of samples: floor(samples * scale / step), limited to +-high.
struct CellInputs {
  int scale, step, high;
};

// For each cell its samples less the mean of the 3x3 cells around, then decoded less predicted samples, to the first
// 2 * kCell of `channels` bytes: [height / 4][width / 4][channels].
void cell_inputs(const Kernels& kernels, const Picture& decoded, const Picture& predicted, const CellInputs& inputs,
                 int8_t* out, size_t channels, int threads);

// clamp(sample + floor(correction * step / 2^shift + 1/2), 0, 255); corrections [height / 4][width / 4][kCell].
void correct(const Picture& decoded, const int16_t* corrections, int step, int shift, uint8_t* const out[3],
             int threads);

// Sum of squared differences of n samples.
double squared_error(const uint8_t* a, const uint8_t* b, size_t n);

// Samples of `there` in the blocks of unit x unit samples that are filled [rows][cols], of `elsewhere` in the others.
void where_filled(const uint8_t* filled, int rows, int cols, int unit, const uint8_t* there, const uint8_t* elsewhere,
                  uint8_t* out);

}  // namespace lvc::nets

#endif  // LVC_NETS_PLANES_H
