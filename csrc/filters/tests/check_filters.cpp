// Runs the adaptive filters on random input: thread counts and instruction sets must agree, filters must add up what
// features say, and the sanitizers that this is built with must stay silent. Usage: check_filters SEED ROUNDS
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "../filter.h"
#include "../vectors.h"

namespace filters = lvc::filters;

namespace {

using Random = std::mt19937;

int uniform(Random& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }

[[noreturn]] void fail(const char* what, int round) {
  std::fprintf(stderr, "round %d: %s\n", round, what);
  std::exit(1);
}

// Exactly as many as there are samples, so that reads beyond them are noticed.
template <typename T>
std::vector<T> values(Random& random, int count, int low, int high) {
  const bool extreme = uniform(random, 0, 1) == 1;
  std::vector<T> result(static_cast<size_t>(count));
  for (T& value : result)
    value = static_cast<T>(extreme ? (uniform(random, 0, 1) ? high : low) : uniform(random, low, high));
  return result;
}

filters::Term random_term(Random& random, int planes) {
  const int most = uniform(random, 0, 1) ? filters::kMaxValue : 40;
  filters::Term term{uniform(random, -1, planes - 1), static_cast<int16_t>(uniform(random, 0, most)),
                     static_cast<int16_t>(uniform(random, 0, most)), {}};
  constexpr int kR = filters::kRadius;
  for (int i = uniform(random, 1, filters::kMaxPlaces); i > 0; --i)
    term.places.push_back({uniform(random, 0, planes - 1), uniform(random, -kR, kR), uniform(random, -kR, kR)});
  return term;
}

void check(Random& random, int round) {
  // often multiples of what loops go by
  const int unit = 1 << uniform(random, 0, 6);
  const int width = unit * uniform(random, 1, std::max(1, 150 / unit)), height = uniform(random, 1, 40);
  const int side = uniform(random, 0, 1) ? 8 : 4, count = width * height;
  const int rows = (height + side - 1) / side, cols = (width + side - 1) / side;
  const std::vector<uint8_t> samples = values<uint8_t>(random, count, 0, 255);
  const std::vector<uint8_t> other = values<uint8_t>(random, count, 0, 255);
  const std::vector<int16_t> proposal = values<int16_t>(random, count, -32768, 32767);
  const std::vector<filters::Source> planes = {{samples.data(), nullptr, width, height},
                                               {other.data(), nullptr, width, height},
                                               {nullptr, proposal.data(), width, height}};
  std::vector<filters::Term> terms;
  size_t places = 0;
  for (int i = uniform(random, 1, filters::kMaxTerms); i > 0; --i) {
    filters::Term term = random_term(random, 3);
    if ((places += term.places.size()) > filters::kAllPlaces) break;
    terms.push_back(std::move(term));
  }

  constexpr int kClasses = 3;
  const int ways = static_cast<int>(terms.size()) * filters::kWays;
  const std::vector<uint8_t> classes = values<uint8_t>(random, rows * cols, 0, kClasses - 1);
  const int reach = uniform(random, 0, 1) ? filters::kMaxCoefficient : 8;
  const std::vector<int16_t> coefficients = values<int16_t>(random, kClasses * ways, -reach, reach);
  const filters::Classes map{classes.data(), rows, cols, side};
  std::vector<uint8_t> one(samples.size()), two(samples.size());
  filters::apply(planes, terms, map, coefficients.data(), samples.data(), one.data(), 1, true);
  filters::apply(planes, terms, map, coefficients.data(), samples.data(), two.data(), 3, false);
  if (one != two) fail("threads or instructions differ", round);

  std::vector<int32_t> blocks;
  for (int row = 0; row < height / side; ++row)
    for (int col = 0; col < width / side; ++col) blocks.push_back(row * cols + col);
  const size_t n = blocks.size() * static_cast<size_t>(side * side);
  std::vector<float> terms_at(n * static_cast<size_t>(ways));
  filters::features(planes, terms, blocks.data(), blocks.size(), cols, side, terms_at.data());
  for (size_t i = 0; i < n; ++i) {
    const int32_t block = blocks[i / static_cast<size_t>(side * side)];
    const int within = static_cast<int>(i) % (side * side);
    const int at = (block / cols * side + within / side) * width + block % cols * side + within % side;
    int64_t sum = 1 << (filters::kValueBits + filters::kCoefficientBits - 1);
    for (int way = 0; way < ways; ++way)
      sum += static_cast<int64_t>(terms_at[static_cast<size_t>(way) * n + i]) *
             coefficients[static_cast<size_t>(classes[static_cast<size_t>(block)] * ways + way)];
    sum = samples[static_cast<size_t>(at)] + (sum >> (filters::kValueBits + filters::kCoefficientBits));
    if (one[static_cast<size_t>(at)] != std::clamp<int64_t>(sum, 0, 255)) fail("features differ from filters", round);
  }

  const int32_t activity[2] = {uniform(random, 0, 80), filters::kMaxValue}, change[2] = {uniform(random, 0, 80), 500};
  std::vector<uint8_t> found(static_cast<size_t>((height + 7) / 8 * ((width + 7) / 8)));
  filters::classify(samples.data(), other.data(), one.data(), width, height, activity, change, found.data());
  if (*std::max_element(found.begin(), found.end()) > 8) fail("classes", round);
  filters::orient(samples.data(), width, height, found.data());
  if (*std::max_element(found.begin(), found.end()) > 3) fail("orientations", round);

  const int fields = 2 * static_cast<int>(found.size());
  const std::vector<int16_t> first = values<int16_t>(random, fields, -32768, 32767);
  const std::vector<int16_t> second = values<int16_t>(random, fields, -40, 40);
  std::vector<int16_t> alone(first.size()), together(first.size());
  const std::vector<int> steps = {uniform(random, 1, 64), 1};
  const int far = uniform(random, 0, 16);
  filters::refine(samples.data(), other.data(), width, height, {first.data(), second.data()}, far, steps, 1,
                  alone.data());
  filters::refine(samples.data(), other.data(), width, height, {first.data(), second.data()}, far, steps, 3,
                  together.data());
  if (alone != together) fail("threads differ in vectors", round);
  std::vector<int16_t> half(static_cast<size_t>((height + 1) / 2 * ((width + 1) / 2)));
  filters::halve(samples.data(), width, height, half.data());
  if (*std::max_element(half.begin(), half.end()) > filters::kMaxValue) fail("halves", round);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Random random(static_cast<unsigned>(std::atoi(argv[1])));
  const int rounds = std::atoi(argv[2]);
  for (int round = 0; round < rounds; ++round) check(random, round);
  std::printf("%d rounds\n", rounds);
}
