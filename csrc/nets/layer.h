// Layers of integer networks: sums of requantized convolutions, over whole pictures or at some positions. No Python.
#ifndef LVC_NETS_LAYER_H
#define LVC_NETS_LAYER_H

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace lvc::nets {

// One convolution, 1x1 or 3x3 with zero padding, of channels that come from several arrays.
struct PartSpec {
  int kernel;                // 1 or 3
  bool is_signed;            // inputs are int8, else uint8
  int32_t x_max;             // largest magnitude of an input
  std::vector<int> sources;  // channels of each source
  const int8_t* weights;     // [outputs][channels * kernel * kernel], as of torch's unfold
  const int32_t* bias;       // [outputs]
  int shift;
  int32_t low, high;   // clamp of this part's values
  int32_t multiplier;  // of these, after the clamp
};

// Where a source lies: channels `first`.. of a position, positions `stride` bytes apart, the rows one after the
// other.
struct Source {
  const uint8_t* data;
  size_t stride;
};

enum class Output { kUint8, kInt16 };

struct Call {
  int height, width;
  // Linear positions (y * width + x) to compute; null for all. Results are in their order.
  const int32_t* positions;
  // Or where results are wanted [height][width], all others being zero; null for everywhere.
  const uint8_t* wanted;
  int n;  // positions, or height * width
  const Source* sources;     // of all parts, one after the other
  const int32_t* offset;     // [outputs], added to the sum, or null
  const uint8_t* residual;   // [n][outputs], added too, or null
  void* out;                 // [n][outputs], or [outputs][n] if planar
  bool planar;
  int threads;
};

// out = clamp(sum of parts + offset + residual, low, high)
class Layer {
 public:
  Layer(int outputs, const std::vector<PartSpec>& parts, int32_t low, int32_t high, Output output);

  void run(const Kernels& kernels, const Call& call) const;

  int outputs() const { return outputs_; }
  size_t sources() const;
  int source_channels(size_t source) const;
  bool source_signed(size_t source) const;
  Output output() const { return output_; }

 private:
  struct Packed {
    int pieces = 1;
    size_t groups = 0;  // of a piece
    std::vector<uint8_t> weights;
    std::vector<int32_t> bias;
    bool exact = false;  // no pair of products leaves int16
  };
  struct Part {
    int kernel;
    bool is_signed;
    std::vector<int> sources;
    int shift;
    int32_t low, high, multiplier;
    Packed bytes, words;
  };
  struct Scratch;
  struct View;
  using FinishFunction = void (*)(const Finish&, size_t);

  static Packed pack(const PartSpec& spec, int outputs, int padded, Format format);
  static bool as_bytes(const Kernels& kernels, const Part& part);
  static bool in_place(const Part& part, const Source& source, const Call& call, int first);
  template <typename T>
  static void gather(const Part& part, const Source* sources, const Call& call, int first, int count,
                     std::vector<uint8_t>& inputs, View& view);
  template <typename T>
  static void strip(const Part& part, const Source* sources, const Call& call, int y, int n,
                    std::vector<uint8_t>& inputs, View& view);
  void empty(const Call& call, int first, int n) const;
  void rows(const Kernels& kernels, const Call& call, int start, int end, std::vector<View>& views,
            Scratch& scratch) const;
  void tile(const Kernels& kernels, const Call& call, int first, int count, const std::vector<View>& strips,
            Scratch& scratch) const;
  template <typename T>
  void store(FinishFunction finish, const Call& call, int first, int count, Scratch& scratch) const;

  int outputs_, padded_;
  int32_t low_, high_;
  Output output_;
  std::vector<Part> parts_;
};

}  // namespace lvc::nets

#endif  // LVC_NETS_LAYER_H
