// Chunks on a GPU: one warp each, with the code that the CPU emulates in cpu/warp.cpp. Plain pointers and a stream;
// no torch. All functions return the CUDA error as a number, 0 if there was none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../coder.h"

namespace lvc {
namespace cuda {

// A chunk: symbols [first, first + n) of the arrays. Its bytes: [offset, offset + size) of the data.
struct Chunk {
  uint64_t first, n;
  uint64_t offset, size;
};

// Tables in the memory of the current device.
class DeviceTables {
 public:
  explicit DeviceTables(const TablesView& host);
  ~DeviceTables();
  DeviceTables(const DeviceTables&) = delete;
  DeviceTables& operator=(const DeviceTables&) = delete;
  const TablesView& view() const { return view_; }
  int error() const { return error_; }

 private:
  template <typename T>
  const T* copy(const T* from, size_t n);

  TablesView view_{};
  void* memory_[8] = {};
  size_t count_ = 0;
  int error_ = 0;
};

// Decodes chunks: `data`, `chunks`, `index`, `out` and `status` (one Status each) are in device memory.
int decode_chunks(const DeviceTables& tables, const uint8_t* data, const Chunk* chunks, uint32_t n_chunks,
                  const uint8_t* index, int32_t* out, int32_t* status, void* stream);

// Codes chunks in `lanes` lanes (0: chosen by content, as on the CPU; chunk_lanes[k] tells). The words of chunk k end where its part [offset, offset + size) of `words` does,
// which must be of 2 * n bytes at least, at even offsets; n_words[k] tells how many there are. states[32 * k + i] is
// the state of lane i. The bits of its escapes, n_bits[k] of them, start at byte 16 * first of `escapes`, which has
// 16 bytes a symbol. All arrays are in device memory; pack_chunk makes the stream of them.
int encode_chunks(const DeviceTables& tables, const int32_t* symbols, const uint8_t* index, const Chunk* chunks,
                  uint32_t n_chunks, uint32_t lanes, uint8_t* words, uint64_t* n_words, uint32_t* states,
                  uint32_t* chunk_lanes, uint8_t* escapes, uint64_t* n_bits, int32_t* status, void* stream);

// The stream of one chunk, out of copies in host memory of what encode_chunks gave for it.
std::vector<uint8_t> pack_chunk(uint32_t lanes, const uint32_t* states, const uint8_t* words, uint64_t n_words,
                                const uint8_t* escapes, uint64_t n_bits);

// The two below work on whole arrays in device memory and are done when they return; what they need in between they
// take from the device of `index`. They throw std::runtime_error with what CUDA says if a call of it fails.

// The streams of chunks of `chunk_symbols` symbols, in order. kBadIndex: an index names no table.
Status encode_array(const Tables& tables, const int32_t* symbols, const uint8_t* index, uint64_t n,
                    uint64_t chunk_symbols, std::vector<std::vector<uint8_t>>& streams);

// Decodes them into `out`: chunk k is sizes[k] bytes of `data`, one after the other in host memory. The status is that
// of the first chunk that has one other than kOk, and `at` its number.
Status decode_array(const Tables& tables, const uint8_t* data, const std::vector<uint64_t>& sizes,
                    const uint8_t* index, int32_t* out, uint64_t n, uint64_t chunk_symbols, size_t& at);

}  // namespace cuda
}  // namespace lvc
