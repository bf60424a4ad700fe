#include <algorithm>
#include <utility>

#include "slice.h"

namespace lvc::hevc {

void SliceData::intra_modes(Block& b) {
  const int parts = b.part == kNxN ? 4 : 1, side = (1 << b.log2) / (parts == 4 ? 2 : 1);
  bool predicted[4];
  const auto place = [&](int i) { return std::pair{b.x + (i & 1) * side, b.y + (i >> 1) * side}; };
  for (int i = 0; i < parts; ++i) {
    const auto [x, y] = place(i);
    const int left = picture_->at(x - 1, y).mode, up = picture_->at(x, y - 1).mode;
    predicted[i] =
        bins_.bin(kEPrevIntra, parts, kPrevIntra,
                  {join(6, left, up), join(4, i, i ? predicted[i - 1] : 2, b.log2), join(4, left == up, b.log2),
                   join(4, picture_->at(x - 1, y).kind, picture_->at(x, y - 1).kind, b.log2)});
  }
  for (int i = 0; i < parts; ++i) {
    const auto [x, y] = place(i);
    // 8.4.2
    const int left = picture_->at(x - 1, y).mode;
    const bool above = y % (1 << sps_.log2_ctb) != 0;
    const int up = above ? picture_->at(x, y - 1).mode : kDc;
    int candidates[3];
    if (left == up) {
      if (left < 2) {
        candidates[0] = kPlanar, candidates[1] = kDc, candidates[2] = kVertical;
      } else {
        candidates[0] = left, candidates[1] = 2 + (left + 29) % 32, candidates[2] = 2 + (left - 2 + 1) % 32;
      }
    } else {
      candidates[0] = left, candidates[1] = up;
      candidates[2] = left != kPlanar && up != kPlanar ? kPlanar : left != kDc && up != kDc ? kDc : kVertical;
    }
    const uint32_t pair = join(6, left, up);
    const uint32_t size = static_cast<uint32_t>(b.log2 * 2 + (parts == 4));
    if (predicted[i]) {
      int at = bins_.bin(kEMpm, 0, -1, {pair, size, join(6, candidates[0], size), join(6, b.modes[0], i)});
      if (at)
        at += bins_.bin(kEMpm, 1, -1, {pair, size, join(6, candidates[1], candidates[2]), join(6, b.modes[0], i)});
      b.modes[i] = candidates[at];
    } else {
      int code = 0;
      for (int k = 0; k < 5; ++k) {
        const int node = 1 << k | code;
        code = code << 1 |
               bins_.bin(kERemMode, node, -1,
                         {join(6, std::min(candidates[0], candidates[1]), std::max(candidates[0], candidates[1])),
                          join(6, candidates[0]), join(6, candidates[1], size), size,
                          join(6, picture_->at(x - 1, y - 1).mode, size)});
      }
      std::sort(candidates, candidates + 3);
      for (const int candidate : candidates) code += code >= candidate;
      b.modes[i] = code;
    }
    picture_->each(x, y, side, side, [&](Unit& u) { u.mode = static_cast<uint8_t>(b.modes[i]); });
  }
  const auto luma = static_cast<uint32_t>(b.modes[0]);
  const auto size = static_cast<uint32_t>(b.log2);
  int mode = 4;
  if (bins_.bin(kEChromaMode, 0, kIntraChroma, {luma, join(6, luma, size), join(4, neighbour_kinds(b.x, b.y), size)})) {
    mode = 2 * bins_.bin(kEChromaMode, 1, -1, {luma, join(6, luma, size)});
    mode += bins_.bin(kEChromaMode, 2 + mode / 2, -1, {luma, join(6, luma, size)});
  }
  constexpr int kModes[4] = {kPlanar, kVertical, kHorizontal, kDc};
  b.chroma_mode = mode == 4 ? b.modes[0] : kModes[mode] == b.modes[0] ? kDiagonal : kModes[mode];
}

int SliceData::merge_index(int x, int y) {
  if (header_.merge_candidates < 2) return 0;
  const Unit &left = picture_->at(x - 1, y), &up = picture_->at(x, y - 1), &own = picture_->at(x, y);
  int index = 0;
  while (
      index < header_.merge_candidates - 1 &&
      bins_.bin(kEMergeIndex, index * 2 + (own.kind == kSkipped), index ? -1 : kMergeIndex,
                {join(4, left.merge, up.merge), join(4, own.depth, left.kind, up.kind), join(4, left.motion, up.motion),
                 join(4, left.merge, up.merge, own.depth, picture_->at(x - 1, y - 1).merge),
                 join(4, left.direction, up.direction, left.kind, up.kind)}))
    ++index;
  return index;
}

void SliceData::prediction_block(const Block& b, int x, int y, int width, int height) {
  const Unit &left = picture_->at(x - 1, y), &up = picture_->at(x, y - 1);
  const Unit near = near_ ? near_->at(x + width / 2, y + height / 2) : Unit{};
  const int shape = b.part * 4 + b.depth;
  Unit unit;
  const bool merged =
      bins_.bin(kEMerge, std::min(shape, 63), kMerge,
                {join(4, left.merge > 0, up.merge > 0, near.merge > 0, b.depth),
                 join(4, left.motion, up.motion, near.motion), join(4, left.merge, up.merge, b.part),
                 join(4, left.kind, up.kind, near.kind, b.depth), join(4, left.luma, up.luma, near.luma)});
  if (merged) {
    unit.merge = static_cast<uint8_t>(1 + merge_index(x, y));
  } else {
    if (header_.type == kB) {
      const uint32_t around = join(2, left.direction, up.direction, left.kind, up.kind);
      bool both = false;
      if (width + height != 12)
        both = bins_.bin(kEDirection, b.depth, kInterDirection + b.depth,
                         {around, join(4, near.direction, near.kind, b.part), join(4, b.part, left.motion, up.motion)});
      unit.direction = 2;
      if (!both)
        unit.direction = static_cast<uint8_t>(
            bins_.bin(kEDirection, 8, kInterDirection + 4,
                      {around, join(4, near.direction, near.kind, b.part), join(4, b.depth, b.part)}));
    }
    for (int list = 0; list < 2; ++list) {
      if (unit.direction == 1 - list) continue;
      int index = 0;
      const int count = header_.references[list];
      while (index < count - 1 &&
             bins_.bin(kEReference, list * 4 + std::min(index, 3), index < 2 ? kReference + index : -1,
                       {join(4, left.reference, up.reference, left.kind, up.kind),
                        join(4, near.reference, near.kind, unit.direction), join(4, b.part, b.depth, count)}))
        ++index;
      unit.reference = static_cast<uint8_t>(index);
      if (!(list == 1 && header_.mvd_l1_zero && unit.direction == 2)) vector_difference(x, y, list, index, unit);
      bins_.bin(kEMvp, list, kMvpFlag,
                {join(4, unit.motion, unit.direction), join(4, left.motion, up.motion), join(4, index, b.part)});
    }
  }
  picture_->each(x, y, width, height, [&](Unit& u) {
    u.merge = unit.merge;
    u.motion = unit.motion;
    u.direction = unit.direction;
    u.reference = unit.reference;
  });
}

void SliceData::vector_difference(int x, int y, int list, int reference, Unit& unit) {
  const Unit &left = picture_->at(x - 1, y), &up = picture_->at(x, y - 1);
  const Unit near = near_ ? near_->at(x, y) : Unit{};
  const uint32_t around = join(4, left.motion, up.motion);
  const uint32_t where = join(2, list, unit.direction, std::min(reference, 3));
  bool greater0[2], greater1[2] = {false, false};
  for (int c = 0; c < 2; ++c)
    greater0[c] = bins_.bin(kEMvdGreater, c * 2 + (c && greater0[0]), kMvdGreater,
                            {around, where, join(4, left.motion, up.motion, near.motion), join(6, where, unit.motion),
                             join(6, where, left.motion, up.motion)});
  for (int c = 0; c < 2; ++c)
    if (greater0[c])
      greater1[c] = bins_.bin(kEMvdGreater, 4 + c * 4 + greater0[1 - c] * 2 + (c && greater1[0]), kMvdGreater + 1,
                              {around, where, join(4, left.motion, up.motion, near.motion), join(6, where, unit.motion),
                               join(6, where, left.motion, up.motion)});
  int sum = 0, first = 0;
  for (int c = 0; c < 2; ++c) {
    if (!greater0[c]) continue;
    int value = 1;
    if (greater1[c]) {
      // EG1
      int k = 1, base = 0;
      const auto size = static_cast<uint32_t>(bucket(first));
      while (bins_.bin(kEMvdRest, c * 16 + std::min(k, 15), -1,
                       {around, where, size, join(4, around >> 4, around & 15, size), join(4, near.motion, size)})) {
        base += 1 << k;
        if (++k > 20) throw Unsupported("a vector is too long");
      }
      int rest = 0;
      for (int i = k - 1; i >= 0; --i)
        rest = rest << 1 | bins_.bin(kEMvdRest, 32 + c * 16 + std::min(i, 15), -1,
                                     {join(4, k, i == k - 1 ? 0 : 1 + (rest & 7)), around, where});
      value = 2 + base + rest;
    }
    bins_.bin(kEMvdSign, c, -1, {where, join(4, bucket(value), bucket(first)), around});
    if (!c) first = value;
    sum += value;
  }
  unit.motion = static_cast<uint8_t>(std::max<int>(unit.motion, bucket(sum)));
}

}  // namespace lvc::hevc
