// What the encoder and the decoder call: one set of functions an instruction set, chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "coder.h"

namespace lvc {

// Decoders may read so many bytes behind the data.
constexpr size_t kDecoderPadding = 64;
// Encoders may write so many words below what they code, one for each symbol.
constexpr size_t kEncoderSlack = 64;

struct Kernels {
  const char* name;
  // Which entry (in order of values) each symbol has. [symbol: int8, int16, int32][index: uint8, int32]
  // [id: uint16, uint32]. False: an index names no table. Counts the escapes.
  bool (*ids[3][2][2])(const TablesView&, const void* symbols, const void* index, void* ids, size_t n,
                       size_t& escapes);
  // Codes n entries in reverse, the first of which stands at `first` in the stream. [id: uint16, uint32]
  void (*encode[2])(EncoderState&, const Tables&, const void* ids, size_t n, uint64_t first, uint16_t*& top);
  // Decodes n symbols. [index: uint8, int32]
  Status (*decode[2])(DecoderState&, const TablesView&, const void* index, int32_t* out, size_t n);
};

extern const Kernels kScalarKernels, kWarpKernels;
#if defined(__x86_64__) && defined(__GNUC__)
#define LVC_X86 1
extern const Kernels kAvx2Kernels, kAvx512Kernels;
#endif
#if defined(__aarch64__) && defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LVC_NEON 1
extern const Kernels kNeonKernels;
#endif

// Those in use: the fastest that this CPU runs, or the ones that the environment variable LVC_SIMD names.
const Kernels& kernels();
// All that this CPU runs, the fastest last but for the emulated warp; ends with null.
const Kernels* const* available_kernels();
// Use others from now on (null: the fastest). False: this CPU does not run them, or there are none of that name.
bool use_kernels(const char* name);

// Fills Kernels from a class with static member templates ids<Symbol, Index, Id>, encode<Id> and decode<Index>.
template <typename Symbol, typename Index, typename Id, typename Impl>
bool erased_ids(const TablesView& t, const void* symbols, const void* index, void* ids, size_t n,
                size_t& escapes) {
  return Impl::template ids<Symbol, Index, Id>(t, static_cast<const Symbol*>(symbols),
                                               static_cast<const Index*>(index), static_cast<Id*>(ids), n,
                                               escapes);
}
template <typename Id, typename Impl>
void erased_encode(EncoderState& s, const Tables& t, const void* ids, size_t n, uint64_t first, uint16_t*& top) {
  Impl::template encode<Id>(s, t, static_cast<const Id*>(ids), n, first, top);
}
template <typename Index, typename Impl>
Status erased_decode(DecoderState& d, const TablesView& t, const void* index, int32_t* out, size_t n) {
  return Impl::template decode<Index>(d, t, static_cast<const Index*>(index), out, n);
}
#define LVC_IDS(Symbol, Impl)                                                                               \
  {                                                                                                         \
    {erased_ids<Symbol, uint8_t, uint16_t, Impl>, erased_ids<Symbol, uint8_t, uint32_t, Impl>},             \
    {erased_ids<Symbol, int32_t, uint16_t, Impl>, erased_ids<Symbol, int32_t, uint32_t, Impl>}              \
  }
#define LVC_KERNELS(name, Impl)                                                 \
  {                                                                             \
    name, {LVC_IDS(int8_t, Impl), LVC_IDS(int16_t, Impl), LVC_IDS(int32_t, Impl)}, \
        {erased_encode<uint16_t, Impl>, erased_encode<uint32_t, Impl>},          \
        {erased_decode<uint8_t, Impl>, erased_decode<int32_t, Impl>}             \
  }

}  // namespace lvc
