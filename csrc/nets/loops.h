// Loops that every kernel file compiles for its own instruction set: hence the unnamed namespace.
#ifndef LVC_NETS_LOOPS_H
#define LVC_NETS_LOOPS_H

#include <algorithm>

#include "kernels.h"

namespace lvc::nets {
namespace {

inline int32_t requantize(const Product& p, int32_t sum, int n) {
  return std::clamp((sum + p.bias[n]) >> p.shift, p.low, p.high) * p.multiplier;
}

template <typename T>
void finish_row(const int32_t* __restrict total, size_t n, const int32_t* __restrict offset,
                const uint8_t* __restrict residual, int32_t low, int32_t high, T* __restrict out) {
  if (offset == nullptr && residual == nullptr) {
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<T>(std::min(std::max(total[i], low), high));
  } else if (offset == nullptr) {
    for (size_t i = 0; i < n; ++i) out[i] = static_cast<T>(std::min(std::max(total[i] + residual[i], low), high));
  } else {
    for (size_t i = 0; i < n; ++i) {
      const int32_t more = residual == nullptr ? 0 : residual[i];
      out[i] = static_cast<T>(std::min(std::max(total[i] + offset[i] + more, low), high));
    }
  }
}

template <typename T>
void finish(const Finish& f, size_t rows) {
  for (size_t r = 0; r < rows; ++r)
    finish_row(f.total + r * f.total_stride, f.outputs, f.offset,
               f.residual == nullptr ? nullptr : f.residual + r * f.outputs, f.low, f.high,
               static_cast<T*>(f.out) + r * f.outputs);
}

}  // namespace
}  // namespace lvc::nets

#endif  // LVC_NETS_LOOPS_H
