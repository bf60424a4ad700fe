#include "cabac.h"

#include <algorithm>

namespace lvc::hevc {

namespace {

// Table 9-46.
constexpr uint8_t kRangeLps[64][4] = {
    {128, 176, 208, 240}, {128, 167, 197, 227}, {128, 158, 187, 216}, {123, 150, 178, 205}, {116, 142, 169, 195},
    {111, 135, 160, 185}, {105, 128, 152, 175}, {100, 122, 144, 166}, {95, 116, 137, 158},  {90, 110, 130, 150},
    {85, 104, 123, 142},  {81, 99, 117, 135},   {77, 94, 111, 128},   {73, 89, 105, 122},   {69, 85, 100, 116},
    {66, 80, 95, 110},    {62, 76, 90, 104},    {59, 72, 86, 99},     {56, 69, 81, 94},     {53, 65, 77, 89},
    {51, 62, 73, 85},     {48, 59, 69, 80},     {46, 56, 66, 76},     {43, 53, 63, 72},     {41, 50, 59, 69},
    {39, 48, 56, 65},     {37, 45, 54, 62},     {35, 43, 51, 59},     {33, 41, 48, 56},     {32, 39, 46, 53},
    {30, 37, 43, 50},     {29, 35, 41, 48},     {27, 33, 39, 45},     {26, 31, 37, 43},     {24, 30, 35, 41},
    {23, 28, 33, 39},     {22, 27, 32, 37},     {21, 26, 30, 35},     {20, 24, 29, 33},     {19, 23, 27, 31},
    {18, 22, 26, 30},     {17, 21, 25, 28},     {16, 20, 23, 27},     {15, 19, 22, 25},     {14, 18, 21, 24},
    {14, 17, 20, 23},     {13, 16, 19, 22},     {12, 15, 18, 21},     {12, 14, 17, 20},     {11, 14, 16, 19},
    {11, 13, 15, 18},     {10, 12, 15, 17},     {10, 12, 14, 16},     {9, 11, 13, 15},      {9, 11, 12, 14},
    {8, 10, 12, 14},      {8, 9, 11, 13},       {7, 9, 11, 12},       {7, 9, 10, 12},       {7, 8, 10, 11},
    {6, 8, 9, 11},        {6, 7, 9, 10},        {6, 7, 8, 9},         {2, 2, 2, 2}};

// Table 9-47; a more probable symbol raises the state by one, up to 62.
constexpr uint8_t kNextLps[64] = {0,  0,  1,  2,  2,  4,  4,  5,  6,  7,  8,  9,  9,  11, 11, 12,
                                  13, 13, 15, 15, 16, 16, 18, 18, 19, 19, 21, 21, 22, 22, 23, 24,
                                  24, 25, 26, 26, 27, 27, 28, 29, 29, 30, 30, 30, 31, 32, 32, 33,
                                  33, 33, 34, 34, 35, 35, 35, 36, 36, 36, 37, 37, 37, 38, 38, 63};

// Tables 9-5 to 9-37, by initType, in the order of CabacContext. 154 where a context is not used.
constexpr uint8_t kInit[3][kContexts] = {
    {153, 200, 139, 141, 157, 154, 154, 154, 154, 154, 184, 154, 154, 154, 184, 63,  154, 154, 154, 154, 154, 154,
     154, 154, 154, 154, 154, 153, 138, 138, 111, 141, 94,  138, 182, 154, 154, 154, 154, 154, 139, 139, 110, 110,
     124, 125, 140, 153, 125, 127, 140, 109, 111, 143, 127, 111, 79,  108, 123, 63,  110, 110, 124, 125, 140, 153,
     125, 127, 140, 109, 111, 143, 127, 111, 79,  108, 123, 63,  91,  171, 134, 141, 111, 111, 125, 110, 110, 94,
     124, 108, 124, 107, 125, 141, 179, 153, 125, 107, 125, 141, 179, 153, 125, 107, 125, 141, 179, 153, 125, 140,
     139, 182, 182, 152, 136, 152, 136, 153, 136, 139, 111, 136, 139, 111, 140, 92,  137, 138, 140, 152, 138, 139,
     153, 74,  149, 92,  139, 107, 122, 152, 140, 179, 166, 182, 140, 227, 122, 197, 138, 153, 136, 167, 152, 152},
    {153, 185, 107, 139, 126, 154, 197, 185, 201, 149, 154, 139, 154, 154, 154, 152, 79,  110, 122, 95,  79,  63,
     31,  31,  153, 153, 168, 124, 138, 94,  153, 111, 149, 107, 167, 154, 140, 198, 154, 154, 139, 139, 125, 110,
     94,  110, 95,  79,  125, 111, 110, 78,  110, 111, 111, 95,  94,  108, 123, 108, 125, 110, 94,  110, 95,  79,
     125, 111, 110, 78,  110, 111, 111, 95,  94,  108, 123, 108, 121, 140, 61,  154, 155, 154, 139, 153, 139, 123,
     123, 63,  153, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154, 170,
     153, 123, 123, 107, 121, 107, 121, 167, 151, 183, 140, 151, 183, 140, 154, 196, 196, 167, 154, 152, 167, 182,
     182, 134, 149, 136, 153, 121, 136, 137, 169, 194, 166, 167, 154, 167, 137, 182, 107, 167, 91,  122, 107, 167},
    {153, 160, 107, 139, 126, 154, 197, 185, 201, 134, 154, 139, 154, 154, 183, 152, 79,  154, 137, 95,  79,  63,
     31,  31,  153, 153, 168, 224, 167, 122, 153, 111, 149, 92,  167, 154, 169, 198, 154, 154, 139, 139, 125, 110,
     124, 110, 95,  94,  125, 111, 111, 79,  125, 126, 111, 111, 79,  108, 123, 93,  125, 110, 124, 110, 95,  94,
     125, 111, 111, 79,  125, 126, 111, 111, 79,  108, 123, 93,  121, 140, 61,  154, 170, 154, 139, 153, 139, 123,
     123, 63,  124, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154, 170,
     153, 138, 138, 122, 121, 122, 121, 167, 151, 183, 140, 151, 183, 140, 154, 196, 167, 167, 154, 152, 167, 182,
     182, 134, 149, 136, 153, 121, 136, 122, 169, 208, 166, 167, 154, 152, 167, 182, 107, 167, 91,  107, 107, 167}};

// 9.3.4.3.2.2: a context variable after the more probable symbol, and after the less probable one.
void more_probable(uint8_t& state) {
  if (state < 124) state = static_cast<uint8_t>(state + 2);
}

void less_probable(uint8_t& state) {
  if (state < 2) state ^= 1;
  state = static_cast<uint8_t>(2 * kNextLps[state >> 1] + (state & 1));
}

}  // namespace

void Contexts::reset(int type, int qp) {
  qp = std::clamp(qp, 0, 51);
  for (int i = 0; i < kContexts; ++i) {
    const int init = kInit[type][i];
    const int slope = (init >> 4) * 5 - 45, offset = ((init & 15) << 3) - 16;
    const int state = std::clamp(((slope * qp) >> 4) + offset, 1, 126);
    (*this)[i] = static_cast<uint8_t>(state <= 63 ? 2 * (63 - state) : 2 * (state - 64) + 1);
  }
}

// value_ holds the 9 bits of ivlOffset above 7 further ones; needed_ counts up to 0, when another byte is wanted.
void CabacReader::start(const Bytes& data, size_t at) {
  data_ = &data;
  at_ = at;
  range_ = 510;
  value_ = 0;
  needed_ = 8;
  fill(8);
  fill(0);
}

void CabacReader::fill(int shift) {
  const size_t size = data_->size();
  // arithmetic decoding looks up to two bytes ahead
  if (at_ >= size + 2) throw Unsupported("slice data go on beyond the end of a unit");
  value_ |= static_cast<uint32_t>(at_ < size ? (*data_)[at_] : 0) << shift;
  ++at_;
  needed_ -= 8;
}

int CabacReader::bin(uint8_t& state) {
  const uint32_t lps = kRangeLps[state >> 1][(range_ >> 6) & 3];
  range_ -= lps;
  const uint32_t scaled = range_ << 7;
  int value = state & 1;
  int shift;
  if (value_ < scaled) {
    more_probable(state);
    shift = range_ < 256;
  } else {
    value_ -= scaled;
    range_ = lps;
    value ^= 1;
    less_probable(state);
    shift = 1;
    while (lps << shift < 256) ++shift;
  }
  range_ <<= shift;
  value_ <<= shift;
  needed_ += shift;
  if (needed_ >= 0) fill(needed_);
  return value;
}

int CabacReader::bypass() {
  value_ <<= 1;
  if (++needed_ >= 0) fill(0);
  const uint32_t scaled = range_ << 7;
  if (value_ < scaled) return 0;
  value_ -= scaled;
  return 1;
}

int CabacReader::terminate() {
  range_ -= 2;
  const uint32_t scaled = range_ << 7;
  if (value_ >= scaled) return 1;
  if (range_ < 256) {
    range_ <<= 1;
    value_ <<= 1;
    if (++needed_ >= 0) fill(0);
  }
  return 0;
}

size_t CabacReader::end() const {
  // The stop bit is the last one of the 9 bits of ivlOffset, and what was read ahead are the zeros behind it.
  if (at_ > data_->size()) throw Unsupported("slice data go on beyond the end of a unit");
  return at_;
}

void CabacWriter::start() {
  *this = CabacWriter();
  range_ = 510;
}

void CabacWriter::put(int bit) {
  if (first_)
    first_ = false;
  else
    out_.bit(static_cast<uint32_t>(bit));
  for (; outstanding_ > 0; --outstanding_) out_.bit(static_cast<uint32_t>(1 - bit));
}

void CabacWriter::renormalize() {
  while (range_ < 256) {
    if (low_ < 256) {
      put(0);
    } else if (low_ >= 512) {
      low_ -= 512;
      put(1);
    } else {
      low_ -= 256;
      ++outstanding_;
    }
    range_ <<= 1;
    low_ <<= 1;
  }
}

void CabacWriter::bin(uint8_t& state, int value) {
  const uint32_t lps = kRangeLps[state >> 1][(range_ >> 6) & 3];
  range_ -= lps;
  if (value == (state & 1)) {
    more_probable(state);
  } else {
    low_ += range_;
    range_ = lps;
    less_probable(state);
  }
  renormalize();
}

void CabacWriter::bypass(int value) {
  low_ <<= 1;
  if (value) low_ += range_;
  if (low_ >= 1024) {
    put(1);
    low_ -= 1024;
  } else if (low_ < 512) {
    put(0);
  } else {
    low_ -= 512;
    ++outstanding_;
  }
}

void CabacWriter::terminate(int value) {
  range_ -= 2;
  if (value) {
    low_ += range_;
    range_ = 2;
  }
  renormalize();
}

Bytes CabacWriter::finish() {
  put(static_cast<int>(low_ >> 9 & 1));
  out_.bit(low_ >> 8 & 1);
  out_.align();
  return out_.bytes();
}

}  // namespace lvc::hevc
