#include <algorithm>

#include "slice.h"

namespace lvc::hevc {

namespace {

// Of a square of a picture: its deepest coding block, what kinds there are, as 4 bits, and the most coefficients.
struct Area {
  int depth = 0, kinds = 0, energy = 0;
};

Area area_of(const Picture* picture, int x, int y, int side) {
  Area area;
  if (!picture) return area;
  const int step = std::max(4, side / 4);
  for (int v = y + step / 2; v < y + side; v += step)
    for (int u = x + step / 2; u < x + side; u += step) {
      const Unit& unit = picture->at(u, v);
      area.depth = std::max<int>(area.depth, unit.depth);
      area.kinds |= 1 << unit.kind;
      area.energy = std::max<int>(area.energy, unit.luma);
    }
  return area;
}

}  // namespace

uint32_t SliceData::neighbour_kinds(int x, int y) const {
  return join(2, picture_->at(x - 1, y).kind, picture_->at(x, y - 1).kind);
}

int SliceData::near_energy(int x, int y, int side, bool chroma) const {
  if (!near_) return 0;
  const int step = std::max(4, side / 2);
  int most = 0;
  for (int v = y; v < y + side; v += step)
    for (int u = x; u < x + side; u += step) {
      const Unit& unit = near_->at(u, v);
      most = std::max<int>(most, chroma ? unit.chroma : unit.luma);
    }
  return most;
}

void SliceData::quadtree(int x, int y, int log2, int depth) {
  const int side = 1 << log2;
  bool split = log2 > sps_.log2_min_cb;
  if (x + side <= sps_.width && y + side <= sps_.height && split) {
    const Unit &left = picture_->at(x - 1, y), &up = picture_->at(x, y - 1);
    const Unit &corner = picture_->at(x - 1, y - 1), &right = picture_->at(x + side, y - 1);
    const Unit& low = picture_->at(x - 1, y + side - 1);
    const Area near = area_of(near_, x, y, side);
    const int context = (left.kind && left.depth > depth) + (up.kind && up.depth > depth);
    const uint32_t around = join(2, left.depth, up.depth, corner.depth, right.depth, low.depth);
    split = bins_.bin(kESplitCu, depth * 4 + context, kSplitCu + context,
                      {around, join(4, near.depth, near.kinds, near.energy), join(3, near.depth, left.depth, up.depth),
                       join(4, left.luma, up.luma, near.energy), join(4, neighbour_kinds(x, y), left.depth, up.depth),
                       join(2, (x >> log2) & 1, (y >> log2) & 1, near.depth, left.depth, up.depth),
                       join(4, left.motion, up.motion, near.depth, last_delta_ + 8)});
  }
  if (pps_.qp_delta && log2 >= sps_.log2_ctb - pps_.qp_delta_depth) qp_coded_ = false;
  if (!split) {
    coding_block(x, y, log2, depth);
    return;
  }
  const int half = side / 2;
  for (int i = 0; i < 4; ++i) {
    const int u = x + (i & 1) * half, v = y + (i >> 1) * half;
    if (u < sps_.width && v < sps_.height) quadtree(u, v, log2 - 1, depth + 1);
  }
}

void SliceData::coding_block(int x, int y, int log2, int depth) {
  const int side = 1 << log2;
  Block b{x, y, log2, depth, kIntra, false, k2Nx2N, {kDc, kDc, kDc, kDc}, kDc};
  const Unit &left = picture_->at(x - 1, y), &up = picture_->at(x, y - 1), &corner = picture_->at(x - 1, y - 1);
  const Unit& right = picture_->at(x + side, y - 1);
  const Area near = area_of(near_, x, y, side);
  if (pps_.bypass) b.bypass = bins_.bin(kEBypassCu, 0, kBypassCu, {});
  if (header_.type != kI) {
    const int context = (left.kind == kSkipped) + (up.kind == kSkipped);
    const bool skipped = bins_.bin(
        kESkip, depth * 4 + context, kSkip + context,
        {join(2, left.kind, up.kind, corner.kind, right.kind, depth),
         join(4, near.kinds, near.depth, depth, near.energy), join(4, near.kinds, neighbour_kinds(x, y), depth),
         join(4, left.luma, up.luma, near.energy, depth), join(4, left.merge, up.merge, left.motion, up.motion),
         join(4, left.depth, up.depth, depth, near.depth), join(4, left.transform, up.transform, near.kinds, depth)});
    if (skipped) {
      picture_->each(x, y, side, side, [&](Unit& u) {
        u = Unit{};
        u.kind = kSkipped;
        u.depth = static_cast<uint8_t>(depth);
      });
      const int merge = merge_index(x, y);
      picture_->each(x, y, side, side, [&](Unit& u) { u.merge = static_cast<uint8_t>(1 + merge); });
      return;
    }
    const bool intra = bins_.bin(kEPredMode, depth, kPredMode,
                                 {neighbour_kinds(x, y), join(2, left.kind, up.kind, corner.kind, right.kind),
                                  join(4, near.kinds, depth), join(4, near.kinds, neighbour_kinds(x, y), near.energy),
                                  join(4, left.luma, up.luma, depth), join(4, left.motion, up.motion)});
    b.kind = intra ? kIntra : kInter;
  }
  if (b.kind != kIntra || log2 == sps_.log2_min_cb) b.part = part_mode(b);
  picture_->each(x, y, side, side, [&](Unit& u) {
    u = Unit{};
    u.kind = b.kind;
    u.depth = static_cast<uint8_t>(depth);
  });
  bool merged = false;
  if (b.kind == kIntra) {
    intra_modes(b);
  } else {
    const int q = side / 4, h = side / 2;
    const auto unit = [&](int dx, int dy, int width, int height) {
      prediction_block(b, x + dx, y + dy, width, height);
    };
    switch (b.part) {
      case k2Nx2N:
        unit(0, 0, side, side);
        break;
      case k2NxN:
        unit(0, 0, side, h);
        unit(0, h, side, h);
        break;
      case kNx2N:
        unit(0, 0, h, side);
        unit(h, 0, h, side);
        break;
      case k2NxnU:
        unit(0, 0, side, q);
        unit(0, q, side, side - q);
        break;
      case k2NxnD:
        unit(0, 0, side, side - q);
        unit(0, side - q, side, q);
        break;
      case knLx2N:
        unit(0, 0, q, side);
        unit(q, 0, side - q, side);
        break;
      case knRx2N:
        unit(0, 0, side - q, side);
        unit(side - q, 0, q, side);
        break;
      default:
        unit(0, 0, h, h);
        unit(h, 0, h, h);
        unit(0, h, h, h);
        unit(h, h, h, h);
        break;
    }
    merged = b.part == k2Nx2N && picture_->at(x, y).merge;
  }
  if (b.kind == kInter && !merged) {
    const Unit& own = picture_->at(x, y);
    const bool coded = bins_.bin(kERootCbf, std::min(depth, 3), kRootCbf,
                                 {join(4, b.part, own.motion, own.direction), join(4, left.luma, up.luma, near.energy),
                                  join(4, own.merge, depth), join(4, near.kinds, near.energy, depth),
                                  join(4, left.transform, up.transform, own.motion)});
    if (!coded) return;
  }
  const int split = b.kind == kIntra && b.part == kNxN;
  const int most = b.kind == kIntra ? sps_.depth_intra + split : sps_.depth_inter;
  transform_tree(b, x, y, x, y, log2, 0, 0, most, true, true);
}

int SliceData::part_mode(const Block& b) {
  const Unit &left = picture_->at(b.x - 1, b.y), &up = picture_->at(b.x, b.y - 1);
  const bool intra = b.kind == kIntra;
  const Area near = area_of(near_, b.x, b.y, 1 << b.log2);
  int known = 1;
  const auto bin = [&](int context) {
    const int value =
        bins_.bin(kEPartMode, std::min(known, 7) * 8 + b.depth * 2 + intra, context,
                  {join(4, left.depth, up.depth, near.depth), join(4, left.motion, up.motion, left.merge, up.merge),
                   join(4, left.luma, up.luma, near.energy), join(4, left.kind, up.kind, near.kinds),
                   join(6, left.mode, up.mode)});
    known = known * 2 + value;
    return value;
  };
  if (bin(kPartMode)) return k2Nx2N;
  if (b.log2 == sps_.log2_min_cb) {
    if (intra) return kNxN;
    if (bin(kPartMode + 1)) return k2NxN;
    if (b.log2 == 3) return kNx2N;
    return bin(kPartMode + 2) ? kNx2N : kNxN;
  }
  const bool horizontal = bin(kPartMode + 1);
  if (!sps_.amp || bin(kPartMode + 3)) return horizontal ? k2NxN : kNx2N;
  const bool second = bin(-1);
  return horizontal ? (second ? k2NxnD : k2NxnU) : (second ? knRx2N : knLx2N);
}

void SliceData::transform_tree(const Block& b, int x, int y, int base_x, int base_y, int log2, int depth, int index,
                               int max_depth, bool parent_cb, bool parent_cr) {
  const bool split_intra = b.kind == kIntra && b.part == kNxN && depth == 0;
  const Unit &left = picture_->at(x - 1, y), &up = picture_->at(x, y - 1), &own = picture_->at(x, y);
  const int side = 1 << log2;
  const int near = near_energy(x, y, side, false), near_chroma = near_energy(x, y, side, true);
  const uint32_t own_motion = join(4, own.motion, own.merge, b.part);
  bool split;
  if (log2 <= sps_.log2_max_tb && log2 > sps_.log2_min_tb && depth < max_depth && !split_intra) {
    split = bins_.bin(kESplitTransform, (5 - log2) * 4 + depth, kSplitTransform + 5 - log2,
                      {join(3, left.transform, up.transform, b.kind), join(4, left.luma, up.luma, near), own_motion,
                       join(4, b.kind, b.log2, b.part), join(4, near, b.kind, depth), join(6, own.mode, left.luma)});
  } else {
    const bool split_inter = sps_.depth_inter == 0 && b.kind == kInter && b.part != k2Nx2N && depth == 0;
    split = log2 > sps_.log2_max_tb || split_intra || split_inter;
  }
  if (split && log2 <= 2) throw Unsupported("a transform block is too small");
  bool cb = log2 == 2 && parent_cb, cr = log2 == 2 && parent_cr;
  if (log2 > 2) {
    const auto chroma = [&](int plane, int other) {
      return bins_.bin(
          kECbfChroma, std::min(depth, 4) * 4 + plane * 2 + (other > 0), kCbfChroma + depth,
          {join(4, left.chroma, up.chroma, near_chroma), join(4, b.kind, log2, other), own_motion,
           join(4, left.luma, up.luma, near), join(4, near_chroma, log2, split), join(4, index, depth, other, split)});
    };
    if (parent_cb) cb = chroma(0, 0);
    if (parent_cr) cr = chroma(1, 1 + cb);
  }
  if (split) {
    const int half = side / 2;
    for (int i = 0; i < 4; ++i)
      transform_tree(b, x + (i & 1) * half, y + (i >> 1) * half, x, y, log2 - 1, depth + 1, i, max_depth, cb, cr);
    return;
  }
  bool luma = true;
  if (b.kind == kIntra || depth || cb || cr)
    luma =
        bins_.bin(kECbfLuma, std::min(log2, 5) * 8 + (depth > 0) * 4 + cb * 2 + cr, kCbfLuma + (depth == 0),
                  {join(4, left.luma, up.luma, near), own_motion, join(4, b.kind, log2, depth, cb + cr),
                   join(4, left.transform, up.transform, log2), join(6, own.mode, log2), join(4, near, b.kind, index)});
  picture_->each(x, y, side, side, [&](Unit& u) { u.transform = static_cast<uint8_t>(luma ? log2 : 1); });
  transform_unit(b, x, y, base_x, base_y, log2, index, luma, cb, cr);
}

void SliceData::transform_unit(const Block& b, int x, int y, int base_x, int base_y, int log2, int index, bool luma,
                               bool cb, bool cr) {
  if (!(luma || cb || cr)) return;
  if (pps_.qp_delta && !qp_coded_) qp_delta();
  for (Levels& levels : levels_) levels.clear();
  if (luma)
    residual(
        b, x, y, log2, 0,
        b.modes[b.part == kNxN && b.kind == kIntra ? ((x - b.x) * 2 >> b.log2) + 2 * ((y - b.y) * 2 >> b.log2) : 0]);
  if (log2 == 2 && index != 3) return;
  const int u = log2 == 2 ? base_x : x, v = log2 == 2 ? base_y : y, size = std::max(log2 - 1, 2);
  if (cb) residual(b, u, v, size, 1, b.chroma_mode);
  if (cr) residual(b, u, v, size, 2, b.chroma_mode);
}

void SliceData::qp_delta() {
  const auto last = static_cast<uint32_t>(last_delta_ + 32);
  int value = 0;
  while (value < 5 && bins_.bin(kEQpDelta, value, kQpDelta + (value > 0), {last, join(4, value, last_delta_ == 0)}))
    ++value;
  if (value == 5) {
    int k = 0;
    while (bins_.bin(kEQpDelta, 8 + std::min(k, 7), -1, {last})) {
      value += 1 << k;
      if (++k > 7) throw Unsupported("a QP changes too much");
    }
    for (int i = k - 1; i >= 0; --i) value += bins_.bin(kEQpDelta, 16 + i, -1, {last}) << i;
  }
  if (value && bins_.bin(kEQpDelta, 32, -1, {last, join(6, value)})) value = -value;
  last_delta_ = value;
  qp_coded_ = true;
}

}  // namespace lvc::hevc
