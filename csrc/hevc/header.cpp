#include <cstdlib>

#include "slice.h"

namespace lvc::hevc {

namespace {

enum Field : int {
  kFirstSlice,
  kNoPrior,
  kPpsNumber,
  kExtra,
  kType,
  kOutput,
  kPocLsb,
  kSetFromSps,
  kSetIndex,
  kSetPredicted,
  kSetDelta,
  kSetSign,
  kSetAbs,
  kSetUsed,
  kSetUse,
  kNegative,
  kPositive,
  kDeltaPoc0,
  kUsed0,
  kDeltaPoc1,
  kUsed1,
  kTemporalMvp,
  kSaoLuma,
  kSaoChroma,
  kOverride,
  kReferences0,
  kReferences1,
  kMvdZero,
  kCabacInit,
  kCollocatedList,
  kCollocated,
  kLumaDenominator,
  kChromaDenominator,
  kLumaFlag,
  kChromaFlag,
  kLumaWeight,
  kLumaOffset,
  kChromaWeight,
  kChromaOffset,
  kCandidates,
  kQp,
  kCbOffset,
  kCrOffset,
  kOverrideDeblocking,
  kNoDeblocking,
  kBeta,
  kTc,
  kAcrossSlices,
  kEntryPoints,
  kOffsetBits,
};

int ceil_log2(size_t n) {
  int bits = 0;
  while ((size_t{1} << bits) < n) ++bits;
  return bits;
}

// 7.3.7, in a slice header.
void reference_set(HeaderBits& h, const Sps& sps) {
  if (!sps.delta_pocs.empty() && h.u(kSetPredicted, 1)) {
    const uint32_t back = h.ue(kSetDelta);
    require(back < sps.delta_pocs.size(), "reference picture sets");
    h.u(kSetSign, 1);
    h.ue(kSetAbs);
    const int count = sps.delta_pocs[sps.delta_pocs.size() - 1 - back];
    for (int i = 0; i <= count; ++i)
      if (!h.u(kSetUsed, 1)) h.u(kSetUse, 1);
    return;
  }
  const uint32_t negative = h.ue(kNegative), positive = h.ue(kPositive);
  require(negative <= kMaxReferences && positive <= kMaxReferences, "reference pictures");
  for (uint32_t i = 0; i < negative; ++i) {
    h.ue(kDeltaPoc0);
    h.u(kUsed0, 1);
  }
  for (uint32_t i = 0; i < positive; ++i) {
    h.ue(kDeltaPoc1);
    h.u(kUsed1, 1);
  }
}

// 7.3.6.3
void weights(HeaderBits& h, const SliceHeader& s) {
  h.ue(kLumaDenominator);
  h.se(kChromaDenominator);
  for (int list = 0; list < (s.type == kB ? 2 : 1); ++list) {
    bool luma[kMaxReferences], chroma[kMaxReferences];
    for (int i = 0; i < s.references[list]; ++i) luma[i] = h.u(kLumaFlag, 1);
    for (int i = 0; i < s.references[list]; ++i) chroma[i] = h.u(kChromaFlag, 1);
    for (int i = 0; i < s.references[list]; ++i) {
      if (luma[i]) {
        h.se(kLumaWeight);
        h.se(kLumaOffset);
      }
      for (int plane = 0; chroma[i] && plane < 2; ++plane) {
        h.se(kChromaWeight);
        h.se(kChromaOffset);
      }
    }
  }
}

}  // namespace

int HeaderBits::bit(int field, uint32_t node) {
  const int value = reader_ ? static_cast<int>(reader_->bit()) : 0;
  const auto last = static_cast<uint32_t>(history_.fields[field]);
  const auto type = static_cast<uint32_t>(history_.fields[kType]);
  const int found = bins_.plain(kHeader, field, value,
                                {node, node * 64 + (last & 63), node * 4 + type, (node * 4 + type) * 64 + (last & 63)});
  if (writer_) writer_->bit(static_cast<uint32_t>(found));
  return found;
}

uint32_t HeaderBits::u(int field, int n) {
  uint32_t value = 0;
  for (int i = 0; i < n; ++i) value = value << 1 | static_cast<uint32_t>(bit(field, 1u << i | value));
  history_.fields[field] = static_cast<int>(value);
  return value;
}

uint32_t HeaderBits::ue(int field) {
  int zeros = 0;
  while (!bit(field, 1000u + static_cast<uint32_t>(zeros)))
    if (++zeros > 31) throw Unsupported("an Exp-Golomb code is too long");
  uint32_t rest = 1;
  for (int i = 0; i < zeros; ++i) rest = rest << 1 | static_cast<uint32_t>(bit(field, 2000u + (rest & 1023)));
  history_.fields[field] = static_cast<int>(rest - 1);
  return rest - 1;
}

int32_t HeaderBits::se(int field) { return signed_of(ue(field)); }

SliceHeader read_header(HeaderBits& h, const Parameters& parameters, int unit_type, const Sps** sps_found,
                        const Pps** pps_found) {
  SliceHeader s;
  require(h.u(kFirstSlice, 1), "slices of pictures");
  if (unit_type >= 16 && unit_type <= 23) h.u(kNoPrior, 1);
  const Pps& pps = parameters.pps(static_cast<int>(h.ue(kPpsNumber)));
  const Sps& sps = parameters.sps(pps.sps);
  *pps_found = &pps;
  *sps_found = &sps;
  for (int i = 0; i < pps.extra_bits; ++i) h.u(kExtra, 1);
  const uint32_t type = h.ue(kType);
  require(type <= kI, "type of a slice");
  s.type = static_cast<int>(type);
  if (pps.output_flag) h.u(kOutput, 1);
  bool temporal_mvp = false;
  if (unit_type != 19 && unit_type != 20) {
    s.poc_lsb = static_cast<int>(h.u(kPocLsb, sps.poc_bits));
    if (!h.u(kSetFromSps, 1))
      reference_set(h, sps);
    else if (sps.delta_pocs.size() > 1)
      h.u(kSetIndex, ceil_log2(sps.delta_pocs.size()));
    if (sps.temporal_mvp) temporal_mvp = h.u(kTemporalMvp, 1);
  }
  if (sps.sao) {
    s.sao_luma = h.u(kSaoLuma, 1);
    s.sao_chroma = h.u(kSaoChroma, 1);
  }
  if (s.type != kI) {
    s.references[0] = pps.references[0];
    s.references[1] = pps.references[1];
    if (h.u(kOverride, 1)) {
      for (int list = 0; list < (s.type == kB ? 2 : 1); ++list) {
        const uint32_t count = h.ue(kReferences0 + list);
        require(count < kMaxReferences - 1, "reference pictures");
        s.references[list] = static_cast<int>(count) + 1;
      }
    }
    if (s.type == kB) s.mvd_l1_zero = h.u(kMvdZero, 1);
    if (pps.cabac_init) s.cabac_init = h.u(kCabacInit, 1);
    if (temporal_mvp) {
      const bool first = s.type != kB || h.u(kCollocatedList, 1);
      if (s.references[first ? 0 : 1] > 1) h.ue(kCollocated);
    }
    if ((pps.weighted && s.type == kP) || (pps.weighted_bi && s.type == kB)) weights(h, s);
    const uint32_t fewer = h.ue(kCandidates);
    require(fewer < 5, "merge candidates");
    s.merge_candidates = 5 - static_cast<int>(fewer);
  }
  const int32_t delta = h.se(kQp);
  require(delta > -100 && delta < 100, "QP");
  s.qp = pps.init_qp + delta;
  if (pps.chroma_offsets) {
    h.se(kCbOffset);
    h.se(kCrOffset);
  }
  bool no_deblocking = pps.no_deblocking;
  if (pps.override_deblocking && h.u(kOverrideDeblocking, 1)) {
    no_deblocking = h.u(kNoDeblocking, 1);
    if (!no_deblocking) {
      h.se(kBeta);
      h.se(kTc);
    }
  }
  if (pps.across_slices && (s.sao_luma || s.sao_chroma || !no_deblocking)) h.u(kAcrossSlices, 1);
  if (pps.sync) {
    const uint32_t points = h.ue(kEntryPoints);
    require(points < kMaxSide, "entry points");
    s.entry_points = static_cast<int>(points);
    if (points) {
      const uint32_t bits = h.ue(kOffsetBits);
      require(bits < 32, "entry points");
      s.offset_bits = static_cast<int>(bits) + 1;
    }
  }
  return s;
}

}  // namespace lvc::hevc
