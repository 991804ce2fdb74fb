// The words of the kernels in AVX-512 with VNNI: 16 rows in the lanes of a register. Included by one source only.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int ROWS = 16;         // rows of weights in a register
constexpr int COLUMNS = 16;      // columns of a full panel: their sums and eight registers of weights fit into the 32
constexpr int BIAS = 128;        // what signed bytes are raised by: the products take the weights unsigned
using floats = __m512;
using ints = __m512i;

inline ints zero() { return _mm512_setzero_si512(); }
inline floats zero_floats() { return _mm512_setzero_ps(); }
inline ints every(int32_t x) { return _mm512_set1_epi32(x); }
inline floats every(float x) { return _mm512_set1_ps(x); }
inline ints every_byte(int x) { return _mm512_set1_epi8(static_cast<char>(x)); }
inline floats mul(floats a, floats b) { return _mm512_mul_ps(a, b); }
inline floats fma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
inline ints add(ints a, ints b) { return _mm512_add_epi32(a, b); }
inline ints larger(ints a, ints b) { return _mm512_max_epi32(a, b); }
inline ints mul_halves(ints a, ints b) { return _mm512_mullo_epi16(a, b); }
inline floats to_floats(ints a) { return _mm512_cvtepi32_ps(a); }
inline floats as_floats(ints a) { return _mm512_castsi512_ps(a); }
inline ints bits_and(ints a, ints b) { return _mm512_and_si512(a, b); }
inline ints bits_xor(ints a, ints b) { return _mm512_xor_si512(a, b); }
inline ints bits_or(ints a, ints b) { return _mm512_or_si512(a, b); }
inline ints or_masked(ints a, ints b, ints mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); } // a | (b & mask)
inline floats negative(floats a) { return mul(a, every(-1.0f)); }
template <int N> inline ints shift_right(ints a) { return _mm512_srli_epi32(a, N); }
template <int N> inline ints shift_left(ints a) { return _mm512_slli_epi32(a, N); }
inline ints shift_right_by(ints a, int n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n)); }
template <int N> inline ints shift_signed(ints a) { return _mm512_srai_epi32(a, N); }

// The running sums of `dot`: exact in any order, because they are integers.
struct sums {
    ints total;
};
inline sums sums_from(int32_t start) { return {every(start)}; }
template <int BITS> inline void dot(sums & s, ints weights, int32_t four) {
    s.total = _mm512_dpbusd_epi32(s.total, weights, every(four));
}
inline ints finish(sums s) { return s.total; }

// Sixteen bytes of each row, rows `stride` apart, as four registers: dword r of register c is dword c of row r.
__attribute__((always_inline)) inline void transpose(const uint8_t * base, int64_t stride, ints out[4]) {
    ints part[4];
    for (int i = 0; i < 4; i++) {
        const auto row = [&](int r) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(base + (i + 4 * r) * stride)); };
        ints rows = _mm512_castsi128_si512(row(0));
        rows = _mm512_inserti32x4(rows, row(1), 1);
        rows = _mm512_inserti32x4(rows, row(2), 2);
        part[i] = _mm512_inserti32x4(rows, row(3), 3);
    }
    const ints low01 = _mm512_unpacklo_epi32(part[0], part[1]), high01 = _mm512_unpackhi_epi32(part[0], part[1]);
    const ints low23 = _mm512_unpacklo_epi32(part[2], part[3]), high23 = _mm512_unpackhi_epi32(part[2], part[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
}

// A dword of each row, which need not be aligned.
inline ints gather(const uint8_t * base, int64_t stride) {
    const ints lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_i32gather_epi32(_mm512_mullo_epi32(lanes, every(static_cast<int32_t>(stride))), base, 1);
}

// The entries of a table of 16 bytes.
inline ints look_up(const int8_t * table, ints indices) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i *>(table))), indices);
}

// A byte of each dword, as a number in each half of it.
template <int BYTE> inline ints in_both_halves(ints a) {
    const ints from = _mm512_add_epi32(_mm512_set4_epi32(0x800c800c, 0x80088008, 0x80048004, 0x80008000), every(BYTE * 0x10001));
    return _mm512_shuffle_epi8(a, from);
}

// The entries of a table of dwords.
inline ints look_up_dwords(const uint32_t * table, ints indices) { return _mm512_i32gather_epi32(indices, table, 4); }

// The half in the low 16 bits of each dword.
inline floats half_to_floats(ints a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }

// The bytes i of dwords for which bit 4 * J + i of the dword in `bits` is set.
template <int J> inline __mmask64 bytes_by_bits(ints bits) {
    const ints from = _mm512_add_epi8(_mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0), every_byte(J / 2));
    const ints wanted = every(J % 2 ? static_cast<int32_t>(0x80402010) : 0x08040201);
    return _mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, from), wanted);
}

// `low` with 16 added to those bytes.
template <int J> inline ints fifth_bits(ints bits, ints low) {
    return _mm512_or_si512(low, _mm512_maskz_mov_epi8(bytes_by_bits<J>(bits), every_byte(16)));
}

// `bytes`, of which those are negated.
template <int J> inline ints signed_by(ints bits, ints bytes) {
    return _mm512_mask_sub_epi8(bytes, bytes_by_bits<J>(bits), zero(), bytes);
}

inline void store(float * to, floats values, int rows) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << rows) - 1), values);
}

// --- attention ----------------------------------------------------------------------------------------------------------
constexpr int WIDE = 4; // registers side by side: with six rows they are 24 sums

inline floats load(const float * from) { return _mm512_loadu_ps(from); }
inline floats load_halves(const uint16_t * from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)));
}
inline void store(float * to, floats values) { _mm512_storeu_ps(to, values); }
inline void store(float * to, ints values) { _mm512_storeu_si512(to, values); }
inline floats add(floats a, floats b) { return _mm512_add_ps(a, b); }
inline floats subtract(floats a, floats b) { return _mm512_sub_ps(a, b); }
inline floats larger(floats a, floats b) { return _mm512_max_ps(a, b); }
inline floats power_of_two(floats n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), every(127)), 23));
}
inline floats rounded(floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline floats zero_below(floats x, floats limit, floats value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), value);
}
inline bool are_all(const uint16_t * halves, uint16_t value) { // 32 of them
    return _mm512_cmpneq_epi16_mask(_mm512_loadu_si512(halves), _mm512_set1_epi16(static_cast<int16_t>(value))) == 0;
}
inline float largest_of(floats a) { return _mm512_reduce_max_ps(a); }
inline float sum_of(floats a) { return _mm512_reduce_add_ps(a); }

// --- products in floating point ------------------------------------------------------------------------------------------------
constexpr int FLOAT_ROWS = 4, FLOAT_COLUMNS = 6; // 24 sums

using sixteen = __m512;
inline sixteen no_sums() { return _mm512_setzero_ps(); }
inline sixteen load_sixteen(const float * from) { return _mm512_loadu_ps(from); }
inline sixteen sixteen_halves(const uint16_t * from) { return load_halves(from); }
inline sixteen sixteen_upper_halves(const uint16_t * from) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline void store_sixteen(float * to, sixteen values) { _mm512_storeu_ps(to, values); }
inline void add_products(sixteen & sums, sixteen a, sixteen b) { sums = _mm512_fmadd_ps(a, b, sums); }
// The sums of four: in each quarter of a register 0 + 2 and 1 + 3, then both, then the quarters in the same way.
inline void add_up(const sixteen (&x)[4], float * to) {
    const __m512 even = _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
    const __m512 odd = _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
    const __m512d a = _mm512_castps_pd(even), b = _mm512_castps_pd(odd);
    const __m512 all = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

// --- the quantization of 32 activations ---------------------------------------------------------------------------------
inline float largest_magnitude(const float * x) {
    const ints sign_off = every(0x7fffffff);
    // as integers: magnitudes have the order of their bits, and a NaN is larger than everything
    const ints a = bits_and(_mm512_loadu_si512(x), sign_off), b = bits_and(_mm512_loadu_si512(x + 16), sign_off);
    const int32_t bits = _mm512_reduce_max_epi32(_mm512_max_epi32(a, b));
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void round_to_bytes(const float * x, float factor, int8_t * to, int32_t * sum) {
    const ints a = _mm512_cvtps_epi32(mul(_mm512_loadu_ps(x), every(factor)));
    const ints b = _mm512_cvtps_epi32(mul(_mm512_loadu_ps(x + 16), every(factor)));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm512_cvtsepi32_epi8(a));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16), _mm512_cvtsepi32_epi8(b));
    sum[0] = _mm512_reduce_add_epi32(a);
    sum[1] = _mm512_reduce_add_epi32(b);
}

} // namespace
