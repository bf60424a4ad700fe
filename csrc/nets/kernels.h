// The inner loops of the integer networks: one table of functions for each instruction set. All tables compute the
// same integers. No Python.
#ifndef LVC_NETS_KERNELS_H
#define LVC_NETS_KERNELS_H

#include <cstddef>
#include <cstdint>

namespace lvc::nets {

// Rows of a tile: a multiple of the rows of every register block below.
constexpr int kTile = 24;
// Outputs are padded to a multiple of this.
constexpr int kOutputBlock = 16;

// How the operands of a product are stored. Inputs go in groups that one instruction multiplies and adds up.
enum class Format {
  kBytes,  // inputs uint8 in groups of 4, weights int8
  kWords,  // inputs int16 in groups of 2, weights int16
};

// A matrix product of a tile with what follows:
//   value = clamp((sum_k rows[r][k] weights[k][n] + bias[n]) >> shift, low, high) * multiplier
struct Product {
  Format format;
  size_t groups;        // groups of inputs
  int outputs;          // padded: a multiple of kOutputBlock
  const void* weights;  // [groups][outputs][4 or 2]
  const int32_t* bias;  // [outputs]
  int shift;
  int32_t low, high, multiplier;
};

struct Kernels {
  const char* name;

  // The formats that there are products for.
  bool bytes;
  // Whether products of bytes add up pairs of products in int16 with saturation, which must never happen.
  bool saturates;

  // rows: kTile rows of `row_bytes` bytes; total: kTile rows of p.outputs values, set (`add` false) or added to.
  void (*product)(const Product& p, const void* rows, size_t row_bytes, int32_t* total, bool add);

  // clamp(total + offset + residual, low, high) of n outputs; offset and residual may be null.
  void (*finish8)(const int32_t* total, size_t n, const int32_t* offset, const uint8_t* residual, int32_t low,
                  int32_t high, uint8_t* out);
  void (*finish16)(const int32_t* total, size_t n, const int32_t* offset, const uint8_t* residual, int32_t low,
                   int32_t high, int16_t* out);
};

// Those of this CPU by name: "scalar", "avx2", "avx512"; "auto" gives the best. Null: unknown or not available.
const Kernels* find_kernels(const char* name);

const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();

}  // namespace lvc::nets

#endif  // LVC_NETS_KERNELS_H
