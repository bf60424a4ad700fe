#include "transform.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "parallel.h"

namespace lvc::nets {

namespace {

constexpr int kMaxSize = 64;
// Squares that are transformed together: their lines are whole tiles.
constexpr int kBatch = 6;

// A line of samples, less others if there are any.
inline void difference(const uint8_t* a, const uint8_t* b, int n, int16_t* out) {
  if (b == nullptr)
    for (int j = 0; j < n; ++j) out[j] = a[j];
  else
    for (int j = 0; j < n; ++j) out[j] = static_cast<int16_t>(a[j] - b[j]);
}

inline void add(const uint8_t* prediction, const int32_t* residual, int n, uint8_t* out) {
  for (int j = 0; j < n; ++j) out[j] = static_cast<uint8_t>(std::clamp(prediction[j] + residual[j], 0, 255));
}

// Squares of n x n sums, lines `padded` apart -> lines of their columns.
template <int n>
void transpose(const int32_t* sums, int squares, int padded, int16_t* lines) {
  for (int q = 0; q < squares; ++q, sums += n * padded, lines += n * n)
    for (int l = 0; l < n; ++l)
      for (int i = 0; i < n; ++i) lines[l * n + i] = static_cast<int16_t>(sums[i * padded + l]);
}

// Calls work with the side of a square as a constant: it tells how long the inner loops are.
template <typename Work>
void by_side(int side, const Work& work) {
  if (side == 4) work(std::integral_constant<int, 4>{});
  if (side == 8) work(std::integral_constant<int, 8>{});
  if (side == 16) work(std::integral_constant<int, 16>{});
  if (side == 32) work(std::integral_constant<int, 32>{});
  if (side == 64) work(std::integral_constant<int, 64>{});
}

int32_t round_shift(int32_t x, int shift) { return shift == 0 ? x : (x + (1 << (shift - 1))) >> shift; }

}  // namespace

struct Transform::Batch {
  int count = 0;
  int rows[kBatch], cols[kBatch];  // of the squares, in units
  std::vector<int16_t> lines;      // [square][plane][line][n]
  std::vector<int32_t> sums;       // [square][plane][line][padded]

  explicit Batch(const Part& part) {
    const size_t n = static_cast<size_t>(kBatch * part.planes * part.side) + kTile;  // products round up to tiles
    lines.assign(n * static_cast<size_t>(part.side), 0);
    sums.assign(n * static_cast<size_t>(part.basis.padded), 0);
  }
};

Transform::Matrix Transform::matrix(const int32_t* values, int n, bool transposed) {
  Matrix m;
  m.n = n;
  m.padded = (n + kOutputBlock - 1) / kOutputBlock * kOutputBlock;
  m.weights.assign(static_cast<size_t>(n * m.padded), 0);
  for (int out = 0; out < n; ++out)
    for (int k = 0; k < n; ++k)
      m.weights[static_cast<size_t>((k / 2 * m.padded + out) * 2 + k % 2)] =
          static_cast<int16_t>(transposed ? values[k * n + out] : values[out * n + k]);
  return m;
}

Transform::Transform(int size, const int32_t* luma, const int32_t* chroma, const int32_t* luma_order,
                     const int32_t* chroma_order, const TransformShifts& shifts)
    : size_(size), shifts_(shifts) {
  const int f = factor();
  for (int p = 0; p < 2; ++p) {
    Part& part = parts_[p];
    part.planes = p == 0 ? 1 : 2;
    part.unit = p == 0 ? kUnit : kUnit / 2;
    part.side = part.unit * f;
    part.basis = matrix(p == 0 ? luma : chroma, part.side, false);
    part.transposed = matrix(p == 0 ? luma : chroma, part.side, true);
    std::vector<int> rank(static_cast<size_t>(part.unit * part.unit));
    for (size_t c = 0; c < rank.size(); ++c) rank[static_cast<size_t>((p == 0 ? luma_order : chroma_order)[c])] = int(c);
    for (int plane = 0; plane < part.planes; ++plane)
      for (int l = 0; l < part.side; ++l)
        for (int k = 0; k < part.side; ++k) {
          const int channel = rank[static_cast<size_t>(k / f * part.unit + l / f)];
          part.places.push_back({k % f, l % f, p == 0 ? channel : kLumaCoefficients + 2 * channel + plane});
        }
  }
}

// out[line][j] = sum_k rows[line][k] m[j][k], rounded; `count` lines, whole tiles.
void Transform::lines(const Kernels& kernels, const Matrix& m, const int16_t* rows, int count, int shift, bool clip,
                      int32_t* out) {
  int32_t bias[kMaxSize];
  std::fill(bias, bias + m.padded, shift == 0 ? 0 : 1 << (shift - 1));
  const Product product{Format::kWords, 1, 0, static_cast<size_t>(m.n / 2), m.padded, m.weights.data(), bias, shift,
                        clip ? INT16_MIN : INT_MIN, clip ? INT16_MAX : INT_MAX, 1};
  for (int first = 0; first < count; first += kTile)
    kernels.product(product, rows + first * m.n, 2 * static_cast<size_t>(m.n), std::min(kTile, count - first),
                    out + first * m.padded, false);
}

template <typename Work>
void Transform::squares(const Picture& picture, const int32_t* blocks, int n, int threads, const Work& work) const {
  const int f = factor(), cols = picture.width / kUnit, wide = (cols + f - 1) / f;
  if (blocks == nullptr) n = (picture.height / kUnit + f - 1) / f * wide;
  const int run_length = std::max(kBatch, 48 / (f * f) / kBatch * kBatch);
  parallel((n + run_length - 1) / run_length, threads, [&](int run) {
    Batch luma(parts_[0]), chroma(parts_[1]);
    Batch* const batches[2] = {&luma, &chroma};
    const int last = std::min(n, (run + 1) * run_length);
    for (int i = run * run_length; i < last; ++i) {
      const int row = blocks != nullptr ? blocks[i] / cols : i / wide * f;
      const int col = blocks != nullptr ? blocks[i] % cols : i % wide * f;
      for (int p = 0; p < 2; ++p) work(parts_[p], *batches[p], row, col, i + 1 == last);
    }
  });
}

template <int n>
void Transform::flush_forward(const Kernels& kernels, const Picture& picture, const Picture* minus, const Part& part,
                              Batch& batch, int32_t* out) const {
  if (batch.count == 0) return;
  const int padded = part.basis.padded, chroma = part.planes == 2;
  const int height = picture.height >> chroma, width = picture.width >> chroma;
  int16_t* line = batch.lines.data();
  for (int s = 0; s < batch.count; ++s)
    for (int p = chroma; p < chroma + part.planes; ++p)
      for (int i = 0; i < n; ++i, line += n) {
        const int y = std::min(batch.rows[s] * part.unit + i, height - 1), x = batch.cols[s] * part.unit;
        const ptrdiff_t at = static_cast<ptrdiff_t>(y) * width + x;
        const uint8_t *a = picture.planes[p] + at, *b = minus == nullptr ? nullptr : minus->planes[p] + at;
        if (x + n <= width) {
          difference(a, b, n, line);
        } else {
          difference(a, b, width - x, line);
          std::fill(line + (width - x), line + n, line[width - x - 1]);
        }
      }
  const int count = batch.count * part.planes * n;
  lines(kernels, part.basis, batch.lines.data(), count, shifts_.forward, true, batch.sums.data());
  transpose<n>(batch.sums.data(), batch.count * part.planes, padded, batch.lines.data());
  lines(kernels, part.basis, batch.lines.data(), count, 0, false, batch.sums.data());
  const int rows = picture.height / kUnit, cols = picture.width / kUnit;
  const int32_t* sum = batch.sums.data();
  for (int s = 0; s < batch.count; ++s) {
    const Place* place = part.places.data();
    int32_t* const base = out + (static_cast<ptrdiff_t>(batch.rows[s]) * cols + batch.cols[s]) * kCoefficients;
    const bool whole = batch.rows[s] + factor() <= rows && batch.cols[s] + factor() <= cols;
    for (int line_number = 0; line_number < part.planes * n; ++line_number, sum += padded, place += n)
      for (int k = 0; k < n; ++k)
        if (whole || (batch.rows[s] + place[k].row < rows && batch.cols[s] + place[k].col < cols))
          base[place[k].offset(cols)] = sum[k];
  }
  batch.count = 0;
}

void Transform::forward(const Kernels& kernels, const Picture& picture, const Picture* minus, const int32_t* blocks,
                        int n, int32_t* out, int threads) const {
  const auto flush = [&](const Part& part, Batch& batch) {
    by_side(part.side, [&](auto side) { flush_forward<side>(kernels, picture, minus, part, batch, out); });
  };
  squares(picture, blocks, n, threads, [&](const Part& part, Batch& batch, int row, int col, bool last) {
    batch.rows[batch.count] = row;
    batch.cols[batch.count++] = col;
    if (batch.count == kBatch || last) flush(part, batch);
  });
}

template <int n>
void Transform::flush_inverse(const Kernels& kernels, const Picture& prediction, const Part& part, Batch& batch,
                              uint8_t* const out[3]) const {
  if (batch.count == 0) return;
  const int padded = part.basis.padded, chroma = part.planes == 2;
  const int height = prediction.height >> chroma, width = prediction.width >> chroma;
  const int count = batch.count * part.planes * n;
  lines(kernels, part.transposed, batch.lines.data(), count, shifts_.inverse[0], true, batch.sums.data());
  transpose<n>(batch.sums.data(), batch.count * part.planes, padded, batch.lines.data());
  lines(kernels, part.transposed, batch.lines.data(), count, shifts_.inverse[1], false, batch.sums.data());
  const int32_t* sum = batch.sums.data();
  for (int s = 0; s < batch.count; ++s)
    for (int p = chroma; p < chroma + part.planes; ++p)
      for (int i = 0; i < n; ++i, sum += padded) {
        const int y = batch.rows[s] * part.unit + i, x = batch.cols[s] * part.unit;
        if (y >= height) continue;
        const ptrdiff_t at = static_cast<ptrdiff_t>(y) * width + x;
        if (x + n <= width)
          add(prediction.planes[p] + at, sum, n, out[p] + at);
        else
          add(prediction.planes[p] + at, sum, width - x, out[p] + at);
      }
  batch.count = 0;
}

void Transform::inverse(const Kernels& kernels, const int16_t* symbols, const int32_t* steps,
                        const Picture& prediction, const int32_t* blocks, int n, uint8_t* const out[3],
                        int threads) const {
  const int rows = prediction.height / kUnit, cols = prediction.width / kUnit;
  const auto flush = [&](const Part& part, Batch& batch) {
    by_side(part.side, [&](auto side) { flush_inverse<side>(kernels, prediction, part, batch, out); });
  };
  squares(prediction, blocks, n, threads, [&](const Part& part, Batch& batch, int row, int col, bool last) {
    const ptrdiff_t base = (static_cast<ptrdiff_t>(row) * cols + col) * kCoefficients;
    const size_t size = part.places.size();
    int16_t* line = batch.lines.data() + static_cast<size_t>(batch.count) * size;
    const bool whole = row + factor() <= rows && col + factor() <= cols;
    int32_t any = 0;
    for (size_t i = 0; i < size; ++i) {
      const Place& place = part.places[i];
      int32_t value = 0;
      if (whole || (row + place.row < rows && col + place.col < cols)) value = symbols[base + place.offset(cols)];
      any |= value;
      line[i] = static_cast<int16_t>(value);
    }
    // Most squares are empty, and of the others most symbols are.
    const bool filled = any != 0;
    for (size_t i = 0; filled && i < size; ++i)
      line[i] = static_cast<int16_t>(std::clamp(round_shift(line[i] * steps[part.places[i].channel], shifts_.input),
                                                INT16_MIN, INT16_MAX));
    if (filled) {
      batch.rows[batch.count] = row;
      batch.cols[batch.count++] = col;
    } else {
      const int chroma = part.planes == 2, width = prediction.width >> chroma;
      const int height = std::min(part.side, (prediction.height >> chroma) - row * part.unit);
      const size_t length = static_cast<size_t>(std::min(part.side, width - col * part.unit));
      for (int p = chroma; p < chroma + part.planes; ++p)
        for (int i = 0; i < height; ++i) {
          const ptrdiff_t at = static_cast<ptrdiff_t>(row * part.unit + i) * width + col * part.unit;
          std::memcpy(out[p] + at, prediction.planes[p] + at, length);
        }
    }
    if (batch.count == kBatch || last) flush(part, batch);
  });
}

void in_steps(const int32_t* coefficients, int n, const double* dividers, float* out, int threads) {
  constexpr int kRun = 256;
  parallel((n + kRun - 1) / kRun, threads, [&](int run) {
    for (size_t i = static_cast<size_t>(run) * kRun; i < static_cast<size_t>(std::min(n, (run + 1) * kRun)); ++i)
      for (size_t c = 0; c < kCoefficients; ++c)
        out[i * kCoefficients + c] = static_cast<float>(coefficients[i * kCoefficients + c] / dividers[c]);
  });
}

void magnitudes(const Kernels& kernels, const int32_t* coefficients, int n, const int32_t* dividers,
                const uint8_t* table, int size, uint8_t* out, int threads) {
  double ratios[kCoefficients];
  for (int c = 0; c < kCoefficients; ++c) ratios[c] = 1.0 / dividers[c];
  constexpr int kRun = 256;
  parallel((n + kRun - 1) / kRun, threads, [&](int run) {
    int32_t places[kCoefficients];
    for (size_t i = static_cast<size_t>(run) * kRun; i < static_cast<size_t>(std::min(n, (run + 1) * kRun)); ++i) {
      kernels.magnitudes(coefficients + i * kCoefficients, kCoefficients, ratios, size - 1, places);
      for (size_t c = 0; c < kCoefficients; ++c) out[i * kCoefficients + c] = table[places[c]];
    }
  });
}

}  // namespace lvc::nets
