#include "parameters.h"

namespace lvc::hevc {

namespace {

int bounded(uint32_t value, uint32_t most, const char* why) {
  require(value <= most, why);
  return static_cast<int>(value);
}

void skip_profile(BitReader& r, int sub_layers) {
  r.u(32);
  r.u(32);
  r.u(32);
  if (!sub_layers) return;
  bool profile[8], level[8];
  for (int i = 0; i < sub_layers; ++i) {
    profile[i] = r.bit();
    level[i] = r.bit();
  }
  for (int i = sub_layers; i < 8; ++i) r.u(2);
  for (int i = 0; i < sub_layers; ++i) {
    if (profile[i]) {
      r.u(32);
      r.u(32);
      r.u(24);
    }
    if (level[i]) r.u(8);
  }
}

// 7.3.4; the factors do not matter for parsing.
void skip_scaling_lists(BitReader& r) {
  for (int size = 0; size < 4; ++size)
    for (int matrix = 0; matrix < 6; matrix += size == 3 ? 3 : 1) {
      if (!r.bit()) {
        r.ue();
        continue;
      }
      if (size > 1) r.se();
      for (int i = 0; i < (size ? 64 : 16); ++i) r.se();
    }
}

// 7.3.7. Returns how many pictures the set holds.
int read_reference_set(BitReader& r, const std::vector<int>& former) {
  if (!former.empty() && r.bit()) {
    r.bit();
    r.ue();
    int count = 0;
    for (int i = 0; i <= former.back(); ++i) {
      const bool used = r.bit();
      count += used || r.bit();
    }
    return bounded(static_cast<uint32_t>(count), kMaxReferences, "too many reference pictures");
  }
  const int count = bounded(r.ue(), kMaxReferences, "too many reference pictures") +
                    bounded(r.ue(), kMaxReferences, "too many reference pictures");
  require(count <= kMaxReferences, "too many reference pictures");
  for (int i = 0; i < count; ++i) {
    r.ue();
    r.bit();
  }
  return count;
}

Sps read_sps(BitReader& r, int* number) {
  Sps s;
  r.u(4);
  const int sub_layers = static_cast<int>(r.u(3));
  r.bit();
  skip_profile(r, sub_layers);
  *number = bounded(r.ue(), 15, "number of a parameter set");
  require(r.ue() == 1, "not 4:2:0");
  s.width = bounded(r.ue(), kMaxSide, "picture too large");
  s.height = bounded(r.ue(), kMaxSide, "picture too large");
  if (r.bit())
    for (int i = 0; i < 4; ++i) r.ue();
  const uint32_t luma_depth = r.ue(), chroma_depth = r.ue();
  require(luma_depth == 0 && chroma_depth == 0, "not 8 bits");
  s.poc_bits = 4 + bounded(r.ue(), 12, "bits of picture numbers");
  for (int i = r.bit() ? 0 : sub_layers; i <= sub_layers; ++i) {
    r.ue();
    r.ue();
    r.ue();
  }
  s.log2_min_cb = 3 + bounded(r.ue(), 3, "block sizes");
  s.log2_ctb = s.log2_min_cb + bounded(r.ue(), 3, "block sizes");
  s.log2_min_tb = 2 + bounded(r.ue(), 3, "block sizes");
  s.log2_max_tb = s.log2_min_tb + bounded(r.ue(), 3, "block sizes");
  require(s.log2_ctb >= 4 && s.log2_ctb <= 6 && s.log2_max_tb <= 5 && s.log2_max_tb <= s.log2_ctb &&
              s.log2_min_tb < s.log2_min_cb,
          "block sizes");
  const int unit = 1 << s.log2_min_cb;
  require(s.width >= unit && s.height >= unit && s.width % unit == 0 && s.height % unit == 0, "picture size");
  s.depth_inter = bounded(r.ue(), 4, "transform depth");
  s.depth_intra = bounded(r.ue(), 4, "transform depth");
  if (r.bit() && r.bit()) skip_scaling_lists(r);
  s.amp = r.bit();
  s.sao = r.bit();
  require(!r.bit(), "PCM");
  const int sets = bounded(r.ue(), 64, "reference picture sets");
  for (int i = 0; i < sets; ++i) s.delta_pocs.push_back(read_reference_set(r, s.delta_pocs));
  require(!r.bit(), "long-term references");
  s.temporal_mvp = r.bit();
  return s;
}

Pps read_pps(BitReader& r, int* number) {
  Pps p;
  *number = bounded(r.ue(), 63, "number of a parameter set");
  p.sps = bounded(r.ue(), 15, "number of a parameter set");
  require(!r.bit(), "dependent slices");
  p.output_flag = r.bit();
  p.extra_bits = static_cast<int>(r.u(3));
  p.sign_hiding = r.bit();
  p.cabac_init = r.bit();
  for (int& count : p.references) count = 1 + bounded(r.ue(), kMaxReferences - 2, "reference pictures");
  p.init_qp = 26 + r.se();
  require(p.init_qp >= 0 && p.init_qp <= 51, "initial QP");
  r.bit();
  p.transform_skip = r.bit();
  p.qp_delta = r.bit();
  if (p.qp_delta) p.qp_delta_depth = bounded(r.ue(), 3, "depth of QPs");
  r.se();
  r.se();
  p.chroma_offsets = r.bit();
  p.weighted = r.bit();
  p.weighted_bi = r.bit();
  p.bypass = r.bit();
  require(!r.bit(), "tiles");
  p.sync = r.bit();
  p.across_slices = r.bit();
  if (r.bit()) {
    p.override_deblocking = r.bit();
    p.no_deblocking = r.bit();
    if (!p.no_deblocking) {
      r.se();
      r.se();
    }
  }
  if (r.bit()) skip_scaling_lists(r);
  require(!r.bit(), "modified reference lists");
  r.ue();
  require(!r.bit(), "extended slice headers");
  require(!r.bit(), "extensions");
  return p;
}

template <typename Set>
const Set& find(const std::map<int, Set>& sets, int number) {
  const auto found = sets.find(number);
  if (found == sets.end()) throw Unsupported("a parameter set is missing");
  return found->second;
}

}  // namespace

void Parameters::take(int unit_type, const Bytes& payload) {
  BitReader reader(payload.data(), payload.size());
  int number = 0;
  if (unit_type == kSpsUnit) {
    const Sps sps = read_sps(reader, &number);
    sps_[number] = sps;
  } else if (unit_type == kPpsUnit) {
    const Pps pps = read_pps(reader, &number);
    pps_[number] = pps;
  }
}

const Sps& Parameters::sps(int number) const { return find(sps_, number); }

const Pps& Parameters::pps(int number) const { return find(pps_, number); }

}  // namespace lvc::hevc
