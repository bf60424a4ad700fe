// Runs the block motion code on random input: all kernels and thread counts must agree, and the sanitizers that
// this is built with must stay silent. Usage: check_motion SEED ROUNDS
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "../search.h"

namespace motion = lvc::motion;

namespace {

using Random = std::mt19937;

int uniform(Random& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

[[noreturn]] void fail(const char* what, int round) {
  std::fprintf(stderr, "round %d: %s\n", round, what);
  std::exit(1);
}

// Exactly as many bytes as the plane has, so that reads beyond it are noticed. Contrast 0 makes it flat.
std::vector<uint8_t> plane(Random& random, int width, int height, int contrast) {
  std::vector<uint8_t> result(static_cast<size_t>(width * height));
  for (uint8_t& sample : result) {
    const int value = contrast == 256 ? 255 * uniform(random, 0, 1) : 128 + uniform(random, -contrast, contrast);
    sample = static_cast<uint8_t>(std::clamp(value, 0, 255));
  }
  return result;
}

struct Found {
  std::vector<int16_t> vectors;
  std::vector<uint8_t> sizes, compound;
  std::vector<int32_t> satd;
  bool operator==(const Found& other) const {
    return vectors == other.vectors && sizes == other.sizes && compound == other.compound &&
           satd == other.satd;
  }
};

void check_kernels(Random& random, const motion::Kernels& other, int round) {
  const motion::Kernels& scalar = motion::scalar_kernels();
  constexpr int kWidth = 64, kHeight = 40, kStride = kWidth + 48;
  const std::vector<uint8_t> a = plane(random, kStride, kHeight + 16, 256), b = plane(random, kStride, kHeight + 16, 127);
  const int w = 8 * uniform(random, 1, kWidth / 8), h = 8 * uniform(random, 1, kHeight / 8);
  if (scalar.sad(a.data(), kStride, b.data(), kStride, w, h) != other.sad(a.data(), kStride, b.data(), kStride, w, h))
    fail("SAD", round);
  if (scalar.satd(a.data(), kStride, b.data(), kStride, w, h) != other.satd(a.data(), kStride, b.data(), kStride, w, h))
    fail("SATD", round);
  // Intermediate values at the ends of their range, where clipping and saturation must agree.
  std::vector<int16_t> values(static_cast<size_t>(kStride * (kHeight + 16)));
  for (int16_t& value : values) {
    const int kind = uniform(random, 0, 3);
    value = static_cast<int16_t>(kind == 0 ? -32768 : kind == 1 ? 32767 : uniform(random, -32768, 32767));
  }
  const int16_t* source = values.data() + 8 * kStride;
  std::vector<int16_t> one(static_cast<size_t>(kStride * kHeight), 0), two = one;
  for (const auto& filter : motion::kLumaFilter) {
    scalar.down8(source, kStride, one.data(), kStride, w, h, filter);
    other.down8(source, kStride, two.data(), kStride, w, h, filter);
    if (one != two) fail("vertical luma filter", round);
    scalar.across8(a.data() + 8, kStride, one.data(), kStride, w, h, filter);
    other.across8(a.data() + 8, kStride, two.data(), kStride, w, h, filter);
    if (one != two) fail("horizontal luma filter", round);
  }
  for (const auto& filter : motion::kChromaFilter) {
    scalar.down4(source, kStride, one.data(), kStride, w, h, filter);
    other.down4(source, kStride, two.data(), kStride, w, h, filter);
    if (one != two) fail("vertical chroma filter", round);
    scalar.across4(a.data() + 8, kStride, one.data(), kStride, w, h, filter);
    other.across4(a.data() + 8, kStride, two.data(), kStride, w, h, filter);
    if (one != two) fail("horizontal chroma filter", round);
  }
  std::vector<uint8_t> p(static_cast<size_t>(kStride * kHeight), 0), q = p;
  scalar.narrow(source, kStride, p.data(), kStride, w, h);
  other.narrow(source, kStride, q.data(), kStride, w, h);
  if (p != q) fail("rounding", round);
  std::vector<int16_t> weights(static_cast<size_t>(4 * w * h));
  for (size_t i = 0; i < weights.size(); i += 4) {
    const int first = uniform(random, 0, 256), second = uniform(random, 0, 256 - first);
    weights[i] = static_cast<int16_t>(first);
    weights[i + 3] = static_cast<int16_t>(second);
    weights[i + 1 + static_cast<size_t>(uniform(random, 0, 1))] = static_cast<int16_t>(256 - first - second);
  }
  const int16_t* four[4] = {source, source + 3, source - 5, source + kStride};
  scalar.blend(four, kStride, weights.data(), p.data(), kStride, w, h);
  other.blend(four, kStride, weights.data(), q.data(), kStride, w, h);
  if (p != q) fail("blending", round);
  one = two = values;
  scalar.average(one.data(), source, kStride, w, h);
  other.average(two.data(), source, kStride, w, h);
  if (one != two) fail("means", round);
  scalar.average_samples(a.data(), kStride, b.data() + 5, kStride, p.data(), kStride, w, h);
  other.average_samples(a.data(), kStride, b.data() + 5, kStride, q.data(), kStride, w, h);
  if (p != q) fail("means of samples", round);
}

void check_pictures(Random& random, const std::vector<const motion::Kernels*>& kernels, int round) {
  const int width = uniform(random, 1, uniform(random, 1, 150)), height = uniform(random, 1, uniform(random, 1, 150));
  const int rows = (height + 7) / 8, cols = (width + 7) / 8;
  const size_t blocks = static_cast<size_t>(rows * cols);
  const int contrast = uniform(random, 0, 2) * 128;
  const std::vector<uint8_t> current = plane(random, width, height, contrast);
  const std::vector<uint8_t> reference = uniform(random, 0, 1) ? current : plane(random, width, height, contrast);
  const motion::PlaneView one{current.data(), width, width, height}, two{reference.data(), width, width, height};
  const int reach = 1 << uniform(random, 0, 15);
  std::vector<int16_t> vectors(2 * blocks);
  for (int16_t& v : vectors) v = static_cast<int16_t>(uniform(random, -reach, reach - 1));
  const motion::Field field{vectors.data(), vectors.data() + blocks, rows, cols};
  std::vector<uint8_t> flags(blocks);
  for (uint8_t& flag : flags) flag = static_cast<uint8_t>(uniform(random, 0, 1));

  const int chroma_width = (width + 1) / 2, chroma_height = (height + 1) / 2;
  const std::vector<uint8_t> small = plane(random, chroma_width, chroma_height, contrast);
  for (const motion::Window window : {motion::Window::kNone, motion::Window::kLinear, motion::Window::kCosine})
    for (const bool chroma : {false, true}) {
      const int w = chroma ? chroma_width : width, h = chroma ? chroma_height : height;
      const motion::PlaneView view{chroma ? small.data() : reference.data(), w, w, h};
      const motion::Second second{view, field, flags.data()};
      std::vector<uint8_t> expected;
      for (const motion::Kernels* k : kernels) {
        std::vector<uint8_t> out(static_cast<size_t>(w * h));
        motion::predict_plane(*k, view, field, chroma, window, out.data(), w, round % 2 ? &second : nullptr);
        if (expected.empty()) expected = out;
        if (out != expected) fail("predictions differ", round);
      }
    }

  motion::SearchOptions options;
  options.lagrangian = uniform(random, 0, 3) * 5.0;
  options.effort = uniform(random, 0, motion::kMaxEffort);
  const motion::Field* previous = uniform(random, 0, 1) ? &field : nullptr;
  const motion::SecondReference second{two, field};
  std::vector<Found> all;
  for (const motion::Kernels* k : kernels)
    for (const int threads : {1, 3}) {
      options.threads = threads;
      Found found{std::vector<int16_t>(2 * blocks), std::vector<uint8_t>(blocks), std::vector<uint8_t>(blocks),
                  std::vector<int32_t>(blocks)};
      motion::search(*k, one, two, previous, round % 2 ? &second : nullptr, options,
                     {found.vectors.data(), found.vectors.data() + blocks, found.sizes.data(), found.compound.data(),
                      found.satd.data()});
      all.push_back(std::move(found));
      if (!(all.back() == all.front())) fail("searches differ", round);
    }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Random random(static_cast<unsigned>(std::atoi(argv[1])));
  const int rounds = std::atoi(argv[2]);
  std::vector<const motion::Kernels*> kernels{&motion::scalar_kernels()};
  if (motion::avx2_kernels() != nullptr) kernels.push_back(motion::avx2_kernels());
  for (int round = 0; round < rounds; ++round) {
    for (const motion::Kernels* k : kernels) check_kernels(random, *k, round);
    check_pictures(random, kernels, round);
  }
  std::printf("%d rounds, %d kernels\n", rounds, static_cast<int>(kernels.size()));
}
