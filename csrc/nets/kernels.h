// The inner loops of the integer networks: one table of functions for each instruction set. All tables compute the
// same integers. No Python.
#ifndef LVC_NETS_KERNELS_H
#define LVC_NETS_KERNELS_H

#include <cstddef>
#include <cstdint>

namespace lvc::nets {

// Rows of a tile: a multiple of the rows of every register block.
constexpr int kTile = 48;
// Outputs are padded to a multiple of this.
constexpr int kOutputBlock = 16;
// A register of a tile takes as many groups of a row at once: what is read of a row is rounded up to that.
constexpr size_t kGroupBlock = 16;

// How the operands of a product are stored. Inputs go in groups that one instruction multiplies and adds up.
enum class Format {
  kBytes,  // inputs uint8 in groups of 4, weights int8
  kWords,  // inputs int16 in groups of 2, weights int16
};

// A matrix product of the rows of a tile with what follows:
//   value = clamp((sum_k rows[r][k] weights[k][n] + bias[n]) >> shift, low, high) * multiplier
// A row of inputs is made of pieces, and rows may overlap: so a convolution reads a picture as it lies in memory.
struct Product {
  Format format;
  int pieces;           // of a row of inputs
  size_t piece_bytes;   // from a piece to the next one
  size_t groups;        // of inputs, in a piece
  int outputs;          // padded: a multiple of kOutputBlock
  const void* weights;  // [pieces][groups, rounded up to kGroupBlock][outputs][4 or 2]
  const int32_t* bias;  // [outputs]
  int shift;
  int32_t low, high, multiplier;

  size_t padded_groups() const { return (groups + kGroupBlock - 1) / kGroupBlock * kGroupBlock; }
};

// What becomes of sums: out = clamp(total + offset + residual, low, high).
struct Finish {
  const int32_t* total;     // rows of `total_stride` values
  size_t total_stride;
  const int32_t* offset;    // [outputs] or null
  const uint8_t* residual;  // rows as of `out`, or null
  int32_t low, high;
  size_t outputs;
  void* out;                // rows of `outputs` values
};

struct Kernels {
  const char* name;

  // The formats that there are products for.
  bool bytes;
  // Whether products of bytes add up pairs of products in int16 with saturation, which must never happen.
  bool saturates;

  // Called by a thread before and after products of bytes; may be null.
  void (*begin)();
  void (*end)();

  // rows: `count` rows, 1 to kTile, `row_bytes` bytes apart; total: as many rows of p.outputs values, set (`add` false)
  // or added to. Reads (but takes no notice of) rows up to kTile, and groups up to p.padded_groups(); writes `total` up
  // to kTile rows.
  void (*product)(const Product& p, const void* rows, size_t row_bytes, int count, int32_t* total, bool add);

  // `rows` rows of outputs.
  void (*finish8)(const Finish& f, size_t rows);
  void (*finish16)(const Finish& f, size_t rows);

  // floor(x * ratio), limited to +-high (1..127), where ratio is a / b, |x| a < 2^26 and b < 2^20.
  void (*quotients)(const int32_t* x, size_t n, double ratio, int high, int8_t* out);
  // min(floor(|x| * ratio), last), where ratios are 1 / b, |x| < 2^28 and 2^10 < b <= 2^18.
  void (*magnitudes)(const int32_t* x, size_t n, const double* ratios, int32_t last, int32_t* out);
};

// Those of this CPU by name: "scalar", "avx2", "avx512", "amx"; "auto" gives the best. Null: unknown or not available.
const Kernels* find_kernels(const char* name);

const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* amx_kernels();

}  // namespace lvc::nets

#endif  // LVC_NETS_KERNELS_H
