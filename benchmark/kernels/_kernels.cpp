// What the methods compute that a chain of library calls computes slowly on a CPU: sums over arrays that need
// never exist. Plain C++, float32, no dependency; `kernels.py` says what each function is for and holds the
// same computation in PyTorch, which these must agree with and which is used wherever this file is not built.
//
// Every result is a function of the input alone, not of the number of threads: a sum is always taken by one
// thread, in a fixed order.
//
// N graphs or items, B rows (product, review), T nodes, H hidden width, L product and R review positions,
// F features, A product and C review representations (so A x C channels of a matching map), S filters of all
// sizes together, K values kept of each, P the largest filter size.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

// One build for every processor: the widest of three versions that the processor has is chosen at load time.
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__) && __GNUC__ >= 12
#define CLONES
#define WIDEST_TARGET "arch=x86-64-v4"
#define WIDEST_FEATURE "x86-64-v4"
#define CLONED __attribute__((noinline, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__linux__) && !defined(__clang__) && defined(__GNUC__)
#define CLONES
#define WIDEST_TARGET "avx512f,fma"
#define WIDEST_FEATURE "avx512f"
#define CLONED __attribute__((noinline, target_clones("avx512f", "fma", "default")))
#else
#define CLONED __attribute__((noinline))
#endif
#define INLINE inline __attribute__((always_inline))

namespace {

constexpr int64_t LANES = 16;
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t Mask __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4)));  // at any float's address

INLINE int64_t whole_lanes(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// Halves of vectors, to combine the lanes of one: in four steps that depend on one another instead of sixteen.
typedef float Half __attribute__((vector_size(2 * LANES)));
typedef float Quarter __attribute__((vector_size(LANES)));

INLINE float total(Lanes x) {
    Half halves[2];
    std::memcpy(halves, &x, sizeof x);
    const Half half = halves[0] + halves[1];
    Quarter quarters[2];
    std::memcpy(quarters, &half, sizeof half);
    const Quarter quarter = quarters[0] + quarters[1];
    return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

INLINE float highest_of(Lanes x) {
    Half halves[2];
    std::memcpy(halves, &x, sizeof x);
    const Half half = halves[0] > halves[1] ? halves[0] : halves[1];
    Quarter quarters[2];
    std::memcpy(quarters, &half, sizeof half);
    const Quarter quarter = quarters[0] > quarters[1] ? quarters[0] : quarters[1];
    const float even = quarter[0] > quarter[2] ? quarter[0] : quarter[2];
    const float odd = quarter[1] > quarter[3] ? quarter[1] : quarter[3];
    return even > odd ? even : odd;
}

// ---------------------------------------------------------------- pair network of MCR's coherence graphs

constexpr int64_t OWN = 4;       // nodes i of a tile
constexpr int64_t OTHERS = 4;    // vectors of nodes j of a tile

// e_ij = sum_h w_h max(a_ih + b_jh, 0) + offset_j of one graph; b transposed; its T, and the offsets', padded
// to whole vectors.
CLONED void pair_scores_graph(const float *a_TH, const float *b_HT, const float *w_H, const float *offset_T,
                              float *e_TT, int64_t T, int64_t H) {
    const int64_t padded = whole_lanes(T);
    const Lanes zero = {};
    for (int64_t i = 0; i < T; i += OWN) {
        const int64_t own = i + OWN <= T ? OWN : T - i;
        for (int64_t j = 0; j < padded; j += OTHERS * LANES) {
            const int64_t others = j + OTHERS * LANES <= padded ? OTHERS : (padded - j) / LANES;
            Lanes total[OWN][OTHERS] = {};
            for (int64_t k = 0; k < own; ++k)
                for (int64_t v = 0; v < others; ++v) total[k][v] = *(const Loose *)(offset_T + j + v * LANES);
            if (own == OWN && others == OTHERS) {
                for (int64_t h = 0; h < H; ++h) {
                    const Loose *b = (const Loose *)(b_HT + h * padded + j);
                    const Lanes b0 = b[0], b1 = b[1], b2 = b[2], b3 = b[3];
#pragma GCC unroll 4
                    for (int64_t k = 0; k < OWN; ++k) {
                        const float a = a_TH[(i + k) * H + h];
                        const Lanes s0 = b0 + a, s1 = b1 + a, s2 = b2 + a, s3 = b3 + a;
                        total[k][0] += w_H[h] * (s0 > zero ? s0 : zero);
                        total[k][1] += w_H[h] * (s1 > zero ? s1 : zero);
                        total[k][2] += w_H[h] * (s2 > zero ? s2 : zero);
                        total[k][3] += w_H[h] * (s3 > zero ? s3 : zero);
                    }
                }
            } else {
                for (int64_t h = 0; h < H; ++h)
                    for (int64_t k = 0; k < own; ++k)
                        for (int64_t v = 0; v < others; ++v) {
                            const Lanes s = *(const Loose *)(b_HT + h * padded + j + v * LANES) + a_TH[(i + k) * H + h];
                            total[k][v] += w_H[h] * (s > zero ? s : zero);
                        }
            }
            for (int64_t k = 0; k < own; ++k) {
                const int64_t width = T - j < others * LANES ? T - j : others * LANES;
                std::memcpy(e_TT + (i + k) * T + j, total[k], sizeof(float) * width);
            }
        }
    }
}

// G^a_ih = sum_j g_ij [a_ih > -b_jh] and G^b_jh = sum_i g_ij [..] of one graph, where g is the gradient of
// the logits; H padded to whole vectors in a, -b, G^a and G^b.
CLONED void pair_scores_backward_graph(const float *a_TH, const float *negative_TH, const float *weight_TT,
                                       const float *gradient_TT, float *own_TH, float *other_TH, float *g_IT,
                                       int64_t T, int64_t H) {
    const Lanes zero = {};
    for (int64_t i = 0; i < T; i += OWN) {
        const int64_t own = i + OWN <= T ? OWN : T - i;
        for (int64_t k = 0; k < OWN; ++k) {  // backward of softmax: g = y (dy - sum_j dy_j y_j)
            float *g = g_IT + k * T;
            if (k >= own) {
                std::memset(g, 0, sizeof(float) * T);
                continue;
            }
            const float *y = weight_TT + (i + k) * T, *dy = gradient_TT + (i + k) * T;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < T; ++j) sum += y[j] * dy[j];
#pragma omp simd
            for (int64_t j = 0; j < T; ++j) g[j] = y[j] * (dy[j] - sum);
        }
        for (int64_t h = 0; h < H; h += 2 * LANES) {
            const bool both = h + LANES < H;
            Lanes a[OWN][2], total[OWN][2] = {};
            for (int64_t k = 0; k < OWN; ++k) {
                const float *row = a_TH + (k < own ? i + k : i) * H + h;
                a[k][0] = *(const Loose *)row;
                a[k][1] = both ? Lanes(*(const Loose *)(row + LANES)) : zero;
            }
            for (int64_t j = 0; j < T; ++j) {
                const float *negative = negative_TH + j * H + h;
                float *other = other_TH + j * H + h;
                const Lanes n0 = *(const Loose *)negative, n1 = both ? Lanes(*(const Loose *)(negative + LANES)) : zero;
                Lanes o0 = *(const Loose *)other, o1 = both ? Lanes(*(const Loose *)(other + LANES)) : zero;
#pragma GCC unroll 4
                for (int64_t k = 0; k < OWN; ++k) {
                    const Lanes g = zero + g_IT[k * T + j];
                    const Lanes g0 = a[k][0] > n0 ? g : zero, g1 = a[k][1] > n1 ? g : zero;
                    total[k][0] += g0;
                    total[k][1] += g1;
                    o0 += g0;
                    o1 += g1;
                }
                *(Loose *)other = o0;
                if (both) *(Loose *)(other + LANES) = o1;
            }
            for (int64_t k = 0; k < own; ++k) {
                *(Loose *)(own_TH + (i + k) * H + h) = total[k][0];
                if (both) *(Loose *)(own_TH + (i + k) * H + h + LANES) = total[k][1];
            }
        }
    }
}

// ------------------------------------------------------- strongest answers of small filters on matching maps

constexpr int64_t FILTERS = 4;  // filters of a tile
constexpr int64_t COLUMNS = 4;  // vectors of columns of a tile

// The `keep` largest values seen so far, in descending order; of equal ones the first.
struct Strongest {
    float *value;
    int32_t *cell;
    int64_t keep, found;

    INLINE float threshold() const {
        return found < keep ? -std::numeric_limits<float>::infinity() : value[keep - 1];
    }
    void insert(float candidate, int32_t at) {
        int64_t place = found < keep ? found++ : keep - 1;
        for (; place > 0 && value[place - 1] < candidate; --place) {
            value[place] = value[place - 1];
            cell[place] = cell[place - 1];
        }
        value[place] = candidate;
        cell[place] = at;
    }
};

// Answers of TILE filters of one size, at one row of the map, to all its columns; better ones are kept.
// map: [channels, rows, stride], zero-padded; weight: of the first filter, [channels, size, size] each.
template <int TILE>
INLINE void strongest_row(const float *map, const float *weight, const float *offset, Strongest *best,
                          int64_t row, int64_t channels, int64_t plane, int64_t stride, int64_t columns,
                          int64_t size) {
    const int64_t taps = channels * size * size;
    for (int64_t start = 0; start < columns; start += COLUMNS * LANES) {
        Lanes answer[TILE][COLUMNS];
        for (int64_t v = 0; v < COLUMNS; ++v) {
            const Lanes base = *(const Loose *)(offset + start + v * LANES);
            for (int f = 0; f < TILE; ++f) answer[f][v] = base;
        }
        const float *w = weight;
        for (int64_t channel = 0; channel < channels; ++channel)
            for (int64_t i = 0; i < size; ++i)
                for (int64_t j = 0; j < size; ++j, ++w) {
                    const Loose *cells = (const Loose *)(map + channel * plane + (row + i) * stride + start + j);
                    const Lanes c0 = cells[0], c1 = cells[1], c2 = cells[2], c3 = cells[3];
#pragma GCC unroll 4
                    for (int f = 0; f < TILE; ++f) {
                        const float tap = w[f * taps];
                        answer[f][0] += tap * c0;
                        answer[f][1] += tap * c1;
                        answer[f][2] += tap * c2;
                        answer[f][3] += tap * c3;
                    }
                }
        for (int f = 0; f < TILE; ++f) {
            Lanes top = answer[f][0];
            for (int64_t v = 1; v < COLUMNS; ++v) top = answer[f][v] > top ? answer[f][v] : top;
            const float highest = highest_of(top);
            if (!(highest > best[f].threshold())) continue;
            const float *values = (const float *)answer[f];
            for (int64_t column = 0; column < COLUMNS * LANES && start + column < columns; ++column)
                if (values[column] > best[f].threshold())
                    best[f].insert(values[column], int32_t(row * columns + start + column));
        }
    }
}

// One pair: map_LR [A, L, C, R] -> value and cell [S, K], where S is sizes x filters.
CLONED void strongest_map(const float *map_LR, const float *weight, const uint8_t *product_mask_L,
                          const uint8_t *review_mask_R, float *value_SK, int32_t *cell_SK, float *padded,
                          float *offset, int64_t A, int64_t C, int64_t L, int64_t R, int64_t sizes,
                          int64_t filters, int64_t keep) {
    const int64_t channels = A * C, stride = whole_lanes(R) + COLUMNS * LANES + LANES;
    const int64_t plane = (L + sizes - 1) * stride;
    for (int64_t channel = 0; channel < channels; ++channel)
        for (int64_t l = 0; l < L; ++l)
            std::memcpy(padded + channel * plane + l * stride,
                        map_LR + (((channel / C) * L + l) * C + channel % C) * R, sizeof(float) * R);
    for (int64_t r = 0; r < R; ++r)
        offset[r] = !review_mask_R || review_mask_R[r] ? 0.0f : -std::numeric_limits<float>::infinity();
    for (int64_t size = 1; size <= sizes; ++size) {
        const int64_t taps = channels * size * size;
        for (int64_t f = 0; f < filters;) {
            const bool tile = f + FILTERS <= filters;
            const int64_t first = (size - 1) * filters + f;
            Strongest best[FILTERS];
            for (int64_t k = 0; k < (tile ? FILTERS : 1); ++k)
                best[k] = {value_SK + (first + k) * keep, cell_SK + (first + k) * keep, keep, 0};
            for (int64_t l = 0; l < L; ++l) {
                if (product_mask_L && !product_mask_L[l]) continue;
                if (tile)
                    strongest_row<FILTERS>(padded, weight + f * taps, offset, best, l, channels, plane, stride, R, size);
                else
                    strongest_row<1>(padded, weight + f * taps, offset, best, l, channels, plane, stride, R, size);
            }
            for (int64_t k = 0; k < (tile ? FILTERS : 1); ++k)
                for (int64_t slot = best[k].found; slot < keep; ++slot) {
                    best[k].value[slot] = -std::numeric_limits<float>::infinity();
                    best[k].cell[slot] = -1;
                }
            f += tile ? FILTERS : 1;
        }
        weight += filters * taps;
    }
}

// Gradients of one pair. Of a cell that a winner's filter covers, `d` is the winner's gradient times the tap:
// left_l += d right_r, right_r += d left_l, here for features [first, last); and the tap gets the winner's
// gradient times the cell's cosine, if `tap_gradient` is given.
CLONED void strongest_backward_pair(const float *left_ALF, const float *right_CRF, const float *weight,
                                    const int32_t *cell_SK, const float *gradient_SK, float *left_gradient,
                                    float *right_gradient, float *tap_gradient, int64_t A, int64_t C,
                                    int64_t L, int64_t R, int64_t F, int64_t sizes, int64_t filters,
                                    int64_t keep, int64_t first, int64_t last) {
    int64_t tap = 0;
    for (int64_t size = 1; size <= sizes; ++size)
        for (int64_t f = 0; f < filters; ++f, tap += A * C * size * size)
            for (int64_t k = 0; k < keep; ++k) {
                const int64_t slot = ((size - 1) * filters + f) * keep + k;
                const float gradient = gradient_SK[slot];
                if (cell_SK[slot] < 0 || gradient == 0.0f) continue;
                const int64_t row = cell_SK[slot] / R, column = cell_SK[slot] % R;
                int64_t w = tap;
                for (int64_t channel = 0; channel < A * C; ++channel)
                    for (int64_t i = 0; i < size; ++i)
                        for (int64_t j = 0; j < size; ++j, ++w) {
                            if (row + i >= L || column + j >= R) continue;
                            const int64_t at_left = ((channel / C) * L + row + i) * F;
                            const int64_t at_right = ((channel % C) * R + column + j) * F;
                            const float *left = left_ALF + at_left, *right = right_CRF + at_right;
                            if (tap_gradient) {
                                float cosine = 0;
#pragma omp simd reduction(+ : cosine)
                                for (int64_t x = 0; x < F; ++x) cosine += left[x] * right[x];
                                tap_gradient[w] += gradient * cosine;
                                continue;
                            }
                            const float d = gradient * weight[w];
                            float *to_left = left_gradient + at_left, *to_right = right_gradient + at_right;
#pragma omp simd
                            for (int64_t x = first; x < last; ++x) to_left[x] += d * right[x];
#pragma omp simd
                            for (int64_t x = first; x < last; ++x) to_right[x] += d * left[x];
                        }
            }
}

// The same of one given map [L, C, R]: to each cell that a winner's filter covers goes the winner's gradient times the
// tap, and to the tap the winner's gradient times the cell.
CLONED void strongest_map_backward_one(const float *map_LCR, const float *weight, const int32_t *cell_SK,
                                       const float *gradient_SK, float *map_gradient, float *tap_gradient,
                                       int64_t C, int64_t L, int64_t R, int64_t sizes, int64_t filters,
                                       int64_t keep) {
    int64_t tap = 0;
    for (int64_t size = 1; size <= sizes; ++size)
        for (int64_t f = 0; f < filters; ++f, tap += C * size * size)
            for (int64_t k = 0; k < keep; ++k) {
                const int64_t slot = ((size - 1) * filters + f) * keep + k;
                const float gradient = gradient_SK[slot];
                if (cell_SK[slot] < 0 || gradient == 0.0f) continue;
                const int64_t row = cell_SK[slot] / R, column = cell_SK[slot] % R;
                int64_t w = tap;
                for (int64_t channel = 0; channel < C; ++channel)
                    for (int64_t i = 0; i < size; ++i)
                        for (int64_t j = 0; j < size; ++j, ++w) {
                            if (row + i >= L || column + j >= R) continue;
                            const int64_t at = ((row + i) * C + channel) * R + column + j;
                            map_gradient[at] += gradient * weight[w];
                            tap_gradient[w] += gradient * map_LCR[at];
                        }
            }
}

// ----------------------------------------------------------------------------------------------- unit vectors

// y = x / max(|x|, least) of one row at a time.
CLONED void unit_part(const float *x, float *y, float *length, float least, int64_t F, int64_t first,
                      int64_t last) {
    for (int64_t row = first; row < last; ++row) {
        const float *from = x + row * F;
        float *to = y + row * F, square = 0;
#pragma omp simd reduction(+ : square)
        for (int64_t f = 0; f < F; ++f) square += from[f] * from[f];
        const float norm = std::sqrt(square);
        length[row] = norm;
        const float factor = 1.0f / (norm > least ? norm : least);
        for (int64_t f = 0; f < F; ++f) to[f] = from[f] * factor;
    }
}

// dx = (dy - y (y . dy)) / |x|; below the least length, where y is linear in x, dx = dy / least.
CLONED void unit_backward_part(const float *y, const float *gradient, const float *length, float *result,
                               float least, int64_t F, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
        const float *unit = y + row * F, *dy = gradient + row * F;
        float *dx = result + row * F, along = 0;
        const bool tiny = !(length[row] > least);
#pragma omp simd reduction(+ : along)
        for (int64_t f = 0; f < F; ++f) along += unit[f] * dy[f];
        if (tiny) along = 0;
        const float factor = 1.0f / (tiny ? least : length[row]);
        for (int64_t f = 0; f < F; ++f) dx[f] = (dy[f] - unit[f] * along) * factor;
    }
}

constexpr int64_t ROWS = 64;  // rows that a thread takes at a time

// --------------------------------------------------------------------------------------------------- dropout

INLINE uint32_t mixed(uint32_t x) {  // a bijection of 32 bits in which each input bit flips half of the output
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

constexpr int64_t DRAWS = 32;  // elements that one vector of hashes serves: 16 bits each

// keep_e scale, where keep_e is a function of (seed, e): elements [first, last) of x, `first` in whole DRAWS.
template <class Use>
INLINE void for_kept(uint64_t seed, uint32_t threshold, float scale, int64_t first, int64_t last, Use use) {
    const uint32_t low = uint32_t(seed), high = uint32_t(seed >> 32);
    for (int64_t e = first; e < last; e += DRAWS) {
        float factor[DRAWS];
        const uint32_t index = uint32_t(e / 2) + low;
        for (uint32_t lane = 0; lane < LANES; ++lane) {
            const uint32_t draw = mixed(mixed(index + lane) ^ high);
            factor[lane] = (draw & 0xffff) >= threshold ? scale : 0.0f;
            factor[lane + LANES] = (draw >> 16) >= threshold ? scale : 0.0f;
        }
        if (e + DRAWS <= last)
            for (int64_t k = 0; k < DRAWS; ++k) use(e + k, factor[k]);
        else
            for (int64_t k = 0; k < last - e; ++k) use(e + k, factor[k]);
    }
}

CLONED void dropout_part(const float *x, float *y, uint64_t seed, uint32_t threshold, float scale,
                         int64_t first, int64_t last) {
    for_kept(seed, threshold, scale, first, last, [=](int64_t e, float factor) { y[e] = x[e] * factor; });
}

CLONED void relu_dropout_part(const float *x, float *y, uint64_t seed, uint32_t threshold, float scale,
                              int64_t first, int64_t last) {
    for_kept(seed, threshold, scale, first, last,
             [=](int64_t e, float factor) { y[e] = x[e] > 0.0f ? x[e] * factor : 0.0f; });
}

CLONED void add_dropout_part(const float *base, const float *x, float *y, uint64_t seed, uint32_t threshold,
                             float scale, int64_t first, int64_t last) {
    for_kept(seed, threshold, scale, first, last,
             [=](int64_t e, float factor) { y[e] = base[e] + x[e] * factor; });
}

// Backward of relu and dropout: the gradient passes where the result is positive.
CLONED void gate_part(const float *result, const float *gradient, float *y, float scale, int64_t first,
                      int64_t last) {
    for (int64_t e = first; e < last; ++e) y[e] = result[e] > 0.0f ? gradient[e] * scale : 0.0f;
}

constexpr int64_t PART = 1 << 14;  // elements that a thread takes at a time

// ------------------------------------------------------------------------------------------- self-attention

// e^x; 0 below the smallest normal number. Cephes' polynomial: within 2 units in the last place.
INLINE Lanes exponential(Lanes x) {
    const Lanes zero = {}, least = zero - 87.3f;
    const Lanes bounded = x > least ? x : least;
    const Lanes shifted = bounded * 1.44269504f + 12582912.0f;  // rounds to a whole number, kept in the low bits
    const Lanes n = shifted - 12582912.0f;
    const Lanes r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
    Lanes y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    Mask exponent;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    exponent = (exponent - 0x4b400000 + 127) << 23;
    Lanes power;
    std::memcpy(&power, &exponent, sizeof power);
    return x > least ? y * power : zero;
}


// memcpy of a few floats, without the way there.
INLINE void copy_floats(float *to, const float *from, int64_t count) {
    if (count >= 4 * LANES) {
        std::memcpy(to, from, sizeof(float) * count);
        return;
    }
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) std::memcpy(to + i, from + i, sizeof(Quarter));
    for (; i < count; ++i) to[i] = from[i];
}

// What one head of one sequence needs, gathered once: T queries, S keys and values; widths padded to whole vectors with
// zeros. Made for the longest sequence, used for each in turn.
struct Head {
    int64_t T, S, width, value_width;  // of the sequence at hand
    int64_t rows, wide, value_wide;    // S in whole vectors; widths in whole vectors
    std::vector<float> query, key, value, key_T, value_T, output, query_gradient, outer, key_gradient, value_gradient;
    std::vector<float> weight, gradient, factor, drawn;  // of a tile of OWN rows
    const int64_t *key_at, *query_at;  // positions of the sequence that dropout's draws are counted by; null: 0, 1, ..

    Head(int64_t most_T, int64_t most_S, int64_t width, int64_t value_width, bool backward)
        : width(width), value_width(value_width), key_at(nullptr), query_at(nullptr) {
        const int64_t most_rows = whole_lanes(most_S) + OTHERS * LANES, queries = (most_T + OWN - 1) / OWN * OWN;
        wide = whole_lanes(width);
        value_wide = whole_lanes(value_width);
        query.assign(queries * wide, 0.0f);
        key.assign(most_rows * wide, 0.0f);
        value.assign(most_rows * value_wide, 0.0f);
        key_T.assign(width * most_rows, 0.0f);
        weight.assign(OWN * most_rows, 0.0f);
        if (!backward) return;
        value_T.assign(value_width * most_rows, 0.0f);
        gradient.assign(OWN * most_rows, 0.0f);
        for (auto *array : {&output, &outer}) array->assign(queries * value_wide, 0.0f);
        query_gradient.assign(queries * wide, 0.0f);
        key_gradient.assign(most_rows * wide, 0.0f);
        value_gradient.assign(most_rows * value_wide, 0.0f);
    }
};

// tile[k][j] = scale sum_d x_kd y_dj for OWN rows of x and COUNT vectors of columns from j on.
template <int COUNT>
INLINE void products_of(const float *x, int64_t x_wide, const float *y_T, float scale, float *tile, int64_t j,
                        int64_t rows, int64_t width) {
    Lanes sum[OWN][COUNT] = {};
    for (int64_t d = 0; d < width; ++d) {
        const Loose *from = (const Loose *)(y_T + d * rows + j);
        Lanes y[COUNT];
        for (int v = 0; v < COUNT; ++v) y[v] = from[v];
#pragma GCC unroll 4
        for (int64_t k = 0; k < OWN; ++k) {
            const float factor = x[k * x_wide + d];
#pragma GCC unroll 4
            for (int v = 0; v < COUNT; ++v) sum[k][v] += factor * y[v];
        }
    }
    for (int64_t k = 0; k < OWN; ++k)
        for (int v = 0; v < COUNT; ++v) *(Loose *)(tile + k * rows + j + v * LANES) = sum[k][v] * scale;
}

INLINE void products(const float *x, int64_t x_wide, const float *y_T, float scale, float *tile, int64_t rows,
                     int64_t width) {
    int64_t j = 0;
    for (; j + 4 * LANES <= rows; j += 4 * LANES) products_of<4>(x, x_wide, y_T, scale, tile, j, rows, width);
    const int64_t left = (rows - j) / LANES;
    if (left == 3) products_of<3>(x, x_wide, y_T, scale, tile, j, rows, width);
    if (left == 2) products_of<2>(x, x_wide, y_T, scale, tile, j, rows, width);
    if (left == 1) products_of<1>(x, x_wide, y_T, scale, tile, j, rows, width);
}

// What dropout multiplies the weights of OWN rows from query i on with; `frame` is the length that draws are counted by.
struct Draws {
    uint64_t seed;
    uint32_t threshold;
    float scale;
    int64_t frame, first_row;
};

INLINE void draw(const Draws &draws, int64_t i, Head &head) {
    static_assert((OTHERS * LANES) % DRAWS == 0, "a row is whole draws");
    const int64_t last = head.key_at ? head.key_at[head.S - 1] + 1 : head.S;
    const int64_t needed = (last + DRAWS - 1) / DRAWS * DRAWS;
    float *drawn = head.drawn.data();
    for (int64_t k = 0; k < OWN && i + k < head.T; ++k) {
        const int64_t row = draws.first_row + (head.query_at ? head.query_at[i + k] : i + k), first = row * draws.frame;
        float *factor = head.factor.data() + k * head.rows;
        for_kept(draws.seed, draws.threshold, draws.scale, first, first + needed,
                 [&](int64_t e, float kept) { drawn[e - first] = kept; });
        if (!head.key_at) {
            std::memcpy(factor, drawn, sizeof(float) * head.S);
            continue;
        }
        for (int64_t j = 0; j < head.S; ++j) factor[j] = drawn[head.key_at[j]];
    }
}

// out[k] = sum_j weight_kj y_j for OWN rows and VECTORS vectors of columns; even and odd j apart, so that fewer additions
// wait for one another.
template <int VECTORS>
INLINE void combine(const float *weight, int64_t rows, const float *y, int64_t y_wide, int64_t S,
                    Lanes (*sum)[VECTORS]) {
    Lanes odd[OWN][VECTORS] = {};
    int64_t j = 0;
    for (; j + 2 <= S; j += 2) {
        const Loose *from = (const Loose *)(y + j * y_wide), *next = (const Loose *)(y + (j + 1) * y_wide);
#pragma GCC unroll 4
        for (int64_t k = 0; k < OWN; ++k)
            for (int v = 0; v < VECTORS; ++v) {
                sum[k][v] += weight[k * rows + j] * from[v];
                odd[k][v] += weight[k * rows + j + 1] * next[v];
            }
    }
    const Loose *last = (const Loose *)(y + j * y_wide);
    for (int64_t k = 0; k < OWN; ++k)
        for (int v = 0; v < VECTORS; ++v) {
            if (j < S) sum[k][v] += weight[k * rows + j] * last[v];
            sum[k][v] += odd[k][v];
        }
}

template <int VECTORS>
INLINE void write_outputs(const Head &head, int64_t d, int64_t own, float *output, int64_t stride) {
    Lanes sum[OWN][VECTORS] = {};
    combine<VECTORS>(head.weight.data(), head.rows, head.value.data() + d, head.value_wide, head.S, sum);
    const int64_t left = head.value_width - d, there = left < VECTORS * LANES ? left : VECTORS * LANES;
    for (int64_t k = 0; k < own; ++k) std::memcpy(output + k * stride + d, sum[k], sizeof(float) * there);
}

// output: rows of queries one after another, `stride` apart; log_T: log of each row's sum of exponentials, for the
// backward pass.
CLONED void attention_head(Head &head, float *output, float *log_T, int64_t stride, float scale, const Draws &draws) {
    const bool dropped = draws.threshold;
    for (int64_t i = 0; i < head.T; i += OWN) {
        float *weight = head.weight.data();
        products(head.query.data() + i * head.wide, head.wide, head.key_T.data(), scale, weight, head.rows, head.width);
        if (dropped) draw(draws, i, head);
        const int64_t own = i + OWN <= head.T ? OWN : head.T - i;
        for (int64_t k = 0; k < own; ++k) {
            for (int64_t j = head.S; j < head.rows; ++j)
                weight[k * head.rows + j] = -std::numeric_limits<float>::infinity();
            Loose *row = (Loose *)(weight + k * head.rows);
            const Loose *factor = (const Loose *)(head.factor.data() + k * head.rows);
            Lanes top = row[0], sum = {};
            for (int64_t v = 1; v < head.rows / LANES; ++v) top = row[v] > top ? Lanes(row[v]) : top;
            const float highest = highest_of(top);
            for (int64_t v = 0; v < head.rows / LANES; ++v) {
                const Lanes y = exponential(row[v] - highest);
                sum += y;
                row[v] = y;
            }
            const float all = total(sum);
            log_T[i + k] = highest + std::log(all);
            const float inverse = 1.0f / all;
            for (int64_t v = 0; v < head.rows / LANES; ++v)
                row[v] = dropped ? Lanes(row[v] * inverse * factor[v]) : Lanes(row[v] * inverse);
        }
        int64_t d = 0;
        for (; d + 2 * LANES <= head.value_wide; d += 2 * LANES) write_outputs<2>(head, d, own, output + i * stride, stride);
        if (d < head.value_wide) write_outputs<1>(head, d, own, output + i * stride, stride);
    }
}

// dv_j += sum_k y_kj g_k of OWN rows.
template <int VECTORS>
INLINE void add_outer(const float *weight, int64_t rows, const float *g, int64_t wide, float *to, int64_t S) {
    Lanes own[OWN][VECTORS];
    for (int64_t k = 0; k < OWN; ++k)
        for (int v = 0; v < VECTORS; ++v) own[k][v] = *(const Loose *)(g + k * wide + v * LANES);
    for (int64_t j = 0; j < S; ++j) {
        Loose *at = (Loose *)(to + j * wide);
        Lanes sum[VECTORS];
        for (int v = 0; v < VECTORS; ++v) sum[v] = at[v];
#pragma GCC unroll 4
        for (int64_t k = 0; k < OWN; ++k)
            for (int v = 0; v < VECTORS; ++v) sum[v] += weight[k * rows + j] * own[k][v];
        for (int v = 0; v < VECTORS; ++v) at[v] = sum[v];
    }
}

template <int VECTORS>
INLINE void query_gradients(Head &head, int64_t i, int64_t d) {
    Lanes sum[OWN][VECTORS] = {};
    combine<VECTORS>(head.gradient.data(), head.rows, head.key.data() + d, head.wide, head.S, sum);
    for (int64_t k = 0; k < OWN; ++k)
        for (int v = 0; v < VECTORS; ++v)
            *(Loose *)(head.query_gradient.data() + (i + k) * head.wide + d + v * LANES) = sum[k][v];
}

// With y the softmax weights, f dropout's factors, o the output and g = dL/do (`outer`):
// dL/dv_j = sum_i y_ij f_ij g_i, dL/ds_ij = y_ij (f_ij g_i . v_j - g_i . o_i), dL/dq and dL/dk from that.
CLONED void attention_backward_head(Head &head, const float *log_T, float scale, const Draws &draws) {
    const bool dropped = draws.threshold;
    for (int64_t i = 0; i < head.T; i += OWN) {
        float *weight = head.weight.data(), *gradient = head.gradient.data();
        const float *query = head.query.data() + i * head.wide, *outer = head.outer.data() + i * head.value_wide;
        products(query, head.wide, head.key_T.data(), scale, weight, head.rows, head.width);
        products(outer, head.value_wide, head.value_T.data(), 1.0f, gradient, head.rows, head.value_width);
        if (dropped) draw(draws, i, head);
        const int64_t own = i + OWN <= head.T ? OWN : head.T - i;
        for (int64_t k = 0; k < OWN; ++k) {
            Loose *y = (Loose *)(weight + k * head.rows), *ds = (Loose *)(gradient + k * head.rows);
            const Loose *factor = (const Loose *)(head.factor.data() + k * head.rows);
            if (k >= own) {
                std::memset(y, 0, sizeof(float) * head.rows);
                std::memset(ds, 0, sizeof(float) * head.rows);
                continue;
            }
            Lanes along = {};
            for (int64_t d = 0; d < head.value_wide; d += LANES)
                along += *(const Loose *)(outer + k * head.value_wide + d) *
                         *(const Loose *)(head.output.data() + (i + k) * head.value_wide + d);
            const float product = total(along), log = log_T[i + k];
            for (int64_t v = 0; v < head.rows / LANES; ++v) {
                const Lanes p = exponential(y[v] - log);
                const Lanes passed = dropped ? Lanes(ds[v] * factor[v]) : Lanes(ds[v]);
                y[v] = dropped ? Lanes(p * factor[v]) : p;
                ds[v] = p * (passed - product) * scale;
            }
        }
        int64_t d = 0;
        for (; d + 2 * LANES <= head.wide; d += 2 * LANES) {
            query_gradients<2>(head, i, d);
            add_outer<2>(gradient, head.rows, query + d, head.wide, head.key_gradient.data() + d, head.S);
        }
        if (d < head.wide) {
            query_gradients<1>(head, i, d);
            add_outer<1>(gradient, head.rows, query + d, head.wide, head.key_gradient.data() + d, head.S);
        }
        for (d = 0; d + 2 * LANES <= head.value_wide; d += 2 * LANES)
            add_outer<2>(weight, head.rows, outer + d, head.value_wide, head.value_gradient.data() + d, head.S);
        if (d < head.value_wide)
            add_outer<1>(weight, head.rows, outer + d, head.value_wide, head.value_gradient.data() + d, head.S);
    }
}

// Sequences of positions: n has those that `index` [start_N1[n], start_N1[n + 1]) names, rows of an array; null: the
// numbers themselves.
struct Sequences {
    const int64_t *index, *start_N1;

    INLINE int64_t count(int64_t n) const { return start_N1[n + 1] - start_N1[n]; }
    INLINE int64_t row(int64_t n, int64_t i) const { return index ? index[start_N1[n] + i] : start_N1[n] + i; }
};

INLINE void gather(const float *from, int64_t stride, const Sequences &rows, int64_t n, int64_t count, int64_t width,
                   int64_t wide, std::vector<float> &to) {
    for (int64_t i = 0; i < count; ++i)
        copy_floats(to.data() + i * wide, from + rows.row(n, i) * stride, width);
}

INLINE void scatter(const std::vector<float> &from, float *to, int64_t stride, const Sequences &rows, int64_t n,
                    int64_t count, int64_t width, int64_t wide) {
    for (int64_t i = 0; i < count; ++i)
        copy_floats(to + rows.row(n, i) * stride, from.data() + i * wide, width);
}

INLINE void transpose(const std::vector<float> &from, std::vector<float> &to, int64_t S, int64_t rows, int64_t width,
                      int64_t wide) {
    for (int64_t d = 0; d < width; ++d) {
        float *column = to.data() + d * rows;
        for (int64_t i = 0; i < S; ++i) column[i] = from[i * wide + d];
        for (int64_t i = S; i < rows; ++i) column[i] = 0.0f;
    }
}

// Queries, keys and values; rows are `.._stride` apart, heads blocks of channels.
struct States {
    const float *query, *key, *value;
    int64_t query_stride, key_stride, value_stride;
    Sequences queries, keys;
};

// Head h of sequence n; false if it attends to nothing.
INLINE bool gather_state(const States &states, int64_t n, int64_t h, Head &head) {
    head.T = states.queries.count(n);
    head.S = states.keys.count(n);
    if (!head.S || !head.T) return false;
    head.rows = whole_lanes(head.S);
    gather(states.query + h * head.width, states.query_stride, states.queries, n, head.T, head.width, head.wide, head.query);
    gather(states.key + h * head.width, states.key_stride, states.keys, n, head.S, head.width, head.wide, head.key);
    gather(states.value + h * head.value_width, states.value_stride, states.keys, n, head.S, head.value_width,
           head.value_wide, head.value);
    transpose(head.key, head.key_T, head.S, head.rows, head.width, head.wide);
    return true;
}

// Of a padded array of rows of `length`: the places of sequence n's rows within its own row, which draws are counted by.
INLINE const int64_t *places(const Sequences &rows, int64_t n, int64_t length, std::vector<int64_t> &space) {
    if (!rows.index) return nullptr;
    space.resize(rows.count(n));
    for (int64_t i = 0; i < rows.count(n); ++i) space[i] = rows.row(n, i) - n * length;
    return space.data();
}

// ----------------------------------------------------- MCR's coherence: messages within graphs, and their pooling

// y_j = e^(x_j - highest) / sum over `count` floats, `wide` of which may be written; behind them zeros.
INLINE void softmax_row(float *x, int64_t count, int64_t wide) {
    for (int64_t j = count; j < wide; ++j) x[j] = -std::numeric_limits<float>::infinity();
    Loose *row = (Loose *)x;
    Lanes top = row[0], sum = {};
    for (int64_t v = 1; v < wide / LANES; ++v) top = row[v] > top ? row[v] : top;
    const float highest = highest_of(top);
    for (int64_t v = 0; v < wide / LANES; ++v) {
        row[v] = exponential(row[v] - highest);
        sum += row[v];
    }
    const float inverse = 1.0f / total(sum);
    for (int64_t v = 0; v < wide / LANES; ++v) row[v] *= inverse;
}

// One graph: T nodes of width C, and of each the two halves (a, b) of the pair network's first layer, H wide; widths in
// whole vectors padded with zeros.
struct Graph {
    int64_t T, H, C, rows, high, wide;  // rows, high and wide: T, H and C in whole vectors
    std::vector<float> a, b, b_T, offset, logit, node, node_T, tile, outer, of_a, of_b, of_node, gradient, scratch;

    Graph(int64_t T, int64_t H, int64_t C, bool backward)
        : T(T), H(H), C(C), rows(whole_lanes(T)), high(whole_lanes(H)), wide(whole_lanes(C)) {
        const int64_t tall = (T + OWN - 1) / OWN * OWN;
        node.assign(tall * wide, 0.0f);
        if (!backward) {
            a.assign(T * H, 0.0f);
            b_T.assign(H * rows, 0.0f);
            offset.assign(rows, 0.0f);
            logit.assign(T * T, 0.0f);
            tile.assign(OWN * rows, 0.0f);
            return;
        }
        for (auto *array : {&a, &b, &of_a, &of_b}) array->assign(T * high, 0.0f);
        for (auto *array : {&outer, &of_node}) array->assign(tall * wide, 0.0f);
        node_T.assign(C * rows, 0.0f);
        tile.assign(OWN * rows, 0.0f);
        gradient.assign(T * T, 0.0f);
        scratch.assign(OWN * T, 0.0f);
    }
};

constexpr float MASKED = -1e23f;  // logit of a masked node: finite, so that of nodes which all are masked each weighs alike

// weight_TT = softmax_j of the pair network; out_i = sum_j weight_ij node_j.
CLONED void messages(Graph &g, const float *ab, const float *w, const uint8_t *mask, const float *node, float *weight,
                     float *out) {
    for (int64_t t = 0; t < g.T; ++t) {
        std::memcpy(g.a.data() + t * g.H, ab + t * 2 * g.H, sizeof(float) * g.H);
        for (int64_t h = 0; h < g.H; ++h) g.b_T[h * g.rows + t] = ab[t * 2 * g.H + g.H + h];
        g.offset[t] = mask[t] ? 0.0f : MASKED;
        std::memcpy(g.node.data() + t * g.wide, node + t * g.C, sizeof(float) * g.C);
    }
    pair_scores_graph(g.a.data(), g.b_T.data(), w, g.offset.data(), g.logit.data(), g.T, g.H);
    for (int64_t i = 0; i < g.T; i += OWN) {
        const int64_t own = i + OWN <= g.T ? OWN : g.T - i;
        for (int64_t k = 0; k < own; ++k) {
            float *row = g.tile.data() + k * g.rows;
            std::memcpy(row, g.logit.data() + (i + k) * g.T, sizeof(float) * g.T);
            softmax_row(row, g.T, g.rows);
            std::memcpy(weight + (i + k) * g.T, row, sizeof(float) * g.T);
        }
        for (int64_t c = 0; c < g.wide; c += LANES) {
            Lanes sum[OWN][1] = {};
            combine<1>(g.tile.data(), g.rows, g.node.data() + c, g.wide, g.T, sum);
            const int64_t there = g.C - c < LANES ? g.C - c : LANES;
            for (int64_t k = 0; k < own; ++k) std::memcpy(out + (i + k) * g.C + c, sum[k], sizeof(float) * there);
        }
    }
}

// Gradients of both halves, of the nodes as they are summed, and of w.
CLONED void messages_backward(Graph &g, const float *ab, const float *w, const float *node, const float *weight,
                              const float *gradient, float *of_ab, float *of_node, float *of_w) {
    for (int64_t t = 0; t < g.T; ++t) {
        for (int64_t h = 0; h < g.H; ++h) {
            g.a[t * g.high + h] = ab[t * 2 * g.H + h];
            g.b[t * g.high + h] = -ab[t * 2 * g.H + g.H + h];
        }
        std::memcpy(g.node.data() + t * g.wide, node + t * g.C, sizeof(float) * g.C);
        std::memcpy(g.outer.data() + t * g.wide, gradient + t * g.C, sizeof(float) * g.C);
    }
    transpose(g.node, g.node_T, g.T, g.rows, g.C, g.wide);
    std::memset(g.of_node.data(), 0, sizeof(float) * g.of_node.size());
    std::memset(g.of_b.data(), 0, sizeof(float) * g.of_b.size());
    for (int64_t i = 0; i < g.T; i += OWN) {
        const int64_t own = i + OWN <= g.T ? OWN : g.T - i;
        float *tile = g.tile.data();
        const float *outer = g.outer.data() + i * g.wide;
        products(outer, g.wide, g.node_T.data(), 1.0f, tile, g.rows, g.C);
        for (int64_t k = 0; k < own; ++k)
            std::memcpy(g.gradient.data() + (i + k) * g.T, tile + k * g.rows, sizeof(float) * g.T);
        std::memset(tile, 0, sizeof(float) * OWN * g.rows);
        for (int64_t k = 0; k < own; ++k)
            std::memcpy(tile + k * g.rows, weight + (i + k) * g.T, sizeof(float) * g.T);
        for (int64_t c = 0; c < g.wide; c += LANES)
            add_outer<1>(tile, g.rows, outer + c, g.wide, g.of_node.data() + c, g.T);
    }
    pair_scores_backward_graph(g.a.data(), g.b.data(), weight, g.gradient.data(), g.of_a.data(), g.of_b.data(),
                               g.scratch.data(), g.T, g.high);
    std::memset(of_w, 0, sizeof(float) * g.H);
    for (int64_t t = 0; t < g.T; ++t) {
        const float *a = g.a.data() + t * g.high, *negative = g.b.data() + t * g.high;
        const float *own = g.of_a.data() + t * g.high, *other = g.of_b.data() + t * g.high;
        for (int64_t h = 0; h < g.H; ++h) {
            of_w[h] += a[h] * own[h] - negative[h] * other[h];
            of_ab[t * 2 * g.H + h] = own[h] * w[h];
            of_ab[t * 2 * g.H + g.H + h] = other[h] * w[h];
        }
        std::memcpy(of_node + t * g.C, g.of_node.data() + t * g.wide, sizeof(float) * g.C);
    }
}

// Logits of one row's nodes: w . relu(claim + own_t) + bias.
INLINE void claim_logits(const float *claim, const float *own, const float *w, float bias, const uint8_t *mask,
                         float *logit, int64_t T, int64_t H) {
    for (int64_t t = 0; t < T; ++t) {
        float sum = bias;
#pragma omp simd reduction(+ : sum)
        for (int64_t h = 0; h < H; ++h) {
            const float x = claim[h] + own[t * H + h];
            sum += w[h] * (x > 0.0f ? x : 0.0f);
        }
        logit[t] = mask[t] ? sum : MASKED;
    }
}

// weight_T = softmax of the logits; out = sum_t weight_t node_t.
CLONED void claim_pool_row(const float *claim, const float *own, const float *w, float bias, const uint8_t *mask,
                           const float *node, float *weight, float *out, float *scratch, int64_t T, int64_t H, int64_t C) {
    claim_logits(claim, own, w, bias, mask, scratch, T, H);
    softmax_row(scratch, T, whole_lanes(T));
    std::memcpy(weight, scratch, sizeof(float) * T);
    std::memset(out, 0, sizeof(float) * C);
    for (int64_t t = 0; t < T; ++t)
        for (int64_t c = 0; c < C; ++c) out[c] += weight[t] * node[t * C + c];
}

// Gradients of one row: of claim and w (written), of the nodes' half and of the nodes (written), of bias (returned).
CLONED float claim_pool_backward_row(const float *claim, const float *own, const float *w, const uint8_t *mask,
                                     const float *node, const float *weight, const float *gradient, float *of_claim,
                                     float *of_own, float *of_w, float *of_node, float *scratch, int64_t T, int64_t H,
                                     int64_t C) {
    float all = 0, of_bias = 0;
    for (int64_t t = 0; t < T; ++t) {
        float along = 0;
#pragma omp simd reduction(+ : along)
        for (int64_t c = 0; c < C; ++c) along += gradient[c] * node[t * C + c];
        for (int64_t c = 0; c < C; ++c) of_node[t * C + c] = weight[t] * gradient[c];
        scratch[t] = along;
        all += weight[t] * along;
    }
    std::memset(of_claim, 0, sizeof(float) * H);
    std::memset(of_w, 0, sizeof(float) * H);
    for (int64_t t = 0; t < T; ++t) {
        const float e = mask[t] ? weight[t] * (scratch[t] - all) : 0.0f;
        of_bias += e;
        for (int64_t h = 0; h < H; ++h) {
            const float x = claim[h] + own[t * H + h], passed = x > 0.0f ? e : 0.0f;
            of_w[h] += passed * x;
            of_own[t * H + h] = passed * w[h];
            of_claim[h] += passed * w[h];
        }
    }
    return of_bias;
}

// --------------------------------------------------- MCL: maxima over parts of a sequence, the adaptive contrast

// Largest of each channel over the real positions [first, last), and where it stands; 0 and -1 if there is none.
CLONED void part_maximum(const float *x, const uint8_t *mask, int64_t first, int64_t last, int64_t H, float *top,
                         int32_t *winner) {
    bool any = false;
    for (int64_t h = 0; h < H; ++h) {
        top[h] = 0.0f;
        winner[h] = -1;
    }
    for (int64_t t = first; t < last; ++t) {
        if (!mask[t]) continue;
        const float *row = x + t * H;
#pragma omp simd
        for (int64_t h = 0; h < H; ++h) {
            const bool better = !any | (row[h] > top[h]);
            top[h] = better ? row[h] : top[h];
            winner[h] = better ? int32_t(t) : winner[h];
        }
        any = true;
    }
}

// One anchor i: softplus(pulled + log sum_j exp(pushed_j)) over its negatives, and its gradient by each cosine; 0 where it
// has no negatives.
CLONED float contrast_anchor(const float *cosine, const uint8_t *negative, int64_t i, float margin, float scale,
                             float *gradient, float *pushed, int64_t P) {
    float top = -std::numeric_limits<float>::infinity();
    for (int64_t j = 0; j < P; ++j) {
        const float weight = cosine[j] + margin > 0.0f ? cosine[j] + margin : 0.0f;
        gradient[j] = 0.0f;
        pushed[j] = negative[j] ? scale * weight * (cosine[j] - margin) : -std::numeric_limits<float>::infinity();
        top = pushed[j] > top ? pushed[j] : top;
    }
    if (top == -std::numeric_limits<float>::infinity()) return 0.0f;
    float sum = 0;
    for (int64_t j = 0; j < P; ++j) sum += pushed[j] = std::exp(pushed[j] - top);
    const float pull = 1.0f + margin - cosine[i] > 0.0f ? 1.0f + margin - cosine[i] : 0.0f;
    const float x = top + std::log(sum) - scale * pull * (cosine[i] - (1.0f - margin));
    const float slope = 1.0f / (1.0f + std::exp(-x));
    for (int64_t j = 0; j < P; ++j) {
        const float weight = cosine[j] + margin > 0.0f ? cosine[j] + margin : 0.0f;
        gradient[j] = slope * (pushed[j] / sum) * scale * weight;
    }
    gradient[i] -= slope * scale * pull;
    return x > 0.0f ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

// ------------------------------------------------------------------ sums of MCR's product-aware attention

// Items and the rows that point at them, in ascending order for each item.
struct Groups {
    std::vector<int64_t> start, row;

    Groups(const int64_t *item_B, int64_t B, int64_t items) : start(items + 1, 0), row(B) {
        for (int64_t b = 0; b < B; ++b) ++start[item_B[b] + 1];
        for (int64_t n = 0; n < items; ++n) start[n + 1] += start[n];
        std::vector<int64_t> next(start.begin(), start.end() - 1);
        for (int64_t b = 0; b < B; ++b) row[next[item_B[b]]++] = b;
    }
};

// A product and a review of it: real positions side by side, widths in whole vectors padded with zeros.
struct Aware {
    int64_t F, wide, L, R, rows;              // real positions of the pair at hand; L in whole vectors
    std::vector<int64_t> product_at, review_at;
    std::vector<float> query, query_T, product, review, weight, share, own, along, gradient, query_gradient, product_gradient,
        review_gradient, outer;

    Aware(int64_t most_L, int64_t most_R, int64_t F, bool backward) : F(F), wide(whole_lanes(F)), L(0), R(0), rows(0) {
        const int64_t most_rows = whole_lanes(most_L) + OTHERS * LANES, reviews = (most_R + OWN - 1) / OWN * OWN;
        for (auto *array : {&query, &product}) array->assign(most_rows * wide, 0.0f);
        query_T.assign(F * most_rows, 0.0f);
        review.assign(reviews * wide, 0.0f);
        weight.assign(OWN * most_rows, 0.0f);
        share.assign(most_rows, 0.0f);
        own.assign(wide, 0.0f);
        if (!backward) return;
        for (auto *array : {&query_gradient, &product_gradient}) array->assign(most_rows * wide, 0.0f);
        review_gradient.assign(reviews * wide, 0.0f);
        gradient.assign(OWN * most_rows, 0.0f);
        along.assign(most_rows, 0.0f);
        outer.assign(wide, 0.0f);
    }

    void take_product(const float *query_LF, const float *product_LF, const uint8_t *mask_L, int64_t most_L) {
        take(query_LF, mask_L, most_L, query, product_at);
        take(product_LF, mask_L, most_L, product, product_at);
        L = int64_t(product_at.size());
        rows = whole_lanes(L);
        transpose(query, query_T, L, rows, F, wide);
    }

    void take_review(const float *review_RF, const uint8_t *mask_R, int64_t most_R) {
        take(review_RF, mask_R, most_R, review, review_at);
        R = int64_t(review_at.size());
    }

    void take(const float *from, const uint8_t *mask, int64_t most, std::vector<float> &to, std::vector<int64_t> &at) {
        at.clear();
        for (int64_t i = 0; i < most; ++i) {
            if (!mask[i]) continue;
            copy_floats(to.data() + int64_t(at.size()) * wide, from + i * F, F);
            at.push_back(i);
        }
    }
};

// out = sum_r (V_r + sum_l S_rl P_l), S_r = softmax_l of V_r . Q_l; log_R: log of each position's sum of exponentials.
CLONED void aware_sum(Aware &pair, float *log_R, float *out) {
    std::memset(pair.own.data(), 0, sizeof(float) * pair.wide);
    std::memset(pair.share.data(), 0, sizeof(float) * pair.rows);
    Loose *own = (Loose *)pair.own.data(), *share = (Loose *)pair.share.data();
    const int64_t vectors = pair.wide / LANES, columns = pair.rows / LANES;
    for (int64_t r = 0; r < pair.R; ++r)
        for (int64_t v = 0; v < vectors; ++v) own[v] += ((const Loose *)(pair.review.data() + r * pair.wide))[v];
    for (int64_t r = 0; r < pair.R && pair.L; r += OWN) {
        float *weight = pair.weight.data();
        products(pair.review.data() + r * pair.wide, pair.wide, pair.query_T.data(), 1.0f, weight, pair.rows, pair.F);
        for (int64_t k = 0; k < OWN && r + k < pair.R; ++k) {
            float *row_L = weight + k * pair.rows;
            for (int64_t l = pair.L; l < pair.rows; ++l) row_L[l] = -std::numeric_limits<float>::infinity();
            Loose *row = (Loose *)row_L;
            Lanes top = row[0], sum = {};
            for (int64_t v = 1; v < columns; ++v) top = row[v] > top ? row[v] : top;
            const float highest = highest_of(top);
            for (int64_t v = 0; v < columns; ++v) {
                const Lanes y = exponential(row[v] - highest);
                sum += y;
                row[v] = y;
            }
            const float all = total(sum), inverse = 1.0f / all;
            log_R[r + k] = highest + std::log(all);
            for (int64_t v = 0; v < columns; ++v) share[v] += row[v] * inverse;
        }
    }
    for (int64_t l = 0; l < pair.L; ++l)
        for (int64_t v = 0; v < vectors; ++v)
            own[v] += pair.share[l] * ((const Loose *)(pair.product.data() + l * pair.wide))[v];
    std::memcpy(out, pair.own.data(), sizeof(float) * pair.F);
}

template <int VECTORS>
INLINE void aware_review_gradients(Aware &pair, int64_t r, int64_t f) {
    Lanes sum[OWN][VECTORS] = {};
    combine<VECTORS>(pair.gradient.data(), pair.rows, pair.query.data() + f, pair.wide, pair.L, sum);
    for (int64_t k = 0; k < OWN; ++k)
        for (int v = 0; v < VECTORS; ++v) {
            Loose *at = (Loose *)(pair.review_gradient.data() + (r + k) * pair.wide + f + v * LANES);
            *at = sum[k][v] + *(const Loose *)(pair.outer.data() + f + v * LANES);
        }
}

// With g = dL/dout: dV_r = g + sum_l e_rl Q_l, dQ_l += sum_r e_rl V_r, dP_l += (sum_r S_rl) g, where
// e_rl = S_rl (g . P_l - sum_k S_rk g . P_k) is the gradient of the logits.
CLONED void aware_sum_backward(Aware &pair, const float *log_R, const float *gradient) {
    std::memcpy(pair.outer.data(), gradient, sizeof(float) * pair.F);
    std::memset(pair.share.data(), 0, sizeof(float) * pair.rows);
    std::memset(pair.along.data(), 0, sizeof(float) * pair.rows);
    const int64_t vectors = pair.wide / LANES, columns = pair.rows / LANES;
    const Loose *outer = (const Loose *)pair.outer.data(), *along = (const Loose *)pair.along.data();
    for (int64_t l = 0; l < pair.L; ++l) {
        Lanes sum = {};
        for (int64_t v = 0; v < vectors; ++v) sum += outer[v] * ((const Loose *)(pair.product.data() + l * pair.wide))[v];
        pair.along[l] = total(sum);
    }
    for (int64_t r = 0; r < pair.R; r += OWN) {
        float *weight = pair.weight.data(), *logit = pair.gradient.data();
        const float *review = pair.review.data() + r * pair.wide;
        products(review, pair.wide, pair.query_T.data(), 1.0f, weight, pair.rows, pair.F);
        for (int64_t k = 0; k < OWN; ++k) {
            Loose *y = (Loose *)(weight + k * pair.rows), *e = (Loose *)(logit + k * pair.rows);
            if (r + k >= pair.R) {
                std::memset(e, 0, sizeof(float) * pair.rows);
                continue;
            }
            Lanes sum = {};
            for (int64_t v = 0; v < columns; ++v) {
                y[v] = exponential(y[v] - log_R[r + k]);  // behind L something else, of which `along` is 0
                sum += y[v] * along[v];
                ((Loose *)pair.share.data())[v] += y[v];
            }
            const float all = total(sum);
            for (int64_t v = 0; v < columns; ++v) e[v] = y[v] * (along[v] - all);
        }
        int64_t f = 0;
        for (; f + 2 * LANES <= pair.wide; f += 2 * LANES) {
            aware_review_gradients<2>(pair, r, f);
            add_outer<2>(logit, pair.rows, review + f, pair.wide, pair.query_gradient.data() + f, pair.L);
        }
        if (f < pair.wide) {
            aware_review_gradients<1>(pair, r, f);
            add_outer<1>(logit, pair.rows, review + f, pair.wide, pair.query_gradient.data() + f, pair.L);
        }
    }
    for (int64_t l = 0; l < pair.L; ++l)
        for (int64_t v = 0; v < vectors; ++v)
            ((Loose *)(pair.product_gradient.data() + l * pair.wide))[v] += pair.share[l] * outer[v];
}

// ------------------------------------------------------------------------------------- MM-SS's soft pooling

// The vector at `from`, of which `left` floats are there.
INLINE Lanes part_of(const float *from, int64_t left) {
    Lanes x = {};
    if (left >= LANES) return *(const Loose *)from;
    std::memcpy(&x, from, sizeof(float) * left);
    return x;
}

// The same where what lies behind may be read: all but the end of an array. Other floats stand in for what is not there.
INLINE Lanes near_part(const float *from, int64_t left, bool at_end) {
    return at_end ? part_of(from, left) : Lanes(*(const Loose *)from);
}

INLINE void put_part(float *to, Lanes x, int64_t left) {
    if (left >= LANES)
        *(Loose *)to = x;
    else
        std::memcpy(to, &x, sizeof(float) * left);
}

// f_c = sum_i softmax_i(x_ic) x_ic over the rows of one sequence; top and sum are those of its softmax.
CLONED void soft_pool_one(const float *x, int64_t count, int64_t D, float *f, float *top, float *sum) {
    for (int64_t d = 0; d < D; d += LANES) {
        const int64_t left = D - d;
        Lanes highest = {}, all = {}, weighed = {};
        for (int64_t i = 0; i < count; ++i) {
            const Lanes value = part_of(x + i * D + d, left);
            highest = i ? (value > highest ? value : highest) : value;
        }
        for (int64_t i = 0; i < count; ++i) {
            const Lanes value = part_of(x + i * D + d, left), weight = exponential(value - highest);
            all += weight;
            weighed += weight * value;
        }
        put_part(top + d, highest, left);
        put_part(sum + d, all, left);
        put_part(f + d, count ? Lanes(weighed / all) : weighed, left);
    }
}

// dx_i = w_i (1 + x_i - f) df
CLONED void soft_pool_backward_one(const float *x, int64_t count, int64_t D, const float *f, const float *top,
                                   const float *sum, const float *df, float *dx) {
    for (int64_t d = 0; d < D; d += LANES) {
        const int64_t left = D - d;
        const Lanes pooled = part_of(f + d, left), highest = part_of(top + d, left);
        const Lanes share = part_of(df + d, left) / part_of(sum + d, left);
        for (int64_t i = 0; i < count; ++i) {
            const Lanes value = part_of(x + i * D + d, left);
            put_part(dx + i * D + d, exponential(value - highest) * (1.0f + value - pooled) * share, left);
        }
    }
}

// ---------------------------------------------------------------------- residual sums, layer norms, GELU

// Rows of a block, which is whole DRAWS whatever D is: sum = base + dropout(x).
CLONED void add_dropped_rows(const float *base, const float *x, float *sum, uint64_t seed, uint32_t threshold, float scale,
                             int64_t first, int64_t last) {
    if (threshold)
        for_kept(seed, threshold, scale, first, last,
                 [=](int64_t e, float factor) { sum[e] = base[e] + x[e] * factor; });
    else
        for (int64_t e = first; e < last; ++e) sum[e] = base[e] + x[e];
}

// y = (x - mean) / deviation * weight + offset of each row; `statistics` holds mean and 1 / deviation.
CLONED void norm_rows(const float *x, const float *weight, const float *offset, float *y, float *statistics, float eps,
                      int64_t D, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
        const float *from = x + row * D;
        float *to = y + row * D, sum = 0, square = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < D; ++d) sum += from[d];
        const float mean = sum / float(D);
#pragma omp simd reduction(+ : square)
        for (int64_t d = 0; d < D; ++d) square += (from[d] - mean) * (from[d] - mean);
        const float inverse = 1.0f / std::sqrt(square / float(D) + eps);
        for (int64_t d = 0; d < D; ++d) to[d] = (from[d] - mean) * inverse * weight[d] + offset[d];
        statistics[2 * row] = mean;
        statistics[2 * row + 1] = inverse;
    }
}

// With z the normalised row and h = weight dy: dx = (h - mean(h) - z mean(h z)) / deviation + beside; the gradients of
// weight and offset are added to.
CLONED void norm_backward_rows(const float *x, const float *weight, const float *statistics, const float *gradient,
                               const float *beside, float *result, float *of_weight, float *of_offset, int64_t D,
                               int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
        const float *from = x + row * D, *dy = gradient + row * D;
        const float mean = statistics[2 * row], inverse = statistics[2 * row + 1];
        float *to = result + row * D, sum = 0, along = 0;
#pragma omp simd reduction(+ : sum, along)
        for (int64_t d = 0; d < D; ++d) {
            const float h = weight[d] * dy[d];
            sum += h;
            along += h * ((from[d] - mean) * inverse);
        }
        sum /= float(D);
        along /= float(D);
        for (int64_t d = 0; d < D; ++d) {
            const float z = (from[d] - mean) * inverse;
            to[d] = (weight[d] * dy[d] - sum - z * along) * inverse;
            of_weight[d] += dy[d] * z;
            of_offset[d] += dy[d];
        }
        if (beside)
            for (int64_t d = 0; d < D; ++d) to[d] += beside[row * D + d];
    }
}

// One row of MCR's pooling: tanh(value + bias) of the winners, 0 where there is none, from [sizes x filters, keep] to
// [sizes, keep, filters].
INLINE void active_winners(const float *value_SK, const float *bias_S, float *active, int64_t sizes, int64_t filters,
                           int64_t keep) {
    for (int64_t s = 0; s < sizes * filters; ++s)
        for (int64_t k = 0; k < keep; ++k) {
            const float value = value_SK[s * keep + k];
            const bool none = value == -std::numeric_limits<float>::infinity();
            active[(s / filters * keep + k) * filters + s % filters] = none ? 0.0f : std::tanh(value + bias_S[s]);
        }
}

// e^(-x^2 / 2) and the share of a standard normal that lies below x: Abramowitz and Stegun 7.1.26, within 1.5e-7.
INLINE Lanes normal_below(Lanes x, Lanes &bell) {
    const Lanes zero = {}, size = x < zero ? -x : x;
    const Lanes t = 1.0f / (1.0f + 0.231641888f * size);
    bell = exponential(-0.5f * size * size);
    const Lanes polynomial =
        ((((0.5307027145f * t - 0.7265760135f) * t + 0.7107068705f) * t - 0.142248368f) * t + 0.127414796f) * t;
    const Lanes above = polynomial * bell;
    return x < zero ? above : 1.0f - above;
}

CLONED void gelu_part(const float *x, float *y, int64_t first, int64_t last) {
    for (int64_t e = first; e < last; e += LANES) {
        Lanes bell;
        const Lanes value = part_of(x + e, last - e);
        put_part(y + e, value * normal_below(value, bell), last - e);
    }
}

CLONED void gelu_backward_part(const float *x, const float *gradient, float *result, int64_t first, int64_t last) {
    for (int64_t e = first; e < last; e += LANES) {
        Lanes bell;
        const Lanes value = part_of(x + e, last - e), below = normal_below(value, bell);
        put_part(result + e, part_of(gradient + e, last - e) * (below + value * bell * 0.398942280f), last - e);
    }
}

// ------------------------------------------------------------------------------------------------------ Adam

// One step on `count` elements; `step_size` and `root` hold the corrections for the number of steps.
CLONED void adam_part(float *parameter, const float *gradient, float *mean, float *square, float step_size,
                      float root, float beta1, float beta2, float epsilon, int64_t count) {
#pragma omp simd
    for (int64_t e = 0; e < count; ++e) {
        const float g = gradient[e];
        const float m = mean[e] + (1.0f - beta1) * (g - mean[e]);
        const float v = beta2 * square[e] + (1.0f - beta2) * g * g;
        mean[e] = m;
        square[e] = v;
        parameter[e] -= step_size * m / (std::sqrt(v) / root + epsilon);
    }
}

// -------------------------------------------------------------------------------- Conv-KNRM's kernel pooling

// 2^x; 0 below the smallest normal number.
INLINE Lanes power_of_two(Lanes x) {
    const Lanes zero = {}, least = zero - 126.0f, most = zero + 126.0f;
    Lanes bounded = x > least ? x : least;
    bounded = bounded < most ? bounded : most;
    const Lanes shifted = bounded + 12582912.0f;  // rounds to a whole number, kept in the low bits
    const Lanes r = (bounded - (shifted - 12582912.0f)) * 0.693147181f;
    Lanes y = r * 1.9875691500e-4f + 1.3981999507e-3f;  // e^r, as in `exponential`
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    Mask exponent;
    std::memcpy(&exponent, &shifted, sizeof exponent);
    exponent = (exponent - 0x4b400000 + 127) << 23;
    Lanes power;
    std::memcpy(&power, &exponent, sizeof power);
    return x > least ? y * power : zero;
}

// Bell k at value m is scale_k times what this makes of bell k - 1: itself times 2^(m ratio_k) where ratio_k is
// not 0, else anew 2^(sharpness_k (m - centre_k)^2).
struct Bells {
    const float *centre, *sharpness, *ratio;
    int64_t K;
};

constexpr int64_t VALUES = 4;  // vectors of values that are taken through all kernels together

INLINE void next_bell(const Bells &bells, int64_t k, const Lanes *m, Lanes *bell, Lanes *factor) {
    if (bells.ratio[k] != 0.0f) {
        if (bells.ratio[k] != bells.ratio[k - 1])
            for (int64_t v = 0; v < VALUES; ++v) factor[v] = power_of_two(m[v] * bells.ratio[k]);
        for (int64_t v = 0; v < VALUES; ++v) bell[v] *= factor[v];
        return;
    }
    for (int64_t v = 0; v < VALUES; ++v) {
        const Lanes away = m[v] - bells.centre[k];
        bell[v] = power_of_two(away * away * bells.sharpness[k]);
    }
}

// Vectors of a row from `start` on, out of reach behind its end.
INLINE void load(const float *row, const float *reach, int64_t start, int64_t R, float away, Lanes *m) {
    float values[VALUES * LANES];
    const float *from = row + start;
    if (start + VALUES * LANES > R) {
        for (int64_t r = 0; r < VALUES * LANES; ++r) values[r] = start + r < R ? row[start + r] : away;
        from = values;
    }
    for (int64_t v = 0; v < VALUES; ++v)
        m[v] = *(const Loose *)(from + v * LANES) + *(const Loose *)(reach + start + v * LANES);
}

// sum_k of `count` rows of R values; reach: 0, or what takes a value out of every kernel's reach.
CLONED void kernel_sums_rows(const float *value, const float *reach, const Bells &bells, const float *scale,
                             float *sum, float *space, int64_t count, int64_t R, float away) {
    Lanes *total_K = (Lanes *)space;
    for (int64_t row = 0; row < count; ++row) {
        for (int64_t k = 0; k < bells.K; ++k) total_K[k] = Lanes{};
        for (int64_t start = 0; start < R; start += VALUES * LANES) {
            Lanes m[VALUES], bell[VALUES] = {}, factor[VALUES] = {};
            load(value + row * R, reach, start, R, away, m);
            for (int64_t k = 0; k < bells.K; ++k) {
                next_bell(bells, k, m, bell, factor);
                total_K[k] += (bell[0] + bell[1]) + (bell[2] + bell[3]);
            }
        }
        for (int64_t k = 0; k < bells.K; ++k) sum[row * bells.K + k] = total(total_K[k]) * scale[k];
    }
}

// dM = sum_k g_k bell_k (centre_k - M) / width_k^2; pull_k is scale_k / width_k^2.
CLONED void kernel_sums_backward_rows(const float *value, const float *reach, const Bells &bells,
                                      const float *pull, const float *gradient, float *result, float *space,
                                      int64_t count, int64_t R, float away) {
    float *weight_K = space;
    for (int64_t row = 0; row < count; ++row) {
        for (int64_t k = 0; k < bells.K; ++k) weight_K[k] = gradient[row * bells.K + k] * pull[k];
        for (int64_t start = 0; start < R; start += VALUES * LANES) {
            Lanes m[VALUES], bell[VALUES] = {}, factor[VALUES] = {}, slope[VALUES] = {};
            load(value + row * R, reach, start, R, away, m);
            for (int64_t k = 0; k < bells.K; ++k) {
                next_bell(bells, k, m, bell, factor);
                // the difference first: a narrow kernel's weight is large, and would magnify what sums lose
                for (int64_t v = 0; v < VALUES; ++v) slope[v] += bell[v] * weight_K[k] * (bells.centre[k] - m[v]);
            }
            const int64_t there = R - start < VALUES * LANES ? R - start : VALUES * LANES;
            std::memcpy(result + row * R + start, slope, sizeof(float) * there);
        }
    }
}

// --------------------------------------------------------------------------- BiMPM's max-pooling matching

// Of one row and perspective: dot_LR, and for each step of a text the best partner among the valid steps of
// the other, by dot times the partner's scale. best is -inf and winner 0 where there is none.
CLONED void best_partners_map(const float *dot_LR, const float *p_scale_L, const float *h_scale_R,
                              const uint8_t *p_mask_L, const float *h_offset_R, float *p_best_L,
                              int64_t *p_winner_L, float *h_best_R, int32_t *h_found_R, int64_t *h_winner_R,
                              int64_t L, int64_t R) {
    const float lowest = -std::numeric_limits<float>::infinity();
    for (int64_t r = 0; r < R; ++r) {
        h_best_R[r] = lowest;
        h_found_R[r] = 0;
    }
    for (int64_t l = 0; l < L; ++l) {
        const float *row = dot_LR + l * R;
        const float scale = p_scale_L[l];
        const bool valid = !p_mask_L || p_mask_L[l];
        float best = lowest;
#pragma omp simd reduction(max : best)
        for (int64_t r = 0; r < R; ++r) {
            const float value = row[r] * h_scale_R[r] + h_offset_R[r];
            best = value > best ? value : best;
        }
        int64_t winner = 0;
        for (int64_t r = 0; r < R && best > lowest; ++r)
            if (row[r] * h_scale_R[r] + h_offset_R[r] == best) {
                winner = r;
                break;
            }
        p_best_L[l] = best;
        p_winner_L[l] = winner;
        if (!valid) continue;
#pragma omp simd
        for (int64_t r = 0; r < R; ++r) {
            const float value = row[r] * scale;
            const bool better = value > h_best_R[r];
            h_best_R[r] = better ? value : h_best_R[r];
            h_found_R[r] = better ? int32_t(l) : h_found_R[r];
        }
    }
    for (int64_t r = 0; r < R; ++r) h_winner_R[r] = h_found_R[r];
}

// Of winners (t, s) of one row and perspective with gradients g_ts of sum_d v_d p_td h_sd:
// p_t += g v h_s, h_s += g v p_t, v += g p_t h_s.
CLONED void best_partners_backward_row(const float *p_LH, const float *h_RH, const float *v_PH,
                                       const float *p_scale_PL, const float *h_scale_PR,
                                       const int64_t *p_winner_PL, const int64_t *h_winner_PR,
                                       const float *p_gradient_PL, const float *h_gradient_PR, float *p_result_LH,
                                       float *h_result_RH, float *v_result_PH, int64_t P, int64_t L, int64_t R,
                                       int64_t H) {
    for (int64_t k = 0; k < P; ++k) {
        const float *v = v_PH + k * H;
        float *to_v = v_result_PH + k * H;
        for (int64_t i = 0; i < L + R; ++i) {
            const bool of_p = i < L;
            const int64_t l = of_p ? i : h_winner_PR[k * R + i - L], r = of_p ? p_winner_PL[k * L + i] : i - L;
            const float gradient = of_p ? p_gradient_PL[k * L + i] : h_gradient_PR[k * R + i - L];
            if (gradient == 0.0f) continue;
            const float g = gradient * p_scale_PL[k * L + l] * h_scale_PR[k * R + r];
            const float *p = p_LH + l * H, *h = h_RH + r * H;
            float *to_p = p_result_LH + l * H, *to_h = h_result_RH + r * H;
#pragma omp simd
            for (int64_t d = 0; d < H; ++d) {
                const float gv = g * v[d];
                to_p[d] += gv * h[d];
                to_h[d] += gv * p[d];
                to_v[d] += g * p[d] * h[d];
            }
        }
    }
}

// ------------------------------------------------------------------------------------- LSTM, for scoring only

constexpr int64_t SEQUENCES = 8;  // sequences that a thread takes through their steps together

INLINE Lanes sigmoid(Lanes x) { return 1.0f / (1.0f + exponential(-x)); }

// One direction of up to SEQUENCES sequences. inputs: of each distinct input the four gates i, f, g, o, each `wide`
// (H padded to whole vectors), rows `stride` apart, biases included; slot_NT: which input each step has;
// recurrent [H, 4 wide]. states: rows 2 H apart, zero at and beyond a sequence's count.
CLONED void lstm_sequences(const float *inputs, int64_t stride, const int64_t *slot_NT, const int64_t *count_N,
                           const float *recurrent, float *states, float *space, int64_t sequences, int64_t T,
                           int64_t H, int64_t wide, bool backward) {
    float *gates = space, *h = gates + SEQUENCES * 4 * wide, *c = h + SEQUENCES * wide;
    std::memset(h, 0, sizeof(float) * 2 * SEQUENCES * wide);
    int64_t steps = 0;
    for (int64_t n = 0; n < sequences; ++n) {
        steps = count_N[n] > steps ? count_N[n] : steps;
        for (int64_t t = count_N[n]; t < T; ++t) std::memset(states + (n * T + t) * 2 * H, 0, sizeof(float) * H);
    }
    for (int64_t step = 0; step < steps; ++step) {
        for (int64_t n = 0; n < sequences; n += OWN) {
            const float *input[OWN];
            for (int64_t k = 0; k < OWN; ++k) {
                const int64_t row = n + k < sequences ? n + k : n;  // a row that is there stands in
                const int64_t last = step < count_N[row] ? step : count_N[row] - 1;
                input[k] = inputs + slot_NT[row * T + (backward ? count_N[row] - 1 - last : last)] * stride;
            }
            for (int64_t column = 0; column < 4 * wide; column += OTHERS * LANES) {
                Lanes sum[OWN][OTHERS];
                for (int64_t k = 0; k < OWN; ++k)
                    for (int64_t v = 0; v < OTHERS; ++v) sum[k][v] = *(const Loose *)(input[k] + column + v * LANES);
                for (int64_t d = 0; d < H; ++d) {
                    const Loose *w = (const Loose *)(recurrent + d * 4 * wide + column);
                    const Lanes w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
#pragma GCC unroll 4
                    for (int64_t k = 0; k < OWN; ++k) {
                        const float state = h[(n + k) * wide + d];
                        sum[k][0] += state * w0;
                        sum[k][1] += state * w1;
                        sum[k][2] += state * w2;
                        sum[k][3] += state * w3;
                    }
                }
                for (int64_t k = 0; k < OWN; ++k)
                    std::memcpy(gates + (n + k) * 4 * wide + column, sum[k], sizeof sum[k]);
            }
        }
        for (int64_t n = 0; n < sequences; ++n) {
            if (step >= count_N[n]) continue;
            const float *gate = gates + n * 4 * wide;
            for (int64_t d = 0; d < wide; d += LANES) {
                const Lanes in = sigmoid(*(const Loose *)(gate + d));
                const Lanes forget = sigmoid(*(const Loose *)(gate + wide + d));
                const Lanes fresh = 2.0f * sigmoid(2.0f * *(const Loose *)(gate + 2 * wide + d)) - 1.0f;
                const Lanes out = sigmoid(*(const Loose *)(gate + 3 * wide + d));
                Loose *memory = (Loose *)(c + n * wide + d);
                *memory = forget * *memory + in * fresh;
                *(Loose *)(h + n * wide + d) = out * (2.0f * sigmoid(2.0f * *memory) - 1.0f);
            }
            const int64_t at = backward ? count_N[n] - 1 - step : step;
            std::memcpy(states + (n * T + at) * 2 * H, h + n * wide, sizeof(float) * H);
        }
    }
}

// ----------------------------------------------------------------------------------- BiMPM's weighted cosines

constexpr int64_t MOST_OTHERS = 4;  // vectors y that one x is compared with

// One row of a batch, its vectors gathered with whole vectors of floats: x [T, wide], y of each comparison likewise,
// and the same for gradients.
struct Compared {
    int64_t T, H, P, J, wide, lanes;  // wide and lanes: H and P in whole vectors
    const uint8_t *mask;              // steps that are compared; null: all
    std::vector<float> x, dx, y[MOST_OTHERS], dy[MOST_OTHERS];
    int64_t steps[MOST_OTHERS];       // of y: T, or 1 that stands for all

    Compared(int64_t T, int64_t H, int64_t P, int64_t J, bool backward)
        : T(T), H(H), P(P), J(J), wide(whole_lanes(H)), lanes(whole_lanes(P)), mask(nullptr) {
        x.assign(T * wide, 0.0f);
        if (backward) dx.assign(T * wide, 0.0f);
        for (int64_t j = 0; j < J; ++j) {
            y[j].assign(T * wide, 0.0f);
            if (backward) dy[j].assign(T * wide, 0.0f);
        }
    }

    void take(const float *x_TH, const float *const *y_JTH, const int64_t *steps_J, int64_t b) {
        for (int64_t t = 0; t < T; ++t) std::memcpy(x.data() + t * wide, x_TH + (b * T + t) * H, sizeof(float) * H);
        for (int64_t j = 0; j < J; ++j) {
            steps[j] = steps_J[j];
            for (int64_t t = 0; t < steps[j]; ++t)
                std::memcpy(y[j].data() + t * wide, y_JTH[j] + (b * steps[j] + t) * H, sizeof(float) * H);
        }
    }
};

INLINE Lanes square_root(Lanes x) {
    for (int64_t lane = 0; lane < LANES; ++lane) x[lane] = std::sqrt(x[lane]);
    return x;
}

// v_T [J, H, lanes]; cosine, x_scale and y_scale (1 / norms) [T, J, P].
CLONED void weighted_cosines_row(const Compared &row, const float *v_T, float least, float *cosine, float *x_scale,
                                 float *y_scale) {
    const Lanes floor_ = Lanes{} + least * least;
    for (int64_t t = 0; t < row.T; ++t)
        for (int64_t j = 0; j < row.J; ++j) {
            const float *x = row.x.data() + t * row.wide;
            const float *y = row.y[j].data() + (row.steps[j] == 1 ? 0 : t) * row.wide;
            const int64_t at = (t * row.J + j) * row.P;
            for (int64_t k = 0; k < row.P; k += LANES) {
                const int64_t left = row.P - k;
                if (row.mask && !row.mask[t]) {
                    for (float *to : {cosine, x_scale, y_scale}) put_part(to + at + k, Lanes{}, left);
                    continue;
                }
                const float *v = v_T + j * row.H * row.lanes + k;
                Lanes dot[2] = {}, own[2] = {}, other[2] = {};
                for (int64_t d = 0; d + 2 <= row.H; d += 2)
                    for (int64_t half = 0; half < 2; ++half) {
                        const float a = x[d + half], b = y[d + half];
                        const Lanes weight = *(const Loose *)(v + (d + half) * row.lanes);
                        dot[half] += weight * (a * b);
                        own[half] += weight * (a * a);
                        other[half] += weight * (b * b);
                    }
                if (row.H % 2) {
                    const float a = x[row.H - 1], b = y[row.H - 1];
                    const Lanes weight = *(const Loose *)(v + (row.H - 1) * row.lanes);
                    dot[0] += weight * (a * b);
                    own[0] += weight * (a * a);
                    other[0] += weight * (b * b);
                }
                Lanes mine = own[0] + own[1], theirs = other[0] + other[1];
                mine = 1.0f / square_root(mine > floor_ ? mine : floor_);
                theirs = 1.0f / square_root(theirs > floor_ ? theirs : floor_);
                put_part(cosine + at + k, (dot[0] + dot[1]) * mine * theirs, left);
                put_part(x_scale + at + k, mine, left);
                put_part(y_scale + at + k, theirs, left);
            }
        }
}

// v [J, P, wide]; dv alike, added to. With n the weighted product and c the cosine: dn = g / norms, and of each squared
// norm -1/2 g c / norm^2, unless it is at its lower bound.
CLONED void weighted_cosines_backward_row(Compared &row, const float *v, float least, const float *cosine,
                                          const float *x_scale, const float *y_scale, const float *gradient, float *dv) {
    const float most = 1.0f / least;
    for (int64_t t = 0; t < row.T; ++t) {
        if (row.mask && !row.mask[t]) continue;
        for (int64_t j = 0; j < row.J; ++j) {
            const int64_t at_y = (row.steps[j] == 1 ? 0 : t) * row.wide, at = (t * row.J + j) * row.P;
            const float *x = row.x.data() + t * row.wide, *y = row.y[j].data() + at_y;
            float *dx = row.dx.data() + t * row.wide, *dy = row.dy[j].data() + at_y;
            for (int64_t d = 0; d < row.wide; d += LANES) {
                const Lanes a = *(const Loose *)(x + d), b = *(const Loose *)(y + d);
                Lanes product = {}, own = {}, other = {};
                for (int64_t k = 0; k < row.P; ++k) {
                    const float g = gradient[at + k], mine = x_scale[at + k], theirs = y_scale[at + k];
                    const float pull = -0.5f * g * cosine[at + k], dn = g * mine * theirs;
                    const float to_own = mine < most ? pull * mine * mine : 0.0f;
                    const float to_other = theirs < most ? pull * theirs * theirs : 0.0f;
                    const int64_t place = (j * row.P + k) * row.wide + d;
                    const Lanes weight = *(const Loose *)(v + place);
                    product += weight * dn;
                    own += weight * to_own;
                    other += weight * to_other;
                    *(Loose *)(dv + place) += a * b * dn + a * a * to_own + b * b * to_other;
                }
                *(Loose *)(dx + d) += b * product + 2.0f * a * own;
                *(Loose *)(dy + d) += a * product + 2.0f * b * other;
            }
        }
    }
}

// ------------------------------------------------------------------------------------ LSTMs that are trained

// What both passes of one direction of an LSTM need. Positions lie one after another; a direction's gates i, f, g, o
// of one, H each, lie `4 H directions` floats from the next one's, its states `H directions`.
struct Recurrence {
    const int64_t *start_N1;
    int64_t H, wide, gates, states, last;  // wide: H in whole vectors; gates and states: those steps; last position
    bool backward;                   // from each sequence's last position to its first

    INLINE int64_t count(int64_t n) const { return start_N1[n + 1] - start_N1[n]; }
    INLINE int64_t position(int64_t n, int64_t step) const {
        return backward ? start_N1[n + 1] - 1 - step : start_N1[n] + step;
    }
};

INLINE int64_t longest(const Recurrence &r, int64_t first, int64_t last) {
    int64_t steps = 0;
    for (int64_t n = first; n < last; ++n) steps = r.count(n) > steps ? r.count(n) : steps;
    return steps;
}

INLINE Lanes tangent(Lanes x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

// Sequences [first, last). inputs: the gates' share of the inputs, biases included; recurrent [H, 4 wide], zero between
// H and wide. active: the gates as they were; cells and states: of each position.
CLONED void lstm_train_sequences(const Recurrence &r, int64_t first, int64_t last, const float *inputs,
                                 const float *recurrent, float *active, float *cells, float *states, float *before,
                                 float *space) {
    const int64_t H = r.H, wide = r.wide, own = last - first, rows = (own + OWN - 1) / OWN * OWN;
    float *made = space, *h = made + rows * 4 * wide, *c = h + rows * wide;
    std::memset(h, 0, sizeof(float) * 2 * rows * wide);
    const int64_t steps = longest(r, first, last);
    for (int64_t step = 0; step < steps; ++step) {
        for (int64_t n = 0; n < own; n += OWN) {
            bool any = false;
            for (int64_t k = 0; k < OWN && n + k < own; ++k) any = any || step < r.count(first + n + k);
            if (any && step) products(h + n * wide, wide, recurrent, 1.0f, made + n * 4 * wide, 4 * wide, H);
        }
        for (int64_t n = 0; n < own; ++n) {
            if (step >= r.count(first + n)) continue;
            const int64_t at = r.position(first + n, step);
            const float *input = inputs + at * r.gates, *recurred = made + n * 4 * wide;
            float *kept = active + at * r.gates;
            const bool end = at == r.last;
            for (int64_t d = 0; d < H; d += LANES) {
                const int64_t left = H - d;
                put_part(before + at * r.states + d, *(const Loose *)(h + n * wide + d), left);
                Lanes gate[4];
                for (int64_t g = 0; g < 4; ++g) {
                    gate[g] = near_part(input + g * H + d, left, end);
                    if (step) gate[g] += *(const Loose *)(recurred + g * wide + d);
                    gate[g] = g == 2 ? tangent(gate[g]) : sigmoid(gate[g]);
                    put_part(kept + g * H + d, gate[g], left);
                }
                Loose *memory = (Loose *)(c + n * wide + d);
                const Lanes cell = gate[1] * *memory + gate[0] * gate[2];
                Lanes state = gate[3] * tangent(cell);
                *memory = cell;
                put_part(cells + at * r.states + d, cell, left);
                put_part(states + at * r.states + d, state, left);
                std::memcpy(h + n * wide + d, &state, sizeof state);  // past H it is multiplied by zeros
            }
        }
    }
}

// recurrent_T [4 wide, wide]: of gate row to state, zero where padded. result: gradients of the gates before their
// activation.
CLONED void lstm_backward_sequences(const Recurrence &r, int64_t first, int64_t last, const float *active,
                                    const float *cells, const float *gradient, const float *recurrent_T, float *result,
                                    float *space) {
    const int64_t H = r.H, wide = r.wide, own = last - first, rows = (own + OWN - 1) / OWN * OWN;
    float *made = space, *dh = made + rows * 4 * wide, *dc = dh + rows * wide;
    std::memset(space, 0, sizeof(float) * 6 * rows * wide);
    for (int64_t step = longest(r, first, last) - 1; step >= 0; --step) {
        for (int64_t n = 0; n < own; ++n) {
            if (step >= r.count(first + n)) continue;
            const int64_t at = r.position(first + n, step), before = step ? r.position(first + n, step - 1) : at;
            const float *gate = active + at * r.gates;
            const bool end = at == r.last;
            for (int64_t d = 0; d < H; d += LANES) {
                const int64_t left = H - d;
                const Lanes in = near_part(gate + d, left, end), forget = near_part(gate + H + d, left, end);
                const Lanes fresh = near_part(gate + 2 * H + d, left, end), out = near_part(gate + 3 * H + d, left, end);
                const Lanes bent = tangent(near_part(cells + at * r.states + d, left, end));
                const Lanes state = near_part(gradient + at * r.states + d, left, end) + *(const Loose *)(dh + n * wide + d);
                Loose *carried = (Loose *)(dc + n * wide + d);
                const Lanes cell = *carried + state * out * (1.0f - bent * bent);
                Lanes memory = {};
                if (step) memory = near_part(cells + before * r.states + d, left, before == r.last);
                const Lanes made_of[4] = {cell * fresh * in * (1.0f - in), cell * memory * forget * (1.0f - forget),
                                          cell * in * (1.0f - fresh * fresh), state * bent * out * (1.0f - out)};
                *carried = cell * forget;
                for (int64_t g = 0; g < 4; ++g) {
                    *(Loose *)(made + n * 4 * wide + g * wide + d) = made_of[g];  // past H met by zeros
                    put_part(result + at * r.gates + g * H + d, made_of[g], left);
                }
            }
        }
        if (!step) break;
        for (int64_t n = 0; n < own; n += OWN) {
            bool any = false;
            for (int64_t k = 0; k < OWN && n + k < own; ++k) any = any || step < r.count(first + n + k);
            if (any) products(made + n * 4 * wide, 4 * wide, recurrent_T, 1.0f, dh + n * wide, wide, 4 * wide);
        }
    }
}

// ------------------------------------------------------------------------- EG-CNN's maximum over windows

// Largest answer of each filter over the first `windows` windows of a text, and where; the first of equal ones.
CLONED void highest_window(const float *answer_TC, float *best_C, int32_t *winner_C, int64_t windows, int64_t C) {
    for (int64_t c = 0; c < C; ++c) {
        best_C[c] = answer_TC[c];
        winner_C[c] = 0;
    }
    for (int64_t t = 1; t < windows; ++t) {
        const float *answer = answer_TC + t * C;
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) {
            const bool better = answer[c] > best_C[c];
            best_C[c] = better ? answer[c] : best_C[c];
            winner_C[c] = better ? int32_t(t) : winner_C[c];
        }
    }
}

// One text: out_ATC, the sum over the words of each window of what the word adds at its place in the window.
CLONED void sum_words_text(const float *product_UPC, const int64_t *slot_T, const int64_t *size_A,
                           const int64_t *before_A, float *out_ATC, int64_t T, int64_t A, int64_t P, int64_t C) {
    int64_t first = 0;
    for (int64_t a = 0; a < A; first += size_A[a], ++a)
        for (int64_t t = 0; t < T; ++t) {
            float *out = out_ATC + (a * T + t) * C;
            std::memset(out, 0, sizeof(float) * C);
            for (int64_t j = 0; j < size_A[a]; ++j) {
                const int64_t at = t + j - before_A[a];
                if (at < 0 || at >= T) continue;
                const float *product = product_UPC + (slot_T[at] * P + first + j) * C;
#pragma omp simd
                for (int64_t c = 0; c < C; ++c) out[c] += product[c];
            }
        }
}

CLONED void add_scaled(float *to, const float *from, float factor, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

// Sums of `count` columns, whose rows are `stride` apart.
CLONED void column_sums(const float *x, float *sum, int64_t rows, int64_t stride, int64_t count) {
    std::memset(sum, 0, sizeof(float) * count);
    for (int64_t row = 0; row < rows; ++row)
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) sum[i] += x[row * stride + i];
}

// ------------------------------------------------------------------------------------------ matrix products

constexpr int64_t DEPTH = 384;   // terms of a sum that are taken in one go: a panel of them stays in the cache
constexpr int64_t BLOCK = 240;   // rows of a task, a multiple of every tile's
constexpr int64_t PANEL = 3;     // vectors of columns of the widest tile

// A matrix with steps of its own between rows and between columns: a transposed one is the same memory.
struct Strided {
    const float *at;
    int64_t row, column;
};

// What of a tile lies within C.
__attribute__((noinline)) void write_part(const float *tile, int64_t wide, const float *offset, float *c, int64_t stride,
                                          int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t n = 0; n < width; ++n)
            c[r * stride + n] = tile[r * wide + n] + (offset ? offset[n] : c[r * stride + n]);
}

// `rows` x V vectors of columns of C, of `depth` terms: C = offset + A B, or C += A B where `offset` is null.
// B's rows follow one another, zero beyond its last column; only `width` columns and `rows` rows of C are written.
template <int ROWS, int V>
INLINE void product_tile(const float *a, int64_t row, int64_t step, const float *b, int64_t depth,
                         const float *offset, float *c, int64_t stride, int64_t rows, int64_t width) {
    Lanes sum[ROWS][V] = {};
    for (int64_t k = 0; k < depth; ++k, a += step, b += V * LANES) {
        Lanes terms[V];
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) terms[v] = ((const Loose *)b)[v];
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r) {
            const float factor = a[r * row];
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) sum[r][v] += factor * terms[v];
        }
    }
    if (rows == ROWS && width >= V * LANES) {
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 3
            for (int v = 0; v < V; ++v) {
                Loose *place = (Loose *)(c + r * stride + v * LANES);
                *place = sum[r][v] + (offset ? Lanes(*(const Loose *)(offset + v * LANES)) : Lanes(*place));
            }
        return;
    }
    float tile[ROWS * V * LANES];
    std::memcpy(tile, sum, sizeof(tile));
    write_part(tile, V * LANES, offset, c, stride, rows, width < V * LANES ? width : V * LANES);
}

// All rows of a task against one panel of V vectors of columns.
template <int ROWS, int V>
INLINE void product_panel(Strided a, int64_t rows, const float *b, int64_t depth, const float *offset, float *c,
                          int64_t stride, int64_t width, float *edge) {
    int64_t m = 0;
    if (a.column == 1)
        for (; m + ROWS <= rows; m += ROWS)
            product_tile<ROWS, V>(a.at + m * a.row, a.row, 1, b, depth, offset, c + m * stride, stride, ROWS, width);
    else
        for (; m + ROWS <= rows; m += ROWS)
            product_tile<ROWS, V>(a.at + m, 1, a.column, b, depth, offset, c + m * stride, stride, ROWS, width);
    if (m == rows) return;
    for (int64_t k = 0; k < depth; ++k)  // the last rows, padded to a whole tile
        for (int64_t r = 0; r < ROWS; ++r) edge[k * ROWS + r] = m + r < rows ? a.at[(m + r) * a.row + k * a.column] : 0;
    product_tile<ROWS, V>(edge, 1, ROWS, b, depth, offset, c + m * stride, stride, rows - m, width);
}

#if defined(CLONES)
// Tiles that fill the 32 registers of 512 bits.
__attribute__((noinline, target(WIDEST_TARGET))) void product_block_wide(Strided a, int64_t rows, const float *b,
                                                                         int64_t vectors, int64_t depth,
                                                                         const float *offset, float *c, int64_t stride,
                                                                         int64_t width, float *edge) {
    if (vectors == 3) product_panel<8, 3>(a, rows, b, depth, offset, c, stride, width, edge);
    if (vectors == 2) product_panel<12, 2>(a, rows, b, depth, offset, c, stride, width, edge);
    if (vectors == 1) product_panel<16, 1>(a, rows, b, depth, offset, c, stride, width, edge);
}
#endif

// The same sums in the same order, slowly, where there are none: so that they can be tested everywhere.
__attribute__((noinline)) void product_block_anywhere(Strided a, int64_t rows, const float *b, int64_t vectors,
                                                      int64_t depth, const float *offset, float *c, int64_t stride,
                                                      int64_t width, float *edge) {
    if (vectors == 3) product_panel<1, 3>(a, rows, b, depth, offset, c, stride, width, edge);
    if (vectors == 2) product_panel<1, 2>(a, rows, b, depth, offset, c, stride, width, edge);
    if (vectors == 1) product_panel<1, 1>(a, rows, b, depth, offset, c, stride, width, edge);
}

INLINE bool has_512_bits() {
#if defined(CLONES)
    return __builtin_cpu_supports(WIDEST_FEATURE);
#else
    return false;
#endif
}

INLINE void product_block(Strided a, int64_t rows, const float *b, int64_t vectors, int64_t depth, const float *offset,
                          float *c, int64_t stride, int64_t width, float *edge) {
#if defined(CLONES)
    if (has_512_bits()) return product_block_wide(a, rows, b, vectors, depth, offset, c, stride, width, edge);
#endif
    product_block_anywhere(a, rows, b, vectors, depth, offset, c, stride, width, edge);
}

// `depth` rows of B from column `first` on, V vectors wide, zero beyond its columns.
CLONED void pack_panel(Strided b, int64_t depth, int64_t width, int64_t wide, float *packed) {
    if (b.column == 1) {
        for (int64_t k = 0; k < depth; ++k) {
            std::memcpy(packed + k * wide, b.at + k * b.row, sizeof(float) * width);
            for (int64_t n = width; n < wide; ++n) packed[k * wide + n] = 0;
        }
        return;
    }
    if (width < wide) std::memset(packed, 0, sizeof(float) * depth * wide);
    for (int64_t k = 0; k < depth; k += LANES)
        for (int64_t n = 0; n < width; ++n) {
            const float *from = b.at + n * b.column + k * b.row;
            const int64_t own = k + LANES <= depth ? LANES : depth - k;
            for (int64_t i = 0; i < own; ++i) packed[(k + i) * wide + n] = from[i * b.row];
        }
}

}  // namespace

extern "C" {

#ifndef SOURCE_SHA256
#define SOURCE_SHA256 "unknown"
#endif
extern const char kernels_source[];  // read in the file, before it is loaded: is it of this source?
const char kernels_source[] = "mrhp-bench kernels of source " SOURCE_SHA256;

// weight: for each size, [filters, A x C, size, size]; masks may be null.
void strongest(const float *map_BLR, const float *weight, const uint8_t *product_mask_BL,
               const uint8_t *review_mask_BR, float *value_BSK, int32_t *cell_BSK, int64_t B, int64_t A,
               int64_t C, int64_t L, int64_t R, int64_t sizes, int64_t filters, int64_t keep, int32_t threads) {
    const int64_t stride = whole_lanes(R) + COLUMNS * LANES + LANES, slots = sizes * filters * keep;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> padded(A * C * (L + sizes - 1) * stride, 0.0f);
        std::vector<float> offset(stride, -std::numeric_limits<float>::infinity());
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b)
            strongest_map(map_BLR + b * A * L * C * R, weight, product_mask_BL ? product_mask_BL + b * L : nullptr,
                          review_mask_BR ? review_mask_BR + b * R : nullptr, value_BSK + b * slots,
                          cell_BSK + b * slots, padded.data(), offset.data(), A, C, L, R, sizes, filters, keep);
    }
}

// Adds to left_gradient [N, A, L, F] and right_gradient [M, C, R, F] of the items that rows point at, and
// writes tap_gradient [B, taps]. Features are shared out among threads, for rows share items.
void strongest_backward(const float *left_NALF, const float *right_MCRF, const int64_t *left_B,
                        const int64_t *right_B, const float *weight, const int32_t *cell_BSK,
                        const float *gradient_BSK, float *left_gradient, float *right_gradient,
                        float *tap_gradient, int64_t B, int64_t A, int64_t C, int64_t L, int64_t R, int64_t F,
                        int64_t sizes, int64_t filters, int64_t keep, int32_t threads) {
    const int64_t slots = sizes * filters * keep, parts = (F + LANES - 1) / LANES;
    int64_t taps = 0;
    for (int64_t size = 1; size <= sizes; ++size) taps += filters * A * C * size * size;
    const int64_t shares = threads < parts ? threads : parts;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b)
            strongest_backward_pair(left_NALF + left_B[b] * A * L * F, right_MCRF + right_B[b] * C * R * F, weight,
                                    cell_BSK + b * slots, gradient_BSK + b * slots, nullptr, nullptr,
                                    tap_gradient + b * taps, A, C, L, R, F, sizes, filters, keep, 0, F);
#pragma omp for schedule(static)
        for (int64_t share = 0; share < shares; ++share) {
            const int64_t first = parts * share / shares * LANES;
            const int64_t last = share + 1 < shares ? parts * (share + 1) / shares * LANES : F;
            for (int64_t b = 0; b < B; ++b) {
                const int64_t left = left_B[b] * A * L * F, right = right_B[b] * C * R * F;
                strongest_backward_pair(left_NALF + left, right_MCRF + right, weight, cell_BSK + b * slots,
                                        gradient_BSK + b * slots, left_gradient + left, right_gradient + right,
                                        nullptr, A, C, L, R, F, sizes, filters, keep, first, last);
            }
        }
    }
}

// Adds to map_gradient [B, L, C, R] and writes to tap_gradient [B, taps], zero on entry.
void strongest_map_backward(const float *map_BLCR, const float *weight, const int32_t *cell_BSK,
                            const float *gradient_BSK, float *map_gradient, float *tap_gradient, int64_t B,
                            int64_t C, int64_t L, int64_t R, int64_t sizes, int64_t filters, int64_t keep,
                            int32_t threads) {
    const int64_t slots = sizes * filters * keep, cells = L * C * R;
    int64_t taps = 0;
    for (int64_t size = 1; size <= sizes; ++size) taps += filters * C * size * size;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < B; ++b)
        strongest_map_backward_one(map_BLCR + b * cells, weight, cell_BSK + b * slots, gradient_BSK + b * slots,
                                   map_gradient + b * cells, tap_gradient + b * taps, C, L, R, sizes, filters, keep);
}

// rows [count, F]
void unit_vectors(const float *x, float *y, float *length, float least, int64_t count, int64_t F,
                  int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t first = 0; first < count; first += ROWS)
        unit_part(x, y, length, least, F, first, first + ROWS < count ? first + ROWS : count);
}

void unit_vectors_backward(const float *y, const float *gradient, const float *length, float *result,
                           float least, int64_t count, int64_t F, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t first = 0; first < count; first += ROWS)
        unit_backward_part(y, gradient, length, result, least, F, first,
                           first + ROWS < count ? first + ROWS : count);
}

// y = dropout(x), with `relu` dropout(relu(x)), or base + dropout(x) where base is given.
void dropout(const float *x, const float *base, float *y, uint64_t seed, uint32_t threshold, float scale,
             int64_t count, int32_t relu, int32_t threads) {
    const int64_t parts = (count + PART - 1) / PART;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = part * PART, last = first + PART < count ? first + PART : count;
        if (base)
            add_dropout_part(base, x, y, seed, threshold, scale, first, last);
        else if (relu)
            relu_dropout_part(x, y, seed, threshold, scale, first, last);
        else
            dropout_part(x, y, seed, threshold, scale, first, last);
    }
}

// y = gradient scale [result > 0]
void gate(const float *result, const float *gradient, float *y, float scale, int64_t count, int32_t threads) {
    const int64_t parts = (count + PART - 1) / PART;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = part * PART, last = first + PART < count ? first + PART : count;
        gate_part(result, gradient, y, scale, first, last);
    }
}

// N sequences of queries, each with a sequence of keys and values; output: [rows of queries, H, value width], at the rows
// of the queries or, with `packed`, in their order; log: [H, all queries]. T and S: most queries and keys of a sequence,
// and, where dropout draws by place, the lengths of the padded arrays that the indices are of.
void attention(const float *query, const float *key, const float *value, const int64_t *query_index,
               const int64_t *query_start, const int64_t *key_index, const int64_t *key_start, float *output, float *log,
               float scale, uint64_t seed, uint32_t threshold, float kept, int64_t query_stride, int64_t key_stride,
               int64_t value_stride, int64_t N, int64_t T, int64_t S, int64_t H, int64_t width, int64_t value_width,
               int32_t packed, int32_t threads) {
    const States states = {query, key, value, query_stride, key_stride, value_stride,
                           {query_index, query_start}, {key_index, key_start}};
    const Sequences out = {packed ? nullptr : query_index, query_start};
    const int64_t frame = whole_lanes(S) + (OTHERS * LANES - whole_lanes(S) % (OTHERS * LANES)) % (OTHERS * LANES);
#pragma omp parallel num_threads(threads)
    {
        Head head(T, S, width, value_width, false);
        std::vector<float> rows((T + OWN) * head.value_wide);
        std::vector<int64_t> query_at, key_at;
        if (threshold) {
            head.factor.assign(OWN * (frame + LANES), 0.0f);
            head.drawn.assign(frame + DRAWS, 0.0f);
        }
#pragma omp for schedule(static)
        for (int64_t x = 0; x < N * H; ++x) {
            const int64_t n = x / H, h = x % H;
            const bool any = gather_state(states, n, h, head);
            if (any) {
                if (threshold) {
                    head.query_at = places(states.queries, n, T, query_at);
                    head.key_at = places(states.keys, n, S, key_at);
                }
                attention_head(head, rows.data(), log + h * query_start[N] + query_start[n], head.value_wide, scale,
                               {seed, threshold, kept, frame, x * T});
            } else {
                std::memset(rows.data(), 0, sizeof(float) * head.T * head.value_wide);
            }
            scatter(rows, output + h * value_width, H * value_width, out, n, head.T, value_width, head.value_wide);
        }
    }
}

// Gradients have the strides of what they are gradients of, and stand at the same rows or, with `packed`, in the order of
// the sequences' positions.
void attention_backward(const float *query, const float *key, const float *value, const int64_t *query_index,
                        const int64_t *query_start, const int64_t *key_index, const int64_t *key_start,
                        const float *output, const float *log, const float *gradient, float *query_gradient,
                        float *key_gradient, float *value_gradient, float scale, uint64_t seed, uint32_t threshold,
                        float kept, int64_t query_stride, int64_t key_stride, int64_t value_stride, int64_t N, int64_t T,
                        int64_t S, int64_t H, int64_t width, int64_t value_width, int32_t packed, int32_t threads) {
    const States states = {query, key, value, query_stride, key_stride, value_stride,
                           {query_index, query_start}, {key_index, key_start}};
    const Sequences out = {packed ? nullptr : query_index, query_start}, in = {packed ? nullptr : key_index, key_start};
    const int64_t frame = whole_lanes(S) + (OTHERS * LANES - whole_lanes(S) % (OTHERS * LANES)) % (OTHERS * LANES);
#pragma omp parallel num_threads(threads)
    {
        Head head(T, S, width, value_width, true);
        std::vector<int64_t> query_at, key_at;
        if (threshold) {
            head.factor.assign(OWN * (frame + LANES), 0.0f);
            head.drawn.assign(frame + DRAWS, 0.0f);
        }
#pragma omp for schedule(static)
        for (int64_t x = 0; x < N * H; ++x) {
            const int64_t n = x / H, h = x % H;
            const bool any = gather_state(states, n, h, head);
            std::memset(head.key_gradient.data(), 0, sizeof(float) * head.S * head.wide);
            std::memset(head.value_gradient.data(), 0, sizeof(float) * head.S * head.value_wide);
            std::memset(head.query_gradient.data(), 0, sizeof(float) * head.T * head.wide);
            if (any) {
                if (threshold) {
                    head.query_at = places(states.queries, n, T, query_at);
                    head.key_at = places(states.keys, n, S, key_at);
                }
                transpose(head.value, head.value_T, head.S, head.rows, value_width, head.value_wide);
                gather(output + h * value_width, H * value_width, out, n, head.T, value_width, head.value_wide, head.output);
                gather(gradient + h * value_width, H * value_width, out, n, head.T, value_width, head.value_wide, head.outer);
                attention_backward_head(head, log + h * query_start[N] + query_start[n], scale,
                                        {seed, threshold, kept, frame, x * T});
            }
            scatter(head.query_gradient, query_gradient + h * width, query_stride, out, n, head.T, width, head.wide);
            scatter(head.key_gradient, key_gradient + h * width, key_stride, in, n, head.S, width, head.wide);
            scatter(head.value_gradient, value_gradient + h * value_width, value_stride, in, n, head.S, value_width,
                    head.value_wide);
        }
    }
}

// to[index_X[x]] += from[x], in the order of x; rows of `width`, which are shared out among threads.
void add_rows(const float *from, const int64_t *index_X, float *to, int64_t X, int64_t width, int32_t threads) {
    const int64_t parts = (width + LANES - 1) / LANES, shares = threads < parts ? threads : parts;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t share = 0; share < shares; ++share) {
        const int64_t first = parts * share / shares * LANES;
        const int64_t last = share + 1 < shares ? parts * (share + 1) / shares * LANES : width;
        for (int64_t x = 0; x < X; ++x) add_scaled(to + index_X[x] * width + first, from + x * width + first, 1.0f, last - first);
    }
}

// y = norm(sum), sum = base + dropout(x); without a base norm(x), and `sum` is not written. All [X, D].
void add_norm(const float *x, const float *base, const float *weight, const float *offset, float *sum, float *y,
              float *statistics, uint64_t seed, uint32_t threshold, float kept, float eps, int64_t X, int64_t D,
              int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t first = 0; first < X; first += ROWS) {
        const int64_t last = first + ROWS < X ? first + ROWS : X;
        if (base) add_dropped_rows(base, x, sum, seed, threshold, kept, first * D, last * D);
        norm_rows(base ? sum : x, weight, offset, y, statistics, eps, D, first, last);
    }
}

// `beside` (may be null) is the gradient that reaches the sum itself; `of_x` is null where nothing is dropped, and x has
// the base's gradient. Gradients of weight and offset are summed block by block, in their order.
void add_norm_backward(const float *sum, const float *weight, const float *statistics, const float *gradient,
                       const float *beside, float *of_base, float *of_x, float *of_weight, float *of_offset, uint64_t seed,
                       uint32_t threshold, float kept, int64_t X, int64_t D, int32_t threads) {
    const int64_t blocks = (X + ROWS - 1) / ROWS;
    std::vector<float> parts(blocks * 2 * D, 0.0f);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < blocks; ++block) {
        const int64_t first = block * ROWS, last = first + ROWS < X ? first + ROWS : X;
        float *own = parts.data() + block * 2 * D;
        norm_backward_rows(sum, weight, statistics, gradient, beside, of_base, own, own + D, D, first, last);
        if (of_x) dropout_part(of_base, of_x, seed, threshold, kept, first * D, last * D);
    }
    for (int64_t block = 0; block < blocks; ++block) {
        add_scaled(of_weight, parts.data() + block * 2 * D, 1.0f, D);
        add_scaled(of_offset, parts.data() + block * 2 * D + D, 1.0f, D);
    }
}

// value [B, sizes x filters, keep]; active and y [B, sizes x keep x filters], y the layer norm of each row.
void winners_norm(const float *value, const float *bias, const float *weight, const float *offset, float *active, float *y,
                  float *statistics, float eps, int64_t B, int64_t sizes, int64_t filters, int64_t keep, int32_t threads) {
    const int64_t D = sizes * filters * keep;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < B; ++b) {
        active_winners(value + b * D, bias, active + b * D, sizes, filters, keep);
        norm_rows(active, weight, offset, y, statistics, eps, D, b, b + 1);
    }
}

// Gradients of parameters are summed row by row, in their order.
void winners_norm_backward(const float *value, const float *active, const float *weight, const float *statistics,
                           const float *gradient, float *of_value, float *of_bias, float *of_weight, float *of_offset,
                           int64_t B, int64_t sizes, int64_t filters, int64_t keep, int32_t threads) {
    const int64_t D = sizes * filters * keep, S = sizes * filters;
    std::vector<float> parts(B * (2 * D + S), 0.0f);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> made(D);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b) {
            float *own = parts.data() + b * (2 * D + S);
            const float *row = active + b * D, *slope = statistics + 2 * b;
            norm_backward_rows(row, weight, slope, gradient + b * D, nullptr, made.data(), own, own + D, D, 0, 1);
            for (int64_t s = 0; s < S; ++s)
                for (int64_t k = 0; k < keep; ++k) {
                    const int64_t at = (s / filters * keep + k) * filters + s % filters, slot = (b * S + s) * keep + k;
                    const bool none = value[slot] == -std::numeric_limits<float>::infinity();
                    of_value[slot] = none ? 0.0f : made[at] * (1.0f - row[at] * row[at]);
                    own[2 * D + s] += of_value[slot];
                }
        }
    }
    for (int64_t b = 0; b < B; ++b) {
        const float *own = parts.data() + b * (2 * D + S);
        add_scaled(of_weight, own, 1.0f, D);
        add_scaled(of_offset, own + D, 1.0f, D);
        add_scaled(of_bias, own + 2 * D, 1.0f, S);
    }
}

// y = x Phi(x), Phi the distribution of a standard normal.
void gelu(const float *x, float *y, int64_t count, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t first = 0; first < count; first += PART)
        gelu_part(x, y, first, first + PART < count ? first + PART : count);
}

void gelu_backward(const float *x, const float *gradient, float *result, int64_t count, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t first = 0; first < count; first += PART)
        gelu_backward_part(x, gradient, result, first, first + PART < count ? first + PART : count);
}

// ab [N, T, 2 H]: of each node what it adds to a pair as the one that looks, and as the one that is looked at; node and
// out [N, T, C], weight [N, T, T].
void messages(const float *ab, const float *w, const uint8_t *mask, const float *node, float *weight, float *out, int64_t N,
              int64_t T, int64_t H, int64_t C, int32_t threads) {
#pragma omp parallel num_threads(threads)
    {
        Graph graph(T, H, C, false);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; ++n)
            messages(graph, ab + n * T * 2 * H, w, mask + n * T, node + n * T * C, weight + n * T * T, out + n * T * C);
    }
}

// of_w is [N, H].
void messages_backward(const float *ab, const float *w, const float *node, const float *weight, const float *gradient,
                       float *of_ab, float *of_node, float *of_w, int64_t N, int64_t T, int64_t H, int64_t C,
                       int32_t threads) {
#pragma omp parallel num_threads(threads)
    {
        Graph graph(T, H, C, true);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; ++n)
            messages_backward(graph, ab + n * T * 2 * H, w, node + n * T * C, weight + n * T * T, gradient + n * T * C,
                              of_ab + n * T * 2 * H, of_node + n * T * C, of_w + n * H);
    }
}

// Row b weighs its nodes by the claim of product product_B[b]: claim [N, H] and own [B, T, H] are what both add to the
// hidden layer; node [B, T, C]; weight [B, T], out [B, C].
void claim_pool(const float *claim, const float *own, const float *w, const float *bias, const uint8_t *mask,
                const float *node, const int64_t *product_B, float *weight, float *out, int64_t B, int64_t N, int64_t T,
                int64_t H, int64_t C, int32_t threads) {
    (void)N;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> scratch(whole_lanes(T));
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b)
            claim_pool_row(claim + product_B[b] * H, own + b * T * H, w, *bias, mask + b * T, node + b * T * C,
                           weight + b * T, out + b * C, scratch.data(), T, H, C);
    }
}

// Gradients of claims are added up in the order of their rows; those of w and of bias are [B, H] and [B].
void claim_pool_backward(const float *claim, const float *own, const float *w, const uint8_t *mask, const float *node,
                         const int64_t *product_B, const float *weight, const float *gradient, float *of_claim,
                         float *of_own, float *of_w, float *of_bias, float *of_node, int64_t B, int64_t N, int64_t T,
                         int64_t H, int64_t C, int32_t threads) {
    const Groups of_product(product_B, B, N);
    std::vector<float> claims(B * H);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> scratch(T);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b)
            of_bias[b] = claim_pool_backward_row(claim + product_B[b] * H, own + b * T * H, w, mask + b * T,
                                                 node + b * T * C, weight + b * T, gradient + b * C,
                                                 claims.data() + b * H, of_own + b * T * H, of_w + b * H,
                                                 of_node + b * T * C, scratch.data(), T, H, C);
#pragma omp for schedule(static)
        for (int64_t p = 0; p < N; ++p) {
            std::memset(of_claim + p * H, 0, sizeof(float) * H);
            for (int64_t x = of_product.start[p]; x < of_product.start[p + 1]; ++x)
                add_scaled(of_claim + p * H, claims.data() + of_product.row[x] * H, 1.0f, H);
        }
    }
}

// x [B, T, H], whose positions are K parts, part k from start_K1[k] to start_K1[k + 1]; top and winner [K, B, H].
void part_maxima(const float *x, const uint8_t *mask, const int64_t *start_K1, float *top, int32_t *winner, int64_t B,
                 int64_t T, int64_t H, int64_t K, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < B; ++b)
        for (int64_t k = 0; k < K; ++k)
            part_maximum(x + b * T * H, mask + b * T, start_K1[k], start_K1[k + 1], H, top + (k * B + b) * H,
                         winner + (k * B + b) * H);
}

// The result is added to; no position wins twice.
void part_maxima_backward(const int32_t *winner, const float *gradient, float *result, int64_t B, int64_t T, int64_t H,
                          int64_t K, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < B; ++b)
        for (int64_t k = 0; k < K; ++k)
            for (int64_t h = 0; h < H; ++h) {
                const int64_t at = (k * B + b) * H + h;
                if (winner[at] >= 0) result[(b * T + winner[at]) * H + h] = gradient[at];
            }
}

// cosine and negative [K, P, P] of K kinds of pairs; term [K]: the mean over anchors that have negatives, and its
// gradient by each cosine.
void contrast(const float *cosine, const uint8_t *negative, float *term, float *gradient, float margin, float scale,
              int64_t K, int64_t P, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t k = 0; k < K; ++k) {
        std::vector<float> pushed(P);
        int64_t used = 0;
        float sum = 0;
        for (int64_t i = 0; i < P; ++i) {
            const int64_t at = (k * P + i) * P;
            for (int64_t j = 0, any = 0; j < P && !any; ++j) used += any = negative[at + j] != 0;
            sum += contrast_anchor(cosine + at, negative + at, i, margin, scale, gradient + at, pushed.data(), P);
        }
        const float share = 1.0f / float(used ? used : 1);
        term[k] = sum * share;
        for (int64_t x = k * P * P; x < (k + 1) * P * P; ++x) gradient[x] *= share;
    }
}

// Row b sums over the real positions of review review_B[b], which attend to those of product product_B[b]. query and
// product [N, L, F], review [M, R, F]; out [B, F], log [B, R].
void aware_sums(const float *query, const float *product, const uint8_t *product_mask, const float *review,
                const uint8_t *review_mask, const int64_t *product_B, const int64_t *review_B, float *out, float *log,
                int64_t B, int64_t N, int64_t M, int64_t L, int64_t R, int64_t F, int32_t threads) {
    (void)N, (void)M;
#pragma omp parallel num_threads(threads)
    {
        Aware pair(L, R, F, false);
        int64_t taken = -1;
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b) {
            const int64_t p = product_B[b], r = review_B[b];
            if (p != taken) pair.take_product(query + p * L * F, product + p * L * F, product_mask + p * L, L);
            taken = p;
            pair.take_review(review + r * R * F, review_mask + r * R, R);
            aware_sum(pair, log + b * R, out + b * F);
        }
    }
}

// Gradients of items are added up in the order of their rows, whatever the number of threads; what is added is zero.
void aware_sums_backward(const float *query, const float *product, const uint8_t *product_mask, const float *review,
                         const uint8_t *review_mask, const int64_t *product_B, const int64_t *review_B, const float *log,
                         const float *gradient, float *query_gradient, float *product_gradient, float *review_gradient,
                         int64_t B, int64_t N, int64_t M, int64_t L, int64_t R, int64_t F, int32_t threads) {
    const Groups of_product(product_B, B, N), of_review(review_B, B, M);
    std::vector<float> rows(B * R * F);  // gradients of each row's review, real positions side by side
#pragma omp parallel num_threads(threads)
    {
        Aware pair(L, R, F, true);
#pragma omp for schedule(dynamic)
        for (int64_t p = 0; p < N; ++p) {
            if (of_product.start[p] == of_product.start[p + 1]) continue;
            pair.take_product(query + p * L * F, product + p * L * F, product_mask + p * L, L);
            for (auto *array : {&pair.query_gradient, &pair.product_gradient})
                std::memset(array->data(), 0, sizeof(float) * pair.L * pair.wide);
            for (int64_t x = of_product.start[p]; x < of_product.start[p + 1]; ++x) {
                const int64_t b = of_product.row[x], r = review_B[b];
                pair.take_review(review + r * R * F, review_mask + r * R, R);
                aware_sum_backward(pair, log + b * R, gradient + b * F);
                for (int64_t i = 0; i < pair.R; ++i)
                    std::memcpy(rows.data() + (b * R + i) * F, pair.review_gradient.data() + i * pair.wide,
                                sizeof(float) * F);
            }
            for (int64_t i = 0; i < pair.L; ++i) {
                const int64_t at = (p * L + pair.product_at[i]) * F;
                std::memcpy(query_gradient + at, pair.query_gradient.data() + i * pair.wide, sizeof(float) * F);
                std::memcpy(product_gradient + at, pair.product_gradient.data() + i * pair.wide, sizeof(float) * F);
            }
        }
#pragma omp for schedule(static)
        for (int64_t r = 0; r < M; ++r)
            for (int64_t x = of_review.start[r]; x < of_review.start[r + 1]; ++x) {
                const float *from = rows.data() + of_review.row[x] * R * F;
                for (int64_t i = 0; i < R; ++i) {
                    if (!review_mask[r * R + i]) continue;
                    add_scaled(review_gradient + (r * R + i) * F, from, 1.0f, F);
                    from += F;
                }
            }
    }
}

// x [rows, D], those of sequence n from start_N1[n] to start_N1[n + 1]; f, top and sum [N, D].
void soft_pool(const float *x, const int64_t *start_N1, float *f, float *top, float *sum, int64_t N, int64_t D,
               int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t n = 0; n < N; ++n)
        soft_pool_one(x + start_N1[n] * D, start_N1[n + 1] - start_N1[n], D, f + n * D, top + n * D, sum + n * D);
}

void soft_pool_backward(const float *x, const int64_t *start_N1, const float *f, const float *top, const float *sum,
                        const float *gradient, float *result, int64_t N, int64_t D, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t n = 0; n < N; ++n)
        soft_pool_backward_one(x + start_N1[n] * D, start_N1[n + 1] - start_N1[n], D, f + n * D, top + n * D, sum + n * D,
                               gradient + n * D, result + start_N1[n] * D);
}

// `pointers` [count, 4]: parameter, gradient, mean and mean square of each array of `sizes` elements. `taken` counts the
// steps of each, this one included.
void adam(const int64_t *pointers, const int64_t *sizes, const float *taken, double learning_rate, double beta1,
          double beta2, double epsilon, int64_t count, int32_t threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t k = 0; k < count; ++k) {
        const int64_t *at = pointers + 4 * k;
        const double step_size = learning_rate / (1 - std::pow(beta1, double(taken[k])));
        const double root = std::sqrt(1 - std::pow(beta2, double(taken[k])));
        adam_part((float *)at[0], (const float *)at[1], (float *)at[2], (float *)at[3], float(step_size), float(root),
                  float(beta1), float(beta2), float(epsilon), sizes[k]);
    }
}

// value [B, X, R] where X is product positions x n-gram sizes; mask [B, R] may be null; sum [B, X, K].
void kernel_sums(const float *value, const uint8_t *mask_BR, const float *centre, const float *sharpness,
                 const float *ratio, const float *scale, float *sum, float away, int64_t B, int64_t X, int64_t R,
                 int64_t K, int32_t threads) {
    const Bells bells = {centre, sharpness, ratio, K};
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> reach(R + VALUES * LANES, 0.0f), space(LANES * (K + 1));
        float *aligned = (float *)(((uintptr_t)space.data() + 63) / 64 * 64);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b) {
            for (int64_t r = 0; r < R; ++r) reach[r] = !mask_BR || mask_BR[b * R + r] ? 0.0f : away;
            kernel_sums_rows(value + b * X * R, reach.data(), bells, scale, sum + b * X * K, aligned, X, R, away);
        }
    }
}

void kernel_sums_backward(const float *value, const uint8_t *mask_BR, const float *centre,
                          const float *sharpness, const float *ratio, const float *pull, const float *gradient,
                          float *result, float away, int64_t B, int64_t X, int64_t R, int64_t K,
                          int32_t threads) {
    const Bells bells = {centre, sharpness, ratio, K};
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> reach(R + VALUES * LANES, 0.0f), space(K);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b) {
            for (int64_t r = 0; r < R; ++r) reach[r] = !mask_BR || mask_BR[b * R + r] ? 0.0f : away;
            kernel_sums_backward_rows(value + b * X * R, reach.data(), bells, pull, gradient + b * X * K,
                                      result + b * X * R, space.data(), X, R, away);
        }
    }
}

// dot [B, P, L, R]; masks [B, L] and [B, R] may be null; bests and winners [B, P, L] and [B, P, R].
void best_partners(const float *dot, const float *p_scale, const float *h_scale, const uint8_t *p_mask_BL,
                   const uint8_t *h_mask_BR, float *p_best, int64_t *p_winner, float *h_best, int64_t *h_winner,
                   int64_t B, int64_t P, int64_t L, int64_t R, int32_t threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> offset(R);
        std::vector<int32_t> found(R);
#pragma omp for schedule(static)
        for (int64_t x = 0; x < B * P; ++x) {
            const int64_t b = x / P;
            for (int64_t r = 0; r < R; ++r)
                offset[r] = !h_mask_BR || h_mask_BR[b * R + r] ? 0.0f : -std::numeric_limits<float>::infinity();
            best_partners_map(dot + x * L * R, p_scale + x * L, h_scale + x * R,
                              p_mask_BL ? p_mask_BL + b * L : nullptr, offset.data(), p_best + x * L,
                              p_winner + x * L, h_best + x * R, found.data(), h_winner + x * R, L, R);
        }
    }
}

// Results are added to; v_result is [B, P, H].
void best_partners_backward(const float *p_BLH, const float *h_BRH, const float *v_PH, const float *p_scale,
                            const float *h_scale, const int64_t *p_winner, const int64_t *h_winner,
                            const float *p_gradient, const float *h_gradient, float *p_result, float *h_result,
                            float *v_result, int64_t B, int64_t P, int64_t L, int64_t R, int64_t H,
                            int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t b = 0; b < B; ++b)
        best_partners_backward_row(p_BLH + b * L * H, h_BRH + b * R * H, v_PH, p_scale + b * P * L,
                                   h_scale + b * P * R, p_winner + b * P * L, h_winner + b * P * R,
                                   p_gradient + b * P * L, h_gradient + b * P * R, p_result + b * L * H,
                                   h_result + b * R * H, v_result + b * P * H, P, L, R, H);
}

// inputs [U, 2, 4 wide] and recurrent [2, H, 4 wide]: forward, then backward; states [N, T, 2, H].
void lstm(const float *inputs, const int64_t *slot_NT, const int64_t *count_N, const float *recurrent,
          float *states, int64_t N, int64_t T, int64_t H, int64_t wide, int32_t threads) {
    const int64_t blocks = (N + SEQUENCES - 1) / SEQUENCES;
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> space(SEQUENCES * 6 * wide);
#pragma omp for schedule(dynamic)
        for (int64_t x = 0; x < 2 * blocks; ++x) {
            const int64_t direction = x / blocks, n = x % blocks * SEQUENCES;
            lstm_sequences(inputs + direction * 4 * wide, 8 * wide, slot_NT + n * T, count_N + n,
                           recurrent + direction * H * 4 * wide, states + n * T * 2 * H + direction * H, space.data(),
                           n + SEQUENCES < N ? SEQUENCES : N - n, T, H, wide, direction == 1);
        }
    }
}

// x [B, T, H]; `others` holds the addresses of J arrays y [B, steps_J, H]; v [J, P, H]; mask [B, T] may be null; cosine,
// x_scale and y_scale [B, T, J, P].
void weighted_cosines(const float *x, const int64_t *others, const int64_t *steps_J, const float *v, const uint8_t *mask,
                      float *cosine, float *x_scale, float *y_scale, float least, int64_t B, int64_t T, int64_t H,
                      int64_t P, int64_t J, int32_t threads) {
    const int64_t lanes = whole_lanes(P), size = T * J * P;
    std::vector<float> v_T(J * H * lanes, 0.0f);
    for (int64_t j = 0; j < J; ++j)
        for (int64_t k = 0; k < P; ++k)
            for (int64_t d = 0; d < H; ++d) v_T[(j * H + d) * lanes + k] = v[(j * P + k) * H + d];
#pragma omp parallel num_threads(threads)
    {
        Compared row(T, H, P, J, false);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b) {
            row.mask = mask ? mask + b * T : nullptr;
            row.take(x, (const float *const *)others, steps_J, b);
            weighted_cosines_row(row, v_T.data(), least, cosine + b * size, x_scale + b * size, y_scale + b * size);
        }
    }
}

// `results` holds the addresses of the gradients of x and of each y; dv [B, J, P, H].
void weighted_cosines_backward(const float *x, const int64_t *others, const int64_t *steps_J, const float *v,
                               const uint8_t *mask, const float *cosine, const float *x_scale, const float *y_scale,
                               const float *gradient, const int64_t *results, float *dv, float least, int64_t B, int64_t T,
                               int64_t H, int64_t P, int64_t J, int32_t threads) {
    const int64_t wide = whole_lanes(H), size = T * J * P;
    std::vector<float> weights(J * P * wide, 0.0f);
    for (int64_t k = 0; k < J * P; ++k) std::memcpy(weights.data() + k * wide, v + k * H, sizeof(float) * H);
#pragma omp parallel num_threads(threads)
    {
        Compared row(T, H, P, J, true);
        std::vector<float> own(J * P * wide);
#pragma omp for schedule(static)
        for (int64_t b = 0; b < B; ++b) {
            row.mask = mask ? mask + b * T : nullptr;
            row.take(x, (const float *const *)others, steps_J, b);
            std::memset(row.dx.data(), 0, sizeof(float) * row.dx.size());
            for (int64_t j = 0; j < J; ++j) std::memset(row.dy[j].data(), 0, sizeof(float) * row.dy[j].size());
            std::memset(own.data(), 0, sizeof(float) * own.size());
            weighted_cosines_backward_row(row, weights.data(), least, cosine + b * size, x_scale + b * size,
                                          y_scale + b * size, gradient + b * size, own.data());
            for (int64_t t = 0; t < T; ++t)
                std::memcpy((float *)results[0] + (b * T + t) * H, row.dx.data() + t * wide, sizeof(float) * H);
            for (int64_t j = 0; j < J; ++j)
                for (int64_t t = 0; t < steps_J[j]; ++t)
                    std::memcpy((float *)results[1 + j] + (b * steps_J[j] + t) * H, row.dy[j].data() + t * wide,
                                sizeof(float) * H);
            for (int64_t k = 0; k < J * P; ++k)
                std::memcpy(dv + (b * J * P + k) * H, own.data() + k * wide, sizeof(float) * H);
        }
    }
}

// gates [rows, D, 4, H] of the inputs; recurrent [D, 4, H, H]; active like gates; cells, states and the states before
// [rows, D, H]. Sequence n has the rows from start_N1[n] on; direction 1 goes from its end to its beginning.
void lstm_train(const float *inputs, const int64_t *start_N1, const float *recurrent, float *active, float *cells,
                float *states, float *before, int64_t N, int64_t D, int64_t H, int32_t threads) {
    const int64_t wide = whole_lanes(H), blocks = (N + SEQUENCES - 1) / SEQUENCES;
    std::vector<float> weights(D * H * 4 * wide, 0.0f);
    for (int64_t d = 0; d < D; ++d)
        for (int64_t row = 0; row < 4 * H; ++row)
            for (int64_t h = 0; h < H; ++h)
                weights[(d * H + h) * 4 * wide + row / H * wide + row % H] = recurrent[(d * 4 * H + row) * H + h];
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> space(SEQUENCES * 6 * wide);
#pragma omp for schedule(dynamic)
        for (int64_t x = 0; x < D * blocks; ++x) {
            const int64_t d = x / blocks, first = x % blocks * SEQUENCES;
            const Recurrence r = {start_N1, H, wide, 4 * H * D, H * D, start_N1[N] - 1, d == 1};
            lstm_train_sequences(r, first, first + SEQUENCES < N ? first + SEQUENCES : N, inputs + d * 4 * H,
                                 weights.data() + d * H * 4 * wide, active + d * 4 * H, cells + d * H, states + d * H,
                                 before + d * H, space.data());
        }
    }
}

// gradient [rows, D, H] of the states; result [rows, D, 4, H] of the gates, before their activation.
void lstm_train_backward(const float *active, const float *cells, const float *gradient, const int64_t *start_N1,
                         const float *recurrent, float *result, int64_t N, int64_t D, int64_t H, int32_t threads) {
    const int64_t wide = whole_lanes(H), blocks = (N + SEQUENCES - 1) / SEQUENCES;
    std::vector<float> weights(D * 4 * wide * wide, 0.0f);
    for (int64_t d = 0; d < D; ++d)
        for (int64_t row = 0; row < 4 * H; ++row)
            std::memcpy(weights.data() + (d * 4 * wide + row / H * wide + row % H) * wide,
                        recurrent + (d * 4 * H + row) * H, sizeof(float) * H);
#pragma omp parallel num_threads(threads)
    {
        std::vector<float> space(SEQUENCES * 6 * wide);
#pragma omp for schedule(dynamic)
        for (int64_t x = 0; x < D * blocks; ++x) {
            const int64_t d = x / blocks, first = x % blocks * SEQUENCES;
            const Recurrence r = {start_N1, H, wide, 4 * H * D, H * D, start_N1[N] - 1, d == 1};
            lstm_backward_sequences(r, first, first + SEQUENCES < N ? first + SEQUENCES : N, active + d * 4 * H,
                                    cells + d * H, gradient + d * H, weights.data() + d * 4 * wide * wide,
                                    result + d * 4 * H, space.data());
        }
    }
}

// answer [N, T, C]; best and winner [N, C].
void highest_windows(const float *answer, const int64_t *windows_N, float *best, int32_t *winner, int64_t N,
                     int64_t T, int64_t C, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t n = 0; n < N; ++n)
        highest_window(answer + n * T * C, best + n * C, winner + n * C, windows_N[n], C);
}

// A window is k rows of x [N, T, E], one after another; weight [C, k, E]. Results are added to.
void highest_windows_backward(const float *x, const float *weight, const int32_t *winner_NC,
                              const float *gradient_NC, float *x_result, float *weight_result, int64_t N,
                              int64_t T, int64_t E, int64_t C, int64_t k, int32_t threads) {
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; ++n)
            for (int64_t c = 0; c < C; ++c)
                if (gradient_NC[n * C + c] != 0.0f)
                    add_scaled(x_result + (n * T + winner_NC[n * C + c]) * E, weight + c * k * E,
                               gradient_NC[n * C + c], k * E);
#pragma omp for schedule(static)
        for (int64_t c = 0; c < C; ++c)
            for (int64_t n = 0; n < N; ++n)
                if (gradient_NC[n * C + c] != 0.0f)
                    add_scaled(weight_result + c * k * E, x + (n * T + winner_NC[n * C + c]) * E,
                               gradient_NC[n * C + c], k * E);
    }
}

// product [U, P, C] where P is all places of all windows; out [N, A, T, C].
void sum_words(const float *product_UPC, const int64_t *slot_NT, const int64_t *size_A, const int64_t *before_A,
               float *out, int64_t N, int64_t T, int64_t A, int64_t P, int64_t C, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t n = 0; n < N; ++n)
        sum_words_text(product_UPC, slot_NT + n * T, size_A, before_A, out + n * A * T * C, T, A, P, C);
}

// C [M, N] = offset_N + A [M, K] B [K, N], steps between rows and columns of A and B given; every sum is taken in the
// same order whatever M is, and however many threads there are.
void product(const float *a, const float *b, const float *offset, float *c, int64_t a_row, int64_t a_column,
             int64_t b_row, int64_t b_column, int64_t M, int64_t N, int64_t K, int32_t threads) {
    const int64_t lanes = whole_lanes(N) / LANES, panels = (lanes + PANEL - 1) / PANEL;
    std::vector<int64_t> start(panels + 1);  // in vectors: as even as can be
    for (int64_t p = 0; p <= panels; ++p) start[p] = lanes * p / panels;
    const int64_t blocks = (M + BLOCK - 1) / BLOCK;
    // few rows (the gradient of weights): columns are shared out, too
    const int64_t groups = threads == 1 || blocks >= 2 * threads ? 1 : (panels < threads ? panels : threads);
    const int64_t deepest = K < DEPTH ? K : DEPTH;
    float *packed = new float[deepest * lanes * LANES];
    std::vector<float> nothing;
    if (!offset) {
        nothing.assign(N, 0.0f);
        offset = nothing.data();
    }
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> edge(deepest * 16);
        for (int64_t k = 0; k < K || k == 0; k += DEPTH) {
            const int64_t depth = k + DEPTH <= K ? DEPTH : K - k;
#pragma omp for schedule(static)
            for (int64_t p = 0; p < panels; ++p) {
                const int64_t n = start[p] * LANES, wide = (start[p + 1] - start[p]) * LANES;
                pack_panel({b + k * b_row + n * b_column, b_row, b_column}, depth, n + wide <= N ? wide : N - n, wide,
                           packed + depth * n);
            }
#pragma omp for schedule(static)
            for (int64_t task = 0; task < blocks * groups; ++task) {
                const int64_t m = task / groups * BLOCK, group = task % groups;
                const int64_t rows = m + BLOCK <= M ? BLOCK : M - m;
                for (int64_t p = panels * group / groups; p < panels * (group + 1) / groups; ++p) {
                    const int64_t n = start[p] * LANES, vectors = start[p + 1] - start[p];
                    product_block({a + m * a_row + k * a_column, a_row, a_column}, rows, packed + depth * n, vectors,
                                  depth, k ? nullptr : offset + n, c + m * N + n, N, N - n, edge.data());
                }
            }
        }
    }
    delete[] packed;
}

// Of x W^T + b: gradients of x [X, F] (may be null), W [H, F] and b [H] (may be null) from that of the result, [X, H].
void map_backward(const float *gradient, const float *x, const float *weight, float *of_x, float *of_weight, float *of_bias,
                  int64_t X, int64_t H, int64_t F, int32_t threads) {
    if (of_x) product(gradient, weight, nullptr, of_x, H, 1, F, 1, X, F, H, threads);
    product(gradient, x, nullptr, of_weight, 1, H, F, 1, H, F, X, threads);
    if (!of_bias) return;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t h = 0; h < H; h += ROWS) column_sums(gradient + h, of_bias + h, X, H, h + ROWS < H ? ROWS : H - h);
}

// C_b [M, N] = A_b [M, K] B_b [K, N] of many small matrices, the steps between them, their rows and columns given.
void products(const float *a, const float *b, float *c, int64_t a_item, int64_t a_row, int64_t a_column, int64_t b_item,
              int64_t b_row, int64_t b_column, int64_t items, int64_t M, int64_t N, int64_t K, int32_t threads) {
    const int64_t lanes = whole_lanes(N) / LANES, panels = (lanes + PANEL - 1) / PANEL;
    const int64_t deepest = K < DEPTH ? K : DEPTH;
    const std::vector<float> nothing(N, 0.0f);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> packed(deepest * PANEL * LANES), edge(deepest * 16);
#pragma omp for schedule(static)
        for (int64_t item = 0; item < items; ++item) {
            const float *own_a = a + item * a_item, *own_b = b + item * b_item;
            float *own_c = c + item * M * N;
            for (int64_t p = 0; p < panels; ++p) {
                const int64_t first = lanes * p / panels, vectors = lanes * (p + 1) / panels - first;
                const int64_t n = first * LANES, wide = vectors * LANES;
                for (int64_t k = 0; k < K || k == 0; k += DEPTH) {
                    const int64_t depth = k + DEPTH <= K ? DEPTH : K - k;
                    pack_panel({own_b + k * b_row + n * b_column, b_row, b_column}, depth, n + wide <= N ? wide : N - n,
                               wide, packed.data());
                    product_block({own_a + k * a_column, a_row, a_column}, M, packed.data(), vectors, depth,
                                  k ? nullptr : nothing.data() + n, own_c + n, N, N - n, edge.data());
                }
            }
        }
    }
}

// Whether `product` is to be preferred to the library behind PyTorch's: that one keeps its 512-bit code from AMD.
int32_t wide_products() {
#if defined(CLONES)
    return has_512_bits() && __builtin_cpu_is("amd");
#else
    return 0;
#endif
}

}  // extern "C"
