#include "pyramid.h"

#include "parallel.h"

namespace lvc::motion {

namespace {

constexpr int kPhaseMargin = 8;   // of the border, where filters would look beyond its end
constexpr int kMaxLevels = 3;
constexpr int kMinLevelSide = 16;
constexpr int kMaxSteps = 8;

Plane halve(const Plane& plane) {
  const int width = round_up(plane.width() / 2, kBlock), height = round_up(plane.height() / 2, kBlock);
  Plane result(width, height, kSearchBorder);
  for (int y = 0; y < height; ++y) {
    const uint8_t *a = plane.at(0, 2 * y), *b = plane.at(0, 2 * y + 1);
    uint8_t* out = result.at(0, y);
    for (int x = 0; x < width; ++x)
      out[x] = static_cast<uint8_t>((a[2 * x] + a[2 * x + 1] + b[2 * x] + b[2 * x + 1] + 2) >> 2);
  }
  result.extend(width, height);
  return result;
}

}  // namespace

Phases::Phases(const Kernels& kernels, const Plane& reference)
    : kernels_(kernels),
      reference_(reference),
      plane_(reference.stride() * (reference.height() + 2 * kSearchBorder)),
      cols_((reference.width() + 2 * kSearchBorder + kTileWidth - 1) / kTileWidth),
      samples_(new uint8_t[static_cast<size_t>(15 * plane_ + 64)]) {
  const int rows = (reference.height() + 2 * kSearchBorder + kTileHeight - 1) / kTileHeight;
  done_.reset(new std::once_flag[static_cast<size_t>(rows * cols_)]);
}

void Phases::fill(int row, int col) const {
  constexpr int before = kLumaTaps / 2 - 1, margin = kSearchBorder - kPhaseMargin;
  const int top = std::max(row * kTileHeight - kSearchBorder, -margin);
  const int left = std::max(col * kTileWidth - kSearchBorder, -margin);
  const int h = std::min((row + 1) * kTileHeight - kSearchBorder, reference_.height() + margin) - top;
  const int w = std::min((col + 1) * kTileWidth - kSearchBorder, reference_.width() + margin) - left;
  int16_t across[(kTileHeight + kLumaTaps - 1) * kTileWidth], down[kTileHeight * kTileWidth];
  const uint8_t* first = reference_.at(left, top - before);
  for (int fx = 0; fx < 4; ++fx) {
    const int lines = h + kLumaTaps - 1;
    if (fx == 0)
      kernels_.widen(first, stride(), across, kTileWidth, w, lines);
    else
      kernels_.across8(first, stride(), across, kTileWidth, w, lines, kLumaFilter[fx]);
    const int16_t* middle = across + before * kTileWidth;
    for (int fy = fx == 0 ? 1 : 0; fy < 4; ++fy) {
      uint8_t* out = samples_.get() + offset(4 * fy + fx, left, top);
      if (fy != 0) kernels_.down8(middle, kTileWidth, down, kTileWidth, w, h, kLumaFilter[fy]);
      kernels_.narrow(fy != 0 ? down : middle, kTileWidth, out, stride(), w, h);
    }
  }
}

Pyramid::Pyramid(const Kernels& kernels, const Plane& current, const Plane& reference, const Field* previous,
                 const Lagrangian& lagrangian, int range, int threads) {
  for (int i = 1; i <= kMaxLevels; ++i) {
    const Plane& c = i == 1 ? current : levels_.back().current;
    const Plane& r = i == 1 ? reference : levels_.back().reference;
    if (std::min(c.width(), c.height()) < 2 * kMinLevelSide) break;
    Level level{halve(c), halve(r), i, 0, 0, {}};
    level.rows = level.current.height() / kBlock;
    level.cols = level.current.width() / kBlock;
    level.field.resize(static_cast<size_t>(level.rows * level.cols));
    levels_.push_back(std::move(level));
  }
  for (size_t i = levels_.size(); i-- > 0;) {
    Level& level = levels_[i];
    const Level* above = i + 1 < levels_.size() ? &levels_[i + 1] : nullptr;
    wavefront(level.rows, level.cols, 2, threads, [&](int row, int col) {
      search_block(kernels, level, above, previous, lagrangian, range, row, col);
    });
  }
}

void Pyramid::search_block(const Kernels& kernels, Level& level, const Level* above, const Field* previous,
                           const Lagrangian& lagrangian, int range, int row, int col) {
  const int x = col * kBlock, y = row * kBlock, shift = level.shift + kVectorBits;
  const Limits quarter(x, y, kBlock, level.reference.width(), level.reference.height());
  const uint8_t* block = level.current.at(x, y);
  const Vec left = col > 0 ? level.at(row, col - 1) : Vec{};
  const Vec top = row > 0 ? level.at(row - 1, col) : Vec{};
  const Vec top_right = row > 0 ? level.at(row - 1, col + 1) : Vec{};
  const Vec median = {median3(left.x, top.x, top_right.x), median3(left.y, top.y, top_right.y)};
  Vec best;
  uint32_t best_cost = UINT32_MAX;
  const auto consider = [&](const Vec& v) {
    if (v.x * 4 < quarter.left || v.x * 4 > quarter.right || v.y * 4 < quarter.top || v.y * 4 > quarter.bottom)
      return false;
    const uint32_t rate = lagrangian(vector_bits({4 * v.x, 4 * v.y}, {4 * median.x, 4 * median.y}));
    if (rate >= best_cost) return false;
    const uint32_t cost = rate + kernels.sad(block, level.current.stride(), level.reference.at(x + v.x, y + v.y),
                                             level.reference.stride(), kBlock, kBlock);
    if (cost >= best_cost) return false;
    best = v;
    best_cost = cost;
    return true;
  };
  consider({0, 0});
  for (const Vec& v : {median, left, top, top_right}) consider(v);
  if (previous != nullptr) {
    // The block of the field in the middle of this one, rounded to whole samples of this level.
    const int r = std::min((2 * row + 1) << (level.shift - 1), previous->rows - 1);
    const int c = std::min((2 * col + 1) << (level.shift - 1), previous->cols - 1);
    const int i = r * previous->cols + c, half = 1 << (shift - 1);
    consider({(previous->dx[i] + half) >> shift, (previous->dy[i] + half) >> shift});
  }
  if (above == nullptr) {
    for (int dy = -range; dy <= range; ++dy)
      for (int dx = -range; dx <= range; ++dx) consider({dx, dy});
    level.field[static_cast<size_t>(row * level.cols + col)] = best;
    return;
  }
  const int side_y = row % 2 == 0 ? -1 : 1, side_x = col % 2 == 0 ? -1 : 1;
  for (int dy : {0, side_y})
    for (int dx : {0, side_x}) {
      const Vec v = above->at(row / 2 + dy, col / 2 + dx);
      consider({2 * v.x, 2 * v.y});
    }
  for (int step = 0; step < kMaxSteps; ++step) {
    const Vec centre = best;
    bool moved = false;
    for (int dy = -1; dy <= 1; ++dy)
      for (int dx = -1; dx <= 1; ++dx)
        if (dx != 0 || dy != 0) moved |= consider({centre.x + dx, centre.y + dy});
    if (!moved) break;
  }
  level.field[static_cast<size_t>(row * level.cols + col)] = best;
}

Vec Pyramid::vector(int x, int y, int size) const {
  if (levels_.empty()) return {};
  // The level whose blocks are as large as this one, or the finest one.
  const size_t wanted = size >= 32 ? 1 : 0;
  const Level& level = levels_[std::min(wanted, levels_.size() - 1)];
  const int side = kBlock << level.shift;
  const Vec v = level.at((y + size / 2) / side, (x + size / 2) / side);
  return {v.x * (1 << (level.shift + kVectorBits)), v.y * (1 << (level.shift + kVectorBits))};
}

}  // namespace lvc::motion
