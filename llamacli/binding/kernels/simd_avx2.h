// The words of the kernels in AVX2: 8 rows in the lanes of a register. Included by one source only.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int ROWS = 8;    // rows of weights in a register
constexpr int COLUMNS = 4; // columns of a full panel: two registers each beside the weights
constexpr int BIAS = 0;    // signed bytes stay signed: a bias would overflow the sums of 16 bits
using floats = __m256;
using ints = __m256i;

inline ints zero() { return _mm256_setzero_si256(); }
inline floats zero_floats() { return _mm256_setzero_ps(); }
inline ints every(int32_t x) { return _mm256_set1_epi32(x); }
inline floats every(float x) { return _mm256_set1_ps(x); }
inline ints every_byte(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
inline floats mul(floats a, floats b) { return _mm256_mul_ps(a, b); }
inline floats fma(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
inline ints add(ints a, ints b) { return _mm256_add_epi32(a, b); }
inline ints larger(ints a, ints b) { return _mm256_max_epi32(a, b); }
inline ints mul_halves(ints a, ints b) { return _mm256_mullo_epi16(a, b); }
inline floats to_floats(ints a) { return _mm256_cvtepi32_ps(a); }
inline floats as_floats(ints a) { return _mm256_castsi256_ps(a); }
inline ints bits_and(ints a, ints b) { return _mm256_and_si256(a, b); }
inline ints bits_xor(ints a, ints b) { return _mm256_xor_si256(a, b); }
inline ints bits_or(ints a, ints b) { return _mm256_or_si256(a, b); }
inline ints or_masked(ints a, ints b, ints mask) { return bits_or(a, bits_and(b, mask)); }
inline floats negative(floats a) { return mul(a, every(-1.0f)); }
template <int N> inline ints shift_right(ints a) { return _mm256_srli_epi32(a, N); }
template <int N> inline ints shift_left(ints a) { return _mm256_slli_epi32(a, N); }
inline ints shift_right_by(ints a, int n) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n)); }
template <int N> inline ints shift_signed(ints a) { return _mm256_srai_epi32(a, N); }

// The running sums of `dot`: exact in any order, because they are integers. Weights of up to BITS bits add so many pairs of
// products in 16 bits without overflow: 2 * 15 * 127 * 8, 2 * 31 * 127 * 4 and 2 * 63 * 127 * 2 are below 32768.
struct sums {
    ints total;
    ints pairs;
    int count;
};
inline sums sums_from(int32_t start) { return {every(start), zero(), 0}; }
inline void widen(sums & s) {
    s.total = _mm256_add_epi32(s.total, _mm256_madd_epi16(s.pairs, _mm256_set1_epi16(1)));
    s.pairs = zero();
    s.count = 0;
}
template <int BITS> inline void dot(sums & s, ints weights, int32_t four) {
    constexpr int most = BITS == 4 ? 8 : BITS == 5 ? 4 : BITS == 6 ? 2 : 1;
    const ints x = every(four);
    const ints products = BITS == 8 ? _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights))
                                    : _mm256_maddubs_epi16(weights, x);
    s.pairs = s.count ? _mm256_add_epi16(s.pairs, products) : products;
    if (++s.count == most) {
        widen(s);
    }
}
inline ints finish(sums s) {
    if (s.count) {
        widen(s);
    }
    return s.total;
}

// Sixteen bytes of each row, rows `stride` apart, as four registers: dword r of register c is dword c of row r.
__attribute__((always_inline)) inline void transpose(const uint8_t * base, int64_t stride, ints out[4]) {
    ints part[4];
    for (int i = 0; i < 4; i++) {
        const auto row = [&](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(base + (i + 4 * r) * stride)); };
        part[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(1), 1);
    }
    const ints low01 = _mm256_unpacklo_epi32(part[0], part[1]), high01 = _mm256_unpackhi_epi32(part[0], part[1]);
    const ints low23 = _mm256_unpacklo_epi32(part[2], part[3]), high23 = _mm256_unpackhi_epi32(part[2], part[3]);
    out[0] = _mm256_unpacklo_epi64(low01, low23);
    out[1] = _mm256_unpackhi_epi64(low01, low23);
    out[2] = _mm256_unpacklo_epi64(high01, high23);
    out[3] = _mm256_unpackhi_epi64(high01, high23);
}

// A dword of each row, which need not be aligned.
inline ints gather(const uint8_t * base, int64_t stride) {
    const auto at = [&](int r) {
        int32_t value;
        std::memcpy(&value, base + r * stride, 4);
        return value;
    };
    return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
}

// The entries of a table of 16 bytes.
inline ints look_up(const int8_t * table, ints indices) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i *>(table))), indices);
}

// A byte of each dword, as a number in each half of it.
template <int BYTE> inline ints in_both_halves(ints a) {
    const __m128i from = _mm_setr_epi32(0x80008000, 0x80048004, 0x80088008, 0x800c800c);
    return _mm256_shuffle_epi8(a, _mm256_add_epi32(_mm256_broadcastsi128_si256(from), every(BYTE * 0x10001)));
}

// The entries of a table of dwords.
inline ints look_up_dwords(const uint32_t * table, ints indices) {
    return _mm256_i32gather_epi32(reinterpret_cast<const int *>(table), indices, 4);
}

// The half in the low 16 bits of each dword.
inline floats half_to_floats(ints a) {
    const ints halves = bits_and(a, every(0xffff));
    return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
}

// The bytes i of dwords for which bit 4 * J + i of the dword in `bits` is set, as bytes of ones.
template <int J> inline ints bytes_by_bits(ints bits) {
    const ints from = _mm256_add_epi8(_mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c), every_byte(J / 2));
    const ints wanted = every(J % 2 ? static_cast<int32_t>(0x80402010) : 0x08040201);
    return _mm256_cmpeq_epi8(bits_and(_mm256_shuffle_epi8(bits, from), wanted), wanted);
}

// `low` with 16 added to those bytes.
template <int J> inline ints fifth_bits(ints bits, ints low) { return bits_or(low, bits_and(bytes_by_bits<J>(bits), every_byte(16))); }

// `bytes`, of which those are negated.
template <int J> inline ints signed_by(ints bits, ints bytes) {
    const ints negated = bytes_by_bits<J>(bits);
    return _mm256_sub_epi8(bits_xor(bytes, negated), negated);
}

inline void store(float * to, floats values, int rows) {
    if (rows == ROWS) {
        _mm256_storeu_ps(to, values);
        return;
    }
    float all[ROWS];
    _mm256_storeu_ps(all, values);
    std::memcpy(to, all, static_cast<size_t>(rows) * sizeof(float));
}

// --- attention ----------------------------------------------------------------------------------------------------------
constexpr int WIDE = 2; // registers side by side: with six rows they are 12 sums

inline floats load(const float * from) { return _mm256_loadu_ps(from); }
inline floats load_halves(const uint16_t * from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from)));
}
inline void store(float * to, floats values) { _mm256_storeu_ps(to, values); }
inline void store(float * to, ints values) { _mm256_storeu_si256(reinterpret_cast<ints *>(to), values); }
inline floats add(floats a, floats b) { return _mm256_add_ps(a, b); }
inline floats subtract(floats a, floats b) { return _mm256_sub_ps(a, b); }
inline floats larger(floats a, floats b) { return _mm256_max_ps(a, b); }
inline floats power_of_two(floats n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), every(127)), 23));
}
inline floats rounded(floats a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline floats zero_below(floats x, floats limit, floats value) {
    return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), value);
}
inline bool are_all(const uint16_t * halves, uint16_t value) { // 32 of them
    const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(value));
    const __m256i first = _mm256_cmpeq_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(halves)), wanted);
    const __m256i second = _mm256_cmpeq_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(halves + 16)), wanted);
    return _mm256_movemask_epi8(_mm256_and_si256(first, second)) == -1;
}
inline float largest_of(floats a) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
inline float sum_of(floats a) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

// --- products in floating point ------------------------------------------------------------------------------------------------
constexpr int FLOAT_ROWS = 2, FLOAT_COLUMNS = 3; // 12 sums, in two registers for each result

struct sixteen {
    __m256 low, high;
};
inline sixteen no_sums() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline sixteen load_sixteen(const float * from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline sixteen sixteen_halves(const uint16_t * from) { return {load_halves(from), load_halves(from + 8)}; }
inline __m256 eight_upper_halves(const uint16_t * from) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline sixteen sixteen_upper_halves(const uint16_t * from) { return {eight_upper_halves(from), eight_upper_halves(from + 8)}; }
inline void store_sixteen(float * to, sixteen values) {
    _mm256_storeu_ps(to, values.low);
    _mm256_storeu_ps(to + 8, values.high);
}
inline void add_products(sixteen & sums, sixteen a, sixteen b) {
    sums.low = _mm256_fmadd_ps(a.low, b.low, sums.low);
    sums.high = _mm256_fmadd_ps(a.high, b.high, sums.high);
}
// The sums of two: in each quarter 0 + 2 and 1 + 3, then both, then the quarters in the same way.
inline __m256 add_quarters(__m256 a, __m256 b) {
    const __m256 pairs = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    return _mm256_add_ps(pairs, _mm256_permute_ps(pairs, 0x4e));
}
inline void add_up(const sixteen (&x)[2], float * to) {
    const __m256 half = _mm256_add_ps(add_quarters(x[0].low, x[1].low), add_quarters(x[0].high, x[1].high));
    const __m128 all = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    _mm_storel_pi(reinterpret_cast<__m64 *>(to), all);
}

// --- the quantization of 32 activations ---------------------------------------------------------------------------------
inline float largest_magnitude(const float * x) {
    const ints sign_off = every(0x7fffffff);
    // as integers: magnitudes have the order of their bits, and a NaN is larger than everything
    ints most = zero();
    for (int i = 0; i < 32; i += ROWS) {
        most = _mm256_max_epi32(most, bits_and(_mm256_loadu_si256(reinterpret_cast<const ints *>(x + i)), sign_off));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    const int32_t bits = _mm_cvtsi128_si32(four);
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void round_to_bytes(const float * x, float factor, int8_t * to, int32_t * sum) {
    for (int i = 0; i < 32; i += ROWS) {
        int32_t rounded[ROWS];
        _mm256_storeu_si256(reinterpret_cast<ints *>(rounded), _mm256_cvtps_epi32(mul(_mm256_loadu_ps(x + i), every(factor))));
        for (int j = 0; j < ROWS; j++) {
            to[i + j] = static_cast<int8_t>(rounded[j]);
            sum[i / 16] += rounded[j];
        }
    }
}

} // namespace
