// Improves a field of vectors knowing all of it. No Python.
#ifndef LVC_MOTION_REFINE_H
#define LVC_MOTION_REFINE_H

#include "compound.h"

namespace lvc::motion {

struct RefineOptions {
  Window window;    // how the prediction will blend
  int rounds;       // over the whole picture
  bool fractions;   // try the eight nearest quarter samples, too
  int threads;
};

// Gives each square in turn the vector, its own or that of a square beside it, and one reference or both (if
// `compound` is not null), that cost least: the SATD of all
// that the square has a part in, blended as the prediction does it (but from samples rounded to 8 bits), and the
// bits of the square and of those that are predicted from it.
void refine(const Kernels& kernels, const Plane& current, const Phases& phases, const Lagrangian& lagrangian,
            const RefineOptions& options, const Compound* compound, TreeField& field);

}  // namespace lvc::motion

#endif  // LVC_MOTION_REFINE_H
