// Whole arrays in the memory of a GPU, in batches of chunks: what the bindings use.
#include <cuda_runtime.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "rans.h"

namespace lvc {
namespace cuda {

namespace {

// Symbols that are worked on at a time, in whole chunks: what is kept in between has 18 bytes for each.
constexpr uint64_t kBatch = uint64_t{1} << 22;

void check(int error) {
  if (error == 0) return;
  cudaGetLastError();  // forgets it
  throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(static_cast<cudaError_t>(error)));
}

template <typename T>
class Memory {
 public:
  explicit Memory(size_t n) : n_(n) { check(cudaMalloc(&p_, std::max<size_t>(1, n) * sizeof(T))); }
  explicit Memory(const std::vector<T>& v) : Memory(v.size()) {
    check(cudaMemcpy(p_, v.data(), n_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  ~Memory() { cudaFree(p_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  T* get() const { return static_cast<T*>(p_); }
  std::vector<T> part(size_t begin, size_t n) const {
    std::vector<T> v(n);
    check(cudaMemcpy(v.data(), get() + begin, n * sizeof(T), cudaMemcpyDeviceToHost));
    return v;
  }
  std::vector<T> all() const { return part(0, n_); }

 private:
  void* p_ = nullptr;
  size_t n_;
};

// Makes the device that holds `pointer` the current one, until the end of the scope; waits for what is under way on it.
class OnDevice {
 public:
  explicit OnDevice(const void* pointer) {
    check(cudaGetDevice(&before_));
    cudaPointerAttributes attributes;
    check(cudaPointerGetAttributes(&attributes, pointer));
    if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged)
      throw std::runtime_error("CUDA: the array is not in device memory");
    check(cudaSetDevice(attributes.device));
    check(cudaDeviceSynchronize());
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
};

uint64_t chunks_in_batch(uint64_t chunk_symbols) { return std::max<uint64_t>(1, kBatch / chunk_symbols); }

}  // namespace

Status encode_array(const Tables& tables, const int32_t* symbols, const uint8_t* index, uint64_t n,
                    uint64_t chunk_symbols, std::vector<std::vector<uint8_t>>& streams) {
  if (n == 0) return Status::kOk;
  const OnDevice device(index);
  const DeviceTables there(tables.view());
  check(there.error());
  const uint64_t step = chunks_in_batch(chunk_symbols) * chunk_symbols;
  for (uint64_t begin = 0; begin < n; begin += step) {
    const uint64_t size = std::min(step, n - begin);
    std::vector<Chunk> chunks;  // counted from the start of the batch
    for (uint64_t first = 0; first < size; first += chunk_symbols) {
      const uint64_t mine = std::min(chunk_symbols, size - first);
      chunks.push_back({first, mine, 2 * first, 2 * mine});
    }
    const uint32_t count = static_cast<uint32_t>(chunks.size());
    const Memory<Chunk> chunks_there(chunks);
    const Memory<uint8_t> words(2 * size), escapes(16 * size);
    const Memory<uint64_t> n_words(count), n_bits(count);
    const Memory<uint32_t> states(size_t{kMaxLanes} * count), lanes(count);
    const Memory<int32_t> status(count);
    check(encode_chunks(there, symbols + begin, index + begin, chunks_there.get(), count, 0, words.get(),
                        n_words.get(), states.get(), lanes.get(), escapes.get(), n_bits.get(), status.get(), nullptr));
    check(cudaDeviceSynchronize());
    for (const int32_t one : status.all())
      if (one != 0) return static_cast<Status>(one);
    const auto n_words_here = n_words.all(), n_bits_here = n_bits.all();
    const auto states_here = states.all(), lanes_here = lanes.all();
    for (uint32_t k = 0; k < count; ++k) {
      const Chunk& c = chunks[k];
      const size_t bytes = static_cast<size_t>(2 * n_words_here[k]);
      const auto words_here = words.part(static_cast<size_t>(c.offset + c.size) - bytes, bytes);
      const auto escapes_here =
          escapes.part(static_cast<size_t>(16 * c.first), static_cast<size_t>((n_bits_here[k] + 7) / 8));
      streams.push_back(pack_chunk(lanes_here[k], states_here.data() + size_t{kMaxLanes} * k, words_here.data(),
                                   n_words_here[k], escapes_here.data(), n_bits_here[k]));
    }
  }
  return Status::kOk;
}

Status decode_array(const Tables& tables, const uint8_t* data, const std::vector<uint64_t>& sizes,
                    const uint8_t* index, int32_t* out, uint64_t n, uint64_t chunk_symbols, size_t& at) {
  if (n == 0) return Status::kOk;
  const OnDevice device(index);
  const DeviceTables there(tables.view());
  check(there.error());
  const size_t step = static_cast<size_t>(chunks_in_batch(chunk_symbols));
  for (size_t begin = 0; begin < sizes.size(); begin += step) {
    const size_t count = std::min(step, sizes.size() - begin);
    std::vector<Chunk> chunks;
    uint64_t total = 0;
    for (size_t k = begin; k < begin + count; ++k) {
      const uint64_t first = k * chunk_symbols;
      chunks.push_back({first, std::min(chunk_symbols, n - first), total, sizes[k]});
      total += sizes[k];
    }
    const Memory<Chunk> chunks_there(chunks);
    const Memory<uint8_t> bytes(std::vector<uint8_t>(data, data + total));
    const Memory<int32_t> status(count);
    check(decode_chunks(there, bytes.get(), chunks_there.get(), static_cast<uint32_t>(count), index, out, status.get(),
                        nullptr));
    check(cudaDeviceSynchronize());
    const std::vector<int32_t> status_here = status.all();
    for (size_t k = 0; k < count; ++k)
      if (status_here[k] != 0) {
        at = begin + k;
        return static_cast<Status>(status_here[k]);
      }
    data += total;
  }
  return Status::kOk;
}

}  // namespace cuda
}  // namespace lvc
