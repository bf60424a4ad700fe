// Kernels for AVX-512 with VBMI2 (Ice Lake, Zen 4 and later), for 32 lanes; what they do not do goes to AVX2.
//
// The states of 32 lanes are two registers of 16-bit halves, in lane order: words are halves, the test for a word
// is one on the upper halves, and up to 64 tables are looked up with one permutation for all lanes.
#include "../kernels.h"

#if defined(LVC_X86)
#if !defined(__clang__)
// GCC 12 takes the undefined registers inside its own header for a mistake of ours (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "avx2.h"

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx2,fma,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2")
#endif

#include "loops.h"

namespace lvc {

namespace {

inline __m512i low_half(const __m512i v) { return _mm512_and_si512(v, _mm512_set1_epi32(0xffff)); }

// 16-bit lanes from two registers of 32-bit ones that hold the even and the odd lanes.
inline __m512i join(__m512i even, __m512i odd) {
  return _mm512_mask_blend_epi16(0xaaaaaaaa, even, _mm512_slli_epi32(odd, 16));
}

inline __m512i look_up(const uint16_t* table, __m512i index) {
  return _mm512_permutex2var_epi16(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 32));
}

// The states as two registers of halves.
inline void split_states(const uint32_t* lanes, __m512i& high, __m512i& low) {
  const __m512i a = _mm512_loadu_si512(lanes), b = _mm512_loadu_si512(lanes + 16);
  low = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(a)), _mm512_cvtepi32_epi16(b), 1);
  high = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(_mm512_srli_epi32(a, 16))),
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(b, 16)), 1);
}

inline void join_states(__m512i high, __m512i low, uint32_t* lanes) {
  alignas(64) uint16_t h[kMaxLanes], l[kMaxLanes];
  _mm512_store_si512(h, high);
  _mm512_store_si512(l, low);
  for (uint32_t i = 0; i < kMaxLanes; ++i) lanes[i] = static_cast<uint32_t>(h[i]) << 16 | l[i];
}

// ---- encoder

// What a step of 16 lanes needs of its entries alone, so that it is ready when the states are.
struct Prepared {
  __m512i frequency, start, more;
  __m512 reciprocal;
};

inline Prepared prepare(__m512i entry) {
  const __m512i slots = _mm512_set1_epi32(kTotal - 1);
  Prepared p;
  p.frequency = _mm512_and_si512(_mm512_srli_epi32(entry, 16), slots);
  p.start = _mm512_and_si512(entry, slots);
  p.more = _mm512_sub_epi32(_mm512_set1_epi32(kTotal), p.frequency);
  p.reciprocal = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_cvtepi32_ps(p.frequency));
  return p;
}

// One coding step: x / frequency, times 2^14, plus remainder and start.
inline __m512i put16(__m512i x, const Prepared& p) {
  // The ratio is below 2^18 and its float is off by less than 2^-4. Less 1/8 and rounded down, it is the
  // quotient or one below it; the remainder is then below 2^15, and its lower half all of it.
  const __m512i quotient = _mm512_cvttps_epi32(
      _mm512_fmsub_ps(_mm512_cvtepu32_ps(x), p.reciprocal, _mm512_set1_ps(0.125f)));
  const __m512i rest = low_half(_mm512_sub_epi32(x, _mm512_mullo_epi16(quotient, p.frequency)));
  const __m512i sum =
      _mm512_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(quotient, kPrecision), p.start), rest);
  return _mm512_mask_add_epi32(sum, _mm512_cmpge_epu32_mask(rest, p.frequency), sum, p.more);
}

void encode_groups(EncoderState& s, const Entry* entries, const uint16_t* ids, size_t groups, uint16_t*& top) {
  __m512i high, low;
  split_states(s.lane, high, low);
  uint16_t* out = top;
  for (const uint16_t* id = ids + groups * kMaxLanes; id != ids;) {
    id -= kMaxLanes;
    const __m512i both = _mm512_loadu_si512(id);
    const __m512i even = _mm512_i32gather_epi32(low_half(both), entries, 4);
    const __m512i odd = _mm512_i32gather_epi32(_mm512_srli_epi32(both, 16), entries, 4);
    const __m512i frequency = _mm512_and_si512(join(_mm512_srli_epi32(even, 16), _mm512_srli_epi32(odd, 16)),
                                               _mm512_set1_epi16(kTotal - 1));
    const __mmask32 full = _mm512_cmpge_epu16_mask(high, _mm512_slli_epi16(frequency, 2));
    const uint32_t words = count_bits(full);
    out -= words;
    _mm512_mask_storeu_epi16(out, static_cast<__mmask32>(_bzhi_u32(~0u, words)),
                             _mm512_maskz_compress_epi16(full, low));
    low = _mm512_mask_mov_epi16(low, full, high);
    high = _mm512_maskz_mov_epi16(~full, high);
    const __m512i a = put16(join(low, high), prepare(even));
    const __m512i b =
        put16(_mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(low, 16), high), prepare(odd));
    low = join(a, b);
    high = _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(a, 16), b);
  }
  join_states(high, low, s.lane);
  top = out;
}

// ---- decoder

struct Found {
  __m512i above;      // slot less start
  __m512i frequency;
  uint32_t escapes;
};

inline __m512i load_tables(const TablesView& t, const uint8_t* index) {
  return _mm512_min_epu16(_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index))),
                          _mm512_set1_epi16(static_cast<short>(t.n_tables - 1)));
}

// Start of the last rank that find_by_ranks looks at: slots from there on are beyond it.
inline __m512i look_up_end(const TablesView& t, __m512i table) {
  return look_up(t.ranks + (kRanks - 1) * kRankTables, table);
}

// Whether so few of the symbols are to be expected beyond those ranks that looking at them is faster than gathers.
bool mostly_near(const TablesView& t, const uint8_t* index, size_t n) {
  __m512i beyond = _mm512_setzero_si512();
  for (size_t i = 0; i + kMaxLanes <= n; i += kMaxLanes) {
    const __m512i end = look_up_end(t, load_tables(t, index + i));
    beyond = _mm512_add_epi32(beyond, _mm512_madd_epi16(_mm512_sub_epi16(_mm512_set1_epi16(kTotal), end),
                                                        _mm512_set1_epi16(1)));
  }
  alignas(64) uint32_t each[16];
  _mm512_store_si512(each, beyond);
  uint64_t sum = 0;
  for (const uint32_t some : each) sum += some;
  return sum < uint64_t{kTotal / 256} * n;
}

// Of eight registers: the least, the greatest, and minus the number of those from 2^15 on, in each lane.
inline __m512i least_of(const __m512i* d) {
  return _mm512_min_epu16(_mm512_min_epu16(_mm512_min_epu16(d[0], d[1]), _mm512_min_epu16(d[2], d[3])),
                          _mm512_min_epu16(_mm512_min_epu16(d[4], d[5]), _mm512_min_epu16(d[6], d[7])));
}
inline __m512i most_of(const __m512i* d) {
  return _mm512_max_epu16(_mm512_max_epu16(_mm512_max_epu16(d[0], d[1]), _mm512_max_epu16(d[2], d[3])),
                          _mm512_max_epu16(_mm512_max_epu16(d[4], d[5]), _mm512_max_epu16(d[6], d[7])));
}
inline __m512i signs_of(__m512i a, __m512i b) {
  return _mm512_add_epi16(_mm512_srai_epi16(a, 15), _mm512_srai_epi16(b, 15));
}
inline __m512i signs_of(const __m512i* d) {
  return _mm512_add_epi16(_mm512_add_epi16(signs_of(d[0], d[1]), signs_of(d[2], d[3])),
                          _mm512_add_epi16(signs_of(d[4], d[5]), signs_of(d[6], d[7])));
}

// Looks 32 slots up among the first ranks of their tables, and one by one those beyond.
inline Found find_by_ranks(const TablesView& t, __m512i table, __m512i slot, int32_t* out) {
  // Modulo 2^16, slot less a start is small for starts at or below it and above 2^15 for those beyond: the
  // least is the distance to the own start, the greatest that to the next one.
  const auto distance = [&](uint32_t r) { return _mm512_sub_epi16(slot, look_up(t.ranks + r * kRankTables, table)); };
  constexpr uint32_t kFirst = 8;
  static_assert(kRanks == 2 * kFirst, "looked up in two halves");
  __m512i d[kFirst] = {slot};  // the start of rank 0 is 0
#pragma GCC unroll 8
  for (uint32_t r = 1; r < kFirst; ++r) d[r] = distance(r);
  __m512i least = least_of(d), most = most_of(d), rank = _mm512_add_epi16(_mm512_set1_epi16(kFirst - 1), signs_of(d));
  uint32_t far = 0;
  if (_mm512_movepi16_mask(most) != 0xffffffff) {
#pragma GCC unroll 8
    for (uint32_t r = 0; r < kFirst; ++r) d[r] = distance(kFirst + r);
    far = ~_mm512_movepi16_mask(d[kFirst - 1]);
    least = _mm512_min_epu16(least, least_of(d));
    most = _mm512_max_epu16(most, most_of(d));
    rank = _mm512_add_epi16(rank, _mm512_add_epi16(_mm512_set1_epi16(kFirst), signs_of(d)));
  }
  Found found;
  found.above = least;
  found.frequency = _mm512_sub_epi16(least, most);
  const uint16_t* rest = t.ranks + kRanks * kRankTables;
  found.escapes = _mm512_cmpeq_epi16_mask(rank, look_up(rest + kRankTables, table)) & ~far;
  const __m512i one = _mm512_set1_epi16(1);
  __m512i value = _mm512_srli_epi16(_mm512_add_epi16(rank, one), 1);
  value = _mm512_mask_sub_epi16(value, _mm512_testn_epi16_mask(rank, one), _mm512_setzero_si512(), value);
  value = _mm512_add_epi16(value, look_up(rest, table));
  _mm512_storeu_si512(out, _mm512_cvtepi16_epi32(_mm512_castsi512_si256(value)));
  _mm512_storeu_si512(out + 16, _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(value, 1)));
  if (far != 0) {
    alignas(64) uint16_t slots[kMaxLanes], tables[kMaxLanes];
    _mm512_store_si512(slots, slot);
    _mm512_store_si512(tables, table);
    for (; far != 0; far &= far - 1) {
      const uint32_t lane = lowest_bit(far);
      const uint32_t e = find_entry(t, tables[lane], slots[lane]);
      const Entry entry = t.entry[e];
      const __mmask32 one_lane = far & (0u - far);
      found.above = _mm512_mask_set1_epi16(found.above, one_lane,
                                           static_cast<short>(slots[lane] - start_of(entry)));
      found.frequency =
          _mm512_mask_set1_epi16(found.frequency, one_lane, static_cast<short>(frequency_of(entry)));
      found.escapes |= is_escape(entry) ? one_lane : 0;
      out[lane] = t.value[e];
    }
  }
  return found;
}

Status decode_by_ranks(DecoderState& d, const TablesView& t, const uint8_t* index, int32_t* out, size_t groups,
                     size_t& done) {
  __m512i high, low;
  split_states(d.lane, high, low);
  const uint8_t* next = d.next;
  Status status = Status::kOk;
  size_t g = 0;
  for (; g < groups; ++g) {
    const __m512i slot = _mm512_and_si512(low, _mm512_set1_epi16(kTotal - 1));
    const Found found = find_by_ranks(t, load_tables(t, index), slot, out);
    // frequency * (state >> 14) + above, in halves: state >> 14 is four times the upper half plus two bits of
    // the lower one, and what does not come from the upper half stays below 2^16.
    const __m512i times4 = _mm512_slli_epi16(found.frequency, 2);
    const __m512i rest = _mm512_add_epi16(
        _mm512_mullo_epi16(found.frequency, _mm512_srli_epi16(low, kPrecision)), found.above);
    const __m512i new_low = _mm512_add_epi16(_mm512_mullo_epi16(times4, high), rest);
    const __mmask32 carry = _mm512_cmplt_epu16_mask(new_low, rest);
    __m512i new_high = _mm512_mulhi_epu16(times4, high);
    new_high = _mm512_mask_sub_epi16(new_high, carry, new_high, _mm512_set1_epi16(-1));
    const __mmask32 need = _mm512_testn_epi16_mask(new_high, new_high);
    const uint8_t* after = next + 2 * count_bits(need);
    if (__builtin_expect(after > d.end, 0)) break;  // too few words: the last group goes symbol by symbol
    high = _mm512_mask_mov_epi16(new_high, need, new_low);
    low = _mm512_mask_expand_epi16(new_low, need, _mm512_loadu_si512(next));
    next = d.next = after;
    status = end_group<kMaxLanes>(d, t, index, out, found.escapes);
    if (status != Status::kOk) break;
  }
  join_states(high, low, d.lane);
  done = g * kMaxLanes;
  return status;
}

inline __m512i load_index(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m512i load_index(const int32_t* p) { return _mm512_loadu_si512(p); }

// The same by buckets: for any tables, and for slots that are mostly far.
template <typename Index>
Status decode_by_buckets(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t groups,
                         size_t& done) {
  const __m512i slots = _mm512_set1_epi32(kTotal - 1);
  const __m512i six = _mm512_set1_epi32(63);
  const __m512i one = _mm512_set1_epi32(1);
  const __m512i last = _mm512_set1_epi32(static_cast<int>(t.n_tables - 1));
  __m512i x[2] = {_mm512_loadu_si512(d.lane), _mm512_loadu_si512(d.lane + 16)};
  const uint8_t* next = d.next;
  Status status = Status::kOk;
  size_t g = 0;
  for (; g < groups; ++g) {
    __m512i y[2];
    uint32_t escapes = 0;
    const uint8_t* after = next;
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __m512i table = _mm512_min_epu32(load_index(index + 16 * v), last);
      const __m512i slot = _mm512_and_si512(x[v], slots);
      const __m512i word = _mm512_i32gather_epi32(
          _mm512_add_epi32(_mm512_slli_epi32(table, 8), _mm512_srli_epi32(slot, kBucketShift)), t.bucket, 4);
      const __m512i place = _mm512_and_si512(slot, six);
      __m512i e = _mm512_srli_epi32(word, 12);
      e = _mm512_mask_add_epi32(
          e, _mm512_cmpgt_epi32_mask(place, _mm512_and_si512(_mm512_srli_epi32(word, 6), six)), e, one);
      e = _mm512_mask_add_epi32(e, _mm512_cmpgt_epi32_mask(place, _mm512_and_si512(word, six)), e, one);
      __m512i entry = _mm512_i32gather_epi32(e, t.entry, 4);
      __m512i frequency, above;
      for (;;) {
        frequency = _mm512_and_si512(_mm512_srli_epi32(entry, 16), slots);
        above = _mm512_sub_epi32(slot, _mm512_and_si512(entry, slots));
        const __mmask16 beyond = _mm512_cmpge_epi32_mask(above, frequency);
        if (__builtin_expect(beyond == 0, 1)) break;
        e = _mm512_mask_add_epi32(e, beyond, e, one);
        entry = _mm512_mask_i32gather_epi32(entry, beyond, e, t.entry, 4);
      }
      y[v] = _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32(x[v], kPrecision)), above);
      escapes |= static_cast<uint32_t>(_mm512_movepi32_mask(entry)) << 16 * v;
      _mm512_storeu_si512(out + 16 * v, _mm512_i32gather_epi32(e, t.value, 4));
    }
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const __mmask16 need = _mm512_cmplt_epu32_mask(y[v], _mm512_set1_epi32(kInitialState));
      const __m512i words =
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(after)));
      y[v] = _mm512_mask_or_epi32(y[v], need, _mm512_slli_epi32(y[v], 16), _mm512_maskz_expand_epi32(need, words));
      after += 2 * count_bits(need);
    }
    if (__builtin_expect(after > d.end, 0)) break;  // too few words: the last group goes symbol by symbol
    for (int v = 0; v < 2; ++v) x[v] = y[v];
    next = d.next = after;
    status = end_group<kMaxLanes>(d, t, index, out, escapes);
    if (status != Status::kOk) break;
  }
  for (int v = 0; v < 2; ++v) _mm512_storeu_si512(d.lane + 16 * v, x[v]);
  done = g * kMaxLanes;
  return status;
}

// ---- entries of symbols

inline __m512i load_symbols(const int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m512i load_symbols(const int16_t* p) { return _mm512_loadu_si512(p); }
// (what 16 bits do not hold comes out as their ends, which are outside of these tables, too)
inline __m512i load_symbols(const int32_t* p) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtsepi32_epi16(_mm512_loadu_si512(p))),
                            _mm512_cvtsepi32_epi16(_mm512_loadu_si512(p + 16)), 1);
}

// What find_ids does, for up to 64 tables whose first values and entries fit 16 bits.
template <typename Symbol>
bool find_ids_by_permutation(const TablesView& t, const Symbol* symbols, const uint8_t* index, uint16_t* ids,
                             size_t n, size_t& escapes) {
  const uint16_t* spans = t.ranks + (kRanks + 2) * kRankTables;  // counts, first values, rows
  const __m512i last = _mm512_set1_epi16(static_cast<short>(t.n_tables - 1));
  const __m512i ones = _mm512_set1_epi16(1);
  __mmask32 bad = 0;
  __m512i rare = _mm512_setzero_si512();
  for (size_t i = 0; i < n; i += kMaxLanes) {
    const __m512i asked = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index + i)));
    const __m512i table = _mm512_min_epu16(asked, last);
    bad |= _mm512_cmpgt_epu16_mask(asked, last);
    const __m512i count = look_up(spans, table);
    const __m512i place =
        _mm512_sub_epi16(load_symbols(symbols + i), look_up(spans + kRankTables, table));
    rare = _mm512_mask_add_epi16(rare, _mm512_cmpge_epu16_mask(place, count), rare, ones);
    _mm512_storeu_si512(ids + i, _mm512_add_epi16(_mm512_min_epu16(place, count),
                                                  look_up(spans + 2 * kRankTables, table)));
  }
  alignas(64) uint16_t each[kMaxLanes];
  _mm512_store_si512(each, rare);
  for (const uint16_t some : each) escapes += some;
  return bad == 0;
}

struct Avx512 {
  template <typename Symbol, typename Index, typename Id>
  static bool ids(const TablesView& t, const Symbol* symbols, const Index* index, Id* ids, size_t n,
                  size_t& escapes) {
    if constexpr (sizeof(Index) == 1 && sizeof(Id) == 2) {
      if (t.ranks != nullptr) {
        const size_t whole = n & ~size_t{kMaxLanes - 1};  // at most 2^15 symbols a lane: see kBlock
        const bool good = find_ids_by_permutation(t, symbols, index, ids, whole, escapes);
        return find_ids(t, symbols + whole, index + whole, ids + whole, n - whole, escapes) && good;
      }
    }
    return find_ids(t, symbols, index, ids, n, escapes);
  }
  template <typename Id>
  static void encode(EncoderState& s, const Tables& t, const Id* ids, size_t n, uint64_t first, uint16_t*& top) {
    if constexpr (sizeof(Id) == 2) {
      if (s.lanes == kMaxLanes) {
        const Entry* entries = t.view().by_value;
        return encode_by_groups(s, entries, ids, n, first, top, [&](const Id* whole, size_t groups) {
          encode_groups(s, entries, whole, groups, top);
        });
      }
    }
    encode_avx2(s, t, ids, n, first, top);
  }
  template <typename Index>
  static Status decode(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
    if (d.lanes != kMaxLanes) return decode_avx2(d, t, index, out, n);
    auto decode_whole = decode_by_buckets<Index>;
    if constexpr (sizeof(Index) == 1)
      if (t.ranks != nullptr && mostly_near(t, index, n)) decode_whole = decode_by_ranks;
    return decode_by_groups(d, t, index, out, n, decode_whole);
  }
};

}  // namespace

const Kernels kAvx512Kernels = LVC_KERNELS("avx512", Avx512);

}  // namespace lvc

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
