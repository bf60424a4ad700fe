// The arithmetic coder of HEVC (ITU-T H.265, 9.3): reading and writing, the same bins give the same bytes. No Python.
#ifndef LVC_HEVC_CABAC_H
#define LVC_HEVC_CABAC_H

#include <array>
#include <cstdint>

#include "bits.h"

namespace lvc::hevc {

// Context variables, by syntax element.
enum CabacContext : int {
  kSaoMerge = 0,
  kSaoType = kSaoMerge + 1,
  kSplitCu = kSaoType + 1,
  kBypassCu = kSplitCu + 3,
  kSkip = kBypassCu + 1,
  kPredMode = kSkip + 3,
  kPartMode = kPredMode + 1,
  kPrevIntra = kPartMode + 4,
  kIntraChroma = kPrevIntra + 1,
  kRootCbf = kIntraChroma + 1,
  kMerge = kRootCbf + 1,
  kMergeIndex = kMerge + 1,
  kInterDirection = kMergeIndex + 1,
  kReference = kInterDirection + 5,
  kMvpFlag = kReference + 2,
  kSplitTransform = kMvpFlag + 1,
  kCbfLuma = kSplitTransform + 3,
  kCbfChroma = kCbfLuma + 2,
  kMvdGreater = kCbfChroma + 4,
  kQpDelta = kMvdGreater + 2,
  kTransformSkip = kQpDelta + 2,
  kLastX = kTransformSkip + 2,
  kLastY = kLastX + 18,
  kCodedSubBlock = kLastY + 18,
  kSignificant = kCodedSubBlock + 4,
  kGreater1 = kSignificant + 42,
  kGreater2 = kGreater1 + 24,
  kContexts = kGreater2 + 6,
};

// States of context variables: 2 * pStateIdx + valMps.
class Contexts {
 public:
  // 9.3.2.2. type: initType 0..2.
  void reset(int type, int qp);
  uint8_t& operator[](int i) { return states_[static_cast<size_t>(i)]; }
  uint8_t operator[](int i) const { return states_[static_cast<size_t>(i)]; }

 private:
  std::array<uint8_t, kContexts> states_{};
};

class CabacReader {
 public:
  // Begins at a byte of data that stays where it is.
  void start(const Bytes& data, size_t at);
  int bin(uint8_t& state);
  int bypass();
  int terminate();
  // After terminate() gave 1: the byte behind the last one.
  size_t end() const;

 private:
  void fill(int shift);

  const Bytes* data_ = nullptr;
  size_t at_ = 0;
  uint32_t range_ = 0, value_ = 0;
  int needed_ = 0;
};

class CabacWriter {
 public:
  void start();
  void bin(uint8_t& state, int value);
  void bypass(int value);
  void terminate(int value);
  // After terminate(1): the bytes, with the stop bit and zeros behind it.
  Bytes finish();

 private:
  void renormalize();
  void put(int bit);

  BitWriter out_;
  uint32_t low_ = 0, range_ = 0;
  int outstanding_ = 0;
  bool first_ = true;
};

}  // namespace lvc::hevc

#endif  // LVC_HEVC_CABAC_H
