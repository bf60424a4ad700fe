// The syntax of HEVC's slices (ITU-T H.265, 7.3.6 and 7.3.8), written once for packing and unpacking. No Python.
#ifndef LVC_HEVC_SLICE_H
#define LVC_HEVC_SLICE_H

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>

#include "bins.h"
#include "parameters.h"
#include "picture.h"

namespace lvc::hevc {

enum SliceType : int { kB = 0, kP = 1, kI = 2 };
enum PartMode : int { k2Nx2N, k2NxN, kNx2N, kNxN, k2NxnU, k2NxnD, knLx2N, knRx2N };
// Intra prediction modes.
constexpr int kPlanar = 0, kDc = 1, kHorizontal = 10, kVertical = 26, kDiagonal = 34;

struct SliceHeader {
  int type = kI;
  int poc_lsb = 0;
  bool sao_luma = false, sao_chroma = false, mvd_l1_zero = false, cabac_init = false;
  int references[2] = {1, 1};
  int merge_candidates = 5;
  int qp = 26;
  int entry_points = 0, offset_bits = 0;
};

// What lasts from slice to slice.
struct History {
  Parameters parameters;
  std::map<int, int> fields;  // of slice headers, as they were last
  std::deque<std::shared_ptr<Picture>> pictures;
  int last_poc = 0, last_type = 0;
};

// The bits of a slice header: read out of a unit, or as they come out of the model, to be written.
class HeaderBits {
 public:
  HeaderBits(Bins& bins, History& history, BitReader* reader, BitWriter* writer)
      : bins_(bins), history_(history), reader_(reader), writer_(writer) {}

  // `field`: a number of its own for each syntax element, whose former value is a context.
  uint32_t u(int field, int n);
  uint32_t ue(int field);
  int32_t se(int field);

 private:
  int bit(int field, uint32_t node);

  Bins& bins_;
  History& history_;
  BitReader* reader_;
  BitWriter* writer_;
};

// 7.3.6.1, up to the entry points; `unit_type` of the unit's header.
SliceHeader read_header(HeaderBits& bits, const Parameters& parameters, int unit_type, const Sps** sps,
                        const Pps** pps);

// Magnitudes of the coefficients of a transform block, with a margin of zeros, and their sum.
struct Levels {
  static constexpr int kStride = 34;
  std::array<uint8_t, kStride * kStride> values{};
  int sum = 0;
  int log2 = 0;  // of the block's side; 0: not coded

  uint8_t& at(int x, int y) { return values[static_cast<size_t>(y * kStride + x)]; }
  int at(int x, int y) const { return values[static_cast<size_t>(y * kStride + x)]; }
  void clear() {
    if (log2) values.fill(0);
    sum = log2 = 0;
  }
};

// Slice data of a picture that is one slice.
class SliceData {
 public:
  SliceData(Bins& bins, const Sps& sps, const Pps& pps, const SliceHeader& header, std::shared_ptr<Picture> picture,
            const Picture* near);

  // Packing: reads `payload` from byte `at` on, which must end with the slice. Unpacking (payload is null): returns the
  // substreams, one for each entry point and one.
  std::vector<Bytes> code(const Bytes* payload, size_t at);

 private:
  struct Block {  // a coding block
    int x, y, log2, depth;
    Kind kind;
    bool bypass;
    int part;
    int modes[4];
    int chroma_mode;
  };

  void sao(int column, int row);
  void quadtree(int x, int y, int log2, int depth);
  void coding_block(int x, int y, int log2, int depth);
  int part_mode(const Block& block);
  void intra_modes(Block& block);
  void prediction_block(const Block& block, int x, int y, int width, int height);
  int merge_index(int x, int y);
  void vector_difference(int x, int y, int list, int reference, Unit& unit);
  void transform_tree(const Block& block, int x, int y, int base_x, int base_y, int log2, int depth, int index,
                      int max_depth, bool parent_cb, bool parent_cr);
  void transform_unit(const Block& block, int x, int y, int base_x, int base_y, int log2, int index, bool luma, bool cb,
                      bool cr);
  void qp_delta();
  void residual(const Block& block, int x, int y, int log2, int plane, int mode);

  uint32_t neighbour_kinds(int x, int y) const;
  int near_energy(int x, int y, int side, bool chroma) const;

  Bins& bins_;
  const Sps& sps_;
  const Pps& pps_;
  const SliceHeader& header_;
  std::shared_ptr<Picture> picture_;
  const Picture* near_;
  bool qp_coded_ = false;
  int last_delta_ = 0;

  std::array<Levels, 3> levels_;  // of the transform unit at hand, by plane
};

}  // namespace lvc::hevc

#endif  // LVC_HEVC_SLICE_H
