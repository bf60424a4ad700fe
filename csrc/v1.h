// The range coder of format version 1, to decode old streams: one rANS state of 64 bits, 32-bit words, tables of
// 2 to 16 bits. lvc/coding/reference_v1.py specifies the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "coder.h"

namespace lvc {
namespace v1 {

constexpr uint32_t kMinPrecision = 2;
constexpr uint32_t kMaxPrecision = 16;

// Integer CDFs, checked once. Throws std::invalid_argument (with the row at fault) when they break a rule.
class Tables {
 public:
  // cdf: n_tables rows of `stride` entries, of which row t uses lengths[t] (its symbols + 1). Symbol s of row t
  // is the value offsets[t] + s, but for the last one, the escape.
  Tables(const uint32_t* cdf, size_t n_tables, size_t stride, const uint32_t* lengths, const int32_t* offsets,
         uint32_t precision);
  size_t n_tables() const { return row_.size(); }

 private:
  friend class Decoder;
  std::vector<uint32_t> cdf_, row_, escape_;
  std::vector<int32_t> first_;
  std::vector<uint16_t> bucket_;  // [n_tables][1 << bucket_bits]: a symbol at or before the one sought
  uint32_t precision_, bucket_bits_;
};

// Reads data that the caller keeps alive and unchanged. After a status of damage, all calls repeat it.
class Decoder {
 public:
  Decoder(const uint8_t* data, size_t size);
  template <typename Index>
  Status pull(const Tables& tables, Index index, int32_t* out, size_t n);
  Status close() const;
  uint64_t position() const { return position_; }

 private:
  bool take(uint32_t slot, uint32_t start, uint32_t frequency, uint32_t precision);
  Status take_bit(uint32_t precision, uint32_t& bit);
  Status take_escape(uint32_t precision, int64_t first, int64_t last, int32_t& value);
  Status take_symbol(const Tables& tables, uint32_t table, int32_t& value);

  uint64_t state_;
  const uint8_t* next_;
  const uint8_t* end_;
  Status status_ = Status::kOk;
  uint64_t position_ = 0;
};

}  // namespace v1
}  // namespace lvc
