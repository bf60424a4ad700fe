// Block motion search on luma: hierarchical, quad-tree of 32, 16 and 8, quarter samples, rate-aware. No Python.
#ifndef LVC_MOTION_SEARCH_H
#define LVC_MOTION_SEARCH_H

#include "predict.h"

namespace lvc::motion {

constexpr int kMaxEffort = 3;
constexpr double kMaxLagrangian = 10000.0;

struct SearchOptions {
  Window window = Window::kNone;  // how the prediction will blend
  double lagrangian = 4.0;  // SATD that one bit is worth; 0 to kMaxLagrangian
  int effort = 1;           // 0 to kMaxEffort
  int threads = 1;
};

// What the search gives for each 8x8 block, row by row: its vector, the size of the square it belongs to (all
// blocks of a square share a vector), and the SATD of its prediction without overlap.
struct SearchResult {
  int16_t *dx, *dy;
  uint8_t* size;
  int32_t* satd;
};

// `previous`: the field of an earlier picture, whose vectors are candidates; null for none. All planes have one
// size. The result depends neither on the kernels nor on the number of threads.
void search(const Kernels& kernels, const PlaneView& current, const PlaneView& reference, const Field* previous,
            const SearchOptions& options, const SearchResult& result);

}  // namespace lvc::motion

#endif  // LVC_MOTION_SEARCH_H
