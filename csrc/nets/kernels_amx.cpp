// The kernels for x86 CPUs with registers of tiles (AMX) for products of bytes, chosen at run time; all else is that of
// AVX-512.
#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
#if !defined(__clang__)
// GCC 12 takes the undefined registers inside its own header for a mistake of ours (its bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-int8"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,avx512f,avx512bw,avx512vl,avx512dq,amx-tile,amx-int8")
#endif

namespace lvc::nets {

namespace {

constexpr int kSide = 16;        // rows of a tile register, and 32-bit columns
constexpr size_t kTileRow = 64;  // bytes

// Tiles 0 to 3 hold sums, 4 and 5 inputs, 6 and 7 weights; all are full.
struct Config {  // as LDTILECFG reads it
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Config) == 64, "no padding");
alignas(64) constexpr Config kConfig = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {kSide, kSide, kSide, kSide, kSide, kSide, kSide, kSide}};

void begin() { _tile_loadconfig(&kConfig); }

void end() { _tile_release(); }

// The names of tiles have to be literals.
template <int tile>
inline void clear() {
  if constexpr (tile == 0) _tile_zero(0);
  if constexpr (tile == 1) _tile_zero(1);
  if constexpr (tile == 2) _tile_zero(2);
  if constexpr (tile == 3) _tile_zero(3);
}

template <int tile>
inline void store(int32_t* to) {
  if constexpr (tile == 0) _tile_stored(0, to, kTileRow);
  if constexpr (tile == 1) _tile_stored(1, to, kTileRow);
  if constexpr (tile == 2) _tile_stored(2, to, kTileRow);
  if constexpr (tile == 3) _tile_stored(3, to, kTileRow);
}

// Sums of a tile -> `count` rows of results.
template <int tile>
void requantize(const Product& p, int first, int count, int32_t* total, bool add) {
  alignas(64) int32_t sums[kSide * kSide];
  store<tile>(sums);
  const __m512i bias = _mm512_loadu_si512(p.bias + first);
  const __m512i low = _mm512_set1_epi32(p.low), high = _mm512_set1_epi32(p.high);
  const __m512i multiplier = _mm512_set1_epi32(p.multiplier);
  const __m128i shift = _mm_cvtsi32_si128(p.shift);
  for (int r = 0; r < count; ++r, total += p.outputs) {
    __m512i v = _mm512_add_epi32(_mm512_load_si512(sums + kSide * r), bias);
    v = _mm512_min_epi32(_mm512_max_epi32(_mm512_sra_epi32(v, shift), low), high);
    if (p.multiplier != 1) v = _mm512_mullo_epi32(v, multiplier);
    _mm512_storeu_si512(total + first, add ? _mm512_add_epi32(v, _mm512_loadu_si512(total + first)) : v);
  }
}

// 16 or 32 rows by 16 or 32 outputs.
template <int height, int width>
void block(const Product& p, const uint8_t* rows, size_t row_bytes, int first, int count, int32_t* total, bool add) {
  clear<0>();
  if constexpr (width == 2) clear<1>();
  if constexpr (height == 2) clear<2>();
  if constexpr (height == 2 && width == 2) clear<3>();
  const size_t step = 4 * static_cast<size_t>(p.outputs);
  const uint8_t* w = static_cast<const uint8_t*>(p.weights) + 4 * static_cast<size_t>(first);
  for (int piece = 0; piece < p.pieces; ++piece) {
    const uint8_t* x = rows + static_cast<size_t>(piece) * p.piece_bytes;
    for (size_t k = 0; k < p.groups; k += kGroupBlock, x += kTileRow, w += kGroupBlock * step) {
      _tile_loadd(6, w, step);
      _tile_loadd(4, x, row_bytes);
      _tile_dpbusd(0, 4, 6);
      if constexpr (width == 2) {
        _tile_loadd(7, w + kTileRow, step);
        _tile_dpbusd(1, 4, 7);
      }
      if constexpr (height == 2) {
        _tile_loadd(5, x + kSide * row_bytes, row_bytes);
        _tile_dpbusd(2, 5, 6);
        if constexpr (width == 2) _tile_dpbusd(3, 5, 7);
      }
    }
  }
  requantize<0>(p, first, count < kSide ? count : kSide, total, add);
  if constexpr (width == 2) requantize<1>(p, first + kSide, count < kSide ? count : kSide, total, add);
  if constexpr (height == 2) requantize<2>(p, first, count - kSide, total + kSide * p.outputs, add);
  if constexpr (height == 2 && width == 2)
    requantize<3>(p, first + kSide, count - kSide, total + kSide * p.outputs, add);
}

template <int height>
void rows_of(const Product& p, const uint8_t* rows, size_t row_bytes, int count, int32_t* total, bool add) {
  int first = 0;
  for (; first + 2 * kSide <= p.outputs; first += 2 * kSide)
    block<height, 2>(p, rows, row_bytes, first, count, total, add);
  if (first < p.outputs) block<height, 1>(p, rows, row_bytes, first, count, total, add);
}

void product(const Product& p, const void* rows, size_t row_bytes, int count, int32_t* total, bool add) {
  if (p.format == Format::kWords) {
    avx512_kernels()->product(p, rows, row_bytes, count, total, add);
    return;
  }
  const uint8_t* x = static_cast<const uint8_t*>(rows);
  for (; count > kSide; count -= 2 * kSide, x += 2 * kSide * row_bytes, total += 2 * kSide * p.outputs)
    rows_of<2>(p, x, row_bytes, count < 2 * kSide ? count : 2 * kSide, total, add);
  if (count > 0) rows_of<1>(p, x, row_bytes, count, total, add);
}

}  // namespace

}  // namespace lvc::nets

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace lvc::nets {

namespace {

// The CPU has tiles, and the system keeps them for this process. It has to be asked, for they are large; it may refuse.
bool available() {
  unsigned a, b, c, d;
  constexpr unsigned kTiles = 1u << 24, kBytes = 1u << 25;  // bit_AMX_TILE, bit_AMX_INT8
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTiles) == 0 || (d & kBytes) == 0) return false;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

}  // namespace

const Kernels* amx_kernels() {
  static Kernels table;
  static const bool there = [] {
    const Kernels* base = avx512_kernels();
    if (base == nullptr || !available()) return false;
    table = *base;
    table.name = "amx";
    table.begin = begin;
    table.end = end;
    table.product = product;
    return true;
  }();
  return there ? &table : nullptr;
}

}  // namespace lvc::nets

#else

namespace lvc::nets {
const Kernels* amx_kernels() { return nullptr; }
}  // namespace lvc::nets

#endif
