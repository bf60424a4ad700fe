// Separable block transforms of 4:2:0 pictures in exact integers (lvc.ops.blockdct is the reference). No Python.
#ifndef LVC_NETS_TRANSFORM_H
#define LVC_NETS_TRANSFORM_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace lvc::nets {

// Coefficients at a position (8x8 luma samples): those of luma, then those of U and V in turns.
constexpr int kUnit = 8;
constexpr int kLumaCoefficients = 64;
constexpr int kCoefficients = 96;

struct Picture {
  const uint8_t* planes[3];
  int height, width;  // of luma, multiples of kUnit
};

// Where passes of the transforms round: x -> floor(x / 2^shift + 1/2).
struct TransformShifts {
  int forward;                // after the first pass; the second has none
  int input;                  // of symbols times steps
  int inverse[2];
};

// DCT of squares of `size` luma samples, 8 to 64, and of what chroma they have. A coefficient of frequency (k, l) lies
// at position (k mod f, l mod f) of its square, f = size / 8, in the channel of frequency (k div f, l div f).
class Transform {
 public:
  // luma: [size][size] integers, row k is basis function k; chroma: [size / 2][size / 2]; orders: the places of the
  // channels of luma (64, row * 8 + column) and chroma (16, row * 4 + column).
  Transform(int size, const int32_t* luma, const int32_t* chroma, const int32_t* luma_order,
            const int32_t* chroma_order, const TransformShifts& shifts);

  int factor() const { return size_ / kUnit; }

  // Coefficients of samples (less those of `minus`, unless null): int32 [height / 8][width / 8][96].
  // blocks: linear positions of the top left units of the squares, or null for all squares. Squares that stick out
  // see the picture extended by replication.
  void forward(const Kernels& kernels, const Picture& picture, const Picture* minus, const int32_t* blocks, int n,
               int32_t* out, int threads) const;

  // out = prediction + residual, limited to 8 bits. symbols: [height / 8][width / 8][96]; steps: [96].
  void inverse(const Kernels& kernels, const int16_t* symbols, const int32_t* steps, const Picture& prediction,
               const int32_t* blocks, int n, uint8_t* const out[3], int threads) const;

 private:
  struct Matrix {
    int n = 0, padded = 0;
    std::vector<int16_t> weights;  // as Format::kWords has it
  };
  struct Place {
    int row, col, channel;
    ptrdiff_t offset(int cols) const { return (static_cast<ptrdiff_t>(row) * cols + col) * kCoefficients + channel; }
  };
  struct Part {  // luma, or both planes of chroma
    int planes, side, unit;
    Matrix basis, transposed;
    std::vector<Place> places;  // [plane][l][k]
  };
  struct Batch;

  static Matrix matrix(const int32_t* values, int n, bool transposed);
  static void lines(const Kernels& kernels, const Matrix& m, const int16_t* rows, int count, int shift, bool clip,
                    int32_t* out);
  template <int n>
  void flush_forward(const Kernels& kernels, const Picture& picture, const Picture* minus, const Part& part,
                     Batch& batch, int32_t* out) const;
  template <int n>
  void flush_inverse(const Kernels& kernels, const Picture& prediction, const Part& part, Batch& batch,
                     uint8_t* const out[3]) const;
  template <typename Work>
  void squares(const Picture& picture, const int32_t* blocks, int n, int threads, const Work& work) const;

  int size_;
  TransformShifts shifts_;
  Part parts_[2];
};

// Coefficients of n positions in units of the dividers of the 96 channels; rounded once, from double.
void in_steps(const int32_t* coefficients, int n, const double* dividers, float* out, int threads);

// table[min(|c| / divider, size - 1)] of n positions; dividers of the 96 channels, 2^10..2^18, |c| < 2^28.
void magnitudes(const Kernels& kernels, const int32_t* coefficients, int n, const int32_t* dividers, const uint8_t* table, int size,
                uint8_t* out, int threads);

}  // namespace lvc::nets

#endif  // LVC_NETS_TRANSFORM_H
