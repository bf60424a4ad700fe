// Planes with a border that repeats their outermost samples. No Python.
#ifndef LVC_MOTION_PLANE_H
#define LVC_MOTION_PLANE_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace lvc::motion {

// A plane in memory that belongs to someone else.
struct PlaneView {
  const uint8_t* data;
  ptrdiff_t stride;
  int width, height;
};

inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// A plane of the given inner size, a multiple of the block size, and `border` samples around it.
class Plane {
 public:
  Plane() = default;

  // Leaves the samples unset; for planes that are computed.
  Plane(int width, int height, int border)
      : width_(width), height_(height), border_(border), stride_(round_up(width + 2 * border, 32)) {
    // The slack at the end lets kernels load whole vectors.
    samples_.resize(static_cast<size_t>(stride_) * static_cast<size_t>(height + 2 * border) + 64);
  }

  // A copy of `view`, extended to width x height and by the border.
  Plane(const PlaneView& view, int width, int height, int border) : Plane(width, height, border) {
    for (int y = 0; y < view.height; ++y) std::memcpy(at(0, y), view.data + y * view.stride, view.width);
    extend(view.width, view.height);
  }

  uint8_t* at(int x, int y) {
    return samples_.data() + static_cast<ptrdiff_t>(y + border_) * stride_ + (x + border_);
  }
  const uint8_t* at(int x, int y) const {
    return samples_.data() + static_cast<ptrdiff_t>(y + border_) * stride_ + (x + border_);
  }
  ptrdiff_t stride() const { return stride_; }
  int width() const { return width_; }
  int height() const { return height_; }
  int border() const { return border_; }

  // Repeats the outermost samples of the valid area that starts at (0, 0).
  void extend(int valid_width, int valid_height) {
    const int right = stride_ - border_ - valid_width;
    for (int y = 0; y < valid_height; ++y) {
      std::memset(at(-border_, y), *at(0, y), static_cast<size_t>(border_));
      std::memset(at(valid_width, y), *at(valid_width - 1, y), static_cast<size_t>(right));
    }
    const size_t row = static_cast<size_t>(stride_);
    for (int y = -border_; y < 0; ++y) std::memcpy(at(-border_, y), at(-border_, 0), row);
    for (int y = valid_height; y < height_ + border_; ++y)
      std::memcpy(at(-border_, y), at(-border_, valid_height - 1), row);
  }

 private:
  int width_ = 0, height_ = 0, border_ = 0, stride_ = 0;
  std::vector<uint8_t> samples_;
};

}  // namespace lvc::motion

#endif  // LVC_MOTION_PLANE_H
