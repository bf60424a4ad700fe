#include "planes.h"

#include <algorithm>
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

// A row of cells, each in one piece, out of the rows of a plane; and back.
template <int side>
void to_cells(const uint8_t* plane, int cols, uint8_t* cells) {
  for (int i = 0; i < side; ++i)
    for (int x = 0; x < cols; ++x)
      std::memcpy(cells + (x * side + i) * side, plane + (i * cols + x) * side, side);
}

// One plane of cell_inputs, of cells of side x side samples.
template <int side>
void cell_inputs_of(const Kernels& kernels, const uint8_t* decoded, const uint8_t* predicted, int rows, int cols,
                    const CellInputs& inputs, int8_t* out, size_t channels, int threads) {
  constexpr int kArea = side * side, kCount = 9 * kArea;
  const size_t n_cols = static_cast<size_t>(cols), n = n_cols * kArea;
  const double detail_ratio = inputs.scale / static_cast<double>(kCount * inputs.step);
  const double added_ratio = inputs.scale / static_cast<double>(inputs.step);
  constexpr int kRun = 8;
  parallel((rows + kRun - 1) / kRun, threads, [&](int run) {
    std::vector<uint8_t> samples(n), others(n);
    std::vector<int32_t> sums(3 * n_cols), around(n_cols + 2), values(n);
    std::vector<int8_t> details(n), added(n);
    // Sums of the cells of a row, in the place of that row among three.
    const auto sum_row = [&](int y) {
      const int row = std::clamp(y, 0, rows - 1);
      to_cells<side>(decoded + static_cast<ptrdiff_t>(row) * cols * kArea, cols, samples.data());
      int32_t* const to = sums.data() + static_cast<size_t>((y + 3) % 3) * n_cols;
      for (size_t x = 0; x < n_cols; ++x) {
        int32_t sum = 0;
        for (int i = 0; i < kArea; ++i) sum += samples[x * kArea + static_cast<size_t>(i)];
        to[x] = sum;
      }
    };
    const int first = run * kRun;
    sum_row(first - 1);
    sum_row(first);
    for (int y = first; y < std::min(rows, first + kRun); ++y) {
      sum_row(y + 1);
      for (size_t x = 0; x < n_cols; ++x) around[x + 1] = sums[x] + sums[n_cols + x] + sums[2 * n_cols + x];
      around[0] = around[1];
      around[n_cols + 1] = around[n_cols];
      const ptrdiff_t at = static_cast<ptrdiff_t>(y) * cols * kArea;
      to_cells<side>(decoded + at, cols, samples.data());
      to_cells<side>(predicted + at, cols, others.data());
      for (size_t x = 0; x < n_cols; ++x) {
        const int32_t mean = around[x] + around[x + 1] + around[x + 2];
        for (size_t i = x * kArea; i < (x + 1) * kArea; ++i) values[i] = samples[i] * kCount - mean;
      }
      kernels.quotients(values.data(), n, detail_ratio, inputs.high, details.data());
      for (size_t i = 0; i < n; ++i) values[i] = samples[i] - others[i];
      kernels.quotients(values.data(), n, added_ratio, inputs.high, added.data());
      int8_t* to = out + static_cast<size_t>(y) * n_cols * channels;
      for (size_t x = 0; x < n_cols; ++x, to += channels) {
        std::memcpy(to, &details[x * kArea], kArea);
        std::memcpy(to + kCell, &added[x * kArea], kArea);
      }
    }
  });
}

// A row of cells of one plane, corrected.
template <int side>
void correct_row(const uint8_t* decoded, const int16_t* changes, int cols, int16_t* line, uint8_t* out) {
  for (int i = 0; i < side; ++i) {
    for (int x = 0; x < cols; ++x) std::memcpy(line + x * side, changes + x * kCell + i * side, 2 * side);
    const ptrdiff_t first = static_cast<ptrdiff_t>(i) * cols * side;
    for (int x = 0; x < cols * side; ++x)
      out[first + x] = static_cast<uint8_t>(std::clamp(decoded[first + x] + line[x], 0, 255));
  }
}

}  // namespace

void cell_inputs(const Kernels& kernels, const Picture& decoded, const Picture& predicted, const CellInputs& inputs,
                 int8_t* out, size_t channels, int threads) {
  const int rows = decoded.height / 4, cols = decoded.width / 4;
  for (const auto [plane, channel, side] : kCellPlanes)
    (side == 4 ? cell_inputs_of<4> : cell_inputs_of<2>)(kernels, decoded.planes[plane], predicted.planes[plane], rows,
                                                        cols, inputs, out + channel, channels, threads);
}

void correct(const Picture& decoded, const int16_t* corrections, int step, int shift, uint8_t* const out[3],
             int threads) {
  const int rows = decoded.height / 4, cols = decoded.width / 4;
  const int32_t half = 1 << (shift - 1);
  constexpr int kRun = 8;
  parallel((rows + kRun - 1) / kRun, threads, [&](int run) {
    const size_t n = static_cast<size_t>(cols) * kCell;
    std::vector<int16_t> changes(n), line(4 * static_cast<size_t>(cols));
    for (int y = run * kRun; y < std::min(rows, (run + 1) * kRun); ++y) {
      const int16_t* const correction = corrections + static_cast<size_t>(y) * n;
      // Beyond 255 they all do the same.
      for (size_t i = 0; i < n; ++i)
        changes[i] = static_cast<int16_t>(std::clamp((correction[i] * step + half) >> shift, -256, 256));
      for (const auto [plane, channel, side] : kCellPlanes) {
        const ptrdiff_t at = static_cast<ptrdiff_t>(y) * cols * side * side;
        (side == 4 ? correct_row<4> : correct_row<2>)(decoded.planes[plane] + at, changes.data() + channel, cols,
                                                      line.data(), out[plane] + at);
      }
    }
  });
}

double squared_error(const uint8_t* a, const uint8_t* b, size_t n) {
  uint64_t sum = 0;
  constexpr size_t kRun = 1 << 12;  // whose sum fits 32 bits
  for (size_t first = 0; first < n; first += kRun) {
    uint32_t part = 0;
    for (size_t i = first; i < std::min(n, first + kRun); ++i) {
      const int32_t d = a[i] - b[i];
      part += static_cast<uint32_t>(d * d);
    }
    sum += part;
  }
  return static_cast<double>(sum);
}

void where_filled(const uint8_t* filled, int rows, int cols, int unit, const uint8_t* there, const uint8_t* elsewhere,
                  uint8_t* out) {
  const ptrdiff_t width = static_cast<ptrdiff_t>(cols) * unit;
  for (int y = 0; y < rows; ++y)
    for (int x = 0, next; x < cols; x = next) {
      const bool mine = filled[y * cols + x] != 0;
      for (next = x + 1; next < cols && (filled[y * cols + next] != 0) == mine;) ++next;
      const uint8_t* const from = mine ? there : elsewhere;
      for (int i = 0; i < unit; ++i) {
        const ptrdiff_t at = (static_cast<ptrdiff_t>(y) * unit + i) * width + static_cast<ptrdiff_t>(x) * unit;
        std::memcpy(out + at, from + at, static_cast<size_t>((next - x) * unit));
      }
    }
}

}  // namespace lvc::nets
