#include "planes.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "parallel.h"

namespace lvc::nets {

void differences(const uint8_t* a, const uint8_t* b, int height, int width, int32_t* out) {
  const size_t cols = static_cast<size_t>(width / kUnit), stride = static_cast<size_t>(width);
  for (size_t row = 0; row < static_cast<size_t>(height / kUnit); ++row)
    for (size_t col = 0; col < cols; ++col) {
      int32_t sum = 0;
      for (size_t y = 0; y < kUnit; ++y)
        for (size_t x = 0; x < kUnit; ++x) {
          const size_t at = (row * kUnit + y) * stride + col * kUnit + x;
          sum += std::abs(a[at] - b[at]);
        }
      out[row * cols + col] = sum;
    }
}

void displaced(const uint8_t* rows, size_t bytes, const int16_t* dx, const int16_t* dy, int height, int width,
               uint8_t* out) {
  constexpr int kShift = 5;  // a position is 32 quarters of a sample wide
  for (int y = 0, i = 0; y < height; ++y)
    for (int x = 0; x < width; ++x, ++i) {
      const int row = std::clamp(y + ((dy[i] + (1 << (kShift - 1))) >> kShift), 0, height - 1);
      const int col = std::clamp(x + ((dx[i] + (1 << (kShift - 1))) >> kShift), 0, width - 1);
      std::memcpy(out + static_cast<size_t>(i) * bytes,
                  rows + (static_cast<size_t>(row) * static_cast<size_t>(width) + static_cast<size_t>(col)) * bytes,
                  bytes);
    }
}

namespace {

// The planes of a cell: first channel, samples a side.
struct CellPlane {
  int plane, channel, side;
};
constexpr CellPlane kCellPlanes[] = {{0, 0, 4}, {1, 16, 2}, {2, 20, 2}};

// floor(x * scale / divider), limited, for |x * scale| < 2^26 and dividers of 2^9..2^19.
class Quotient {
 public:
  Quotient(int scale, int divider, int high)
      : scale_(scale), high_(high), offset_(static_cast<int64_t>(high + 1) * divider),
        reciprocal_(((uint64_t{1} << kShift) + static_cast<uint64_t>(divider) - 1) / static_cast<uint64_t>(divider)) {}

  int8_t operator()(int x) const {
    const int64_t shifted = std::clamp<int64_t>(static_cast<int64_t>(x) * scale_ + offset_, 0, 2 * offset_);
    const int value = static_cast<int>(static_cast<uint64_t>(shifted) * reciprocal_ >> kShift) - high_ - 1;
    return static_cast<int8_t>(std::clamp(value, -high_, high_));
  }

 private:
  // The error is less than 2 * offset / 2^kShift < 1 / divider, as 2 * 128 * divider^2 < 2^kShift; and the product,
  // about 256 * 2^kShift, is less than 2^64.
  static constexpr int kShift = 48;
  int scale_, high_;
  int64_t offset_;
  uint64_t reciprocal_;
};

int cell_sum(const uint8_t* samples, ptrdiff_t stride, int side) {
  int sum = 0;
  for (int i = 0; i < side; ++i)
    for (int j = 0; j < side; ++j) sum += samples[i * stride + j];
  return sum;
}

}  // namespace

void cell_inputs(const Picture& decoded, const Picture& predicted, const CellInputs& inputs, int8_t* out,
                 size_t channels, int threads) {
  const int rows = decoded.height / 4, cols = decoded.width / 4;
  std::array<int8_t, 511> added;
  const Quotient quotient(inputs.scale, inputs.step, inputs.high);
  for (int d = -255; d <= 255; ++d) added[static_cast<size_t>(d + 255)] = quotient(d);
  for (const auto [plane, channel, side] : kCellPlanes) {
    const ptrdiff_t stride = cols * side;
    const int count = 9 * side * side;
    const uint8_t *a = decoded.planes[plane], *b = predicted.planes[plane];
    std::vector<int> sums(static_cast<size_t>(rows) * static_cast<size_t>(cols));
    constexpr int kRun = 8;
    const int runs = (rows + kRun - 1) / kRun;
    parallel(runs, threads, [&, side = side](int run) {
      for (int y = run * kRun; y < std::min(rows, (run + 1) * kRun); ++y)
        for (int x = 0; x < cols; ++x)
          sums[static_cast<size_t>(y * cols + x)] = cell_sum(a + y * side * stride + x * side, stride, side);
    });
    // Every quotient that there can be: far fewer than there are samples.
    const Quotient quotient_of_sums(inputs.scale, count * inputs.step, inputs.high);
    const int most = 255 * count;
    std::vector<int8_t> details(2 * static_cast<size_t>(most) + 1);
    for (int d = -most; d <= most; ++d) details[static_cast<size_t>(d + most)] = quotient_of_sums(d);
    const int8_t* const detail = details.data() + most;
    parallel(runs, threads, [&, side = side, channel = channel](int run) {
      for (int y = run * kRun; y < std::min(rows, (run + 1) * kRun); ++y)
        for (int x = 0; x < cols; ++x) {
          int around = 0;
          for (const int i : {std::max(y - 1, 0), y, std::min(y + 1, rows - 1)})
            for (const int j : {std::max(x - 1, 0), x, std::min(x + 1, cols - 1)})
              around += sums[static_cast<size_t>(i * cols + j)];
          int8_t* to = out + static_cast<size_t>(y * cols + x) * channels + channel;
          const ptrdiff_t first = y * side * stride + x * side;
          for (int i = 0; i < side; ++i)
            for (int j = 0; j < side; ++j, ++to) {
              const ptrdiff_t at = first + i * stride + j;
              to[0] = detail[a[at] * count - around];
              to[kCell] = added[static_cast<size_t>(a[at] - b[at] + 255)];
            }
        }
    });
  }
}

void correct(const Picture& decoded, const int16_t* corrections, int step, int shift, uint8_t* const out[3],
             int threads) {
  const int rows = decoded.height / 4, cols = decoded.width / 4;
  const int32_t half = 1 << (shift - 1);
  parallel(rows, threads, [&](int y) {
    for (const auto [plane, channel, side] : kCellPlanes) {
      const ptrdiff_t stride = cols * side;
      for (int x = 0; x < cols; ++x) {
        const int16_t* correction = corrections + (static_cast<ptrdiff_t>(y) * cols + x) * kCell + channel;
        for (int i = 0; i < side; ++i)
          for (int j = 0; j < side; ++j) {
            const ptrdiff_t at = (y * side + i) * stride + x * side + j;
            const int change = (*correction++ * step + half) >> shift;
            out[plane][at] = static_cast<uint8_t>(std::clamp(decoded.planes[plane][at] + change, 0, 255));
          }
      }
    }
  });
}

}  // namespace lvc::nets
