// The entropy coder itself: range asymmetric numeral systems (rANS, Duda 2013, arXiv:1311.2540) with a
// 64-bit state and 32-bit words. C++17, no Python, no torch, no allocation: every function works on plain
// pointers and may be compiled for a device. lvc/coding/reference.py is the specification of the bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define LVC_HD __host__ __device__
#else
#define LVC_HD
#endif

namespace lvc {

// State of an encoder before its first symbol. Any value >= 2^kMaxPrecision makes each coded symbol enlarge
// the state, hence each decoded one shrink it: reading more symbols than were written is always noticed.
// Its 16 bits are also what a decoder must find again at the end, which detects most damage.
constexpr uint64_t kInitialState = uint64_t{1} << 16;
// With words left, a decoder refills whenever its state falls below this.
constexpr uint64_t kLowerBound = uint64_t{1} << 32;
constexpr uint32_t kMinPrecision = 2;
constexpr uint32_t kMaxPrecision = 16;
// Longest Exp-Golomb prefix: the distance from any int32 to any table, sign included, is below 2^33 - 1.
constexpr uint32_t kMaxPrefix = 32;
constexpr uint32_t kBucketBits = 8;

enum class Status : int {
  kOk = 0,
  kBadIndex = 1,     // an index names no table (caller's mistake)
  kExhausted = 2,    // the data ended before the symbols asked for (damage)
  kBadEscape = 3,    // an escape that no encoder writes (damage)
  kLeftOver = 4,     // at the end: words or state left (damage, or symbols not asked for)
  kBadLayout = 5,    // data whose length or first bytes no encoder writes (damage)
};

// Tables as the kernels see them. Row t covers cdf[row[t]] .. cdf[row[t] + n_symbols[t]] (both included);
// its symbol s stands for the value offset[t] + s, but for the last symbol, which is the escape.
struct TablesView {
  const uint32_t* cdf;
  const uint32_t* row;
  const uint32_t* n_symbols;
  const int32_t* offset;
  const uint16_t* bucket;  // [n_tables][1 << bucket_bits]: a symbol at or before the one sought
  uint32_t n_tables;
  uint32_t precision;
  uint32_t bucket_bits;
};

// One coding step, as the encoder stores it until it codes them in reverse: start << 16 | frequency.
// Both are below 2^16, for a table has two symbols at least.
using Op = uint32_t;

LVC_HD inline Op make_op(uint32_t start, uint32_t frequency) { return start << 16 | frequency; }

LVC_HD inline Op bit_op(uint32_t bit, uint32_t precision) {
  const uint32_t half = uint32_t{1} << (precision - 1);
  return make_op(bit ? half : 0, half);
}

// Number of bits of `value` after its leading one; value > 0.
LVC_HD inline uint32_t floor_log2(uint64_t value) {
  uint32_t n = 0;
  while (value >>= 1) ++n;
  return n;
}

// What an escape carries: 2 * distance above the table, or 2 * distance below it + 1 (distance from 0), plus 1.
LVC_HD inline uint64_t escape_code(int64_t value, int64_t first, int64_t last) {
  return value > last ? 2 * static_cast<uint64_t>(value - last - 1) + 1
                      : 2 * static_cast<uint64_t>(first - value - 1) + 2;
}

// ---- encoder

// Codes one step into `state`. Returns true if a word has to be kept first (stored in `word`).
LVC_HD inline bool put(uint64_t& state, Op op, uint32_t precision, uint32_t& word) {
  const uint64_t start = op >> 16;
  const uint64_t frequency = op & 0xffff;
  const bool full = state >= frequency << (64 - precision);
  if (full) {
    word = static_cast<uint32_t>(state);
    state >>= 32;
  }
  state = ((state / frequency) << precision) + state % frequency + start;
  return full;
}

// ---- decoder

struct DecoderState {
  uint64_t state;
  const uint8_t* next;  // little-endian words up to `end`
  const uint8_t* end;
};

LVC_HD inline uint32_t load_word(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

// Takes the symbol of [start, start + frequency) off the state. False: the data ended before this symbol.
LVC_HD inline bool take(DecoderState& d, uint32_t slot, uint32_t start, uint32_t frequency, uint32_t precision) {
  uint64_t x = frequency * (d.state >> precision) + (slot - start);
  if (x < kLowerBound) {
    if (d.next != d.end) {
      x = x << 32 | load_word(d.next);
      d.next += 4;
    } else if (x < kInitialState) {
      return false;
    }
  }
  d.state = x;
  return true;
}

LVC_HD inline Status take_bit(DecoderState& d, uint32_t precision, uint32_t& bit) {
  const uint32_t slot = static_cast<uint32_t>(d.state) & ((uint32_t{1} << precision) - 1);
  const uint32_t half = uint32_t{1} << (precision - 1);
  bit = slot >> (precision - 1);
  return take(d, slot, bit ? half : 0, half, precision) ? Status::kOk : Status::kExhausted;
}

LVC_HD inline Status take_escape(DecoderState& d, uint32_t precision, int64_t first, int64_t last,
                                 int32_t& value) {
  uint32_t bit = 0, prefix = 0;
  for (;;) {
    const Status status = take_bit(d, precision, bit);
    if (status != Status::kOk) return status;
    if (bit) break;
    if (++prefix > kMaxPrefix) return Status::kBadEscape;
  }
  uint64_t code = 1;
  for (uint32_t i = 0; i < prefix; ++i) {
    const Status status = take_bit(d, precision, bit);
    if (status != Status::kOk) return status;
    code = code << 1 | bit;
  }
  const int64_t distance = static_cast<int64_t>((code - 1) >> 1) + 1;
  const int64_t wide = code & 1 ? last + distance : first - distance;
  if (wide < INT32_MIN || wide > INT32_MAX) return Status::kBadEscape;
  value = static_cast<int32_t>(wide);
  return Status::kOk;
}

LVC_HD inline Status take_symbol(DecoderState& d, const TablesView& t, uint32_t table, int32_t& value) {
  const uint32_t slot = static_cast<uint32_t>(d.state) & ((uint32_t{1} << t.precision) - 1);
  const uint32_t* cdf = t.cdf + t.row[table];
  uint32_t s = t.bucket[(static_cast<size_t>(table) << t.bucket_bits) + (slot >> (t.precision - t.bucket_bits))];
  while (cdf[s + 1] <= slot) ++s;  // ends: the last entry of a row is 2^precision
  if (!take(d, slot, cdf[s], cdf[s + 1] - cdf[s], t.precision)) return Status::kExhausted;
  const uint32_t escape = t.n_symbols[table] - 1;
  const int64_t first = t.offset[table];
  if (s == escape) return take_escape(d, t.precision, first, first + escape - 1, value);
  value = static_cast<int32_t>(first + s);
  return Status::kOk;
}

}  // namespace lvc
