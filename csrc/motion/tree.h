// The field while it is searched: squares of a quad-tree, and what a decoder knows when it comes to each.
// No Python.
#ifndef LVC_MOTION_TREE_H
#define LVC_MOTION_TREE_H

#include <array>

#include "cost.h"
#include "predict.h"

namespace lvc::motion {

constexpr int kTree = 32;  // side of the largest square, in luma samples
constexpr int kTreeBlocks = kTree / kBlock;

// A square at (row, col) of n x n blocks, of which those inside of the field count: rows x cols.
struct Square {
  int row, col, n, rows, cols;
  int x() const { return col * kBlock; }
  int y() const { return row * kBlock; }
  int width() const { return cols * kBlock; }
  int height() const { return rows * kBlock; }
  int size() const { return n * kBlock; }
  uint32_t blocks() const { return static_cast<uint32_t>(rows * cols); }
};

// Vectors of the neighbours that a decoder knows already: what merging may take, each but once; and their median.
struct Neighbours {
  std::array<Vec, 4> merge;
  size_t count = 0;
  Vec median;

  void add(const Vec& v) {
    if (place(v) == count) merge[count++] = v;
  }
  size_t place(const Vec& v) const {
    return static_cast<size_t>(std::find(merge.begin(), merge.begin() + count, v) - merge.begin());
  }
  uint32_t own_bits(const Vec& v) const { return kNoMergeBits + vector_bits(v, median); }
  uint32_t bits(const Vec& v) const {
    const size_t i = place(v);
    return i < count ? std::min(kMergeBits[i], own_bits(v)) : own_bits(v);
  }
};

// How a square is predicted: its vector, and whether by the mean of both references.
struct Motion {
  Vec v;
  bool compound = false;
  bool operator==(const Motion& other) const { return v == other.v && compound == other.compound; }
};

// What is known of each block, row by row, in arrays that belong to someone else.
struct Blocks {
  int16_t *dx, *dy;
  uint8_t *size, *compound;
};

// Vectors, sizes and kinds of prediction.
class TreeField {
 public:
  TreeField(const Blocks& blocks, int rows, int cols) : b_(blocks), rows_(rows), cols_(cols) {}

  int rows() const { return rows_; }
  int cols() const { return cols_; }

  Vec at(int row, int col) const {
    const int i = row * cols_ + col;
    return {b_.dx[i], b_.dy[i]};
  }
  Motion motion(int row, int col) const { return {at(row, col), b_.compound[row * cols_ + col] != 0}; }
  // Blocks outside repeat the outermost ones, as for the prediction.
  Vec nearest(int row, int col) const { return at(nearest_row(row), nearest_col(col)); }
  int nearest_row(int row) const { return std::clamp(row, 0, rows_ - 1); }
  int nearest_col(int col) const { return std::clamp(col, 0, cols_ - 1); }

  Square square(int row, int col, int n) const {
    return {row, col, n, std::min(n, rows_ - row), std::min(n, cols_ - col)};
  }
  // The square that a block is part of.
  Square around(int row, int col) const {
    const int n = b_.size[row * cols_ + col] / kBlock;
    return square(row / n * n, col / n * n, n);
  }

  void write(const Square& s, const Motion& m, int n) {
    for (int row = s.row; row < s.row + s.rows; ++row)
      for (int col = s.col; col < s.col + s.cols; ++col) {
        const int i = row * cols_ + col;
        b_.dx[i] = static_cast<int16_t>(m.v.x);
        b_.dy[i] = static_cast<int16_t>(m.v.y);
        b_.size[i] = static_cast<uint8_t>(n * kBlock);
        b_.compound[i] = m.compound;
      }
  }

  // Neighbours to the left (at the bottom), above (at the right) and above right, or else above left.
  Neighbours neighbours(const Square& s) const {
    const int bottom = s.row + s.rows - 1, right = s.col + s.cols - 1;
    const bool has_left = s.col > 0, has_top = s.row > 0, has_right = known(s.row - 1, s.col + s.n, s);
    const bool has_corner = has_left && has_top;
    const Vec left = has_left ? at(bottom, s.col - 1) : Vec{};
    const Vec top = has_top ? at(s.row - 1, right) : Vec{};
    const Vec third = has_right ? at(s.row - 1, s.col + s.n) : has_corner ? at(s.row - 1, s.col - 1) : Vec{};
    Neighbours result;
    if (has_left) result.add(left);
    if (has_top) result.add(top);
    if (has_right || has_corner) result.add(third);
    result.add(Vec{});
    if (has_left && !has_top)
      result.median = left;
    else
      result.median = {median3(left.x, top.x, third.x), median3(left.y, top.y, third.y)};
    return result;
  }

  // Bits of whether a square is predicted by both references.
  uint32_t compound_bits(const Square& s, bool compound) const {
    int count = 0;
    if (s.col > 0) count += b_.compound[s.row * cols_ + s.col - 1];
    if (s.row > 0) count += b_.compound[(s.row - 1) * cols_ + s.col];
    if (s.row == 0 || s.col == 0) count *= 2;
    return kCompoundBits[count][compound];
  }

  // Squares of four parts that are predicted alike become one square.
  void join() {
    for (int n = 1; n < kTreeBlocks; n *= 2)
      for (int row = 0; row < rows_; row += 2 * n)
        for (int col = 0; col < cols_; col += 2 * n) {
          const Square whole = square(row, col, 2 * n);
          const Motion m = motion(row, col);
          bool same = true;
          for (int r = row; r < row + whole.rows; ++r)
            for (int c = col; c < col + whole.cols; ++c)
              same = same && motion(r, c) == m && b_.size[r * cols_ + c] == n * kBlock;
          if (same) write(whole, m, 2 * n);
        }
  }

 private:
  // Whether a block in the row above a square, or in a tree above it, comes before it in the order of coding:
  // trees by rows, and in each the upper left, upper right, lower left and lower right quarter, down to blocks.
  bool known(int row, int col, const Square& s) const {
    if (row < 0 || col >= cols_) return false;
    const int tree_row = row / kTreeBlocks, tree_col = col / kTreeBlocks;
    if (tree_row != s.row / kTreeBlocks) return true;
    if (tree_col != s.col / kTreeBlocks) return tree_col < s.col / kTreeBlocks;
    return order(row, col) < order(s.row, s.col);
  }
  static int order(int row, int col) {
    return (row & 1) * 2 + (col & 1) + (row & 2) * 4 + (col & 2) * 2;
  }

  Blocks b_;
  int rows_, cols_;
};

}  // namespace lvc::motion

#endif  // LVC_MOTION_TREE_H
