// Bits of HEVC's raw byte sequence payloads (ITU-T H.265, 7.2 and 9.2). No Python.
#ifndef LVC_HEVC_BITS_H
#define LVC_HEVC_BITS_H

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace lvc::hevc {

using Bytes = std::vector<uint8_t>;

// The stream uses what is not known here, or does not follow the standard: it is then stored as it is.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Packed data that no packer wrote.
struct Corrupt : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool condition, const char* why) {
  if (!condition) throw Unsupported(why);
}

// 9.2.2: what an Exp-Golomb code stands for where values may be negative.
inline int32_t signed_of(uint32_t code) {
  return code & 1 ? static_cast<int32_t>((code + 1) / 2) : -static_cast<int32_t>(code / 2);
}

class BitReader {
 public:
  BitReader(const uint8_t* data, size_t size) : data_(data), bits_(size * 8) {}

  uint32_t u(int n) {
    uint32_t value = 0;
    for (int i = 0; i < n; ++i) value = value << 1 | bit();
    return value;
  }

  uint32_t bit() {
    if (at_ >= bits_) throw Unsupported("syntax goes on beyond the end of a unit");
    const uint32_t value = data_[at_ / 8] >> (7 - at_ % 8) & 1;
    ++at_;
    return value;
  }

  uint32_t ue() {
    int zeros = 0;
    while (!bit())
      if (++zeros > 31) throw Unsupported("an Exp-Golomb code is too long");
    return (1u << zeros) - 1 + u(zeros);
  }

  int32_t se() { return signed_of(ue()); }

  size_t position() const { return at_; }

 private:
  const uint8_t* data_;
  size_t bits_, at_ = 0;
};

class BitWriter {
 public:
  void bit(uint32_t value) {
    if (count_ % 8 == 0) bytes_.push_back(0);
    bytes_.back() |= static_cast<uint8_t>((value & 1) << (7 - count_ % 8));
    ++count_;
  }

  void u(uint32_t value, int n) {
    for (int i = n - 1; i >= 0; --i) bit(value >> i);
  }

  // A one, then zeros up to the end of the byte.
  void align() {
    bit(1);
    while (count_ % 8) bit(0);
  }

  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
  size_t count_ = 0;
};

// Payload of a unit without the bytes that keep start codes out of it, and the reverse.
inline Bytes unescape(const uint8_t* data, size_t size) {
  Bytes out;
  out.reserve(size);
  int zeros = 0;
  for (size_t i = 0; i < size; ++i) {
    if (zeros >= 2 && data[i] == 3) {
      zeros = 0;
      continue;
    }
    zeros = data[i] ? 0 : zeros + 1;
    out.push_back(data[i]);
  }
  return out;
}

inline Bytes escape(const Bytes& data) {
  Bytes out;
  out.reserve(data.size() + data.size() / 64 + 1);
  int zeros = 0;
  for (const uint8_t value : data) {
    if (zeros >= 2 && value <= 3) {
      out.push_back(3);
      zeros = 0;
    }
    zeros = value ? 0 : zeros + 1;
    out.push_back(value);
  }
  return out;
}

}  // namespace lvc::hevc

#endif  // LVC_HEVC_BITS_H
