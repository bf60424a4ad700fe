// The entropy coder itself: range asymmetric numeral systems (rANS, Duda 2013, arXiv:1311.2540), interleaved
// over 1, 4, 8 or 32 lanes (Giesen 2014, arXiv:1402.3392). C++17, no Python, no torch, no allocation: every
// function works on plain pointers and is host and device code. lvc/coding/reference.py specifies the bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define LVC_HD __host__ __device__
#else
#define LVC_HD
#endif

namespace lvc {

constexpr uint32_t kPrecision = 14;
constexpr uint32_t kTotal = uint32_t{1} << kPrecision;
// A lane's state lies in [2^16, 2^32) between symbols. Encoders start each lane at the lower bound, and
// decoders must find it again at the end. A symbol decoded from the bound always needs a word (a frequency is
// below 2^14), so reading more symbols than were written is always noticed.
constexpr uint32_t kInitialState = uint32_t{1} << 16;
constexpr uint32_t kMaxLanes = 32;
// Longest Exp-Golomb prefix: the distance from any int32 to any table, side included, is below 2^33 - 1.
constexpr uint32_t kMaxPrefix = 32;
// Slots are looked up in buckets of 2^kBucketShift.
constexpr uint32_t kBucketShift = 6;
constexpr uint32_t kBuckets = kTotal >> kBucketShift;
// Entries of all tables of one set together: what fits a bucket's word.
constexpr uint32_t kMaxEntries = uint32_t{1} << 20;

enum class Status : int {
  kOk = 0,
  kBadIndex = 1,     // an index names no table (caller's mistake)
  kExhausted = 2,    // the data ended before the symbols asked for (damage)
  kBadEscape = 3,    // an escape that no encoder writes (damage)
  kLeftOver = 4,     // at the end: words, bits or state left (damage, or symbols not asked for)
  kBadLayout = 5,    // data whose length or first bits no encoder writes (damage)
};

// One interval of a table: start (bits 0-13), frequency (bits 16-29), whether it is the escape (bit 31).
using Entry = uint32_t;

LVC_HD inline uint32_t start_of(Entry e) { return e & (kTotal - 1); }
LVC_HD inline uint32_t frequency_of(Entry e) { return e >> 16 & (kTotal - 1); }
LVC_HD inline bool is_escape(Entry e) { return e >> 31 != 0; }

// The same and its value for decoders that read one at a time.
struct Interval {
  uint16_t start;  // bit 15 of both: whether it is the escape
  uint16_t frequency;
  int32_t value;  // of the escape: 0
};

// Tables as the kernels see them. Table t has count[t] values from first[t] on, and the escape. Its count[t] + 1
// entries stand from row[t] on, in coding order in `entry` and `value` (for decoding), and in the order of
// values, escape last, in `by_value` and `cost` (for encoding). row, first and count are there for 256 tables at least,
// so that any index of 8 bits may be looked up.
struct TablesView {
  const uint32_t* row;
  const int32_t* first;
  const uint32_t* count;
  const Entry* entry;
  const int32_t* value;      // of the escape: 0
  const Interval* interval;  // entry and value again
  const uint32_t* bucket;    // [n_tables][kBuckets]: entry << 12 | (b - 1) << 6 | (c - 1), see find_entry
  const Entry* by_value;
  const uint32_t* cost;      // approximate bits times 1024, see lane_count
  // For up to 64 tables in zigzag order whose numbers fit 16 bits, else null. Rows of 64: the starts of places 0 to
  // 15 of the zigzag (2^14 behind the escape), the values of rank 0, the places of escapes, counts, first values,
  // rows. See Tables::build_ranks.
  const uint16_t* ranks;
  uint32_t n_tables;
  uint32_t n_entries;
};
constexpr uint32_t kRanks = 16;
constexpr uint32_t kRankTables = 64;

LVC_HD inline uint32_t count_bits(uint32_t x) {
#if defined(__CUDA_ARCH__)
  return static_cast<uint32_t>(__popc(static_cast<int>(x)));
#elif defined(__GNUC__)
  return static_cast<uint32_t>(__builtin_popcount(x));
#else
  uint32_t n = 0;
  for (; x != 0; x &= x - 1) ++n;
  return n;
#endif
}

// Index of the lowest set bit; x > 0.
LVC_HD inline uint32_t lowest_bit(uint32_t x) { return count_bits((x & (0u - x)) - 1); }

// Number of bits of `value` after its leading one; value > 0.
LVC_HD inline uint32_t floor_log2(uint64_t value) {
  uint32_t n = 0;
  while (value >>= 1) ++n;
  return n;
}

// The lane count is an encoder's choice. This one keeps what the lanes cost (2.4 bytes each) at about 0.2 %.
LVC_HD inline uint32_t lane_count(uint64_t cost) {
  return cost >= uint64_t{1} << 28 ? 32 : cost >= uint64_t{1} << 26 ? 8 : cost >= uint64_t{1} << 25 ? 4 : 1;
}
constexpr uint64_t kCostOfAllLanes = uint64_t{1} << 28;

// 1024 * (14 - log2(frequency)), with the logarithm linear between powers of two.
LVC_HD inline uint32_t cost_of(uint32_t frequency) {
  const uint32_t n = floor_log2(frequency);
  return 1024 * kPrecision - (n * 1024 + (frequency << 10 >> n) - 1024);
}

LVC_HD inline uint32_t lane_code(uint32_t lanes) { return lanes == 1 ? 0 : lanes == 4 ? 1 : lanes == 8 ? 2 : 3; }
LVC_HD inline uint32_t lanes_of(uint32_t code) { return code == 0 ? 1 : code == 1 ? 4 : code == 2 ? 8 : 32; }

// ---- one lane

// Codes one entry into a state. Returns true if a word has to be kept first.
LVC_HD inline bool put(uint32_t& state, Entry e, uint16_t& word) {
  const uint32_t f = frequency_of(e);
  const bool full = state >> 16 >= f << 2;  // that is, state >= f * 2^18
  if (full) {
    word = static_cast<uint16_t>(state);
    state >>= 16;
  }
  state = (state / f << kPrecision) + state % f + start_of(e);
  return full;
}

// The entry whose interval holds the slot. A bucket knows the entry at its first slot, and the distances b and
// c from there to the next two entries (64 if they are beyond); the rare rest is found step by step.
LVC_HD inline uint32_t find_entry(const TablesView& t, uint32_t table, uint32_t slot) {
  const uint32_t word = t.bucket[static_cast<size_t>(table) * kBuckets + (slot >> kBucketShift)];
  const uint32_t place = slot & ((1u << kBucketShift) - 1);
  uint32_t e = (word >> 12) + (place > (word >> 6 & 63)) + (place > (word & 63));
  while (slot - start_of(t.entry[e]) >= frequency_of(t.entry[e])) ++e;  // ends: intervals cover all slots
  return e;
}

// Takes an entry off a state. The state is below 2^16 thereafter if it needs a word.
LVC_HD inline uint32_t take(uint32_t state, Entry e) {
  return frequency_of(e) * (state >> kPrecision) + (state & (kTotal - 1)) - start_of(e);
}

LVC_HD inline uint32_t load_word(const uint8_t* p) {
  return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8;
}

// ---- the bit string that is read from the end of the data: lane count, states, escapes

struct BitReader {
  const uint8_t* end;  // one past the byte that holds bit 0
  uint64_t size;       // bits
  uint64_t position;

  // The next n <= 33 bits, the first one lowest. False: there are not so many.
  LVC_HD bool get(uint32_t n, uint64_t& bits) {
    if (n > size - position) return false;
    bits = 0;
    for (uint32_t have = 0; have < n;) {
      const uint32_t shift = static_cast<uint32_t>(position & 7);
      const uint32_t step = n - have < 8 - shift ? n - have : 8 - shift;
      const uint64_t piece = end[-1 - static_cast<int64_t>(position >> 3)] >> shift & ((1u << step) - 1);
      bits |= piece << have;
      have += step;
      position += step;
    }
    return true;
  }
};

// A state: its number of bits less 17 in four bits, then its bits below the leading one.
LVC_HD inline bool get_state(BitReader& reader, uint32_t& state) {
  uint64_t length, bits;
  if (!reader.get(4, length) || !reader.get(static_cast<uint32_t>(length) + 16, bits)) return false;
  state = static_cast<uint32_t>(uint64_t{1} << (length + 16) | bits);
  return true;
}

// What an escape carries: 2 * distance above the table, or 2 * distance below it + 1 (distance from 0), plus 1.
LVC_HD inline uint64_t escape_code(int64_t value, int64_t first, int64_t last) {
  return value > last ? 2 * static_cast<uint64_t>(value - last - 1) + 1
                      : 2 * static_cast<uint64_t>(first - value - 1) + 2;
}

LVC_HD inline Status escape_value(uint64_t code, int64_t first, int64_t last, int32_t& value) {
  const int64_t distance = static_cast<int64_t>((code - 1) >> 1) + 1;
  const int64_t wide = (code & 1) != 0 ? last + distance : first - distance;
  if (wide < INT32_MIN || wide > INT32_MAX) return Status::kBadEscape;
  value = static_cast<int32_t>(wide);
  return Status::kOk;
}

LVC_HD inline Status get_escape(BitReader& reader, int64_t first, int64_t last, int32_t& value) {
  uint32_t prefix = 0;
  uint64_t bits;
  for (;;) {
    if (!reader.get(1, bits)) return Status::kExhausted;
    if (bits != 0) break;
    if (++prefix > kMaxPrefix) return Status::kBadEscape;
  }
  if (!reader.get(prefix, bits)) return Status::kExhausted;
  return escape_value(uint64_t{1} << prefix | bits, first, last, value);
}

// ---- what a decoder holds

struct DecoderState {
  uint32_t lane[kMaxLanes];
  uint32_t lanes;
  const uint8_t* next;  // words are read forward, 16 bits each, lowest byte first
  const uint8_t* end;   // of the words: the first byte that bits were read from
  BitReader bits;       // reads backward
  uint64_t position;    // symbols taken; the next one is of lane position % lanes
};

// To be called after bits were read. False: they overlap with the words that were read.
LVC_HD inline bool bound_words(DecoderState& d) {
  d.end = d.bits.end - (d.bits.position + 7) / 8;
  return d.next <= d.end;
}

LVC_HD inline Status open_stream(DecoderState& d, const uint8_t* data, size_t size) {
  d.next = data;
  d.end = data;
  d.bits = {data + size, uint64_t{8} * size, 0};
  d.position = 0;
  d.lanes = 1;
  for (uint32_t i = 0; i < kMaxLanes; ++i) d.lane[i] = kInitialState;
  if (size == 0) return Status::kOk;
  uint64_t code = 0;
  d.bits.get(2, code);
  d.lanes = lanes_of(static_cast<uint32_t>(code));
  for (uint32_t i = 0; i < d.lanes; ++i)
    if (!get_state(d.bits, d.lane[i])) return Status::kBadLayout;
  bound_words(d);
  return Status::kOk;
}

// Whether all is read: every word, every bit but less than eight zeros, and every lane back where it started. (States
// where they started and nothing else would say so without any symbol, but no symbols are no bytes.)
LVC_HD inline Status close_stream(const DecoderState& d) {
  if (d.position == 0 && d.bits.size != 0) return Status::kLeftOver;
  for (uint32_t i = 0; i < d.lanes; ++i)
    if (d.lane[i] != kInitialState) return Status::kLeftOver;
  BitReader rest = d.bits;
  const uint32_t padding = static_cast<uint32_t>((8 - (rest.position & 7)) & 7);
  uint64_t bits = 0;
  rest.get(padding, bits);
  return bits == 0 && d.next == d.end ? Status::kOk : Status::kLeftOver;
}

// Decodes one symbol with every check: the definition of what all kernels do.
LVC_HD inline Status take_symbol(DecoderState& d, const TablesView& t, uint32_t table, int32_t& value) {
  uint32_t& state = d.lane[static_cast<uint32_t>(d.position) & (d.lanes - 1)];
  const uint32_t e = find_entry(t, table, state & (kTotal - 1));
  uint32_t x = take(state, t.entry[e]);
  if (x < kInitialState) {
    if (d.end - d.next < 2) return Status::kExhausted;
    x = x << 16 | load_word(d.next);
    d.next += 2;
  }
  value = t.value[e];
  if (is_escape(t.entry[e])) {
    const int64_t first = t.first[table];
    const Status status = get_escape(d.bits, first, first + t.count[table] - 1, value);
    if (status != Status::kOk) return status;
    if (!bound_words(d)) return Status::kExhausted;
  }
  state = x;
  ++d.position;
  return Status::kOk;
}

}  // namespace lvc
