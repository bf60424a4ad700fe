// Chunks coded and decoded on a GPU against the CPU: the same bytes, the same symbols. Needs a GPU to run, or
// emulated_cuda. Usage: cuda_rans [seed [symbols]], at most so many in a check. Exits with 0 and a line of counts, or
// aborts.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "../cuda/rans.h"

namespace {

#define REQUIRE(condition)                                                    \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
      std::abort();                                                           \
    }                                                                         \
  } while (0)

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : n_(n) {
    REQUIRE(cudaMalloc(&p_, std::max<size_t>(1, n) * sizeof(T)) == cudaSuccess);
    REQUIRE(cudaMemset(p_, 0, std::max<size_t>(1, n) * sizeof(T)) == cudaSuccess);
  }
  explicit DeviceArray(const std::vector<T>& v) : DeviceArray(v.size()) {
    REQUIRE(cudaMemcpy(p_, v.data(), n_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  ~DeviceArray() { cudaFree(p_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  T* get() const { return static_cast<T*>(p_); }
  std::vector<T> host() const {
    std::vector<T> v(n_);
    REQUIRE(cudaMemcpy(v.data(), p_, n_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return v;
  }

 private:
  void* p_ = nullptr;
  size_t n_;
};

// Two-sided geometric tables of rising width, in coding order around 0.
std::shared_ptr<const lvc::Tables> make_tables(uint32_t n_tables) {
  std::vector<uint32_t> cdf, lengths;
  std::vector<int32_t> order;
  const size_t stride = 2 * 40 + 3;
  for (uint32_t t = 0; t < n_tables; ++t) {
    const int32_t reach = 1 + static_cast<int32_t>(t % 40);
    std::vector<uint32_t> row{0};
    std::vector<int32_t> values;
    uint32_t left = lvc::kTotal;
    for (int32_t r = 0; r <= 2 * reach; ++r) {
      const uint32_t share = std::max<uint32_t>(1, left / static_cast<uint32_t>(reach + 2));
      left -= share;
      row.push_back(row.back() + share);
      values.push_back(r % 2 != 0 ? (r + 1) / 2 : -(r / 2));
    }
    row.push_back(lvc::kTotal);
    lengths.push_back(static_cast<uint32_t>(row.size()));
    row.resize(stride);
    values.resize(stride);
    cdf.insert(cdf.end(), row.begin(), row.end());
    order.insert(order.end(), values.begin(), values.end());
  }
  return std::make_shared<const lvc::Tables>(cdf.data(), order.data(), n_tables, stride, lengths.data());
}

void draw(std::mt19937_64& rng, uint32_t n_tables, std::vector<uint8_t>& index, std::vector<int32_t>& symbols) {
  for (size_t i = 0; i < index.size(); ++i) {
    index[i] = static_cast<uint8_t>(rng() % n_tables);
    symbols[i] = static_cast<int32_t>(rng() % (index[i] % 40 + 3)) - static_cast<int32_t>(rng() % (index[i] % 40 + 3));
    if (rng() % 500 == 0) symbols[i] = static_cast<int32_t>(rng());
  }
}

// Whole arrays, lanes chosen by content; then an index without a table, and a chunk that is cut.
void check_arrays(std::mt19937_64& rng, uint32_t n_tables, size_t n, size_t chunk_size) {
  const auto tables = make_tables(n_tables);
  std::vector<uint8_t> index(n), data;
  std::vector<int32_t> symbols(n);
  draw(rng, n_tables, index, symbols);
  const DeviceArray<uint8_t> index_there(index);
  const DeviceArray<int32_t> symbols_there(symbols), out(n);
  std::vector<std::vector<uint8_t>> streams;
  REQUIRE(lvc::cuda::encode_array(*tables, symbols_there.get(), index_there.get(), n, chunk_size, streams) ==
          lvc::Status::kOk);
  REQUIRE(streams.size() == (n + chunk_size - 1) / chunk_size);
  std::vector<uint64_t> sizes;
  for (size_t k = 0; k < streams.size(); ++k) {
    const size_t first = k * chunk_size;
    lvc::Encoder encoder(0);
    encoder.push(tables, symbols.data() + first, lvc::PerSymbol<uint8_t>{index.data() + first},
                 std::min(chunk_size, n - first));
    REQUIRE(streams[k] == encoder.finish());
    sizes.push_back(streams[k].size());
    data.insert(data.end(), streams[k].begin(), streams[k].end());
  }
  size_t at = 0;
  REQUIRE(lvc::cuda::decode_array(*tables, data.data(), sizes, index_there.get(), out.get(), n, chunk_size, at) ==
          lvc::Status::kOk);
  REQUIRE(out.host() == symbols);
  const size_t cut = rng() % sizes.size();
  data.erase(data.begin() + std::accumulate(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(cut),
                                            std::ptrdiff_t{0}));
  --sizes[cut];
  REQUIRE(lvc::cuda::decode_array(*tables, data.data(), sizes, index_there.get(), out.get(), n, chunk_size, at) !=
          lvc::Status::kOk);
  REQUIRE(at == cut);
  if (n_tables > 255) return;
  index[rng() % n] = static_cast<uint8_t>(n_tables);
  const DeviceArray<uint8_t> wrong(index);
  REQUIRE(lvc::cuda::encode_array(*tables, symbols_there.get(), wrong.get(), n, chunk_size, streams) ==
          lvc::Status::kBadIndex);
}

void check(std::mt19937_64& rng, uint32_t lanes, uint32_t n_tables, size_t n, size_t chunk_size) {
  const auto tables = make_tables(n_tables);
  std::vector<uint8_t> index(n);
  std::vector<int32_t> symbols(n);
  draw(rng, n_tables, index, symbols);
  std::vector<lvc::cuda::Chunk> chunks;
  for (size_t first = 0; first < n; first += chunk_size) {
    const size_t size = std::min(chunk_size, n - first);
    chunks.push_back({first, size, 2 * first, 2 * size});
  }
  const uint32_t count = static_cast<uint32_t>(chunks.size());
  const lvc::cuda::DeviceTables device(tables->view());
  REQUIRE(device.error() == 0);
  const DeviceArray<uint8_t> index_there(index);
  const DeviceArray<int32_t> symbols_there(symbols), status(count), out(n);
  const DeviceArray<lvc::cuda::Chunk> chunks_there(chunks);
  const DeviceArray<uint8_t> words(2 * n), escapes(16 * n);
  const DeviceArray<uint64_t> n_words(count), n_bits(count);
  const DeviceArray<uint32_t> states(size_t{32} * count), chunk_lanes(count);
  REQUIRE(lvc::cuda::encode_chunks(device, symbols_there.get(), index_there.get(), chunks_there.get(), count, lanes,
                                   words.get(), n_words.get(), states.get(), chunk_lanes.get(),
                                   escapes.get(), n_bits.get(), status.get(), nullptr) == 0);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  const auto words_here = words.host(), escapes_here = escapes.host();
  const auto n_words_here = n_words.host(), n_bits_here = n_bits.host();
  const auto states_here = states.host();
  std::vector<uint8_t> data;
  std::vector<lvc::cuda::Chunk> streams;
  for (uint32_t k = 0; k < count; ++k) {
    const lvc::cuda::Chunk& c = chunks[k];
    const std::vector<uint8_t> bytes = lvc::cuda::pack_chunk(
        lanes, states_here.data() + size_t{32} * k, words_here.data() + c.offset + c.size - 2 * n_words_here[k],
        n_words_here[k], escapes_here.data() + 16 * c.first, n_bits_here[k]);
    lvc::Encoder encoder(lanes);
    REQUIRE(encoder.push(tables, symbols.data() + c.first, lvc::PerSymbol<uint8_t>{index.data() + c.first}, c.n) ==
            lvc::Status::kOk);
    REQUIRE(bytes == encoder.finish());
    streams.push_back({c.first, c.n, data.size(), bytes.size()});
    data.insert(data.end(), bytes.begin(), bytes.end());
  }
  for (int round = 0; round < 2; ++round) {
    const DeviceArray<uint8_t> data_there(data);
    const DeviceArray<lvc::cuda::Chunk> streams_there(streams);
    REQUIRE(lvc::cuda::decode_chunks(device, data_there.get(), streams_there.get(), count, index_there.get(),
                                     out.get(), status.get(), nullptr) == 0);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    const auto status_here = status.host();
    if (round == 0) REQUIRE(out.host() == symbols);
    // In the second round, damaged: as the CPU decides.
    for (uint32_t k = 0; k < count; ++k) {
      lvc::Decoder decoder(data.data() + streams[k].offset, streams[k].size);
      std::vector<int32_t> here(streams[k].n);
      decoder.pull(tables->view(), lvc::PerSymbol<uint8_t>{index.data() + streams[k].first}, here.data(), here.size());
      REQUIRE((status_here[k] == 0) == (decoder.close() == lvc::Status::kOk));
    }
    for (const auto& stream : streams) data[stream.offset + rng() % stream.size] ^= 1 << rng() % 8;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::mt19937_64 rng(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1);
  const size_t most = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 100000;
  int checks = 0;
  for (const uint32_t lanes : {1u, 4u, 8u, 32u})
    for (const uint32_t n_tables : {1u, 64u, 256u})
      for (const size_t n : {size_t{1}, size_t{1000}, most}) {
        check(rng, lanes, n_tables, n, 1 + rng() % (most / 5));
        ++checks;
      }
  for (const uint32_t n_tables : {1u, 64u, 256u}) {
    check_arrays(rng, n_tables, most, most / 2 + rng() % most);  // with chunks of 32 lanes, if there are enough symbols
    check_arrays(rng, n_tables, 1000, 1 + rng() % 500);
    checks += 2;
  }
  std::printf("%d checks\n", checks);
  return 0;
}
