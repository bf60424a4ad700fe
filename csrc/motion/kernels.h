// The inner loops of motion search and compensation: one table of functions for each instruction set.
// All tables compute the same integers. No Python.
#ifndef LVC_MOTION_KERNELS_H
#define LVC_MOTION_KERNELS_H

#include <cstddef>
#include <cstdint>

namespace lvc::motion {

// The interpolation filters of HEVC (ITU-T H.265, 8.5.3.3.3): tables 8-11 and 8-12. The taps stand at
// positions -3..4 (luma) and -1..2 (chroma); each row sums to 64.
constexpr int kLumaTaps = 8;
constexpr int kChromaTaps = 4;
extern const int8_t kLumaFilter[4][kLumaTaps];
extern const int8_t kChromaFilter[8][kChromaTaps];

// Intermediate samples have 14 bits: sample values times 64, with head-room for the overshoot of the filters.
// Values beyond int16, which only the overshoot of two half-sample filters in a row reaches, are clipped to it.
constexpr int kIntermediateShift = 6;

// Weights of overlapped blocks: four of them sum to this, in 1/2^kBlendShift.
constexpr int kBlendShift = 8;

// Widths are multiples of 8, heights are any. Sources may be read up to 32 samples beyond the right of what a
// filter needs, within the slack of Plane or of the caller's buffer.
struct Kernels {
  const char* name;

  // Sum of absolute differences.
  uint32_t (*sad)(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, int w, int h);

  // Sum of absolute values of the 8x8 Hadamard transforms of the difference, over 4 and rounded; h is a
  // multiple of 8, too. On the scale of SAD for noise, lower for smooth differences.
  uint32_t (*satd)(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, int w, int h);

  // Horizontal filters, samples to intermediate samples: dst[x] = sum of filter[k] src[x + k - taps / 2 + 1].
  void (*across8)(const uint8_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
                  const int8_t* filter);
  void (*across4)(const uint8_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
                  const int8_t* filter);

  // Samples times 64: what a horizontal filter at a whole position gives.
  void (*widen)(const uint8_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h);

  // Vertical filters, intermediate samples to intermediate samples: the sum over 64, rounded down, clipped.
  void (*down8)(const int16_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
                const int8_t* filter);
  void (*down4)(const int16_t* src, ptrdiff_t src_stride, int16_t* dst, ptrdiff_t dst_stride, int w, int h,
                const int8_t* filter);

  // Intermediate samples to samples: (value + 32) >> 6, clipped to 0..255.
  void (*narrow)(const int16_t* src, ptrdiff_t src_stride, uint8_t* dst, ptrdiff_t dst_stride, int w, int h);

  // The same of a weighted sum of four predictions: (sum of w_i p_i + 2^13) >> 14, clipped. `weights` holds for
  // each sample, row by row without gaps, those of the four predictions, as (w0, w1, w2, w3).
  void (*blend)(const int16_t* const predictions[4], ptrdiff_t stride, const int16_t* weights, uint8_t* dst,
                ptrdiff_t dst_stride, int w, int h);

  // The same of samples: (sum of w_i p_i + 2^7) >> 8.
  void (*blend_samples)(const uint8_t* const predictions[4], ptrdiff_t stride, const int16_t* weights, uint8_t* dst,
                        ptrdiff_t dst_stride, int w, int h);

  // (a + b + 1) >> 1 of intermediate samples, into a; the rows of both lie `stride` apart.
  void (*average)(int16_t* a, const int16_t* b, ptrdiff_t stride, int w, int h);

  // The same of samples, into dst.
  void (*average_samples)(const uint8_t* a, ptrdiff_t a_stride, const uint8_t* b, ptrdiff_t b_stride, uint8_t* dst,
                          ptrdiff_t dst_stride, int w, int h);
};

const Kernels& scalar_kernels();

// Null where the compiler or the CPU does not have them.
const Kernels* avx2_kernels();

// "auto" gives the best ones of this CPU; null for a name that is unknown or not available here.
const Kernels* find_kernels(const char* name);

}  // namespace lvc::motion

#endif  // LVC_MOTION_KERNELS_H
