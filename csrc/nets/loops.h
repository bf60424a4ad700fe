// Loops that every kernel file compiles for its own instruction set: hence the unnamed namespace.
#ifndef LVC_NETS_LOOPS_H
#define LVC_NETS_LOOPS_H

#include <algorithm>
#include <cstdlib>

#include "kernels.h"

namespace lvc::nets {
namespace {

[[maybe_unused]] inline int32_t requantize(const Product& p, int32_t sum, int n) {
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

// A ratio that is rounded, and a product of it, may lie below an integer that they should be: by far less than this,
// which is less than any fraction lacks to the next integer.
constexpr double kSlack = 1.0 / (1 << 21);

[[maybe_unused]] void quotients(const int32_t* __restrict x, size_t n, double ratio, int high,
                                int8_t* __restrict out) {
  const double low = -high - 1, most = high;
  for (size_t i = 0; i < n; ++i) {
    const double q = std::min(std::max(x[i] * ratio, low), most);
    const int32_t value = static_cast<int32_t>(q - low + kSlack) - high - 1;  // of positive numbers, the floor
    out[i] = static_cast<int8_t>(std::max(value, -high));
  }
}

[[maybe_unused]] void magnitudes(const int32_t* __restrict x, size_t n, const double* __restrict ratios, int32_t last,
                                 int32_t* __restrict out) {
  for (size_t i = 0; i < n; ++i)
    out[i] = std::min(static_cast<int32_t>(std::abs(x[i]) * ratios[i] + kSlack), last);
}

}  // namespace
}  // namespace lvc::nets

#endif  // LVC_NETS_LOOPS_H
