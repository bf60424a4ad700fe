// As much of CUDA as the coder's kernels use, on a CPU: threads of a block are fibers that take turns and meet at
// __syncthreads, ballots and shuffles. For tests where there is no GPU: it runs the kernels' own source (launches are
// rewritten to emulated::launch), and what it allots is memory that sanitizers watch. It says nothing on speed, memory
// order or what nvcc makes of the source.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __CUDA_ARCH__ 900
#define __global__
#define __device__

namespace emulated {

struct Index {
  unsigned x;
};

// Threads that wait for each other. Values of two meetings are kept, for one may be read while the next is written.
struct Group {
  unsigned arrived = 0, meetings = 0;
  uint64_t value[2][32] = {};
  const char* what[2] = {};
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
};

inline ucontext_t scheduler;
inline std::vector<std::unique_ptr<Fiber>> fibers;
inline std::vector<Group> warps;
inline Group block;
inline Index thread_index, block_index, block_size;
inline std::unique_ptr<uint8_t[]> shared;
inline std::function<void()> kernel;

[[noreturn]] inline void fail(const char* why) {
  std::fprintf(stderr, "emulated CUDA: %s\n", why);
  std::abort();
}

inline void meet(Group& group, unsigned size, const char* what) {
  const unsigned mine = group.meetings;
  if (group.arrived != 0 && group.what[mine & 1] != what) fail("threads of a warp meet at different places");
  group.what[mine & 1] = what;
  if (++group.arrived == size) {
    group.arrived = 0;
    ++group.meetings;
  }
  while (group.meetings == mine) swapcontext(&fibers[thread_index.x]->context, &scheduler);
}

// What each thread of the warp gives: all of them, once all have.
inline const uint64_t* exchange(unsigned mask, uint64_t value, const char* what) {
  if (mask != 0xffffffffu) fail("only whole warps are emulated");
  Group& warp = warps[thread_index.x / 32];
  uint64_t* const values = warp.value[warp.meetings & 1];
  values[thread_index.x % 32] = value;
  meet(warp, 32, what);
  return values;
}

inline void run_fiber() {
  kernel();
  fibers[thread_index.x]->done = true;
}

inline void run_block(unsigned threads) {
  constexpr size_t kStack = 1 << 18;
  fibers.clear();
  warps.assign(threads / 32, Group());
  block = Group();
  for (unsigned i = 0; i < threads; ++i) {
    fibers.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers.back();
    fiber.stack.reset(new char[kStack]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, run_fiber, 0);
  }
  const auto progress = [&] {
    unsigned sum = block.meetings;
    for (const Group& warp : warps) sum += warp.meetings;
    for (const auto& fiber : fibers) sum += fiber->done;
    return sum;
  };
  for (unsigned left = threads; left != 0;) {
    const unsigned before = progress();
    left = 0;
    for (unsigned i = 0; i < threads; ++i) {
      if (fibers[i]->done) continue;
      thread_index.x = i;
      swapcontext(&scheduler, &fibers[i]->context);
      left += !fibers[i]->done;
    }
    if (left != 0 && progress() == before) fail("threads wait for others that do not come");
  }
}

inline void launch(unsigned blocks, unsigned threads, size_t shared_bytes, std::function<void()> what) {
  kernel = std::move(what);
  block_size.x = threads;
  for (unsigned i = 0; i < blocks; ++i) {
    shared.reset(new uint8_t[shared_bytes]);
    std::memset(shared.get(), 0xa5, shared_bytes);
    block_index.x = i;
    run_block(threads);
  }
}

}  // namespace emulated

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index
#define blockDim emulated::block_size

inline int __popc(int x) { return __builtin_popcount(static_cast<unsigned>(x)); }

inline void __syncthreads() { emulated::meet(emulated::block, blockDim.x, "__syncthreads"); }

inline unsigned __ballot_sync(unsigned mask, bool value) {
  const uint64_t* const values = emulated::exchange(mask, value, "__ballot_sync");
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; ++i) bits |= static_cast<unsigned>(values[i]) << i;
  return bits;
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source) {
  return static_cast<T>(emulated::exchange(mask, value, "__shfl_sync")[source & 31]);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int step) {
  const unsigned lane = threadIdx.x % 32;
  return static_cast<T>(emulated::exchange(mask, value, "__shfl_xor_sync")[lane ^ static_cast<unsigned>(step)]);
}

enum cudaError_t { cudaSuccess = 0 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaMemoryType { cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
using cudaStream_t = void*;

inline cudaError_t cudaMalloc(void** p, size_t n) {
  *p = std::memset(new uint8_t[n], 0xa5, n);
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* p) {
  delete[] static_cast<uint8_t*>(p);
  return cudaSuccess;
}
inline cudaError_t cudaMemset(void* p, int value, size_t n) {
  std::memset(p, value, n);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t n, cudaMemcpyKind) {
  if (n != 0) std::memcpy(to, from, n);
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "emulated"; }
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void*) {
  *attributes = {cudaMemoryTypeDevice, 0};
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 99 << 10;  // as on GPUs for desktops: 64 tables fit, 256 do not
  return cudaSuccess;
}
template <typename F>
cudaError_t cudaFuncSetAttribute(F*, cudaFuncAttribute, int) {
  return cudaSuccess;
}
