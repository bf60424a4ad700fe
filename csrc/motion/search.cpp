#include "search.h"

#include <optional>

#include "parallel.h"
#include "pyramid.h"
#include "refine.h"
#include "tree.h"

namespace lvc::motion {

namespace {

// What an effort buys.
struct Effort {
  int coarse_range;     // of the full search at the lowest resolution, in its samples
  int whole_steps;      // moves of the hexagon
  int fine_steps;       // moves of the square at each of half and quarter samples
  bool all_corners;     // of that square
  uint32_t skip;        // SATD a block, in units of the Lagrangian, that is not worth a search ...
  uint32_t keep;        // ... and that is not worth a split
  int min_size;
  int rounds;           // of refinement
  bool fractions;       // whether that looks at quarter samples
};
constexpr Effort kEfforts[kMaxEffort + 1] = {
    {6, 2, 1, false, 24, 48, 16, 0, false},
    {8, 8, 1, false, 6, 12, 8, 1, false},
    {12, 16, 3, true, 6, 12, 8, 2, true},
    {16, 32, 8, true, 0, 0, 8, 4, true}};

struct Choice {
  Motion m;
  uint32_t satd = 0, cost = UINT32_MAX;
};

class Searcher {
 public:
  Searcher(const Kernels& kernels, const Plane& current, const Plane& reference, const Field* previous,
           const Compound* compound, const SearchOptions& options, const SearchResult& result)
      : k_(kernels),
        effort_(kEfforts[options.effort]),
        lagrangian_(options.lagrangian),
        threads_(options.threads),
        current_(current),
        phases_(kernels, reference),
        pyramid_(kernels, current, reference, previous, lagrangian_, effort_.coarse_range, options.threads),
        previous_(previous),
        compound_(compound),
        field_({result.dx, result.dy, result.size, result.compound}, current.height() / kBlock, current.width() / kBlock),
        satd_(result.satd) {}

  void run(Window window) {
    const int rows = (field_.rows() + kTreeBlocks - 1) / kTreeBlocks;
    const int cols = (field_.cols() + kTreeBlocks - 1) / kTreeBlocks;
    wavefront(rows, cols, 2, threads_, [&](int row, int col) {
      tree(field_.square(row * kTreeBlocks, col * kTreeBlocks, kTreeBlocks), Vec{});
    });
    if (effort_.rounds > 0)
      refine(k_, current_, phases_, lagrangian_, {window, effort_.rounds, effort_.fractions, threads_}, compound_,
             field_);
    wavefront(field_.rows(), 1, 0, threads_, [&](int row, int) { measure(row); });
  }

 private:
  // Best vectors of a square, alone or in four parts; leaves them in the field. Returns the cost.
  uint32_t tree(const Square& s, const Vec& hint) {
    bool enough = false;
    const Choice whole = search_square(s, hint, &enough);
    if (s.size() <= effort_.min_size) {
      field_.write(s, whole.m, s.n);
      return whole.cost;
    }
    const uint32_t whole_cost = whole.cost + lagrangian_(kNoSplitBits);
    if (!enough) enough = whole.satd <= effort_.keep * s.blocks() * lagrangian_(kBit);
    if (!enough) {
      const int half = s.n / 2;
      uint32_t cost = lagrangian_(kSplitBits);
      for (int row = s.row; row < s.row + s.rows; row += half)
        for (int col = s.col; col < s.col + s.cols; col += half)
          if (cost < whole_cost) cost += tree(field_.square(row, col, half), whole.m.v);
      if (cost < whole_cost) return cost;
    }
    field_.write(s, whole.m, s.n);
    return whole_cost;
  }

  uint32_t satd(const Square& s, const Vec& v) const {
    return k_.satd(current_.at(s.x(), s.y()), current_.stride(), phases_.at(s.x(), s.y(), v, s.width(), s.height()),
                   phases_.stride(), s.width(), s.height());
  }

  uint32_t sad(const Square& s, const Vec& v) const {
    return k_.sad(current_.at(s.x(), s.y()), current_.stride(), phases_.at(s.x(), s.y(), v, s.width(), s.height()),
                   phases_.stride(), s.width(), s.height());
  }

  // Whether no block of a square has so much error that a vector of its own could pay.
  bool negligible(const Square& s, const Choice& choice) const {
    const uint32_t most = effort_.skip * lagrangian_(kBit);
    if (choice.satd > most * s.blocks()) return false;
    for (int row = s.row; row < s.row + s.rows; ++row)
      for (int col = s.col; col < s.col + s.cols; ++col)
        if (satd(field_.square(row, col, 1), choice.m.v) > most) return false;
    return true;
  }

  Choice search_square(const Square& s, const Vec& hint, bool* enough) const {
    const Limits limits(s.x(), s.y(), s.size(), current_.width(), current_.height());
    const Neighbours near = field_.neighbours(s);
    const uint32_t alone = compound_ != nullptr ? lagrangian_(field_.compound_bits(s, false)) : 0;
    Choice best;
    for (size_t i = 0; i < near.count; ++i) {
      const Vec& v = near.merge[i];
      if (limits.clamp(v) != v) continue;
      const uint32_t error = satd(s, v), cost = error + lagrangian_(kMergeBits[i]) + alone;
      if (cost < best.cost) best = {{v, false}, error, cost};
    }
    if (best.cost != UINT32_MAX && negligible(s, best)) {
      *enough = true;
      return best;
    }
    const auto rate = [&](const Vec& v) { return lagrangian_(near.own_bits(v)); };

    // Whole samples.
    Vec start;
    uint32_t start_cost = UINT32_MAX;
    const auto consider_whole = [&](const Vec& v) {
      if (limits.clamp(v) != v) return false;
      const uint32_t r = rate(v);
      if (r >= start_cost) return false;
      const uint32_t cost = sad(s, v) + r;
      if (cost >= start_cost) return false;
      start = v;
      start_cost = cost;
      return true;
    };
    std::array<Vec, 6> hints;
    size_t n_hints = 0;
    const auto add_hint = [&](const Vec& v) {
      if (std::find(hints.begin(), hints.begin() + n_hints, v) == hints.begin() + n_hints) hints[n_hints++] = v;
    };
    for (const Vec& v : {near.median, hint, pyramid_.vector(s.x(), s.y(), s.size()), Vec{}, best.m.v}) add_hint(v);
    if (previous_ != nullptr) {
      const int i = (s.row + s.rows / 2) * field_.cols() + s.col + s.cols / 2;
      add_hint({previous_->dx[i], previous_->dy[i]});
    }
    for (size_t i = 0; i < n_hints; ++i) {
      const Vec v = limits.clamp(hints[i]);
      consider_whole({(v.x + 2) & ~3, (v.y + 2) & ~3});
    }
    hexagon(consider_whole, start);

    // Fractions.
    Choice own;
    const auto consider = [&](const Vec& v) {
      if (limits.clamp(v) != v) return UINT32_MAX;
      const uint32_t error = v == best.m.v && best.cost != UINT32_MAX ? best.satd : satd(s, v);
      const uint32_t cost = error + rate(v) + alone;
      if (cost < own.cost) own = {{v, false}, error, cost};
      return cost;
    };
    consider(start);
    for (size_t i = 0; i < n_hints; ++i)
      if (((hints[i].x | hints[i].y) & 3) != 0) consider(hints[i]);
    for (int unit : {2, 1})
      for (int step = 0; step < effort_.fine_steps; ++step) {
        const Vec centre = own.m.v;
        const uint32_t left = consider(centre + Vec{-unit, 0}), right = consider(centre + Vec{unit, 0});
        const uint32_t up = consider(centre + Vec{0, -unit}), down = consider(centre + Vec{0, unit});
        // The better side of each axis says which diagonal is the most likely one.
        const Vec corner{left < right ? -unit : unit, up < down ? -unit : unit};
        consider(centre + corner);
        if (effort_.all_corners)
          for (const Vec& d : {Vec{-corner.x, corner.y}, Vec{corner.x, -corner.y}, Vec{-corner.x, -corner.y}})
            consider(centre + d);
        if (own.m.v == centre) break;
      }
    Choice choice = own.cost < best.cost ? own : best;
    if (compound_ == nullptr) return choice;
    for (const Choice& single : {own, best}) {
      if (single.cost == UINT32_MAX) continue;
      const uint32_t error = compound_->satd(current_, phases_, s, single.m.v);
      const uint32_t rates = single.cost - single.satd - alone + lagrangian_(field_.compound_bits(s, true));
      if (error + rates < choice.cost) choice = {{single.m.v, true}, error, error + rates};
    }
    return choice;
  }

  // A hexagon of two samples' radius that moves while it finds something better, then the square of one.
  template <typename Consider>
  void hexagon(const Consider& consider, const Vec& best) const {
    static constexpr Vec kHexagon[6] = {{-8, 0}, {-4, 8}, {4, 8}, {8, 0}, {4, -8}, {-4, -8}};
    for (int step = 0; step < effort_.whole_steps; ++step) {
      const Vec centre = best;
      bool moved = false;
      for (const Vec& d : kHexagon) moved |= consider(centre + d);
      if (!moved) break;
    }
    const Vec centre = best;
    for (int dy = -4; dy <= 4; dy += 4)
      for (int dx = -4; dx <= 4; dx += 4)
        if (dx != 0 || dy != 0) consider(centre + Vec{dx, dy});
  }

  void measure(int row) const {
    for (int col = 0; col < field_.cols(); ++col) {
      const Square s = field_.square(row, col, 1);
      const Motion m = field_.motion(row, col);
      const uint32_t error = m.compound ? compound_->satd(current_, phases_, s, m.v) : satd(s, m.v);
      satd_[row * field_.cols() + col] = static_cast<int32_t>(error);
    }
  }

  const Kernels& k_;
  const Effort effort_;
  const Lagrangian lagrangian_;
  const int threads_;
  const Plane& current_;
  const Phases phases_;
  const Pyramid pyramid_;
  const Field* previous_;
  const Compound* const compound_;
  TreeField field_;
  int32_t* const satd_;
};

}  // namespace

void search(const Kernels& kernels, const PlaneView& current, const PlaneView& reference, const Field* previous,
            const SecondReference* second, const SearchOptions& options, const SearchResult& result) {
  const int width = round_up(current.width, kBlock), height = round_up(current.height, kBlock);
  const Plane own(current, width, height, kSearchBorder), other(reference, width, height, kSearchBorder);
  Plane plane;
  std::optional<Compound> compound;
  if (second != nullptr) {
    plane = Plane(second->reference, width, height, kSearchBorder);
    compound.emplace(kernels, plane, second->chain);
  }
  Searcher(kernels, own, other, previous, compound ? &*compound : nullptr, options, result).run(options.window);
}

}  // namespace lvc::motion
