// The scalar kernels, for other kernels to fall back on.
#pragma once

#include "../kernels.h"

namespace lvc {

template <typename Id>
void encode_scalar(EncoderState& s, const Tables& tables, const Id* ids, size_t n, uint64_t first,
                   uint16_t*& top);
template <typename Index>
Status decode_scalar(DecoderState& d, const TablesView& t, const Index* index, int32_t* out, size_t n);

}  // namespace lvc
