// Packs access units, unpacks them, and unpacks what random damage makes of them; the sanitizers that this is built
// with must stay silent. Usage: check_packer FILE SEED ROUNDS; FILE: each access unit after its length in four bytes,
// lowest first. Prints a hash of all packed data, and of how many damaged units something came out.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "../packer.h"

namespace hevc = lvc::hevc;

namespace {

constexpr size_t kMostSamples = 1 << 20, kMostBytes = 1 << 22;

std::vector<hevc::Bytes> read_units(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const hevc::Bytes all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<hevc::Bytes> units;
  for (size_t at = 0; at + 4 <= all.size();) {
    size_t size = 0;
    for (int i = 3; i >= 0; --i) size = size << 8 | all[at + static_cast<size_t>(i)];
    at += 4;
    units.emplace_back(all.begin() + static_cast<long>(at), all.begin() + static_cast<long>(at + size));
    at += size;
  }
  return units;
}

hevc::Bytes damaged(std::mt19937& random, const hevc::Bytes& from, const hevc::Bytes& other) {
  hevc::Bytes out = from;
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  switch (below(5)) {
    case 0:
      for (size_t i = 0; i <= below(4); ++i) out[below(out.size())] ^= static_cast<uint8_t>(1u << below(8));
      break;
    case 1:
      out.resize(below(out.size()));
      break;
    case 2:
      for (uint8_t& byte : out) byte = static_cast<uint8_t>(random());
      break;
    case 3:
      out.resize(below(out.size()));
      out.insert(out.end(), other.begin() + static_cast<long>(below(other.size())), other.end());
      break;
    default: {
      const auto at = static_cast<long>(below(out.size()));
      out.insert(out.begin() + at, static_cast<uint8_t>(random()));
      break;
    }
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::vector<hevc::Bytes> units = read_units(argv[1]);
  std::mt19937 random(static_cast<unsigned>(std::atoi(argv[2])));
  const int rounds = std::atoi(argv[3]);
  const hevc::State state;
  hevc::Side one(state, 255, 16, kMostSamples), two(state, 255, 16, kMostSamples);
  std::vector<hevc::Bytes> packed;
  uint64_t hash = 14695981039346656037u;
  for (const hevc::Bytes& unit : units) {
    packed.push_back(one.pack(unit.data(), unit.size()));
    for (const uint8_t byte : packed.back()) hash = (hash ^ byte) * 1099511628211u;
    const hevc::Bytes back = two.unpack(packed.back().data(), packed.back().size(), kMostBytes);
    if (back != unit) {
      std::fprintf(stderr, "a unit of %zu bytes comes back as %zu others\n", unit.size(), back.size());
      return 1;
    }
  }
  int accepted = 0;
  for (int round = 0; round < rounds; ++round) {
    two.reset();
    const size_t last = random() % packed.size();
    // what comes behind damage that was not noticed is unpacked, too
    try {
      for (size_t i = 0; i < packed.size(); ++i) {
        const hevc::Bytes data = i != last ? packed[i] : damaged(random, packed[i], packed[random() % packed.size()]);
        two.unpack(data.data(), data.size(), kMostBytes);
        accepted += i == last;
      }
    } catch (const hevc::Corrupt&) {
    }
    // and as a stream that is to be packed
    one.reset();
    const hevc::Bytes stream = damaged(random, units[last], units[random() % units.size()]);
    try {
      one.pack(stream.data(), stream.size());
    } catch (const hevc::Unsupported&) {
    }
  }
  std::printf("%016llx %d\n", static_cast<unsigned long long>(hash), accepted);
  return 0;
}
