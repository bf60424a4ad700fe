#include "refine.h"

#include "parallel.h"

namespace lvc::motion {

namespace {

class Refiner {
 public:
  Refiner(const Kernels& kernels, const Plane& current, const Phases& phases, const Lagrangian& lagrangian,
          const RefineOptions& options, const Compound* compound, TreeField& field)
      : k_(kernels),
        current_(current),
        phases_(phases),
        lagrangian_(lagrangian),
        options_(options),
        compound_(compound),
        field_(field) {
    if (options.window != Window::kNone) weights_ = blend_weights(options.window, false);
  }

  void tree(int row, int col) {
    const int bottom = std::min(row + kTreeBlocks, field_.rows()), right = std::min(col + kTreeBlocks, field_.cols());
    for (int r = row; r < bottom; ++r)
      for (int c = col; c < right; ++c) {
        const Square s = field_.around(r, c);
        if (s.row == r && s.col == c) improve(s);
      }
  }

 private:
  void improve(const Square& s) {
    const Limits limits(s.x(), s.y(), s.size(), current_.width(), current_.height());
    Motion best = field_.motion(s.row, s.col);
    Vec tried[16] = {best.v};
    size_t n_tried = 1;
    uint32_t best_cost = UINT32_MAX;
    const auto measure = [&](const Motion& m) {
      field_.write(s, m, s.n);
      uint32_t cost = lagrangian_(bits(s));
      if (cost < best_cost) cost += error(s, best_cost - cost);
      if (cost < best_cost) {
        best = m;
        best_cost = cost;
      }
    };
    const auto consider = [&](const Vec& v) {
      if (limits.clamp(v) != v) return;
      if (best_cost != UINT32_MAX) {
        if (std::find(tried, tried + n_tried, v) != tried + n_tried) return;
        if (n_tried < 16) tried[n_tried++] = v;
      }
      measure({v, best.compound});
    };
    consider(best.v);
    const Vec first = best.v;
    const int middle_row = s.row + s.rows / 2, middle_col = s.col + s.cols / 2;
    for (const auto& [row, col] : {std::pair{middle_row, s.col - 1}, {s.row - 1, middle_col},
                                   {middle_row, s.col + s.n}, {s.row + s.n, middle_col},
                                   {s.row - 1, s.col + s.n}, {s.row + s.n, s.col - 1}})
      if (row >= 0 && col >= 0 && row < field_.rows() && col < field_.cols()) consider(field_.at(row, col));
    consider(field_.neighbours(s).median);
    if (options_.fractions && best.v == first)
      for (int dy = -1; dy <= 1; ++dy)
        for (int dx = -1; dx <= 1; ++dx) consider(first + Vec{dx, dy});
    if (compound_ != nullptr) measure({best.v, !best.compound});
    field_.write(s, best, s.n);
  }

  // Of the square, and of those to its right and below it.
  uint32_t bits(const Square& s) const {
    uint32_t sum = of_square(s);
    if (s.col + s.n < field_.cols())
      for (int row = s.row; row < s.row + s.rows;) {
        const Square other = field_.around(row, s.col + s.n);
        sum += of_square(other);
        row = other.row + other.n;
      }
    if (s.row + s.n < field_.rows())
      for (int col = s.col; col < s.col + s.cols;) {
        const Square other = field_.around(s.row + s.n, col);
        sum += of_square(other);
        col = other.col + other.n;
      }
    return sum;
  }

  uint32_t of_square(const Square& s) const {
    const Motion m = field_.motion(s.row, s.col);
    const uint32_t bits = field_.neighbours(s).bits(m.v);
    return compound_ == nullptr ? bits : bits + field_.compound_bits(s, m.compound);
  }

  // SATD of what the square has a part in; may stop where it is above `most`.
  uint32_t error(const Square& s, uint32_t most) const {
    if (options_.window == Window::kNone) {
      const Motion m = field_.motion(s.row, s.col);
      return m.compound ? compound_->satd(current_, phases_, s, m.v) : satd(s.x(), s.y(), m.v, s.width(), s.height());
    }
    uint32_t sum = 0;
    for (int row = s.row; row <= s.row + s.rows && sum <= most; ++row)
      for (int col = s.col; col <= s.col + s.cols; ++col) sum += blended(row, col);
    return sum;
  }

  uint32_t satd(int x, int y, const Vec& v, int w, int h) const {
    return k_.satd(current_.at(x, y), current_.stride(), phases_.at(x, y, v, w, h), phases_.stride(), w, h);
  }

  // SATD of the square between the centres of four blocks; (row, col) is the one below right.
  uint32_t blended(int row, int col) const {
    const int x = col * kBlock - kBlock / 2, y = row * kBlock - kBlock / 2;
    if (compound_ != nullptr && any_compound(row, col)) return blended_compound(row, col, x, y);
    const Vec v[4] = {field_.nearest(row - 1, col - 1), field_.nearest(row - 1, col), field_.nearest(row, col - 1),
                      field_.nearest(row, col)};
    if (v[0] == v[1] && v[0] == v[2] && v[0] == v[3]) return satd(x, y, v[0], kBlock, kBlock);
    const uint8_t* four[4];
    for (int i = 0; i < 4; ++i) four[i] = phases_.at(x, y, v[i], kBlock, kBlock);
    uint8_t samples[kBlock * kBlock];
    k_.blend_samples(four, phases_.stride(), weights_.data(), samples, kBlock, kBlock, kBlock);
    return k_.satd(current_.at(x, y), current_.stride(), samples, kBlock, kBlock, kBlock);
  }

  bool any_compound(int row, int col) const {
    const int top = field_.nearest_row(row - 1), bottom = field_.nearest_row(row);
    const int left = field_.nearest_col(col - 1), right = field_.nearest_col(col);
    return field_.motion(top, left).compound || field_.motion(top, right).compound ||
           field_.motion(bottom, left).compound || field_.motion(bottom, right).compound;
  }

  uint32_t blended_compound(int row, int col, int x, int y) const {
    uint8_t parts[4][kBlock * kBlock], samples[kBlock * kBlock];
    const uint8_t* four[4];
    for (int i = 0; i < 4; ++i) {
      const int r = field_.nearest_row(row - 1 + i / 2), c = field_.nearest_col(col - 1 + i % 2);
      const Motion m = field_.motion(r, c);
      const uint8_t* one = phases_.at(x, y, m.v, kBlock, kBlock);
      const bool both = m.compound;  // the mean of a prediction with itself is a copy
      k_.average_samples(one, phases_.stride(), both ? compound_->at(x, y, r, c, m.v) : one,
                         both ? compound_->stride() : phases_.stride(), parts[i], kBlock, kBlock, kBlock);
      four[i] = parts[i];
    }
    k_.blend_samples(four, kBlock, weights_.data(), samples, kBlock, kBlock, kBlock);
    return k_.satd(current_.at(x, y), current_.stride(), samples, kBlock, kBlock, kBlock);
  }

  const Kernels& k_;
  const Plane& current_;
  const Phases& phases_;
  const Lagrangian& lagrangian_;
  const RefineOptions options_;
  const Compound* const compound_;
  TreeField& field_;
  BlendWeights weights_;
};

}  // namespace

void refine(const Kernels& kernels, const Plane& current, const Phases& phases, const Lagrangian& lagrangian,
            const RefineOptions& options, const Compound* compound, TreeField& field) {
  Refiner refiner(kernels, current, phases, lagrangian, options, compound, field);
  const int rows = (field.rows() + kTreeBlocks - 1) / kTreeBlocks;
  const int cols = (field.cols() + kTreeBlocks - 1) / kTreeBlocks;
  // A tree reads those around it and, for the bits of its right neighbour, the second one above right.
  for (int round = 0; round < options.rounds; ++round)
    wavefront(rows, cols, 3, options.threads,
              [&](int row, int col) { refiner.tree(row * kTreeBlocks, col * kTreeBlocks); });
  field.join();
}

}  // namespace lvc::motion
