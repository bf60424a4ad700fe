// Parameter sets of HEVC (ITU-T H.265, 7.3.2), as far as the syntax of slices depends on them.
#ifndef LVC_HEVC_PARAMETERS_H
#define LVC_HEVC_PARAMETERS_H

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "bits.h"

namespace lvc::hevc {

constexpr int kSpsUnit = 33, kPpsUnit = 34;  // types of units
constexpr int kMaxSide = 1 << 14;
constexpr int kMaxReferences = 16;

struct Sps {
  int width = 0, height = 0;
  int poc_bits = 0;
  int log2_min_cb = 0, log2_ctb = 0, log2_min_tb = 0, log2_max_tb = 0;
  int depth_inter = 0, depth_intra = 0;
  bool amp = false, sao = false, temporal_mvp = false;
  std::vector<int> delta_pocs;  // of each short-term reference picture set
};

struct Pps {
  int sps = 0;
  bool output_flag = false, sign_hiding = false, cabac_init = false, transform_skip = false, qp_delta = false;
  bool chroma_offsets = false, weighted = false, weighted_bi = false, bypass = false, sync = false;
  bool across_slices = false, override_deblocking = false, no_deblocking = false;
  int extra_bits = 0, references[2] = {1, 1}, init_qp = 26, qp_delta_depth = 0;
};

// Those that have come so far, by their numbers.
class Parameters {
 public:
  // Takes a payload of a unit of type kSpsUnit or kPpsUnit. Raises Unsupported; a former set of that number stays.
  void take(int unit_type, const Bytes& payload);
  const Sps& sps(int number) const;
  const Pps& pps(int number) const;

 private:
  std::map<int, Sps> sps_;
  std::map<int, Pps> pps_;
};

}  // namespace lvc::hevc

#endif  // LVC_HEVC_PARAMETERS_H
