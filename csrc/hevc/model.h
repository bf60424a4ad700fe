// Probabilities of bins by mixing what many contexts say, and an arithmetic coder for them. Exact integers; no Python.
//
// After the PAQ family of compressors (M. Mahoney, "Adaptive weighing of context models for lossless data compression",
// Florida Tech. TR CS-2005-16): each context has an adaptive probability; their log odds are weighted and summed, and
// the weights follow the gradient of the code length. What differs: all begins from a trained state.
#ifndef LVC_HEVC_MODEL_H
#define LVC_HEVC_MODEL_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bits.h"

namespace lvc::hevc {

constexpr int kSlotBits = 20;
constexpr int kInputs = 16;        // most contexts of a bin
constexpr int kSets = 3;           // of weights that are mixed with
constexpr int kSetSize = 1 << 12;  // choices of weights in each
constexpr int kMaxCount = 255;
constexpr int kLeastCountLimit = 3;  // below, slots move too far
constexpr int kMaxWeight = 1 << 20;

// What is learned.
struct State {
  std::vector<uint32_t> slots;   // probability of a one in the upper 22 bits, how often it was seen in the lower 8
  std::vector<int32_t> weights;  // [kSets][kSetSize][kInputs], in 1 / 65536

  State();
};

// What a bin is coded with: filled by the syntax, one context after the other.
struct Query {
  std::array<uint32_t, kInputs> slots;
  int n = 0;
  int fixed = 0;  // a further input: log odds that the syntax itself brings
  std::array<uint32_t, kSets> sets;
};

class Model {
 public:
  // count_limit: up to which slots adapt more and more slowly, kLeastCountLimit..kMaxCount. weight_rate: of the
  // weights.
  Model(const State& state, int count_limit, int weight_rate)
      : state_(state), count_limit_(count_limit), weight_rate_(weight_rate) {}

  // Probability of a one, in 16 bits, 1..65535.
  int predict(const Query& query);
  // Learns what the bin was that was predicted last.
  void learn(const Query& query, int bin);

  const State& state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

 private:
  int32_t* weights_of(const Query& query, int set) {
    return &state_.weights[(static_cast<size_t>(set) * kSetSize + query.sets[static_cast<size_t>(set)]) * kInputs];
  }

  State state_;
  int count_limit_, weight_rate_;
  std::array<int32_t, kInputs> inputs_{};  // zeros beyond those of a bin
  std::array<int32_t, kSets> outputs_{};
};

// Probability in 16 bits of log odds in 1/256.
int squash(int odds);

class ArithmeticEncoder {
 public:
  void code(int bin, int chance);
  Bytes finish();

 private:
  Bytes out_;
  uint32_t low_ = 0, high_ = 0xffffffffu;
};

class ArithmeticDecoder {
 public:
  ArithmeticDecoder(const uint8_t* data, size_t size);
  int code(int chance);
  // Whether all was read.
  bool done() const { return at_ >= size_; }

 private:
  uint32_t next();

  const uint8_t* data_;
  size_t size_, at_ = 0;
  uint32_t low_ = 0, high_ = 0xffffffffu, value_ = 0;
};

}  // namespace lvc::hevc

#endif  // LVC_HEVC_MODEL_H
