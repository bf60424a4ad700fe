#include "rans.h"

#include <cuda_runtime.h>

#include "../warp.h"

namespace lvc {
namespace cuda {

namespace {

constexpr uint32_t kWarpsPerBlock = 4;
constexpr uint32_t kAll = 0xffffffffu;

// The 32 threads of a warp. Each holds its own value of a Var, and runs what each() is given once.
struct Warp {
  template <typename T>
  struct Var {
    T own;
    LVC_HD T& operator[](uint32_t) { return own; }
  };
  uint32_t lane;
  template <typename F>
  LVC_HD void each(F f) {
    f(lane);
  }
  LVC_HD uint32_t ballot(Var<bool>& v) {
#if defined(__CUDA_ARCH__)
    return __ballot_sync(kAll, v.own);
#else
    return v.own ? 1u << lane : 0;
#endif
  }
  LVC_HD uint32_t broadcast(Var<uint32_t>& v, uint32_t source) {
#if defined(__CUDA_ARCH__)
    return __shfl_sync(kAll, v.own, static_cast<int>(source));
#else
    return source == lane ? v.own : 0;
#endif
  }
};

__device__ inline uint32_t table_at(const TablesView& t, const uint8_t* index, uint64_t i) {
  const uint32_t table = index[i];
  return table < t.n_tables ? table : t.n_tables - 1;
}

template <typename T>
__device__ const T* to_shared(const T* from, size_t n, uint8_t*& memory) {
  T* to = reinterpret_cast<T*>(memory);
  for (size_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = from[i];
  memory += (n * sizeof(T) + 15) / 16 * 16;
  return to;
}

// What the decoder looks up for each symbol goes to shared memory, if the block was given any.
__device__ TablesView stage_tables(TablesView t, bool shared) {
  extern __shared__ __align__(16) uint8_t memory[];
  if (!shared) return t;
  uint8_t* next = memory;
  t.bucket = to_shared(t.bucket, static_cast<size_t>(t.n_tables) * kBuckets, next);
  t.entry = to_shared(t.entry, t.n_entries, next);
  t.value = to_shared(t.value, t.n_entries, next);
  __syncthreads();
  return t;
}

size_t shared_bytes(const TablesView& t) {
  const auto padded = [](size_t n) { return (4 * n + 15) / 16 * 16; };
  return padded(static_cast<size_t>(t.n_tables) * kBuckets) + 2 * padded(t.n_entries);
}

__global__ void decode_kernel(TablesView tables, const uint8_t* data, const Chunk* chunks, uint32_t n_chunks,
                              const uint8_t* index, int32_t* out, int32_t* status, bool shared) {
  const TablesView t = stage_tables(tables, shared);
  const uint32_t k = blockIdx.x * kWarpsPerBlock + threadIdx.x / kMaxLanes;
  if (k >= n_chunks) return;  // all threads of the warp
  const Chunk chunk = chunks[k];
  Warp warp{threadIdx.x % kMaxLanes};
  DecoderState d;
  Status result = open_stream(d, data + chunk.offset, chunk.size);
  Warp::Var<uint32_t> state{d.lane[warp.lane]};
  Warp::Var<bool> bad{false};
  const auto table = [&](size_t i) {
    bad.own = bad.own || index[chunk.first + i] >= t.n_tables;
    return table_at(t, index, chunk.first + i);
  };
  if (result == Status::kOk) result = warp_decode(warp, state, d, t, table, out + chunk.first, chunk.n);
  Warp::Var<bool> moved{warp.lane < d.lanes && state.own != kInitialState};
  const bool elsewhere = warp.ballot(moved) != 0;
  for (uint32_t i = 0; i < kMaxLanes; ++i) d.lane[i] = elsewhere ? 0 : kInitialState;
  if (result == Status::kOk) result = close_stream(d);
  if (warp.ballot(bad) != 0) result = Status::kBadIndex;
  if (warp.lane == 0) status[k] = static_cast<int32_t>(result);
}

// Appends n bits, the first one lowest, to bytes that are zero from there on.
__device__ void put_bits(uint8_t* bytes, uint64_t& size, uint64_t bits, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i, ++size)
    bytes[size >> 3] = static_cast<uint8_t>((size & 7) == 0 ? bits >> i & 1
                                                             : bytes[size >> 3] | (bits >> i & 1) << (size & 7));
}

__device__ uint64_t sum_of_warp(uint64_t x) {
  for (int step = kMaxLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}

__global__ void encode_kernel(TablesView t, const int32_t* symbols, const uint8_t* index, const Chunk* chunks,
                              uint32_t n_chunks, uint32_t asked_lanes, uint8_t* words, uint64_t* n_words,
                              uint32_t* states, uint32_t* chunk_lanes, uint8_t* escapes, uint64_t* n_bits,
                              int32_t* status) {
  const uint32_t k = blockIdx.x * kWarpsPerBlock + threadIdx.x / kMaxLanes;
  if (k >= n_chunks) return;
  const Chunk chunk = chunks[k];
  Warp warp{threadIdx.x % kMaxLanes};
  const int32_t* symbol = symbols + chunk.first;
  const auto id_at = [&](size_t i) {
    const uint32_t table = table_at(t, index, chunk.first + i);
    const uint32_t place = static_cast<uint32_t>(symbol[i]) - static_cast<uint32_t>(t.first[table]);
    return t.row[table] + (place < t.count[table] ? place : t.count[table]);
  };
  // Escapes first, for they go forward; and the cost, for it decides on the lanes.
  uint64_t cost = 0;
  uint8_t* bytes = escapes + 16 * chunk.first;
  uint64_t size = 0;
  Warp::Var<bool> bad{false};
  for (uint64_t base = 0; base < chunk.n; base += kMaxLanes) {
    const uint64_t at = base + warp.lane;
    Warp::Var<bool> escape{false};
    if (at < chunk.n) {
      bad.own = bad.own || index[chunk.first + at] >= t.n_tables;
      const uint32_t table = table_at(t, index, chunk.first + at);
      escape.own = static_cast<uint32_t>(symbol[at]) - static_cast<uint32_t>(t.first[table]) >= t.count[table];
      cost += t.cost[id_at(at)];
    }
    for (uint32_t mask = warp.ballot(escape); mask != 0; mask &= mask - 1) {
      if (warp.lane != 0) continue;
      const uint64_t i = base + lowest_bit(mask);
      const uint32_t table = table_at(t, index, chunk.first + i);
      const int64_t first = t.first[table];
      const uint64_t code = escape_code(symbol[i], first, first + t.count[table] - 1);
      const uint32_t prefix = floor_log2(code);
      put_bits(bytes, size, uint64_t{1} << prefix, prefix + 1);
      put_bits(bytes, size, code, prefix);
    }
  }
  cost = sum_of_warp(cost);
  const uint32_t lanes = asked_lanes != 0 ? asked_lanes : lane_count(cost);
  Warp::Var<uint32_t> state{kInitialState};
  uint16_t* const end = reinterpret_cast<uint16_t*>(words + chunk.offset + chunk.size);
  uint16_t* top = end;
  warp_encode(warp, state, lanes, [&](size_t i) { return t.by_value[id_at(i)]; }, chunk.n, 0, top);
  states[kMaxLanes * static_cast<size_t>(k) + warp.lane] = state.own;
  const bool any_bad = warp.ballot(bad) != 0;
  if (warp.lane == 0) {
    n_words[k] = static_cast<uint64_t>(end - top);
    n_bits[k] = size;
    chunk_lanes[k] = lanes;
    status[k] = static_cast<int32_t>(any_bad ? Status::kBadIndex : Status::kOk);
  }
}

uint32_t blocks_for(uint32_t n_chunks) { return (n_chunks + kWarpsPerBlock - 1) / kWarpsPerBlock; }

}  // namespace

template <typename T>
const T* DeviceTables::copy(const T* from, size_t n) {
  if (error_ != 0) return nullptr;
  void* to = nullptr;
  error_ = static_cast<int>(cudaMalloc(&to, n * sizeof(T)));
  if (error_ != 0) return nullptr;
  memory_[count_++] = to;
  error_ = static_cast<int>(cudaMemcpy(to, from, n * sizeof(T), cudaMemcpyHostToDevice));
  return static_cast<const T*>(to);
}

DeviceTables::DeviceTables(const TablesView& host) : view_(host) {
  view_.row = copy(host.row, host.n_tables);
  view_.first = copy(host.first, host.n_tables);
  view_.count = copy(host.count, host.n_tables);
  view_.entry = copy(host.entry, host.n_entries);
  view_.value = copy(host.value, host.n_entries);
  view_.bucket = copy(host.bucket, static_cast<size_t>(host.n_tables) * kBuckets);
  view_.by_value = copy(host.by_value, host.n_entries);
  view_.cost = copy(host.cost, host.n_entries);
  view_.interval = nullptr;
  view_.ranks = nullptr;
}

DeviceTables::~DeviceTables() {
  for (size_t i = 0; i < count_; ++i) cudaFree(memory_[i]);
}

int decode_chunks(const DeviceTables& tables, const uint8_t* data, const Chunk* chunks, uint32_t n_chunks,
                  const uint8_t* index, int32_t* out, int32_t* status, void* stream) {
  if (n_chunks == 0) return 0;
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  const size_t bytes = shared_bytes(tables.view());
  const bool shared = bytes <= static_cast<size_t>(most);
  if (error == cudaSuccess && shared)
    error = cudaFuncSetAttribute(decode_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(bytes));
  if (error != cudaSuccess) return static_cast<int>(error);
  decode_kernel<<<blocks_for(n_chunks), kWarpsPerBlock * kMaxLanes, shared ? bytes : 0,
                  static_cast<cudaStream_t>(stream)>>>(tables.view(), data, chunks, n_chunks, index, out, status,
                                                       shared);
  return static_cast<int>(cudaGetLastError());
}

int encode_chunks(const DeviceTables& tables, const int32_t* symbols, const uint8_t* index, const Chunk* chunks,
                  uint32_t n_chunks, uint32_t lanes, uint8_t* words, uint64_t* n_words, uint32_t* states,
                  uint32_t* chunk_lanes, uint8_t* escapes, uint64_t* n_bits, int32_t* status, void* stream) {
  if (n_chunks == 0) return 0;
  encode_kernel<<<blocks_for(n_chunks), kWarpsPerBlock * kMaxLanes, 0, static_cast<cudaStream_t>(stream)>>>(
      tables.view(), symbols, index, chunks, n_chunks, lanes, words, n_words, states, chunk_lanes, escapes, n_bits,
      status);
  return static_cast<int>(cudaGetLastError());
}

std::vector<uint8_t> pack_chunk(uint32_t lanes, const uint32_t* states, const uint8_t* words, uint64_t n_words,
                                const uint8_t* escapes, uint64_t n_bits) {
  BitWriter bits;
  bits.put(lane_code(lanes), 2);
  for (uint32_t i = 0; i < lanes; ++i) {
    const uint32_t n = floor_log2(states[i]);
    bits.put(n - 16, 4);
    bits.put(states[i] ^ uint32_t{1} << n, n);
  }
  for (uint64_t i = 0; i < n_bits; i += 8)
    bits.put(escapes[i / 8], static_cast<uint32_t>(n_bits - i < 8 ? n_bits - i : 8));
  std::vector<uint8_t> bytes(words, words + 2 * n_words);
  bytes.insert(bytes.end(), bits.bytes().rbegin(), bits.bytes().rend());
  return bytes;
}

}  // namespace cuda
}  // namespace lvc
