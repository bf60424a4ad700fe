// The coder for 32 threads that go in step, one lane each. Written once: a warp of a GPU runs it with its own
// instructions (cuda/), and an emulation on the CPU (cpu/warp.cpp) shows in tests that it gives the same bytes.
//
// A warp policy W has
//   W::Var<T>            a value of each thread; v[lane] is that of this thread (on a GPU lane is not looked at)
//   each(f)              calls f(lane) for each thread that this process stands for: 32 times on a CPU, once on
//                        a GPU; what f captures by reference besides Vars is the same in all threads
//   ballot(Var<bool>)    bit i is that of thread i
//   broadcast(Var, i)    the value of thread i
#pragma once

#include "rans.h"

namespace lvc {

LVC_HD inline uint32_t lanes_below(uint32_t lane) { return (uint32_t{1} << lane) - 1; }

// Codes n entries, the last one first, that stand at `first` and after in the stream. Words go below `top`.
template <typename W, typename EntryAt>
LVC_HD void warp_encode(W& warp, typename W::template Var<uint32_t>& state, uint32_t lanes, EntryAt entry_at,
                        size_t n, uint64_t first, uint16_t*& top) {
  const uint64_t end = first + n;
  for (uint64_t base = (end + lanes - 1) / lanes * lanes; base > first / lanes * lanes;) {
    base -= lanes;
    typename W::template Var<bool> full;
    typename W::template Var<uint16_t> word;
    warp.each([&](uint32_t lane) {
      const uint64_t at = base + lane;
      full[lane] = false;
      if (lane < lanes && at >= first && at < end)
        full[lane] = put(state[lane], entry_at(static_cast<size_t>(at - first)), word[lane]);
    });
    const uint32_t mask = warp.ballot(full);
    top -= count_bits(mask);
    warp.each([&](uint32_t lane) {
      if (full[lane]) top[count_bits(mask & lanes_below(lane))] = word[lane];
    });
  }
}

// Decodes n symbols. Of d, all but the states in d.lane is used and kept up to date, the same in all threads.
template <typename W, typename TableAt>
LVC_HD Status warp_decode(W& warp, typename W::template Var<uint32_t>& state, DecoderState& d,
                          const TablesView& t, TableAt table_at, int32_t* out, size_t n) {
  const uint64_t first = d.position, end = first + n;
  for (uint64_t base = first / d.lanes * d.lanes; base < end; base += d.lanes) {
    typename W::template Var<bool> need, escape;
    typename W::template Var<uint32_t> table;
    warp.each([&](uint32_t lane) {
      const uint64_t at = base + lane;
      need[lane] = escape[lane] = false;
      table[lane] = 0;
      if (lane >= d.lanes || at < first || at >= end) return;
      table[lane] = table_at(static_cast<size_t>(at - first));
      const uint32_t e = find_entry(t, table[lane], state[lane] & (kTotal - 1));
      state[lane] = take(state[lane], t.entry[e]);
      need[lane] = state[lane] < kInitialState;
      escape[lane] = is_escape(t.entry[e]);
      out[at - first] = t.value[e];
    });
    const uint32_t mask = warp.ballot(need);
    const uint32_t words = count_bits(mask);
    const uint64_t left = static_cast<uint64_t>(d.end - d.next) / 2;
    uint32_t escapes = warp.ballot(escape);
    if (words > left) {  // only what comes before the first missing word was decoded
      uint32_t missing = mask;
      for (uint64_t i = 0; i < left; ++i) missing &= missing - 1;
      escapes &= lanes_below(lowest_bit(missing));
    } else {
      warp.each([&](uint32_t lane) {
        if (need[lane])
          state[lane] = state[lane] << 16 | load_word(d.next + 2 * count_bits(mask & lanes_below(lane)));
      });
    }
    for (; escapes != 0; escapes &= escapes - 1) {
      const uint32_t source = lowest_bit(escapes);
      const uint32_t row = warp.broadcast(table, source);
      const int64_t low = t.first[row];
      int32_t value = 0;
      const Status status = get_escape(d.bits, low, low + t.count[row] - 1, value);
      if (status != Status::kOk) return status;
      warp.each([&](uint32_t lane) {
        if (lane == source) out[base + lane - first] = value;
      });
    }
    if (words > left) return Status::kExhausted;
    d.next += 2 * words;
    if (!bound_words(d)) return Status::kExhausted;
    d.position = base + d.lanes < end ? base + d.lanes : end;
  }
  return Status::kOk;
}

}  // namespace lvc
