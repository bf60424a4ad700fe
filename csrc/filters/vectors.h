// Vectors of a coarse motion search made finer, block by block. No Python.
//
// The search of lvc::motion knows what vectors cost a coder. Here nobody pays for them: each block of 8x8 luma samples
// takes, of its own vector, those around it and small steps from the best of these, what predicts it best.
#ifndef LVC_FILTERS_VECTORS_H
#define LVC_FILTERS_VECTORS_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lvc::filters {

// Of each block its dx, then its dy, in quarters of a sample: [2][rows][cols] of blocks.
using Vectors = const int16_t*;

// dst: of each 8x8 block of `current` the vector into `reference` of the least sum of absolute differences, by linear
// interpolation. Tried in this order, of which the first of equals counts: the block's own of fields[0]; those of the
// blocks to the right, left, below and above there, 1 to `reach` blocks away; the block's own of the other fields; then,
// for each of `steps` quarters of a sample, the best so far moved that much to the right, left, below and above. Vectors
// may point anywhere.
void refine(const uint8_t* current, const uint8_t* reference, int width, int height,
            const std::vector<Vectors>& fields, int reach, const std::vector<int>& steps, int threads,
            int16_t* dst);

}  // namespace lvc::filters

#endif  // LVC_FILTERS_VECTORS_H
