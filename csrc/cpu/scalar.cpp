// The portable kernels: one symbol after the other, on any CPU. Lanes hide the latency of one by the others.
#include <limits>
#include <type_traits>

#include "../kernels.h"
#include "loops.h"
#include "scalar.h"

namespace lvc {

namespace {

// floor(x / f) for x < 2^32 by a multiplication: the reciprocal is 2^64 / f, rounded up. For f = 1 it is
// 2^64 - 1, which gives x - 1; Step::bias makes up for it.
#if defined(__SIZEOF_INT128__)
inline uint32_t divide(uint32_t x, const Step& step) {
  return static_cast<uint32_t>(static_cast<unsigned __int128>(step.reciprocal) * x >> 64);
}
#else
inline uint32_t divide(uint32_t x, const Step& step) {
  const uint64_t low = static_cast<uint32_t>(step.reciprocal), high = step.reciprocal >> 32;
  return static_cast<uint32_t>((high * x + (low * x >> 32)) >> 32);
}
#endif

// The next two are taken at random, so they must not become branches, which compilers like to make of them.

// Gives the lower half of x as a word if x is not below the limit.
inline void spill(uint32_t& x, uint32_t limit, uint16_t*& out) {
  out[-1] = static_cast<uint16_t>(x);
#if defined(__x86_64__) && defined(__GNUC__)
  __asm__("cmp %[limit], %[x]\n\tcmovae %[half], %[x]\n\tcmovae %[below], %[out]"
          : [x] "+r"(x), [out] "+r"(out)
          : [limit] "rm"(limit), [half] "r"(x >> 16), [below] "r"(out - 1)
          : "cc");
#else
  const uint32_t full = x >= limit;
  x >>= 16 * full;
  out -= full;
#endif
}

// Takes a word if x is below 2^16.
inline void refill(uint32_t& x, const uint8_t*& next) {
  const uint32_t filled = x << 16 | load_word(next);
#if defined(__x86_64__) && defined(__GNUC__)
  __asm__("cmp %[bound], %[x]\n\tcmovb %[filled], %[x]\n\tcmovb %[after], %[next]"
          : [x] "+r"(x), [next] "+r"(next)
          : [bound] "i"(kInitialState), [filled] "r"(filled), [after] "r"(next + 2)
          : "cc");
#else
  const uint32_t need = x < kInitialState;
  x = (filled & (0u - need)) | (x & (need - 1));
  next += 2 * need;
#endif
}

template <uint32_t kLanes, typename Id>
void encode_groups(EncoderState& s, const Step* steps, const Id* ids, size_t groups, uint16_t*& top) {
  uint32_t lane[kLanes];
  for (uint32_t k = 0; k < kLanes; ++k) lane[k] = s.lane[k];
  uint16_t* out = top;
  const Id* id = ids + groups * kLanes;
  while (id != ids) {
    id -= kLanes;
    for (uint32_t k = kLanes; k-- > 0;) {
      const Step& step = steps[id[k]];
      uint32_t x = lane[k];
      spill(x, step.limit, out);
      lane[k] = x + step.bias + divide(x, step) * step.others;
    }
  }
  for (uint32_t k = 0; k < kLanes; ++k) s.lane[k] = lane[k];
  top = out;
}

template <uint32_t kLanes, typename Index>
Status decode_groups(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t groups,
                     size_t& done) {
  uint32_t lane[kLanes];
  for (uint32_t k = 0; k < kLanes; ++k) lane[k] = d.lane[k];
  using Unsigned = std::make_unsigned_t<Index>;
  const Unsigned last = static_cast<Unsigned>(std::min<uint32_t>(t.n_tables - 1, std::numeric_limits<Unsigned>::max()));
  Status status = Status::kOk;
  size_t g = 0;
  for (; g < groups && static_cast<size_t>(d.end - d.next) >= 2 * kLanes; ++g) {
    uint32_t tables[kLanes];
    for (uint32_t k = 0; k < kLanes; ++k)
      tables[k] = static_cast<uint32_t>(std::min(static_cast<Unsigned>(index[k]), last)) * kBuckets;
    const uint8_t* next = d.next;
    uint32_t escapes = 0;
    for (uint32_t k = 0; k < kLanes; ++k) {
      const uint32_t state = lane[k];
      const uint32_t word = t.bucket[tables[k] + (state >> kBucketShift & (kBuckets - 1))];
      const uint32_t place = state & ((1u << kBucketShift) - 1);
      const Interval* found = t.interval + ((word >> 12) + (place > (word >> 6 & 63)) + (place > (word & 63)));
      uint32_t frequency = found->frequency, above = (state & (kTotal - 1)) - found->start;
      if (__builtin_expect(above >= frequency, 0)) {  // further on, or an escape, whose start is too large
        for (;; ++found) {
          frequency = found->frequency & (kTotal - 1);
          above = (state & (kTotal - 1)) - (found->start & (kTotal - 1));
          if (above < frequency) break;
        }
        escapes |= static_cast<uint32_t>(found->frequency >> 15) << k;
      }
      uint32_t x = frequency * (state >> kPrecision) + above;
      refill(x, next);
      lane[k] = x;
      out[k] = found->value;
    }
    d.next = next;
    status = end_group<kLanes>(d, t, index, out, escapes);
    if (status != Status::kOk) break;
  }
  for (uint32_t k = 0; k < kLanes; ++k) d.lane[k] = lane[k];
  done = g * kLanes;
  return status;
}

}  // namespace

template <typename Id>
void encode_scalar(EncoderState& s, const Tables& tables, const Id* ids, size_t n, uint64_t first,
                   uint16_t*& top) {
  const Entry* entries = tables.view().by_value;
  const Step* steps = tables.steps();
  encode_by_groups(s, entries, ids, n, first, top, [&](const Id* whole, size_t groups) {
    switch (s.lanes) {
      case 1: return encode_groups<1>(s, steps, whole, groups, top);
      case 4: return encode_groups<4>(s, steps, whole, groups, top);
      case 8: return encode_groups<8>(s, steps, whole, groups, top);
      default: return encode_groups<32>(s, steps, whole, groups, top);
    }
  });
}

template <typename Index>
Status decode_scalar(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
  auto whole = decode_groups<32, Index>;
  if (d.lanes == 1) whole = decode_groups<1, Index>;
  if (d.lanes == 4) whole = decode_groups<4, Index>;
  if (d.lanes == 8) whole = decode_groups<8, Index>;
  return decode_by_groups(d, t, index, out, n, whole);
}

template void encode_scalar(EncoderState&, const Tables&, const uint16_t*, size_t, uint64_t, uint16_t*&);
template void encode_scalar(EncoderState&, const Tables&, const uint32_t*, size_t, uint64_t, uint16_t*&);
template Status decode_scalar(DecoderState&, const TablesView&, const uint8_t*, int32_t*, size_t);
template Status decode_scalar(DecoderState&, const TablesView&, const int32_t*, int32_t*, size_t);

namespace {
struct Scalar : FindIds {
  template <typename Id>
  static void encode(EncoderState& s, const Tables& t, const Id* ids, size_t n, uint64_t first, uint16_t*& top) {
    encode_scalar(s, t, ids, n, first, top);
  }
  template <typename Index>
  static Status decode(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
    return decode_scalar(d, t, index, out, n);
  }
};
}  // namespace

const Kernels kScalarKernels = LVC_KERNELS("scalar", Scalar);

}  // namespace lvc
