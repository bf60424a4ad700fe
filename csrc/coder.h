// Tables, encoder and decoder as objects that own memory: what the bindings and the C++ tests use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rans.h"

namespace lvc {

// What a scalar encoder needs of an entry.
struct Step {
  uint64_t reciprocal;  // 2^64 / frequency, rounded up; 2^64 - 1 for 1
  uint32_t limit;       // states from here on give a word first: frequency * 2^18
  uint16_t bias;        // start, and 2^14 - 1 more if the frequency is 1
  uint16_t others;      // 2^14 - frequency
};

// Integer CDFs of 14 bits, checked once. Throws std::invalid_argument (with the row at fault) when they break
// a rule.
class Tables {
 public:
  // cdf: n_tables rows of `stride` entries, of which row t uses lengths[t], in coding order, escape last; order:
  // the value of each interval, laid out like cdf (the escape's and what is behind is ignored).
  Tables(const uint32_t* cdf, const int32_t* order, size_t n_tables, size_t stride, const uint32_t* lengths);
  TablesView view() const;
  const Step* steps() const { return steps_.data(); }  // in the order of by_value

 private:
  void add_row(size_t t, const uint32_t* cdf, const int32_t* order, size_t length);
  void build_ranks();

  size_t n_tables_;
  std::vector<uint32_t> row_, count_, entry_, bucket_, by_value_, cost_;
  std::vector<int32_t> first_, value_;
  std::vector<uint16_t> ranks_;
  std::vector<Step> steps_;
  std::vector<Interval> intervals_;
};

// Which table codes which symbol: one index a symbol, or runs of `run` symbols for tables 0, 1, 2, ...
template <typename T>
struct PerSymbol {
  const T* index;
};
struct PerRun {
  size_t run;
};

// Bits of the string that is read from the end of the data, the first one lowest.
class BitWriter {
 public:
  void put(uint64_t bits, uint32_t n);  // n <= 33
  void put(const BitWriter& other);
  void truncate(uint64_t size);
  uint64_t size() const { return size_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t size_ = 0;
};

struct EncoderState {
  uint32_t lane[kMaxLanes];
  uint32_t lanes;
};

// A finished stream, in the pieces that it was coded in.
class Stream {
 public:
  size_t size() const { return size_; }
  // out: size() bytes.
  void copy_to(uint8_t* out) const;

 private:
  friend class Encoder;
  struct Words {
    std::unique_ptr<uint16_t[]> memory;
    uint16_t* top;  // written downwards from the end
    uint16_t* end;
  };
  std::vector<Words> words_;  // the last ones of the stream first
  BitWriter bits_;
  size_t size_ = 0;
};

// Keeps which entry each symbol has (two bytes a symbol; four with more than 65536 entries), codes in finish().
class Encoder {
 public:
  // lanes: 0 to choose by content, or 1, 4, 8 or 32.
  explicit Encoder(uint32_t lanes = 0) : lanes_(lanes) {}
  // Appends n symbols. On any status but kOk nothing was appended. Symbol: int8_t, int16_t or int32_t;
  // Index: PerSymbol<uint8_t>, PerSymbol<int32_t> or PerRun.
  template <typename Symbol, typename Index>
  Status push(const std::shared_ptr<const Tables>& tables, const Symbol* symbols, Index index, size_t n);
  // The coded bytes of all that was pushed; the encoder is empty thereafter.
  Stream finish_stream();
  std::vector<uint8_t> finish();

 private:
  struct Segment {
    std::shared_ptr<const Tables> tables;
    size_t n;
    std::unique_ptr<uint16_t[]> narrow;  // either of them
    std::unique_ptr<uint32_t[]> wide;
  };
  uint32_t choose_lanes() const;

  uint32_t lanes_;
  std::vector<Segment> segments_;
  BitWriter escapes_;
};

// Holds a copy of the data. After a status of damage, all calls repeat it.
class Decoder {
 public:
  Decoder(const uint8_t* data, size_t size);
  template <typename Index>
  Status pull(const TablesView& tables, Index index, int32_t* out, size_t n);
  // kOk if all symbols were taken and every lane is where the encoder started.
  Status close() const { return status_ != Status::kOk ? status_ : close_stream(state_); }
  // Symbols decoded so far, for messages.
  uint64_t position() const { return state_.position; }
  uint32_t lanes() const { return state_.lanes; }

 private:
  std::unique_ptr<uint8_t[]> data_;
  DecoderState state_;
  Status status_;
};

}  // namespace lvc
