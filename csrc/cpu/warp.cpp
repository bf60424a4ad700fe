// A warp of a GPU, emulated: 32 threads in step. For tests; slow.
#include "../warp.h"

#include "../kernels.h"
#include "loops.h"

namespace lvc {

namespace {

struct EmulatedWarp {
  template <typename T>
  struct Var {
    T thread[kMaxLanes];
    T& operator[](uint32_t lane) { return thread[lane]; }
  };
  template <typename F>
  void each(F f) {
    for (uint32_t lane = 0; lane < kMaxLanes; ++lane) f(lane);
  }
  uint32_t ballot(Var<bool>& v) {
    uint32_t mask = 0;
    for (uint32_t lane = 0; lane < kMaxLanes; ++lane) mask |= static_cast<uint32_t>(v[lane]) << lane;
    return mask;
  }
  uint32_t broadcast(Var<uint32_t>& v, uint32_t lane) { return v[lane]; }
};

using States = EmulatedWarp::Var<uint32_t>;

struct Warp : FindIds {
  template <typename Id>
  static void encode(EncoderState& s, const Tables& t, const Id* ids, size_t n, uint64_t first, uint16_t*& top) {
    EmulatedWarp warp;
    States state;
    warp.each([&](uint32_t lane) { state[lane] = s.lane[lane]; });
    const Entry* entries = t.view().by_value;
    warp_encode(warp, state, s.lanes, [&](size_t i) { return entries[ids[i]]; }, n, first, top);
    warp.each([&](uint32_t lane) { s.lane[lane] = state[lane]; });
  }
  template <typename Index>
  static Status decode(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n) {
    EmulatedWarp warp;
    States state;
    warp.each([&](uint32_t lane) { state[lane] = d.lane[lane]; });
    const Status status =
        warp_decode(warp, state, d, t, [&](size_t i) { return table_at(t, index, i); }, out, n);
    warp.each([&](uint32_t lane) { d.lane[lane] = state[lane]; });
    return status;
  }
};

}  // namespace

const Kernels kWarpKernels = LVC_KERNELS("warp", Warp);

}  // namespace lvc
