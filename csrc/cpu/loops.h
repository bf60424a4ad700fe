// Loops that every kernel file compiles for its own instruction set: hence the unnamed namespace.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../kernels.h"

namespace lvc {
namespace {

// A value that the compiler knows nothing about: a loop with one stays a loop over single numbers. What it would make
// of look-ups in vectors (numbers taken out, and put together again; or gathers) is slower than they are one by one.
template <typename T>
inline T opaque(T value) {
#if defined(__GNUC__)
  __asm__("" : "+r"(value));
#endif
  return value;
}

// Whether every entry names a table. (The greatest in the type of the index itself, which takes one instruction for
// many; negative ones are large.)
template <typename T>
bool in_range(const T* index, size_t n, uint32_t n_tables) {
  using Unsigned = std::make_unsigned_t<T>;
  Unsigned most = 0;
  for (size_t i = 0; i < n; ++i) most = std::max(most, static_cast<Unsigned>(index[i]));
  return n == 0 || most < n_tables;
}

// Index arrays may change under us while no lock is held, so each entry is bounded where it is used; those of 8 bits
// need not be, see TablesView.
template <typename Symbol, typename Index, typename Id>
bool find_ids(const TablesView& t, const Symbol* symbols, const Index* index, Id* __restrict ids, size_t n,
              size_t& escapes) {
  const uint32_t* const row = t.row;
  const uint32_t* const count = t.count;
  const int32_t* const first = t.first;
  uint32_t rare = 0;
  for (size_t i = 0; i < n; ++i) {
    uint32_t table = opaque(static_cast<uint32_t>(index[i]));
    if constexpr (sizeof(Index) > 1) table = std::min(table, t.n_tables - 1);
    // Modulo 2^32 this is at least count[table] for every value outside, since the last value is an int32.
    const uint32_t place = static_cast<uint32_t>(static_cast<int32_t>(symbols[i])) -
                           static_cast<uint32_t>(first[table]);
    const uint32_t escape = count[table];
    rare += place >= escape ? 1u : 0u;
    ids[i] = static_cast<Id>(row[table] + std::min(place, escape));
  }
  escapes += rare;
  return in_range(index, n, t.n_tables);
}

// For kernels that look up no faster than this.
struct FindIds {
  template <typename Symbol, typename Index, typename Id>
  static bool ids(const TablesView& t, const Symbol* symbols, const Index* index, Id* ids, size_t n,
                  size_t& escapes) {
    return find_ids(t, symbols, index, ids, n, escapes);
  }
};

// Codes the symbols [begin, end) of a segment one after the other, the last one first.
template <typename Id>
void encode_some(EncoderState& s, const Entry* entries, const Id* ids, size_t begin, size_t end, uint64_t first,
                 uint16_t*& top) {
  for (size_t i = end; i-- > begin;) {
    uint16_t word;
    if (put(s.lane[static_cast<uint32_t>(first + i) & (s.lanes - 1)], entries[ids[i]], word)) *--top = word;
  }
}

template <typename Index>
uint32_t table_at(const TablesView& t, const Index* index, size_t i) {
  return std::min(static_cast<uint32_t>(static_cast<int32_t>(index[i])), t.n_tables - 1);
}

// Decodes n symbols one after the other, with every check.
template <typename Index>
Status decode_some(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const Status status = take_symbol(d, t, table_at(t, index, i), out[i]);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

// Splits a range into what comes before the first whole group of `lanes` symbols, and so many whole groups.
struct Groups {
  size_t head, count;
  Groups(uint64_t first, size_t n, uint32_t lanes) {
    head = std::min<size_t>(n, static_cast<size_t>((lanes - (first & (lanes - 1))) & (lanes - 1)));
    count = (n - head) / lanes;
  }
};

// Codes n symbols, whole groups by `whole`: called with the ids of these and their number.
template <typename Id, typename Whole>
void encode_by_groups(EncoderState& s, const Entry* entries, const Id* ids, size_t n, uint64_t first, uint16_t*& top,
                      const Whole& whole) {
  const Groups groups(first, n, s.lanes);
  encode_some(s, entries, ids, groups.head + groups.count * s.lanes, n, first, top);
  whole(ids + groups.head, groups.count);
  encode_some(s, entries, ids, 0, groups.head, first, top);
}

// Decodes n symbols, whole groups by `whole`, which may leave some: it says how many symbols it has done.
template <typename Index>
Status decode_by_groups(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n,
                        Status (*whole)(DecoderState&, const TablesView&, const Index*, int32_t*, size_t groups,
                                        size_t& done)) {
  const Groups groups(d.position, n, d.lanes);
  Status status = decode_some(d, t, index, out, groups.head);
  if (status != Status::kOk) return status;
  size_t done = 0;
  status = whole(d, t, index + groups.head, out + groups.head, groups.count, done);
  if (status != Status::kOk) return status;
  done += groups.head;
  return decode_some(d, t, index + done, out + done, n - done);
}

// The escapes of a group whose other values are in out[0 .. lanes): bit i of `lanes` is that of symbol i. The words
// of the group must have been taken, up to d.next.
template <typename Index>
Status decode_escapes(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, uint32_t lanes) {
  for (; lanes != 0; lanes &= lanes - 1) {
    const uint32_t i = lowest_bit(lanes);
    const uint32_t table = table_at(t, index, i);
    const int64_t first = t.first[table];
    const Status status = get_escape(d.bits, first, first + t.count[table] - 1, out[i]);
    if (status != Status::kOk) {
      d.position += i;
      return status;
    }
  }
  return bound_words(d) ? Status::kOk : Status::kExhausted;
}

// What ends a group when its words were taken, up to d.next: its escapes, and on to the next one.
template <size_t kLanes, typename Index>
inline Status end_group(DecoderState& d, const TablesView& t, const Index*& index, int32_t*& out, uint32_t escapes) {
  if (__builtin_expect(escapes != 0, 0)) {
    const Status status = decode_escapes(d, t, index, out, escapes);
    if (status != Status::kOk) return status;
  }
  d.position += kLanes;
  index += kLanes;
  out += kLanes;
  return Status::kOk;
}

}  // namespace
}  // namespace lvc
