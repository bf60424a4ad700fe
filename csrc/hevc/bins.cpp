#include "bins.h"

#include <cmath>

namespace lvc::hevc {

namespace {

// Log odds of the less probable symbol's absence by pStateIdx, in 1/256.
constexpr int kStateOdds[64] = {0,   26,  51,  75,  98,  120, 141, 162, 182, 201, 221, 239, 258, 276, 294,  311,
                                328, 345, 362, 378, 395, 411, 427, 442, 458, 474, 489, 504, 519, 534, 549,  564,
                                579, 594, 608, 623, 637, 652, 666, 680, 695, 709, 723, 737, 751, 765, 779,  793,
                                807, 821, 835, 849, 863, 876, 890, 904, 918, 931, 945, 959, 972, 986, 1000, 1000};

struct Costs {
  std::array<double, 4096> bits;

  Costs() {
    for (int i = 0; i < 4096; ++i) bits[static_cast<size_t>(i)] = -std::log2((i + 0.5) / 4096);
  }
  double of(int chance) const { return bits[static_cast<size_t>(chance >> 4)]; }
};

const Costs kCosts;

constexpr int kBounds[15] = {1, 2, 3, 4, 5, 7, 10, 15, 23, 36, 56, 90, 150, 260, 500};

}  // namespace

const char* const kElementNames[kElements] = {"bytes of units",
                                              "slice headers",
                                              "split_cu_flag",
                                              "cu_skip_flag",
                                              "pred_mode_flag",
                                              "part_mode",
                                              "prev_intra_luma_pred_flag",
                                              "mpm_idx",
                                              "rem_intra_luma_pred_mode",
                                              "intra_chroma_pred_mode",
                                              "merge_flag",
                                              "merge_idx",
                                              "inter_pred_idc",
                                              "ref_idx",
                                              "abs_mvd_greater",
                                              "abs_mvd_minus2",
                                              "mvd_sign_flag",
                                              "mvp_flag",
                                              "rqt_root_cbf",
                                              "split_transform_flag",
                                              "cbf_luma",
                                              "cbf_chroma",
                                              "cu_qp_delta",
                                              "transform_skip_flag",
                                              "last_sig_coeff_prefix",
                                              "last_sig_coeff_suffix",
                                              "coded_sub_block_flag",
                                              "sig_coeff_flag",
                                              "greater1_flag",
                                              "greater2_flag",
                                              "coeff_sign_flag",
                                              "coeff_abs_level_remaining",
                                              "sao",
                                              "cu_transquant_bypass_flag"};

int bucket(int value) {
  int n = 0;
  while (n < 15 && value >= kBounds[n]) ++n;
  return n;
}

int Bins::code(Element element, int sub, int fixed, int value, std::initializer_list<uint32_t> contexts, int choice) {
  query_.n = 0;
  const auto add = [&](uint32_t context) {
    uint32_t hash = (context + 1) * 0x9e3779b1u ^ static_cast<uint32_t>(element * 64 + sub) * 0x85ebca6bu;
    hash = (hash ^ hash >> 15) * 0x2c1b3c6du + static_cast<uint32_t>(query_.n) * 0x297a2d39u;
    hash = (hash ^ hash >> 13) * 0x7feb352du;
    query_.slots[static_cast<size_t>(query_.n++)] = hash >> (32 - kSlotBits);
  };
  add(0);
  add(static_cast<uint32_t>(1 + situation.frame * 4 + situation.qp));
  for (const uint32_t context : contexts) add(context);
  query_.fixed = fixed;
  query_.sets[0] = static_cast<uint32_t>(element * 64 + sub);
  query_.sets[1] = static_cast<uint32_t>(element * 64 + (situation.frame * 4 + situation.qp) * 4 + (sub & 3));
  query_.sets[2] = static_cast<uint32_t>(element * 64 + choice);
  const int chance = model_.predict(query_);
  if (encoder_)
    encoder_->code(value, chance);
  else
    value = decoder_->code(chance);
  model_.learn(query_, value);
  Count& count = counts[static_cast<size_t>(element)];
  count.bins += 1;
  count.after += kCosts.of(value ? chance : 65536 - chance);
  count.before += fixed ? kCosts.of(squash(value ? fixed : -fixed)) : 1;
  return value;
}

int Bins::plain(Element element, int sub, int value, std::initializer_list<uint32_t> contexts) {
  return code(element, sub, 0, value, contexts, 0);
}

int Bins::bin(Element element, int sub, int context, std::initializer_list<uint32_t> contexts_seen, int choice) {
  int value = 0, fixed = 0;
  if (context >= 0) {
    const uint8_t state = contexts[context];
    fixed = state & 1 ? kStateOdds[state >> 1] : -kStateOdds[state >> 1];
  }
  if (packing()) value = context >= 0 ? reader.bin(contexts[context]) : reader.bypass();
  value = code(element, sub, fixed, value, contexts_seen, choice);
  if (!packing()) {
    if (context >= 0)
      writer.bin(contexts[context], value);
    else
      writer.bypass(value);
  }
  return value;
}

void Bins::terminate(bool expected) {
  if (packing()) {
    if (reader.terminate() != expected) throw Unsupported("slices of pictures");
  } else {
    writer.terminate(expected);
  }
}

}  // namespace lvc::hevc
