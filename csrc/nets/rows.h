// The inputs of convolutions as products take them: copied row by row, or a strip of a picture with a border. No Python.
#ifndef LVC_NETS_ROWS_H
#define LVC_NETS_ROWS_H

#include <algorithm>
#include <cstring>
#include <vector>

#include "layer.h"

namespace lvc::nets {

inline size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Inputs of one type T: uint8 (signed ones plus 128), or int16.
template <typename T>
class Rows {
 public:
  static constexpr size_t kGroup = 4 / sizeof(T);

  Rows(const Source* sources, const std::vector<int>& channels, bool is_signed, int height, int width)
      : sources_(sources), channels_(channels), is_signed_(is_signed), height_(height), width_(width) {
    for (const int n : channels) size_ += round_up(static_cast<size_t>(n), kGroup);
  }

  // Inputs of a position: all sources, each padded to whole groups.
  size_t size() const { return size_; }

  // The row of a position for a kernel of 1 or 3: for each tap, the inputs of its position.
  void row(int at, int kernel, T* to) const {
    if (kernel == 1) {
      positions(static_cast<size_t>(at), 1, to);
      return;
    }
    const int y = at / width_, x = at % width_;
    for (int i = y - 1; i <= y + 1; ++i, to += 3 * size_) line(i, x - 1, 3, to);
  }

  // Rows y - 1 to y + n of the picture with a border of one position: [n + 2][width + 2] positions.
  void strip(int y, int n, T* to) const {
    for (int i = y - 1; i <= y + n; ++i, to += static_cast<size_t>(width_ + 2) * size_) line(i, -1, width_ + 2, to);
  }

 private:
  // n positions from column x of a row on; those outside of the picture are zero.
  void line(int y, int x, int n, T* to) const {
    if (y < 0 || y >= height_) {
      zeros(static_cast<size_t>(n), to);
      return;
    }
    const int first = std::max(x, 0), last = std::min(x + n, width_);
    if (first > x) zeros(static_cast<size_t>(first - x), to);
    positions(static_cast<size_t>(y) * static_cast<size_t>(width_) + static_cast<size_t>(first),
              static_cast<size_t>(last - first), to + static_cast<size_t>(first - x) * size_);
    if (last < x + n) zeros(static_cast<size_t>(x + n - last), to + static_cast<size_t>(last - x) * size_);
  }

  void zeros(size_t n, T* to) const { std::fill(to, to + n * size_, is_signed_ && sizeof(T) == 1 ? T(128) : T(0)); }

  // What pads a source is never written after the start, or by neighbouring channels: it meets weights of zero.
  void positions(size_t at, size_t n, T* to) const {
    size_t place = 0;
    for (size_t s = 0; s < channels_.size(); ++s) {
      const size_t stride = sources_[s].stride, own = static_cast<size_t>(channels_[s]);
      const uint8_t* from = sources_[s].data + at * stride;
      if (stride == size_) {  // the only source, and positions lie as rows have them; of the last one, padding may lack
        convert(from, (n - 1) * stride + own, to);
      } else {
        for (size_t i = 0; i < n; ++i) convert(from + i * stride, own, to + i * size_ + place);
      }
      place += round_up(own, kGroup);
    }
  }

  void convert(const uint8_t* from, size_t n, uint8_t* to) const {
    if (!is_signed_) {
      std::memcpy(to, from, n);
      return;
    }
    for (size_t i = 0; i < n; ++i) to[i] = static_cast<uint8_t>(from[i] ^ 0x80);
  }

  void convert(const uint8_t* from, size_t n, int16_t* to) const {
    if (is_signed_)
      for (size_t i = 0; i < n; ++i) to[i] = static_cast<int8_t>(from[i]);
    else
      for (size_t i = 0; i < n; ++i) to[i] = from[i];
  }

  const Source* sources_;
  const std::vector<int>& channels_;
  bool is_signed_;
  int height_, width_;
  size_t size_ = 0;
};

}  // namespace lvc::nets

#endif  // LVC_NETS_ROWS_H
