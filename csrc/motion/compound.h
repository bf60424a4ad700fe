// Blocks that are predicted by the mean of two references. No Python.
#ifndef LVC_MOTION_COMPOUND_H
#define LVC_MOTION_COMPOUND_H

#include <optional>

#include "pyramid.h"
#include "tree.h"

namespace lvc::motion {

// The second reference of a search. Its vectors are not coded: a block's own vector leads into the first reference,
// and from the block found there the chain leads on; or the second one is the first one, mirrored.
class Compound {
 public:
  // `chain`: how far the second reference is displaced from each block of the first one; without it, vectors are mirrored.
  // Keeps references to the kernels and the plane.
  Compound(const Kernels& kernels, const Plane& reference, const std::optional<Field>& chain)
      : k_(kernels),
        phases_(kernels, reference),
        chain_(chain),
        width_(reference.width()),
        height_(reference.height()) {}

  // Where the prediction of block (row, col) from the second reference starts to be read for the samples of a block's
  // size at (x, y).
  const uint8_t* at(int x, int y, int row, int col, const Vec& v) const {
    return phases_.at(x, y, second(row, col, v), kBlock, kBlock);
  }
  ptrdiff_t stride() const { return phases_.stride(); }

  // SATD of a square, without overlap, predicted by the mean of `first` at vector v and of this reference.
  uint32_t satd(const Plane& current, const Phases& first, const Square& s, const Vec& v) const {
    uint8_t samples[kTree * kTree];
    for (int row = 0; row < s.rows; ++row)
      for (int col = 0; col < s.cols; ++col) {
        const int x = s.x() + col * kBlock, y = s.y() + row * kBlock;
        k_.average_samples(first.at(x, y, v, kBlock, kBlock), first.stride(), at(x, y, s.row + row, s.col + col, v), stride(),
                           samples + row * kBlock * kTree + col * kBlock, kTree, kBlock, kBlock);
      }
    return k_.satd(current.at(s.x(), s.y()), current.stride(), samples, kTree, s.width(), s.height());
  }

 private:
  // The second vector of a block, as lvc.ops.blockmotion.chain and mirror have it, within what the plane holds.
  Vec second(int row, int col, const Vec& v) const {
    const Limits limits(col * kBlock, row * kBlock, kBlock, width_, height_);
    if (!chain_) return limits.clamp({-v.x, -v.y});
    constexpr int kBits = kVectorBits + 3, kHalf = 1 << (kBits - 1);  // vectors to blocks
    const int r = std::clamp(row + ((v.y + kHalf) >> kBits), 0, chain_->rows - 1);
    const int c = std::clamp(col + ((v.x + kHalf) >> kBits), 0, chain_->cols - 1);
    const int i = r * chain_->cols + c;
    return limits.clamp({v.x + chain_->dx[i], v.y + chain_->dy[i]});
  }

  const Kernels& k_;
  const Phases phases_;
  const std::optional<Field> chain_;
  const int width_, height_;
};

}  // namespace lvc::motion

#endif  // LVC_MOTION_COMPOUND_H
