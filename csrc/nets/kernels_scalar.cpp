// The portable kernels, and the choice among the tables.
#include <cstring>

#include "kernels.h"
#include "loops.h"

namespace lvc::nets {

namespace {

void product(const Product& p, const void* rows, size_t row_bytes, int count, int32_t* total, bool add) {
  const size_t weight_step = 2 * static_cast<size_t>(p.outputs), piece_weights = p.padded_groups() * weight_step;
  for (int r = 0; r < count; ++r, total += p.outputs) {
    const uint8_t* row = static_cast<const uint8_t*>(rows) + static_cast<size_t>(r) * row_bytes;
    for (int first = 0; first < p.outputs; first += kOutputBlock) {
      int32_t sum[kOutputBlock] = {};
      for (int piece = 0; piece < p.pieces; ++piece) {
        const size_t i = static_cast<size_t>(piece);
        const int16_t* x = reinterpret_cast<const int16_t*>(row + i * p.piece_bytes);
        const int16_t* w = static_cast<const int16_t*>(p.weights) + i * piece_weights + 2 * first;
        for (size_t k = 0; k < p.groups; ++k, w += weight_step) {
          const int32_t a = x[2 * k], b = x[2 * k + 1];
          for (int n = 0; n < kOutputBlock; ++n) sum[n] += a * w[2 * n] + b * w[2 * n + 1];
        }
      }
      for (int n = 0; n < kOutputBlock; ++n) {
        const int32_t value = requantize(p, sum[n], first + n);
        total[first + n] = add ? total[first + n] + value : value;
      }
    }
  }
}

}  // namespace

const Kernels* scalar_kernels() {
  static const Kernels table = {"scalar", false, false, nullptr, nullptr, product, finish<uint8_t>, finish<int16_t>,
                                quotients, magnitudes};
  return &table;
}

const Kernels* find_kernels(const char* name) {
  const Kernels* const all[] = {amx_kernels(), avx512_kernels(), avx2_kernels(), scalar_kernels()};
  for (const Kernels* kernels : all)
    if (kernels != nullptr && (std::strcmp(name, "auto") == 0 || std::strcmp(name, kernels->name) == 0))
      return kernels;
  return nullptr;
}

}  // namespace lvc::nets
