// The AVX2 kernels, for those of AVX-512 to fall back on.
#pragma once

#include "../kernels.h"

namespace lvc {

template <typename Id>
void encode_avx2(EncoderState& s, const Tables& tables, const Id* ids, size_t n, uint64_t first, uint16_t*& top);
template <typename Index>
Status decode_avx2(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n);

}  // namespace lvc
