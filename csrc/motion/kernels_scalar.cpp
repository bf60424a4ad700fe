// The portable kernels, and the choice among the tables.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace lvc::motion {

const int8_t kLumaFilter[4][kLumaTaps] = {
    {0, 0, 0, 64, 0, 0, 0, 0}, {-1, 4, -10, 58, 17, -5, 1, 0}, {-1, 4, -11, 40, 40, -11, 4, -1},
    {0, 1, -5, 17, 58, -10, 4, -1}};

const int8_t kChromaFilter[8][kChromaTaps] = {{0, 64, 0, 0},    {-2, 58, 10, -2}, {-4, 54, 16, -2},
                                              {-6, 46, 28, -4}, {-4, 36, 36, -4}, {-4, 28, 46, -6},
                                              {-2, 16, 54, -4}, {-2, 10, 58, -2}};

namespace {

uint8_t to_sample(int32_t value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }

uint32_t sad(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, int w, int h) {
  uint32_t sum = 0;
  for (int y = 0; y < h; ++y, a += a_stride, b += b_stride)
    for (int x = 0; x < w; ++x) sum += static_cast<uint32_t>(std::abs(a[x] - b[x]));
  return sum;
}

// One-dimensional Hadamard transform of 8 values that lie `step` apart.
void hadamard8(int32_t* v, int step) {
  for (int half = 4; half > 0; half /= 2)
    for (int i = 0; i < 8; ++i)
      if ((i & half) == 0) {
        const int32_t a = v[i * step], b = v[(i + half) * step];
        v[i * step] = a + b;
        v[(i + half) * step] = a - b;
      }
}

uint32_t satd(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, int w, int h) {
  uint32_t sum = 0;
  for (int top = 0; top < h; top += 8)
    for (int left = 0; left < w; left += 8) {
      int32_t m[64];
      for (int y = 0; y < 8; ++y)
        for (int x = 0; x < 8; ++x)
          m[8 * y + x] = a[(top + y) * a_stride + left + x] - b[(top + y) * b_stride + left + x];
      for (int i = 0; i < 8; ++i) hadamard8(m + 8 * i, 1);
      for (int i = 0; i < 8; ++i) hadamard8(m + i, 8);
      for (int32_t value : m) sum += static_cast<uint32_t>(std::abs(value));
    }
  return (sum + 2) / 4;
}

template <int taps>
void across(const uint8_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
            const int8_t* filter) {
  for (int y = 0; y < h; ++y, src += src_stride, dst += dst_stride)
    for (int x = 0; x < w; ++x) {
      int32_t sum = 0;
      for (int k = 0; k < taps; ++k) sum += filter[k] * src[x + k - taps / 2 + 1];
      dst[x] = static_cast<int16_t>(sum);  // within int16 for each of the filters
    }
}

void widen(const uint8_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h) {
  for (int y = 0; y < h; ++y, src += src_stride, dst += dst_stride)
    for (int x = 0; x < w; ++x) dst[x] = static_cast<int16_t>(src[x] << kIntermediateShift);
}

template <int taps>
void down(const int16_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
          const int8_t* filter) {
  for (int y = 0; y < h; ++y, src += src_stride, dst += dst_stride)
    for (int x = 0; x < w; ++x) {
      int32_t sum = 0;
      for (int k = 0; k < taps; ++k) sum += filter[k] * src[x + (k - taps / 2 + 1) * src_stride];
      dst[x] = static_cast<int16_t>(std::clamp(sum >> kIntermediateShift, -32768, 32767));
    }
}

void narrow(const int16_t* src, ptrdiff_t src_stride, uint8_t* dst, ptrdiff_t dst_stride, int w, int h) {
  for (int y = 0; y < h; ++y, src += src_stride, dst += dst_stride)
    for (int x = 0; x < w; ++x) dst[x] = to_sample((src[x] + 32) >> kIntermediateShift);
}

template <typename T, int shift>
void blend(const T* const predictions[4], ptrdiff_t stride, const int16_t* weights, uint8_t* dst,
           ptrdiff_t dst_stride, int w, int h) {
  for (int y = 0; y < h; ++y, dst += dst_stride)
    for (int x = 0; x < w; ++x, weights += 4) {
      int32_t sum = 1 << (shift - 1);
      for (int i = 0; i < 4; ++i) sum += weights[i] * predictions[i][y * stride + x];
      dst[x] = to_sample(sum >> shift);
    }
}

void average(int16_t* a, const int16_t* b, ptrdiff_t stride, int w, int h) {
  for (int y = 0; y < h; ++y, a += stride, b += stride)
    for (int x = 0; x < w; ++x) a[x] = static_cast<int16_t>((a[x] + b[x] + 1) >> 1);
}

void average_samples(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, uint8_t* dst,
                     ptrdiff_t dst_stride, int w, int h) {
  for (int y = 0; y < h; ++y, a += a_stride, b += b_stride, dst += dst_stride)
    for (int x = 0; x < w; ++x) dst[x] = static_cast<uint8_t>((a[x] + b[x] + 1) >> 1);
}

}  // namespace

const Kernels& scalar_kernels() {
  static const Kernels table = {"scalar",
                                sad,
                                satd,
                                across<8>,
                                across<4>,
                                widen,
                                down<8>,
                                down<4>,
                                narrow,
                                blend<int16_t, kIntermediateShift + kBlendShift>,
                                blend<uint8_t, kBlendShift>,
                                average,
                                average_samples};
  return table;
}

const Kernels* find_kernels(const char* name) {
  const Kernels* avx2 = avx2_kernels();
  if (std::strcmp(name, "auto") == 0) return avx2 != nullptr ? avx2 : &scalar_kernels();
  if (std::strcmp(name, "scalar") == 0) return &scalar_kernels();
  if (std::strcmp(name, "avx2") == 0) return avx2;
  return nullptr;
}

}  // namespace lvc::motion
