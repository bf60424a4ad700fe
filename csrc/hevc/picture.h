// What is remembered of coded pictures: contexts are made of it. No Python.
#ifndef LVC_HEVC_PICTURE_H
#define LVC_HEVC_PICTURE_H

#include <algorithm>
#include <cstdint>
#include <vector>

namespace lvc::hevc {

enum Kind : uint8_t { kOutside, kSkipped, kInter, kIntra };

// Of 4x4 luma samples.
struct Unit {
  uint8_t kind = kOutside;
  uint8_t depth = 0;             // of the coding block
  uint8_t mode = 1;              // of intra prediction; DC where there is none
  uint8_t transform = 0;         // log2 of the side of the transform block; 0: none coded
  uint8_t luma = 0, chroma = 0;  // buckets of the sum of coefficients, as for 8x8 samples
  uint8_t motion = 0;            // bucket of the vector difference
  uint8_t merge = 0;             // 0: not merged, or 1 + index
  uint8_t direction = 0;         // 0: list 0, 1: list 1, 2: both
  uint8_t reference = 0;
};

struct Sao {
  uint8_t merge = 0;  // 0: none, 1: left, 2: up
  uint8_t type[2] = {0, 0};
  uint8_t offsets[3][4] = {};
  uint8_t place[3] = {0, 0, 0};  // band, or direction of edges
};

struct Picture {
  Picture(int width, int height, int log2_of_ctb)
      : columns((width + 3) / 4),
        rows((height + 3) / 4),
        log2_ctb(log2_of_ctb),
        units(static_cast<size_t>(columns) * rows),
        sao(static_cast<size_t>(((width - 1) >> log2_ctb) + 1) * (((height - 1) >> log2_ctb) + 1)) {}

  // Coordinates in luma samples; a unit of kind kOutside beyond the picture.
  const Unit& at(int x, int y) const {
    static const Unit outside;
    if (x < 0 || y < 0 || (x >> 2) >= columns || (y >> 2) >= rows) return outside;
    return units[static_cast<size_t>(y >> 2) * columns + (x >> 2)];
  }

  template <typename Change>
  void each(int x, int y, int width, int height, Change change) {
    const int right = std::min((x + width + 3) >> 2, columns), bottom = std::min((y + height + 3) >> 2, rows);
    for (int v = y >> 2; v < bottom; ++v)
      for (int u = x >> 2; u < right; ++u) change(units[static_cast<size_t>(v) * columns + u]);
  }

  int columns, rows, log2_ctb;
  int poc = 0;
  bool intra = false;
  std::vector<Unit> units;
  std::vector<Sao> sao;
};

}  // namespace lvc::hevc

#endif  // LVC_HEVC_PICTURE_H
