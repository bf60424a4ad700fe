#include "motion.h"

#include <algorithm>
#include <cstdlib>

namespace lvc::nets {

uint8_t LogTable::operator()(int64_t x) const {
  return values[std::min(static_cast<size_t>(std::abs(x)), size - 1)];
}

std::vector<uint8_t> Head::indices(const std::vector<uint8_t>& features, size_t n) const {
  std::vector<uint8_t> rows = features;
  for (const Layer* layer : layers) {
    const bool last = layer == layers[2];
    const Source source{rows.data(), static_cast<size_t>(layer->source_channels(0))};
    const std::vector<int32_t> offsets(static_cast<size_t>(layer->outputs()), offset);
    std::vector<uint8_t> out(n * static_cast<size_t>(layer->outputs()));
    layer->run(*kernels, {1, static_cast<int>(n), nullptr, nullptr, static_cast<int>(n), &source,
                          last ? offsets.data() : nullptr, nullptr, out.data(), last, 1});
    rows = std::move(out);
  }
  return rows;
}

namespace {

struct Vector {
  int32_t x, y;
  bool operator==(const Vector& other) const { return x == other.x && y == other.y; }
};

struct Place {
  int y, x;
};
using Places = std::vector<Place>;

Vector vector_at(const int16_t* field, size_t area, size_t at) { return {field[at], field[area + at]}; }

int32_t median(std::array<int32_t, kCandidates>& v, size_t count) {
  if (count == 0) return 0;
  std::sort(v.begin(), v.begin() + static_cast<ptrdiff_t>(count));
  return v[(count - 1) / 2];
}

class MotionCoder {
 public:
  MotionCoder(Coder& coder, const MotionCall& call)
      : coder_(coder), c_(call), area_(static_cast<size_t>(call.height) * static_cast<size_t>(call.width)),
        known_(area_, 0) {
    std::fill(c_.out_field, c_.out_field + 2 * area_, int16_t{0});
    std::fill(c_.out_sizes, c_.out_sizes + area_, static_cast<uint8_t>(8 * kRoot));
  }

  void run() {
    roots();
    for (const int side : {kRoot, kRoot / 2}) {
      const int half = side / 2;
      Places squares;
      for (int y = 0; y < c_.height; y += side)
        for (int x = 0; x < c_.width; x += side)
          if (c_.out_sizes[at(y, x)] == 8 * side) squares.push_back({y, x});
      const std::vector<int32_t> split = splits(squares, side);
      for (const Place& p : squares) spread(p, side);
      std::fill(known_.begin(), known_.end(), uint8_t{1});
      Places quarters[3];
      for (size_t i = 0; i < squares.size(); ++i) {
        if (split[i] == 0) continue;
        const Place& p = squares[i];
        each_block(p, side, [&](size_t block) { c_.out_sizes[block] = static_cast<uint8_t>(4 * side); });
        for (int q = 1; q < 4; ++q) {
          const Place quarter{p.y + (q >= 2 ? half : 0), p.x + (q != 2 ? half : 0)};
          if (quarter.y < c_.height && quarter.x < c_.width) quarters[q - 1].push_back(quarter);
        }
      }
      const std::vector<Place> offsets{{0, 0}, {-1, 0}, {0, -1}, {0, half}, {half, 0}};
      for (const Places& places : quarters) {
        vectors(places, offsets, side == kRoot ? 7 : 8);
        for (const Place& p : places) spread(p, half);
      }
    }
  }

 private:
  size_t at(int y, int x) const { return static_cast<size_t>(y) * static_cast<size_t>(c_.width) + static_cast<size_t>(x); }
  bool inside(int y, int x) const { return y >= 0 && y < c_.height && x >= 0 && x < c_.width; }

  template <typename Work>
  void each_block(const Place& p, int side, const Work& work) const {
    for (int y = p.y; y < std::min(p.y + side, c_.height); ++y)
      for (int x = p.x; x < std::min(p.x + side, c_.width); ++x) work(at(y, x));
  }

  // The vector of a square's first block to all of it.
  void spread(const Place& p, int side) {
    const Vector v = vector_at(c_.out_field, area_, at(p.y, p.x));
    each_block(p, side, [&](size_t block) { set(block, v); });
  }

  void set(size_t block, const Vector& v) {
    c_.out_field[block] = static_cast<int16_t>(v.x);
    c_.out_field[area_ + block] = static_cast<int16_t>(v.y);
  }

  // The largest squares, on grids from coarse to fine.
  void roots() {
    const auto grid = [&](const std::vector<Place>& offsets, int level, const auto& belongs) {
      Places places;
      for (int i = 0; i * kRoot < c_.height; ++i)
        for (int j = 0; j * kRoot < c_.width; ++j)
          if (belongs(i, j)) places.push_back({i * kRoot, j * kRoot});
      vectors(places, offsets, level);
      for (const Place& p : places) known_[at(p.y, p.x)] = 1;
    };
    int level = 0;
    grid({}, level++, [](int i, int j) { return i % 8 == 0 && j % 8 == 0; });
    for (const int s : {4, 2, 1}) {
      const int d = s * kRoot;
      grid({{-d, -d}, {-d, d}, {d, -d}, {d, d}}, level++,
           [s](int i, int j) { return i % (2 * s) == s && j % (2 * s) == s; });
      grid({{-d, 0}, {d, 0}, {0, -d}, {0, d}}, level++,
           [s](int i, int j) { return i % s == 0 && j % s == 0 && (i % (2 * s) == s) != (j % (2 * s) == s); });
    }
  }

  struct Candidates {
    std::array<Vector, kCandidates> vectors{};
    std::array<bool, kCandidates> there{}, fresh{};  // fresh: there, and not equal to a former one
  };

  Candidates candidates(const Place& p, const std::vector<Place>& offsets) const {
    Candidates c;
    for (size_t k = 0; k < offsets.size(); ++k) {
      const int y = p.y + offsets[k].y, x = p.x + offsets[k].x;
      if (!inside(y, x) || known_[at(y, x)] == 0) continue;
      c.vectors[k + 1] = vector_at(c_.out_field, area_, at(y, x));
      c.there[k + 1] = true;
    }
    if (c_.former != nullptr) {
      c.vectors.back() = vector_at(c_.former, area_, at(p.y, p.x));
      c.there.back() = true;
    }
    std::array<int32_t, kCandidates> xs{}, ys{};
    size_t count = 0;
    for (size_t k = 1; k < kCandidates; ++k)
      if (c.there[k]) {
        xs[count] = c.vectors[k].x;
        ys[count++] = c.vectors[k].y;
      }
    c.vectors[0] = {median(xs, count), median(ys, count)};
    c.there[0] = true;
    return c;
  }

  // What the network sees; finds out which candidates are fresh.
  void vector_features(Candidates& c, int level, uint8_t* features) const {
    for (size_t k = 0; k < kCandidates; ++k) {
      if (!c.there[k]) continue;
      c.fresh[k] = true;
      int votes = 0;
      for (size_t j = 0; j < kCandidates; ++j)
        if (c.there[j] && c.vectors[j] == c.vectors[k]) {
          ++votes;
          c.fresh[k] &= j >= k;
        }
      features[k] = c_.log(c.vectors[k].x - c.vectors[0].x);
      features[kCandidates + k] = c_.log(c.vectors[k].y - c.vectors[0].y);
      features[2 * kCandidates + k] = static_cast<uint8_t>(c.fresh[k] ? 9 * votes : 0);
    }
    features[3 * kCandidates + static_cast<size_t>(level)] = 63;
    features[kVectorFeatures - 2] = magnitude(c.vectors[0]);
    features[kVectorFeatures - 1] = static_cast<uint8_t>(c_.quality);
  }

  uint8_t magnitude(const Vector& v) const { return std::max(c_.log(v.x), c_.log(v.y)); }
  uint8_t distance(const Vector& a, const Vector& b) const { return magnitude({a.x - b.x, a.y - b.y}); }

  // Vectors of squares: whether they equal a candidate, one after the other; else how far they are from the first.
  void vectors(const Places& places, const std::vector<Place>& offsets, int level) {
    const size_t n = places.size();
    if (n == 0) return;
    std::vector<Candidates> c(n);
    std::vector<uint8_t> features(n * kVectorFeatures, 0);
    for (size_t i = 0; i < n; ++i) {
      c[i] = candidates(places[i], offsets);
      vector_features(c[i], level, &features[i * kVectorFeatures]);
    }
    const std::vector<uint8_t> index = c_.vectors.indices(features, n);
    std::vector<size_t> left(n);
    for (size_t i = 0; i < n; ++i) left[i] = i;
    for (size_t k = 0; k < kCandidates; ++k) {
      std::vector<size_t> here, others;
      for (const size_t i : left) (c[i].fresh[k] ? here : others).push_back(i);
      if (here.empty()) continue;
      start(here.size());
      for (size_t i = 0; i < here.size(); ++i) {
        places_[i] = index[k * n + here[i]];
        if (c_.field != nullptr) values_[i] = wanted(places[here[i]]) == c[here[i]].vectors[k];
      }
      finish(true);
      for (size_t i = 0; i < here.size(); ++i) {
        if (coded_[i] > 0)
          set(at(places[here[i]].y, places[here[i]].x), limited(c[here[i]].vectors[k]));
        else
          others.push_back(here[i]);
      }
      std::sort(others.begin(), others.end());
      left = std::move(others);
    }
    if (left.empty()) return;
    const size_t m = left.size();
    start(2 * m);
    for (size_t i = 0; i < m; ++i) {
      const Vector& first = c[left[i]].vectors[0];
      for (size_t axis = 0; axis < 2; ++axis) places_[axis * m + i] = index[(kCandidates + axis) * n + left[i]];
      if (c_.field == nullptr) continue;
      const Vector target = wanted(places[left[i]]);
      values_[i] = target.x - first.x;
      values_[m + i] = target.y - first.y;
    }
    finish(false);
    for (size_t i = 0; i < m; ++i) {
      const Vector& first = c[left[i]].vectors[0];
      set(at(places[left[i]].y, places[left[i]].x), limited({first.x + coded_[i], first.y + coded_[m + i]}));
    }
  }

  static Vector limited(const Vector& v) {
    return {std::clamp(v.x, -kVectorMax, kVectorMax), std::clamp(v.y, -kVectorMax, kVectorMax)};
  }

  Vector wanted(const Place& p) const { return vector_at(c_.field, area_, at(p.y, p.x)); }

  void start(size_t n) {
    places_.resize(n);
    values_.resize(n);
    coded_.resize(n);
  }

  void finish(bool flags) {
    coder_.code(flags, c_.field == nullptr ? nullptr : values_.data(), places_.data(), places_.size(), coded_.data());
  }

  std::vector<int32_t> splits(const Places& squares, int side) {
    const size_t n = squares.size();
    if (n == 0) return {};
    std::vector<uint8_t> features(n * kSplitFeatures, 0);
    for (size_t i = 0; i < n; ++i) split_features(squares[i], side, &features[i * kSplitFeatures]);
    const std::vector<uint8_t> index = c_.splits.indices(features, n);
    start(n);
    for (size_t i = 0; i < n; ++i) {
      places_[i] = index[i];
      if (c_.field != nullptr) values_[i] = c_.sizes[at(squares[i].y, squares[i].x)] < 8 * side;
    }
    finish(true);
    for (int32_t& flag : coded_) flag = flag > 0;
    return coded_;
  }

  void split_features(const Place& p, int side, uint8_t* features) const {
    const size_t here = at(p.y, p.x);
    const Vector own = vector_at(c_.out_field, area_, here);
    const Place offsets[4] = {{-side, 0}, {0, -side}, {0, side}, {side, 0}};
    for (size_t k = 0; k < 4; ++k) {
      const size_t near = at(std::clamp(p.y + offsets[k].y, 0, c_.height - 1),
                             std::clamp(p.x + offsets[k].x, 0, c_.width - 1));
      features[k] = distance(vector_at(c_.out_field, area_, near), own);
      features[4 + k] = c_.out_sizes[near] < 8 * side ? 63 : 0;
      if (c_.former_sizes != nullptr) features[8 + k] = c_.former_sizes[near] < 8 * side ? 63 : 0;
    }
    if (c_.former_sizes != nullptr && c_.former != nullptr) {
      features[12] = c_.former_sizes[here] < 8 * side ? 63 : 31;
      features[13] = distance(vector_at(c_.former, area_, here), own);
    }
    features[14] = magnitude(own);
    features[15] = static_cast<uint8_t>(c_.quality);
    features[16] = side == kRoot ? 63 : 0;
  }

  Coder& coder_;
  const MotionCall& c_;
  const size_t area_;
  std::vector<uint8_t> known_;
  std::vector<uint8_t> places_;  // indices of what is being coded
  std::vector<int32_t> values_, coded_;
};

// Magnitudes of 63 at most, with a sign.
void compound_features(const CompoundCall& c, const std::vector<uint8_t>& known, const Place& p, int side,
                       int8_t* features) {
  const size_t area = static_cast<size_t>(c.height) * static_cast<size_t>(c.width);
  const auto at = [&](int y, int x) { return static_cast<size_t>(y) * static_cast<size_t>(c.width) + static_cast<size_t>(x); };
  const auto magnitude = [&](const Vector& v) { return static_cast<int8_t>(std::max(c.log(v.x), c.log(v.y))); };
  const Vector own = vector_at(c.field, area, at(p.y, p.x)), second = vector_at(c.second, area, at(p.y, p.x));
  const Place offsets[4] = {{-1, 0}, {0, -1}, {side, 0}, {0, side}};
  for (size_t k = 0; k < 4; ++k) {
    const int y = p.y + offsets[k].y, x = p.x + offsets[k].x;
    const int near_y = std::clamp(y, 0, c.height - 1), near_x = std::clamp(x, 0, c.width - 1);
    const size_t near = at(near_y, near_x);
    if (near_y == y && near_x == x && known[near] != 0) features[k] = c.out[near] != 0 ? 63 : -63;
    const Vector other = vector_at(c.field, area, near);
    features[4 + k] = magnitude({other.x - own.x, other.y - own.y});
  }
  int64_t total = 0, most = 0, count = 0;
  for (int y = p.y; y < std::min(p.y + side, c.height); ++y)
    for (int x = p.x; x < std::min(p.x + side, c.width); ++x, ++count) {
      total += c.difference[at(y, x)];
      most = std::max<int64_t>(most, c.difference[at(y, x)]);
    }
  features[8] = static_cast<int8_t>(c.log(total / count >> 3));
  features[9] = static_cast<int8_t>(c.log(most >> 3));
  features[10] = side == kRoot ? 63 : 0;
  features[11] = side == 1 ? 63 : 0;
  if (c.former != nullptr) features[12] = c.former[at(p.y, p.x)] != 0 ? 63 : -63;
  features[13] = magnitude(own);
  features[14] = magnitude({second.x - own.x, second.y - own.y});
  features[15] = static_cast<int8_t>(std::min(12 * c.age, 63));
  features[16] = static_cast<int8_t>(c.quality);
  features[17] = c.age > 4 ? 63 : 0;
}

}  // namespace

void code_motion(Coder& coder, const MotionCall& call) { MotionCoder(coder, call).run(); }

void code_compound(Coder& coder, const CompoundCall& c) {
  const size_t width = static_cast<size_t>(c.width), area = static_cast<size_t>(c.height) * width;
  std::vector<uint8_t> known(area, 0);
  std::fill(c.out, c.out + area, uint8_t{0});
  for (const int side : {kRoot, kRoot / 2, 1})
    for (const int odd : {0, 1}) {
      Places places;
      for (int y = 0; y < c.height; y += side)
        for (int x = 0; x < c.width; x += side)
          if (c.sizes[static_cast<size_t>(y) * width + static_cast<size_t>(x)] == 8 * side &&
              (y + x) / side % 2 == odd)
            places.push_back({y, x});
      const size_t n = places.size();
      if (n == 0) continue;
      std::vector<uint8_t> features(n * kCompoundFeatures, 0);
      std::vector<int32_t> values(n), coded(n);
      for (size_t i = 0; i < n; ++i) {
        compound_features(c, known, places[i], side, reinterpret_cast<int8_t*>(&features[i * kCompoundFeatures]));
        if (c.wanted != nullptr)
          values[i] = c.wanted[static_cast<size_t>(places[i].y) * width + static_cast<size_t>(places[i].x)] != 0;
      }
      coder.code(true, c.wanted == nullptr ? nullptr : values.data(), c.head.indices(features, n).data(), n,
                 coded.data());
      for (size_t i = 0; i < n; ++i)
        for (int y = places[i].y; y < std::min(places[i].y + side, c.height); ++y)
          for (int x = places[i].x; x < std::min(places[i].x + side, c.width); ++x) {
            c.out[static_cast<size_t>(y) * width + static_cast<size_t>(x)] = coded[i] > 0;
            known[static_cast<size_t>(y) * width + static_cast<size_t>(x)] = 1;
          }
    }
}

}  // namespace lvc::nets
