// Block motion search on luma, with one or two references: hierarchical, quad-tree of 32, 16 and 8, quarter samples, rate-aware. No Python.
#ifndef LVC_MOTION_SEARCH_H
#define LVC_MOTION_SEARCH_H

#include <optional>
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
// blocks of a square share a vector), whether it is predicted by the mean of both references (1) or by the first
// one (0), and the SATD of its prediction without overlap.
struct SearchResult {
  int16_t *dx, *dy;
  uint8_t *size, *compound;
  int32_t* satd;
};

// A second reference, and how far it is displaced from each block of the first one; or, without a chain, as far away as
// the first one to the other side in time: its vectors are those into the first one, negated.
struct SecondReference {
  PlaneView reference;
  std::optional<Field> chain;
};

// `previous`: the field of an earlier picture, whose vectors are candidates; `second`: a second reference; null for
// none. All planes have one size. The result depends neither on the kernels nor on the number of threads.
void search(const Kernels& kernels, const PlaneView& current, const PlaneView& reference, const Field* previous,
            const SecondReference* second, const SearchOptions& options, const SearchResult& result);

}  // namespace lvc::motion

#endif  // LVC_MOTION_SEARCH_H
