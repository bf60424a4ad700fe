#include <algorithm>

#include "slice.h"

namespace lvc::hevc {

namespace {

struct Position {
  uint8_t x, y;
};

// 6.5.3 to 6.5.5: diagonal, horizontal, vertical; of squares of 1, 2, 4 and 8.
struct Scans {
  Position order[4][3][64];

  Scans() {
    for (int log2 = 0; log2 < 4; ++log2) {
      const int side = 1 << log2;
      int n = 0;
      for (int sum = 0; sum < 2 * side - 1; ++sum)
        for (int y = std::min(sum, side - 1); y >= 0 && sum - y < side; --y)
          order[log2][0][n++] = {static_cast<uint8_t>(sum - y), static_cast<uint8_t>(y)};
      for (int i = 0; i < side * side; ++i) {
        order[log2][1][i] = {static_cast<uint8_t>(i % side), static_cast<uint8_t>(i / side)};
        order[log2][2][i] = {static_cast<uint8_t>(i / side), static_cast<uint8_t>(i % side)};
      }
    }
  }
};

const Scans kScans;

constexpr uint8_t kSmall[16] = {0, 1, 4, 5, 2, 3, 4, 5, 6, 6, 8, 8, 7, 7, 8, 8};

// 9.3.4.2.5: context increment of significant_coeff_flag.
int significant_context(int log2, int plane, int scan, int x, int y, int neighbours) {
  int context;
  if (log2 == 2) {
    context = kSmall[y * 4 + x];
  } else if (x + y == 0) {
    context = 0;
  } else {
    const int u = x & 3, v = y & 3;
    if (neighbours == 0)
      context = u + v == 0 ? 2 : u + v < 3;
    else if (neighbours == 1)
      context = v == 0 ? 2 : v == 1;
    else if (neighbours == 2)
      context = u == 0 ? 2 : u == 1;
    else
      context = 2;
    if (plane == 0) {
      if ((x >> 2) + (y >> 2) > 0) context += 3;
      context += log2 == 3 ? (scan == 0 ? 9 : 15) : 21;
    } else {
      context += log2 == 3 ? 9 : 12;
    }
  }
  return plane == 0 ? context : 27 + context;
}

// What of a transform block is the same for all its bins.
struct Around {
  uint32_t energies;  // of the blocks to the left and above
  uint32_t near;      // of the nearest picture
  uint32_t size;      // of the block, whether chroma
};

// Sums over the five coefficients to the right and below that are known already (as in VVC).
struct Template {
  int count = 0, sum = 0;
  uint32_t pattern = 0;
};

Template template_of(const Levels& levels, int x, int y) {
  const int values[5] = {levels.at(x + 1, y), levels.at(x, y + 1), levels.at(x + 1, y + 1), levels.at(x + 2, y),
                         levels.at(x, y + 2)};
  Template t;
  for (const int value : values) {
    t.count += value > 0;
    t.sum += value;
    t.pattern = t.pattern * 3 + static_cast<uint32_t>(std::min(value, 2));
  }
  return t;
}

int last_context(int log2, int plane, int at) {
  return plane ? 15 + (at >> (log2 - 2)) : 3 * (log2 - 2) + ((log2 - 1) >> 2) + (at >> ((log2 + 1) >> 2));
}

int last_prefix(Bins& bins, int log2, int plane, bool vertical, int other, int scan, const Around& around) {
  int value = 0;
  const int most = 2 * log2 - 1;
  const auto kind = static_cast<uint32_t>((vertical * 3 + scan) * 16) + around.size;
  while (value < most && bins.bin(kELast, std::min(value, 15) * 4 + vertical * 2 + (plane > 0),
                                  (vertical ? kLastY : kLastX) + last_context(log2, plane, value),
                                  {kind, kind << 8 | join(4, other, 0), kind << 8 | around.energies,
                                   kind << 4 | around.near, kind << 8 | join(4, around.near, other),
                                   kind << 12 | around.energies << 4 | static_cast<uint32_t>(other & 15)}))
    ++value;
  return value;
}

int last_suffix(Bins& bins, int prefix, bool vertical, const Around& around) {
  if (prefix < 4) return prefix;
  const int bits = (prefix >> 1) - 1;
  int rest = 0;
  for (int i = 0; i < bits; ++i)
    rest = rest << 1 | bins.bin(kELastSuffix, std::min(prefix, 15) * 2 + vertical, -1,
                                {join(4, i, rest, around.size), join(4, i, around.near)});
  return ((2 + (prefix & 1)) << bits) + rest;
}

}  // namespace

void SliceData::residual(const Block& b, int x, int y, int log2, int plane, int mode) {
  const bool chroma = plane > 0;
  const int side = 1 << log2;
  const Unit &left = picture_->at(x - 1, y), &up = picture_->at(x, y - 1);
  const int covered = chroma ? 2 * side : side;  // luma samples
  Around around;
  around.energies = chroma ? join(4, left.chroma, up.chroma) : join(4, left.luma, up.luma);
  around.near = static_cast<uint32_t>(near_energy(x, y, covered, chroma));
  around.size = static_cast<uint32_t>(log2 * 2 + chroma);
  const uint32_t kind = b.kind == kIntra ? 1 : 0;
  const auto other_sum = static_cast<uint32_t>(bucket(plane == 0   ? 0
                                                      : plane == 1 ? levels_[0].sum
                                                                   : levels_[1].sum) +
                                               (plane == 2 ? 16 : 0));
  const Levels& guide = levels_[plane == 2 ? 1 : 0];
  Levels& levels = levels_[static_cast<size_t>(plane)];
  levels.log2 = log2;

  bool skipped = false;
  if (pps_.transform_skip && !b.bypass && log2 == 2)
    skipped = bins_.bin(kETransformSkip, chroma, kTransformSkip + chroma, {kind, around.energies});
  const uint32_t type = join(2, kind, skipped);
  // what the residual is of: of intra prediction its direction
  const uint32_t source = kind ? 8u + static_cast<uint32_t>(mode)
                               : join(1, picture_->at(x, y).merge > 0, b.part != 0, picture_->at(x, y).direction == 2);

  int scan = 0;
  if (b.kind == kIntra && (log2 == 2 || (log2 == 3 && !chroma))) {
    if (mode >= 6 && mode <= 14) scan = 2;
    if (mode >= 22 && mode <= 30) scan = 1;
  }
  const int prefix_x = last_prefix(bins_, log2, plane, false, static_cast<int>(kind), scan, around);
  const int prefix_y = last_prefix(bins_, log2, plane, true, prefix_x, scan, around);
  int last_x = last_suffix(bins_, prefix_x, false, around), last_y = last_suffix(bins_, prefix_y, true, around);
  if (scan == 2) std::swap(last_x, last_y);
  if (last_x >= side || last_y >= side) throw Unsupported("a coefficient lies outside its block");
  const Position* blocks = kScans.order[log2 - 2][scan];
  const Position* places = kScans.order[2][scan];
  int block = 0, place = 0;
  while (blocks[block].x != last_x >> 2 || blocks[block].y != last_y >> 2) ++block;
  while (places[place].x != (last_x & 3) || places[place].y != (last_y & 3)) ++place;
  const int last_block = block, last_at = block * 16 + place;

  bool coded[9][9] = {};
  int c1 = 1, found = 0;  // coefficients in the block so far
  for (; block >= 0; --block) {
    const int bx = blocks[block].x, by = blocks[block].y;
    const int neighbours = coded[by][bx + 1] | coded[by + 1][bx] << 1;
    bool infer = false;
    coded[by][bx] = true;
    if (block < last_block && block > 0) {
      const int context = (neighbours > 0) + 2 * chroma;
      const Template t = template_of(levels, 4 * bx + 3, 4 * by + 3);
      coded[by][bx] =
          bins_.bin(kECodedSubBlock, context * 8 + std::min(bx + by, 7), kCodedSubBlock + context,
                    {join(4, bx, by, around.size), join(4, bx + by, around.size, neighbours, type),
                     join(4, around.size, bucket(levels.sum), neighbours), around.energies << 4 | around.size,
                     join(4, around.near, around.size, bx + by, neighbours), join(4, t.sum, neighbours, around.size),
                     join(5, other_sum, around.size, bx + by)});
      if (!coded[by][bx]) continue;
      infer = true;
    }
    // significance
    int n = 0, first_place = 0;
    Position at[16];
    uint8_t where[16];
    const int from = block == last_block ? place - 1 : 15;
    const auto take = [&](int i) {
      at[n] = {static_cast<uint8_t>(4 * bx + places[i].x), static_cast<uint8_t>(4 * by + places[i].y)};
      where[n++] = static_cast<uint8_t>(i);
      levels.at(at[n - 1].x, at[n - 1].y) = 1;
      first_place = i;
    };
    if (block == last_block) take(place);
    for (int i = from; i >= 0; --i) {
      if (i == 0 && infer) {
        take(0);
        break;
      }
      const int u = 4 * bx + places[i].x, v = 4 * by + places[i].y;
      const int context = significant_context(log2, plane, scan, u, v, neighbours);
      const Template t = template_of(levels, u, v);
      const auto diagonal = static_cast<uint32_t>(std::min(u + v, 15));
      const auto guided = static_cast<uint32_t>(std::min(guide.log2 ? guide.at(u, v) : 3, 3));
      if (bins_.bin(kESignificant, context, kSignificant + context,
                    {join(5, around.size, u, v), join(4, t.count, t.sum, diagonal, around.size) << 2 | type,
                     t.pattern << 8 | diagonal << 4 | around.size, around.energies << 8 | diagonal << 4 | around.size,
                     join(4, around.near, diagonal, around.size, t.count), join(4, n, i, neighbours, around.size),
                     join(5, other_sum, guided, diagonal, around.size),
                     join(4, bucket(levels.sum), found, diagonal, around.size),
                     join(4, t.count, context) << 8 | around.energies,
                     join(6, source, around.size, std::min(u, 7) * 8 + std::min(v, 7)),
                     join(6, std::min(last_at - block * 16 - i, 63), std::min(last_at, 63), around.size)},
                    std::min(t.sum, 7) * 8 + std::min(u + v, 7))) {
        take(i);
        infer = false;
      }
    }
    if (!n) continue;
    // greater than 1, greater than 2
    const int set = (block > 0 && !chroma ? 2 : 0) + (c1 == 0);
    c1 = 1;
    int value[16], first_greater = -1;
    bool full[16];
    for (int i = 0; i < n; ++i) {
      value[i] = 1;
      full[i] = true;
      if (i >= 8) continue;
      const Template t = template_of(levels, at[i].x, at[i].y);
      const auto diagonal = static_cast<uint32_t>(std::min(at[i].x + at[i].y, 15));
      const auto guided = static_cast<uint32_t>(std::min(guide.log2 ? guide.at(at[i].x, at[i].y) : 7, 7));
      const int context = set * 4 + c1 + (chroma ? 16 : 0);
      const bool greater =
          bins_.bin(kEGreater1, context, kGreater1 + context,
                    {join(4, t.sum, t.count, diagonal, around.size), t.pattern << 8 | diagonal << 4 | around.size,
                     around.energies << 8 | diagonal << 4 | around.size,
                     join(4, around.near, diagonal, around.size, t.sum), join(4, i, n, c1, around.size),
                     join(5, other_sum, guided, diagonal, around.size), join(4, t.sum, context, type, n),
                     join(4, bucket(levels.sum), i, c1, around.size), join(6, source, around.size, diagonal)},
                    std::min(t.sum, 15) * 4 + std::min(at[i].x + at[i].y, 3));
      if (greater) {
        value[i] = 2;
        levels.at(at[i].x, at[i].y) = 2;
        c1 = 0;
        if (first_greater < 0) first_greater = i;
      } else {
        full[i] = false;
        if (c1 > 0 && c1 < 3) ++c1;
      }
    }
    if (first_greater >= 0) {
      const int i = first_greater, context = set + (chroma ? 4 : 0);
      const Template t = template_of(levels, at[i].x, at[i].y);
      const auto diagonal = static_cast<uint32_t>(std::min(at[i].x + at[i].y, 15));
      full[i] =
          bins_.bin(kEGreater2, context, kGreater2 + context,
                    {join(4, t.sum, t.count, diagonal, around.size), around.energies << 8 | diagonal << 4 | around.size,
                     join(4, around.near, diagonal, around.size), join(4, i, n, around.size, type),
                     join(4, bucket(levels.sum), t.sum, around.size)});
      value[i] += full[i];
      levels.at(at[i].x, at[i].y) = static_cast<uint8_t>(value[i]);
    }
    // signs
    const bool hidden = pps_.sign_hiding && !b.bypass && where[0] - first_place > 3;
    for (int i = 0; i < n - hidden; ++i)
      bins_.bin(kESign, chroma, -1, {join(4, at[i].x, at[i].y, around.size) << 2 | type});
    // what remains
    int rice = 0;
    for (int i = 0; i < n; ++i) {
      if (full[i]) {
        const Template t = template_of(levels, at[i].x, at[i].y);
        const uint32_t sum = static_cast<uint32_t>(bucket(t.sum));
        const auto diagonal = static_cast<uint32_t>(std::min(at[i].x + at[i].y, 15));
        const auto bin = [&](int node, int step) {
          return bins_.bin(
              kERemaining, std::min(node, 7) * 8 + rice, -1,
              {join(4, step, sum, rice, value[i]), join(4, step, diagonal, around.size, rice),
               join(4, step, rice, i, n), around.energies << 8 | join(4, step, rice),
               join(4, step, rice, around.near, around.size), join(4, step, bucket(levels.sum), around.size, rice)});
        };
        int prefix = 0;
        while (bin(prefix, std::min(prefix, 15)))
          if (++prefix > 31) throw Unsupported("a coefficient is too large");
        const int bits = prefix <= 3 ? rice : prefix - 3 + rice;
        if (bits > 16) throw Unsupported("a coefficient is too large");
        int rest = 0;
        for (int k = bits - 1; k >= 0; --k)
          rest =
              rest << 1 | (k >= bits - 2 ? bin(4 + (bits - 1 - k), 8 + (bits - 1 - k) * 2 + (k == bits - 2 ? rest : 0))
                                         : bins_.bin(kERemaining, 63, -1, {}));
        value[i] += prefix <= 3 ? (prefix << rice) + rest : (((1 << (prefix - 3)) + 2) << rice) + rest;
        if (value[i] > 3 << rice) rice = std::min(rice + 1, 4);
      }
      levels.at(at[i].x, at[i].y) = static_cast<uint8_t>(std::min(value[i], 255));
      levels.sum += value[i];
    }
    found += n;
  }
  // as if for 8x8 samples of the plane
  const int energy = bucket(log2 >= 3 ? levels.sum >> (2 * (log2 - 3)) : levels.sum << 2);
  const int least = levels.sum > 0;
  picture_->each(x, y, covered, covered, [&](Unit& u) {
    if (chroma)
      u.chroma = static_cast<uint8_t>(std::max({static_cast<int>(u.chroma), energy, least}));
    else
      u.luma = static_cast<uint8_t>(std::max(energy, least));
  });
}

}  // namespace lvc::hevc
