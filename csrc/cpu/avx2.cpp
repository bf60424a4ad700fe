// Kernels for AVX2: eight lanes a register, for 8 and 32 lanes. Fewer lanes go to the scalar ones.
#include "../kernels.h"

#if defined(LVC_X86)
#include <immintrin.h>

#include "avx2.h"
#include "scalar.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2,popcnt,lzcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2,popcnt,lzcnt")
#endif

#include "loops.h"

namespace lvc {

namespace {

// For each mask of eight lanes: byte shuffle that moves the 16-bit words of these lanes to the top of a register
// in their order; and for each lane the place of its word among those of the mask.
// (Made by the compiler: code of this file must not run before the CPU was asked.)
struct Permutations {
  alignas(16) uint8_t pack[256][16] = {};
  alignas(8) uint8_t spread[256][8] = {};
  constexpr Permutations() {
    for (uint32_t mask = 0; mask < 256; ++mask) {
      uint32_t at = 8;
      for (uint32_t bit = 0; bit < 8; ++bit) at -= mask >> bit & 1;
      for (uint32_t lane = 0, rank = 0; lane < 8; ++lane) {
        spread[mask][lane] = static_cast<uint8_t>(rank & 7);
        if ((mask >> lane & 1) == 0) continue;
        pack[mask][2 * at] = static_cast<uint8_t>(2 * lane);
        pack[mask][2 * at + 1] = static_cast<uint8_t>(2 * lane + 1);
        ++at;
        ++rank;
      }
    }
  }
};
constexpr Permutations kPermutations;

inline uint32_t mask_of(__m256i v) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(v))); }

// Eight places in an array, taken out of a vector two at a time.
struct Places {
  uint64_t pair[4];
  explicit Places(__m256i index) {
    const __m128i low = _mm256_castsi256_si128(index), high = _mm256_extracti128_si256(index, 1);
    pair[0] = static_cast<uint64_t>(_mm_cvtsi128_si64(low));
    pair[1] = static_cast<uint64_t>(_mm_extract_epi64(low, 1));
    pair[2] = static_cast<uint64_t>(_mm_cvtsi128_si64(high));
    pair[3] = static_cast<uint64_t>(_mm_extract_epi64(high, 1));
  }
  template <typename T>
  const T* at(const T* base, int i) const {
    return base + (i % 2 == 0 ? static_cast<uint32_t>(pair[i / 2]) : pair[i / 2] >> 32);
  }
};

// The numbers at eight places, loaded one by one: of the processors that get here, which have no AVX-512, few gather
// faster than that, and some many times slower.
inline __m256i pick(const uint32_t* base, __m256i index) {
  const Places places(index);
  const auto four = [&](int i) {
    __m128i v = _mm_cvtsi32_si128(static_cast<int>(*places.at(base, i)));
    v = _mm_insert_epi32(v, static_cast<int>(*places.at(base, i + 1)), 1);
    v = _mm_insert_epi32(v, static_cast<int>(*places.at(base, i + 2)), 2);
    return _mm_insert_epi32(v, static_cast<int>(*places.at(base, i + 3)), 3);
  };
  return _mm256_inserti128_si256(_mm256_castsi128_si256(four(0)), four(4), 1);
}

// Eight intervals: their first halves, which are what Entry holds, and their values.
struct Picked {
  __m256i entry, value;
  Picked(const Interval* base, __m256i index) {
    const Places places(index);
    const auto two = [&](int i) {
      const __m128 v = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(places.at(base, i))));
      return _mm_loadh_pi(v, reinterpret_cast<const __m64*>(places.at(base, i + 1)));
    };
    const __m256 outer = _mm256_insertf128_ps(_mm256_castps128_ps256(two(0)), two(4), 1);
    const __m256 inner = _mm256_insertf128_ps(_mm256_castps128_ps256(two(2)), two(6), 1);
    entry = _mm256_castps_si256(_mm256_shuffle_ps(outer, inner, 0x88));
    value = _mm256_castps_si256(_mm256_shuffle_ps(outer, inner, 0xdd));
  }
};

inline __m256i load_lanes(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

inline void store_lanes(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// One coding step of eight lanes: words go below `top`.
inline __m256i put8(__m256i x, __m256i entry, uint16_t*& top) {
  const __m256i low_bits = _mm256_set1_epi32(0xffff);
  const __m256i frequency = _mm256_and_si256(_mm256_srli_epi32(entry, 16), _mm256_set1_epi32(kTotal - 1));
  const __m256i start = _mm256_and_si256(entry, _mm256_set1_epi32(kTotal - 1));
  const __m256i high = _mm256_srli_epi32(x, 16);
  const __m256i low = _mm256_and_si256(x, low_bits);
  const __m256i fits = _mm256_cmpgt_epi32(_mm256_slli_epi32(frequency, 2), high);
  const uint32_t full = ~mask_of(fits) & 0xff;
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  const __m128i pack = _mm_load_si128(reinterpret_cast<const __m128i*>(kPermutations.pack[full]));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(top - 8), _mm_shuffle_epi8(_mm256_castsi256_si128(packed), pack));
  top -= count_bits(full);
  x = _mm256_blendv_epi8(high, x, fits);
  // (there is no conversion of unsigned numbers: those from 2^31 on come out 2^32 too low)
  const __m256 wrapped =
      _mm256_and_ps(_mm256_castsi256_ps(_mm256_srai_epi32(x, 31)), _mm256_set1_ps(4294967296.0f));
  const __m256 xf = _mm256_add_ps(_mm256_cvtepi32_ps(x), wrapped);
  // The ratio is below 2^18 and its float is off by at most 2^-4. Less 1/8 and rounded down, it is the
  // quotient or one below it; the remainder is then below 2^15, and its lower half all of it.
  const __m256 reciprocal = _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_cvtepi32_ps(frequency));
  const __m256i quotient = _mm256_cvttps_epi32(_mm256_fmsub_ps(xf, reciprocal, _mm256_set1_ps(0.125f)));
  const __m256i rest =
      _mm256_and_si256(_mm256_sub_epi32(x, _mm256_mullo_epi16(quotient, frequency)), low_bits);
  const __m256i sum =
      _mm256_add_epi32(_mm256_add_epi32(_mm256_slli_epi32(quotient, kPrecision), start), rest);
  const __m256i more = _mm256_sub_epi32(_mm256_set1_epi32(kTotal), frequency);
  return _mm256_add_epi32(sum, _mm256_andnot_si256(_mm256_cmpgt_epi32(frequency, rest), more));
}

// One by one, while the last group is coded: a gather takes twice as long, and its ports.
template <int kLanes>
inline void fetch(const Entry* entries, const uint16_t* ids, Entry* to) {
#pragma GCC unroll 32
  for (int i = 0; i < kLanes; ++i) to[i] = opaque(entries[ids[i]]);
}

template <int kVectors>
void encode_groups(EncoderState& s, const Entry* entries, const uint16_t* ids, size_t groups, uint16_t*& top) {
  constexpr int kLanes = 8 * kVectors;
  if (groups == 0) return;
  alignas(32) Entry fetched[2][kLanes];
  __m256i x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = load_lanes(s.lane + 8 * v);
  uint16_t* out = top;
  const uint16_t* id = ids + (groups - 1) * kLanes;
  fetch<kLanes>(entries, id, fetched[groups & 1]);
  for (size_t g = groups; g > 0; --g) {
    if (g > 1) fetch<kLanes>(entries, id -= kLanes, fetched[~g & 1]);
#pragma GCC unroll 4
    for (int v = kVectors - 1; v >= 0; --v) x[v] = put8(x[v], load_lanes(fetched[g & 1] + 8 * v), out);
  }
  for (int v = 0; v < kVectors; ++v) store_lanes(s.lane + 8 * v, x[v]);
  top = out;
}

inline __m256i load_index(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline __m256i load_index(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

template <int kVectors, typename Index>
Status decode_groups(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t groups,
                     size_t& done) {
  const __m256i slots = _mm256_set1_epi32(kTotal - 1);
  const __m256i six = _mm256_set1_epi32(63);
  const __m256i last = _mm256_set1_epi32(static_cast<int>(t.n_tables - 1));
  __m256i x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = load_lanes(d.lane + 8 * v);
  const uint8_t* next = d.next;
  Status status = Status::kOk;
  size_t g = 0;
  for (; g < groups; ++g) {
    __m256i word[kVectors], y[kVectors], need[kVectors];
    uint32_t escapes = 0;
    // A loop of its own, which is a fifth faster: if each vector went through all steps before the next one, those that
    // need not wait would be further ahead than processors look.
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m256i table = _mm256_min_epu32(load_index(index + 8 * v), last);
      const __m256i bucket = _mm256_srli_epi32(_mm256_and_si256(x[v], slots), kBucketShift);
      word[v] = pick(t.bucket, _mm256_or_si256(_mm256_slli_epi32(table, 8), bucket));
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m256i slot = _mm256_and_si256(x[v], slots);
      const __m256i place = _mm256_and_si256(x[v], six);
      __m256i e = _mm256_srli_epi32(word[v], 12);
      e = _mm256_sub_epi32(e, _mm256_cmpgt_epi32(place, _mm256_and_si256(_mm256_srli_epi32(word[v], 6), six)));
      e = _mm256_sub_epi32(e, _mm256_cmpgt_epi32(place, _mm256_and_si256(word[v], six)));
      Picked found(t.interval, e);
      __m256i frequency, above;
      for (;;) {
        frequency = _mm256_and_si256(_mm256_srli_epi32(found.entry, 16), slots);
        above = _mm256_sub_epi32(slot, _mm256_and_si256(found.entry, slots));
        const __m256i within = _mm256_cmpgt_epi32(frequency, above);
        if (__builtin_expect(mask_of(within) == 0xff, 1)) break;
        e = _mm256_add_epi32(e, _mm256_andnot_si256(within, _mm256_set1_epi32(1)));
        found = Picked(t.interval, e);
      }
      y[v] = _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srli_epi32(x[v], kPrecision)), above);
      need[v] = _mm256_cmpeq_epi32(_mm256_srli_epi32(y[v], 16), _mm256_setzero_si256());
      escapes |= mask_of(found.entry) << 8 * v;
      store_lanes(out + 8 * v, found.value);
    }
    const uint8_t* after = next;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const uint32_t mask = mask_of(need[v]);
      const __m256i words =
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(after)));
      const __m256i spread = _mm256_cvtepu8_epi32(
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPermutations.spread[mask])));
      const __m256i filled =
          _mm256_or_si256(_mm256_slli_epi32(y[v], 16), _mm256_permutevar8x32_epi32(words, spread));
      y[v] = _mm256_blendv_epi8(y[v], filled, need[v]);
      after += 2 * count_bits(mask);
    }
    if (__builtin_expect(after > d.end, 0)) break;  // too few words: the last group goes symbol by symbol
    for (int v = 0; v < kVectors; ++v) x[v] = y[v];
    next = d.next = after;
    status = end_group<8 * kVectors>(d, t, index, out, escapes);
    if (status != Status::kOk) break;
  }
  for (int v = 0; v < kVectors; ++v) store_lanes(d.lane + 8 * v, x[v]);
  done = g * 8 * kVectors;
  return status;
}

}  // namespace

template <typename Id>
void encode_avx2(EncoderState& s, const Tables& tables, const Id* ids, size_t n, uint64_t first,
                 uint16_t*& top) {
  if constexpr (sizeof(Id) == 2) {
    if (s.lanes >= 8) {
      const Entry* entries = tables.view().by_value;
      const auto encode_whole = s.lanes == 8 ? encode_groups<1> : encode_groups<4>;
      return encode_by_groups(s, entries, ids, n, first, top, [&](const Id* whole, size_t groups) {
        encode_whole(s, entries, whole, groups, top);
      });
    }
  }
  encode_scalar(s, tables, ids, n, first, top);
}

template <typename Index>
Status decode_avx2(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
  if (d.lanes < 8) return decode_scalar(d, t, index, out, n);
  return decode_by_groups(d, t, index, out, n, d.lanes == 8 ? decode_groups<1, Index> : decode_groups<4, Index>);
}

template void encode_avx2(EncoderState&, const Tables&, const uint16_t*, size_t, uint64_t, uint16_t*&);
template void encode_avx2(EncoderState&, const Tables&, const uint32_t*, size_t, uint64_t, uint16_t*&);
template Status decode_avx2(DecoderState&, const TablesView&, const uint8_t*, int32_t*, size_t);
template Status decode_avx2(DecoderState&, const TablesView&, const int32_t*, int32_t*, size_t);

namespace {

// ---- entries of symbols

// A row of TablesView::ranks, as bytes to be looked up 16 at a time: the lower halves of its 64 numbers, then the
// upper ones; each piece of 16 twice, for the two halves of a register.
struct Halves {
  __m256i low[4], high[4];
  explicit Halves(const uint16_t* row) {
    for (uint32_t i = 0; i < 4; ++i) {
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 16 * i));
      const __m256i bytes = _mm256_set1_epi16(0xff);
      const __m256i both = _mm256_packus_epi16(_mm256_and_si256(a, bytes), _mm256_srli_epi16(a, 8));
      low[i] = _mm256_permute4x64_epi64(both, 0x88);
      high[i] = _mm256_permute4x64_epi64(both, 0xdd);
    }
  }
};

inline __m256i look_up(const __m256i* pieces, const __m256i* places) {
  return _mm256_or_si256(_mm256_or_si256(_mm256_shuffle_epi8(pieces[0], places[0]),
                                         _mm256_shuffle_epi8(pieces[1], places[1])),
                         _mm256_or_si256(_mm256_shuffle_epi8(pieces[2], places[2]),
                                         _mm256_shuffle_epi8(pieces[3], places[3])));
}

inline __m256i load_symbols(const int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256i load_symbols(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
// (what 16 bits do not hold comes out as their ends, which are outside of these tables, too)
inline __m256i load_symbols(const int32_t* p) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(load_index(p), load_index(p + 8)), 0xd8);
}

// What find_ids does, for up to 64 tables whose first values and entries fit 16 bits; 32 symbols at a time.
template <typename Symbol>
bool find_ids_by_shuffle(const TablesView& t, const Symbol* symbols, const uint8_t* index, uint16_t* ids, size_t n,
                         size_t& escapes) {
  const uint16_t* spans = t.ranks + (kRanks + 2) * kRankTables;
  const Halves counts(spans), firsts(spans + kRankTables), rows(spans + 2 * kRankTables);
  const __m256i last = _mm256_set1_epi8(static_cast<char>(t.n_tables - 1));
  __m256i bad = _mm256_setzero_si256(), rare = _mm256_setzero_si256();
  for (size_t i = 0; i < n; i += 32) {
    // (in an order in which the halves of unpacked registers are those of the symbols)
    const __m256i asked =
        _mm256_permute4x64_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index + i)), 0xd8);
    const __m256i table = _mm256_min_epu8(asked, last);
    bad = _mm256_or_si256(bad, _mm256_xor_si256(table, asked));
    // Of each place, the sum has bit 7 set, for which the shuffle gives 0, unless it is in this piece.
    __m256i places[4];
    for (int piece = 0; piece < 4; ++piece)
      places[piece] = _mm256_adds_epu8(_mm256_xor_si256(table, _mm256_set1_epi8(static_cast<char>(16 * piece))),
                                       _mm256_set1_epi8(0x70));
    const __m256i count_low = look_up(counts.low, places), count_high = look_up(counts.high, places);
    const __m256i first_low = look_up(firsts.low, places), first_high = look_up(firsts.high, places);
    const __m256i row_low = look_up(rows.low, places), row_high = look_up(rows.high, places);
    const auto store = [&](size_t at, __m256i count, __m256i first, __m256i row) {
      const __m256i place = _mm256_min_epu16(_mm256_sub_epi16(load_symbols(symbols + at), first), count);
      rare = _mm256_sub_epi16(rare, _mm256_cmpeq_epi16(place, count));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(ids + at), _mm256_add_epi16(place, row));
    };
    store(i, _mm256_unpacklo_epi8(count_low, count_high), _mm256_unpacklo_epi8(first_low, first_high),
          _mm256_unpacklo_epi8(row_low, row_high));
    store(i + 16, _mm256_unpackhi_epi8(count_low, count_high), _mm256_unpackhi_epi8(first_low, first_high),
          _mm256_unpackhi_epi8(row_low, row_high));
  }
  alignas(32) uint16_t each[16];
  _mm256_store_si256(reinterpret_cast<__m256i*>(each), rare);
  for (const uint16_t some : each) escapes += some;
  return _mm256_testz_si256(bad, bad) != 0;
}

struct Avx2 {
  template <typename Symbol, typename Index, typename Id>
  static bool ids(const TablesView& t, const Symbol* symbols, const Index* index, Id* ids, size_t n,
                  size_t& escapes) {
    if constexpr (sizeof(Index) == 1 && sizeof(Id) == 2) {
      if (t.ranks != nullptr) {
        const size_t whole = n & ~size_t{31};  // at most 2^15 symbols a lane: see kBlock
        const bool good = find_ids_by_shuffle(t, symbols, index, ids, whole, escapes);
        return find_ids(t, symbols + whole, index + whole, ids + whole, n - whole, escapes) && good;
      }
    }
    return find_ids(t, symbols, index, ids, n, escapes);
  }
  template <typename Id>
  static void encode(EncoderState& s, const Tables& t, const Id* ids, size_t n, uint64_t first, uint16_t*& top) {
    encode_avx2(s, t, ids, n, first, top);
  }
  template <typename Index>
  static Status decode(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
    return decode_avx2(d, t, index, out, n);
  }
};

}  // namespace

const Kernels kAvx2Kernels = LVC_KERNELS("avx2", Avx2);

}  // namespace lvc

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
