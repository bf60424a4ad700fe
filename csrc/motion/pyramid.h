// What is prepared for a search: pictures at lower resolutions with coarse vectors, and the reference at all
// quarter-sample positions. No Python.
#ifndef LVC_MOTION_PYRAMID_H
#define LVC_MOTION_PYRAMID_H

#include <memory>
#include <mutex>
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
// costs no interpolation. Tile by tile when one is first asked for, since where nothing moves none is. Takes up to 15
// bytes a sample.
class Phases {
 public:
  // Keeps references to both.
  Phases(const Kernels& kernels, const Plane& reference);

  // The sample that `v` points to from (x, y), for blocks of w x h samples, at most kMaxSide a side; other samples lie
  // stride() apart. Any thread may ask.
  const uint8_t* at(int x, int y, const Vec& v, int w, int h) const {
    const int phase = 4 * (v.y & 3) + (v.x & 3);
    x += v.x >> 2;
    y += v.y >> 2;
    if (phase == 0) return reference_.at(x, y);
    prepare(x, y, w, h);
    return samples_.get() + offset(phase, x, y);
  }
  ptrdiff_t stride() const { return reference_.stride(); }

  static constexpr int kMaxSide = 32;

 private:
  // Powers of two, so that tiles are found by shifts.
  static constexpr int kTileHeightBits = 5, kTileWidthBits = 6;
  static constexpr int kTileHeight = 1 << kTileHeightBits, kTileWidth = 1 << kTileWidthBits;
  static_assert(kMaxSide <= kTileHeight && kMaxSide <= kTileWidth, "a block touches at most four tiles");

  ptrdiff_t offset(int phase, int x, int y) const {
    return (phase - 1) * plane_ + (y + kSearchBorder) * stride() + x + kSearchBorder;
  }
  void prepare(int x, int y, int w, int h) const {
    const int top = (y + kSearchBorder) >> kTileHeightBits, bottom = (y + h - 1 + kSearchBorder) >> kTileHeightBits;
    const int left = (x + kSearchBorder) >> kTileWidthBits, right = (x + w - 1 + kSearchBorder) >> kTileWidthBits;
    for (int row = top; row <= bottom; ++row)
      for (int col = left; col <= right; ++col)
        std::call_once(done_[static_cast<size_t>(row * cols_ + col)], [&] { fill(row, col); });
  }
  void fill(int row, int col) const;

  const Kernels& kernels_;
  const Plane& reference_;
  ptrdiff_t plane_;
  int cols_;
  // One piece, for allocators tend to hand a single large one back to the next search without new pages.
  std::unique_ptr<uint8_t[]> samples_;
  std::unique_ptr<std::once_flag[]> done_;
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
