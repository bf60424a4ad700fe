#include "predict.h"

namespace lvc::motion {

namespace {

struct Vector {
  int x, y;
  bool operator==(const Vector& other) const { return x == other.x && y == other.y; }
};

// How a block is predicted. The second vector is zero where there is no mean to be taken.
struct Source {
  Vector first, second;
  bool compound;
  bool operator==(const Source& other) const {
    return first == other.first && second == other.second && compound == other.compound;
  }
};

// The weights of the later of two neighbouring blocks at the samples from one centre to the next, in sixteenths.
// The earlier one has what is left to 16. Linear: hat functions. Cosine: (1 - cos) / 2, rounded.
constexpr int kLumaWindow[2][8] = {{1, 3, 5, 7, 9, 11, 13, 15}, {0, 1, 4, 6, 10, 12, 15, 16}};
constexpr int kChromaWindow[2][4] = {{2, 6, 10, 14}, {1, 5, 11, 15}};

class Predictor {
 public:
  Predictor(const Kernels& kernels, const PlaneView& reference, const Field& field, bool chroma,
            const Second* second)
      : k_(kernels),
        field_(field),
        chroma_(chroma),
        block_(chroma ? kBlock / 2 : kBlock),
        reference_(reference, field.cols * block_, field.rows * block_, kBorder),
        out_(field.cols * block_, field.rows * block_, kBlock),
        second_(second) {
    if (second_ != nullptr) other_ = Plane(second_->reference, field.cols * block_, field.rows * block_, kBorder);
  }

  void blocks() {
    for (int row = 0; row < field_.rows; ++row)
      for (int col = 0, next; col < field_.cols; col = next) {
        const Source source = source_of(row, col);
        for (next = col + 1; next < field_.cols && next < col + kMaxRun && source_of(row, next) == source;) ++next;
        copy(source, col * block_, row * block_, (next - col) * block_);
      }
  }

  // Works on the squares between four centres, which are the blocks moved by half a block; those at the rim of
  // the picture have blocks that repeat the outermost ones on their outer side.
  void overlapped(Window window) {
    const BlendWeights weights = blend_weights(window, chroma_);
    for (int row = 0; row <= field_.rows; ++row)
      for (int col = 0, next; col <= field_.cols; col = next) {
        const int x = col * block_ - block_ / 2, y = row * block_ - block_ / 2;
        const std::array<Source, 4> four = corners(row, col);
        next = col + 1;
        if (!uniform(four)) {
          blend(four, x, y, weights);
          continue;
        }
        while (next <= field_.cols && next < col + kMaxRun) {
          const std::array<Source, 4> other = corners(row, next);
          if (!uniform(other) || !(other[0] == four[0])) break;
          ++next;
        }
        // The weights sum to one, so blending four equal predictions would give the same.
        copy(four[0], x, y, (next - col) * block_);
      }
  }

  void store(uint8_t* out, ptrdiff_t stride, int width, int height) const {
    for (int y = 0; y < height; ++y)
      std::memcpy(out + y * stride, out_.at(0, y), static_cast<size_t>(width));
  }

 private:
  Source source_of(int row, int col) const {
    const int i = row * field_.cols + col;
    const Vector first{field_.dx[i], field_.dy[i]};
    if (second_ == nullptr || second_->compound[i] == 0) return {first, {0, 0}, false};
    return {first, {second_->field.dx[i], second_->field.dy[i]}, true};
  }

  std::array<Source, 4> corners(int row, int col) const {
    const int top = std::max(row - 1, 0), bottom = std::min(row, field_.rows - 1);
    const int left = std::max(col - 1, 0), right = std::min(col, field_.cols - 1);
    return {source_of(top, left), source_of(top, right), source_of(bottom, left), source_of(bottom, right)};
  }

  static bool uniform(const std::array<Source, 4>& v) { return v[0] == v[1] && v[0] == v[2] && v[0] == v[3]; }

  // Where the vector points to from (x, y). Positions so far outside that a block of this width and its
  // filters only see repeated samples are moved nearer: they still do there.
  struct Position {
    const uint8_t* data;
    int fraction_x, fraction_y;
    bool whole() const { return fraction_x == 0 && fraction_y == 0; }
  };
  Position position(const Plane& reference, const Vector& v, int x, int y, int width) const {
    const int bits = chroma_ ? kVectorBits + 1 : kVectorBits, mask = (1 << bits) - 1;
    const int left = std::clamp(x + (v.x >> bits), -width - kBlock, reference.width() + kBlock);
    const int top = std::clamp(y + (v.y >> bits), -2 * kBlock, reference.height() + kBlock);
    return {reference.at(left, top), v.x & mask, v.y & mask};
  }

  // Intermediate samples of width x block_ samples; rows of `dst` lie kRow apart.
  void intermediate(const Source& source, int x, int y, int width, int16_t* dst) {
    interpolate(position(reference_, source.first, x, y, width), reference_.stride(), width, dst);
    if (!source.compound) return;
    interpolate(position(other_, source.second, x, y, width), other_.stride(), width, mean_);
    k_.average(dst, mean_, kRow, round_up(width, kBlock), block_);
  }

  void interpolate(const Position& s, ptrdiff_t stride, int width, int16_t* dst) {
    const int w = round_up(width, kBlock), h = block_;
    const int taps = chroma_ ? kChromaTaps : kLumaTaps, before = taps / 2 - 1;
    const int8_t* filter_x = chroma_ ? kChromaFilter[s.fraction_x] : kLumaFilter[s.fraction_x];
    const int8_t* filter_y = chroma_ ? kChromaFilter[s.fraction_y] : kLumaFilter[s.fraction_y];
    const bool vertical = s.fraction_y != 0;
    const uint8_t* first = vertical ? s.data - before * stride : s.data;
    int16_t* across = vertical ? rows_ : dst;
    const int rows = vertical ? h + taps - 1 : h;
    if (s.fraction_x == 0)
      k_.widen(first, stride, across, kRow, w, rows);
    else
      (chroma_ ? k_.across4 : k_.across8)(first, stride, across, kRow, w, rows, filter_x);
    if (vertical) (chroma_ ? k_.down4 : k_.down8)(rows_ + before * kRow, kRow, dst, kRow, w, h, filter_y);
  }

  // Rounds widths up to 8 samples. What that writes too much is on the right, where the next block goes.
  void copy(const Source& source, int x, int y, int width) {
    const Position s = position(reference_, source.first, x, y, width);
    if (!source.compound && s.whole()) {
      for (int i = 0; i < block_; ++i)
        std::memcpy(out_.at(x, y + i), s.data + i * reference_.stride(), static_cast<size_t>(width));
      return;
    }
    intermediate(source, x, y, width, predictions_[0]);
    k_.narrow(predictions_[0], kRow, out_.at(x, y), out_.stride(), round_up(width, kBlock), block_);
  }

  void blend(const std::array<Source, 4>& four, int x, int y, const BlendWeights& weights) {
    const int16_t* pointers[4];
    for (size_t i = 0; i < 4; ++i) {
      size_t same = 0;
      while (!(four[same] == four[i])) ++same;
      if (same == i) intermediate(four[i], x, y, block_, predictions_[i]);
      pointers[i] = predictions_[same];
    }
    k_.blend(pointers, kRow, weights.data(), out_.at(x, y), out_.stride(), kBlock, block_);
  }

  static constexpr int kRow = kMaxRun * kBlock;

  const Kernels& k_;
  const Field field_;
  const bool chroma_;
  const int block_;
  const Plane reference_;
  Plane out_;
  const Second* const second_;
  Plane other_;  // the second reference
  int16_t rows_[kRow * (kBlock + kLumaTaps) + 16];
  int16_t predictions_[4][kRow * kBlock + 16];
  int16_t mean_[kRow * kBlock + 16];
};

}  // namespace

BlendWeights blend_weights(Window window, bool chroma) {
  const int kind = window == Window::kLinear ? 0 : 1, size = chroma ? kBlock / 2 : kBlock;
  const int* later = chroma ? kChromaWindow[kind] : kLumaWindow[kind];
  BlendWeights result{};
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x) {
      int16_t* w = &result[static_cast<size_t>(4 * (kBlock * y + x))];
      const int below = later[y], right = later[x];
      w[0] = static_cast<int16_t>((16 - below) * (16 - right));
      w[1] = static_cast<int16_t>((16 - below) * right);
      w[2] = static_cast<int16_t>(below * (16 - right));
      w[3] = static_cast<int16_t>(below * right);
    }
  return result;
}

void predict_plane(const Kernels& kernels, const PlaneView& reference, const Field& field, bool chroma,
                   Window window, uint8_t* out, ptrdiff_t out_stride, const Second* second) {
  Predictor predictor(kernels, reference, field, chroma, second);
  if (window == Window::kNone)
    predictor.blocks();
  else
    predictor.overlapped(window);
  predictor.store(out, out_stride, reference.width, reference.height);
}

}  // namespace lvc::motion
