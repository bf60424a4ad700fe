// What is prepared for a search: pictures at lower resolutions with coarse vectors, and the reference at all
// quarter-sample positions. No Python.
#ifndef LVC_MOTION_PYRAMID_H
#define LVC_MOTION_PYRAMID_H

#include <vector>

#include "cost.h"
#include "predict.h"

namespace lvc::motion {

constexpr int kSearchBorder = 64;

// The vectors that a search may use for a block at (x, y) of `size` samples, in quarter samples: further
// outside of a plane of width x height there is nothing new to see, and the planes end.
struct Limits {
  int left, right, top, bottom;
  Limits(int x, int y, int size, int width, int height)
      : left(limit(-size - kBlock - x)),
        right(limit(width + kBlock - x)),
        top(limit(-size - kBlock - y)),
        bottom(limit(height + kBlock - y)) {}
  Vec clamp(const Vec& v) const { return {std::clamp(v.x, left, right), std::clamp(v.y, top, bottom)}; }

 private:
  static int limit(int samples) { return std::clamp(samples * (1 << kVectorBits), -32768, 32767); }
};

// The reference at its 16 quarter-sample positions, by the filters of the prediction: a candidate vector then
// costs no interpolation. Takes 16 bytes a sample.
class Phases {
 public:
  Phases(const Kernels& kernels, const Plane& reference, int threads);

  // The sample that `v` points to from (x, y); other samples of the block lie stride() apart.
  const uint8_t* at(int x, int y, const Vec& v) const {
    return samples_.data() + offset(v.x & 3, v.y & 3, x + (v.x >> 2), y + (v.y >> 2));
  }
  ptrdiff_t stride() const { return stride_; }

 private:
  ptrdiff_t offset(int fx, int fy, int x, int y) const {
    return (4 * fy + fx) * plane_ + (y + kSearchBorder) * stride_ + x + kSearchBorder;
  }
  void fill(const Kernels& kernels, const Plane& reference, int top, int left, int w, int h);

  ptrdiff_t stride_, plane_;
  // One piece, for allocators tend to hand a single large one back to the next search without new pages.
  std::vector<uint8_t> samples_;
};

// Coarse vectors from whole-sample searches at 1/8, 1/4 and 1/2 of the resolution, as far as there is
// something left to search in.
class Pyramid {
 public:
  Pyramid(const Kernels& kernels, const Plane& current, const Plane& reference, const Field* previous,
          const Lagrangian& lagrangian, int range, int threads);

  // The vector, in quarter samples, for the block of `size` samples (8, 16 or 32) at (x, y).
  Vec vector(int x, int y, int size) const;

 private:
  struct Level {
    Plane current, reference;
    int shift, rows, cols;    // blocks of 8x8 samples of this level
    std::vector<Vec> field;   // in whole samples of this level
    Vec at(int row, int col) const {
      row = std::clamp(row, 0, rows - 1);
      col = std::clamp(col, 0, cols - 1);
      return field[static_cast<size_t>(row * cols + col)];
    }
  };
  void search_block(const Kernels& kernels, Level& level, const Level* above, const Field* previous,
                    const Lagrangian& lagrangian, int range, int row, int col);

  std::vector<Level> levels_;  // from 1/2 on
};

}  // namespace lvc::motion

#endif  // LVC_MOTION_PYRAMID_H
