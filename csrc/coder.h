// Tables, encoder and decoder as objects that own memory: what the bindings and the C++ tests use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "rans.h"

namespace lvc {

// Integer CDFs, checked once. Throws std::invalid_argument (with the row at fault) when they break a rule.
class Tables {
 public:
  // cdf: n_tables rows of `stride` entries, of which row t uses lengths[t] (its symbols + 1).
  Tables(const uint32_t* cdf, size_t n_tables, size_t stride, const uint32_t* lengths, const int32_t* offsets,
         uint32_t precision);
  TablesView view() const;

 private:
  std::vector<uint32_t> cdf_, row_, n_symbols_;
  std::vector<int32_t> offset_;
  std::vector<uint16_t> bucket_;
  uint32_t precision_, bucket_bits_;
};

// Which table codes which symbol: one index a symbol, or runs of `run` symbols for tables 0, 1, 2, ...
template <typename T>
struct PerSymbol {
  const T* index;
};
struct PerRun {
  size_t run;
};

class Encoder {
 public:
  // Appends n symbols. On any status but kOk nothing was appended. Symbol: int8_t, int16_t or int32_t;
  // Index: PerSymbol<uint8_t>, PerSymbol<int32_t> or PerRun.
  template <typename Symbol, typename Index>
  Status push(const TablesView& tables, const Symbol* symbols, Index index, size_t n);
  // The coded bytes of all that was pushed; the encoder is empty thereafter.
  std::vector<uint8_t> finish();

 private:
  struct Segment {
    size_t end;  // one past its last op
    uint32_t precision;
  };
  std::vector<Op> ops_;
  std::vector<Segment> segments_;
};

// Reads data that the caller keeps alive and unchanged. After a status of damage, all calls repeat it.
class Decoder {
 public:
  Decoder(const uint8_t* data, size_t size);
  template <typename Index>
  Status pull(const TablesView& tables, Index index, int32_t* out, size_t n);
  // kOk if all symbols were taken and the state is the one that the encoder started with.
  Status close() const;
  // Symbols decoded so far, for messages.
  uint64_t position() const { return position_; }

 private:
  DecoderState state_;
  Status status_;
  uint64_t position_ = 0;
};

}  // namespace lvc
