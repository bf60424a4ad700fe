// Which kernels this CPU runs, and which are in use.
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "../kernels.h"

namespace lvc {

namespace {

struct Available {
  const Kernels* list[5] = {};
  const Kernels* best = &kScalarKernels;
  Available() {
    size_t n = 0;
    list[n++] = &kWarpKernels;
    list[n++] = &kScalarKernels;
#if defined(LVC_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
      best = list[n++] = &kAvx2Kernels;
    // (these files are used together: AVX-512 falls back on AVX2 for fewer lanes)
    if (best == &kAvx2Kernels && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vbmi2"))
      best = list[n++] = &kAvx512Kernels;
#elif defined(LVC_NEON)
    best = list[n++] = &kNeonKernels;
#endif
  }
  const Kernels* find(const char* name) const {
    for (const Kernels* const* k = list; *k != nullptr; ++k)
      if (std::strcmp((*k)->name, name) == 0) return *k;
    return nullptr;
  }
};

const Available& available() {
  static const Available instance;
  return instance;
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> instance([] {
    const char* name = std::getenv("LVC_SIMD");
    const Kernels* asked = name != nullptr ? available().find(name) : nullptr;
    return asked != nullptr ? asked : available().best;
  }());
  return instance;
}

}  // namespace

const Kernels& kernels() { return *current().load(std::memory_order_relaxed); }

const Kernels* const* available_kernels() { return available().list; }

bool use_kernels(const char* name) {
  const Kernels* asked = name != nullptr ? available().find(name) : available().best;
  if (asked != nullptr) current().store(asked, std::memory_order_relaxed);
  return asked != nullptr;
}

}  // namespace lvc
