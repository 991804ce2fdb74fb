// How the types with units of 256 weights are unpacked: eight blocks of 32, with scales of their own. Included after weights.h.
#pragma once

namespace {

template <int BYTE> inline ints byte_of(ints a) { return bits_and(shift_right<8 * BYTE>(a), every(0xff)); }
template <int BYTE> inline ints signed_byte_of(ints a) { return shift_signed<24>(shift_left<24 - 8 * BYTE>(a)); }

struct iq4_xs {
    static constexpr int blocks = 8, bytes = 136, bits = 8, offset = BIAS;
    static constexpr form shape = form::plain;
    template <int B> static void unpack_block(const uint8_t * base, int64_t stride, floats d, ints high, ints low, unpacked * to) {
        unpack_nibbles(base + 8 + 16 * B, stride, to[B]);
        for (ints & four : to[B].four) {
            four = look_up_iq4(four);
        }
        const ints scale = bits_or(bits_and(shift_right<4 * B>(low), every(0x0f)),
                                   shift_left<4>(bits_and(shift_right<16 + 2 * B>(high), every(0x03))));
        to[B].scale = mul(d, add(to_floats(scale), every(-32.0f)));
    }
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const ints first = gather(base, stride), low = gather(base + 4, stride);
        const floats d = half_to_floats(first);
        unpack_block<0>(base, stride, d, first, low, to);
        unpack_block<1>(base, stride, d, first, low, to);
        unpack_block<2>(base, stride, d, first, low, to);
        unpack_block<3>(base, stride, d, first, low, to);
        unpack_block<4>(base, stride, d, first, low, to);
        unpack_block<5>(base, stride, d, first, low, to);
        unpack_block<6>(base, stride, d, first, low, to);
        unpack_block<7>(base, stride, d, first, low, to);
    }
};

// The scales and minima of Q4_K and Q5_K: eight of each, with 6 bits.
inline void unpack_scales_k(const uint8_t * base, int64_t stride, unpacked * to) {
    ints head[4];
    transpose(base, stride, head);
    const floats d = half_to_floats(head[0]), least = negative(half_to_floats(shift_right<16>(head[0])));
    const ints a = head[1], b = head[2], c = head[3];
    const ints six = every(0x3f3f3f3f), four = every(0x0f0f0f0f), two = every(0x03030303);
    const ints scales[2] = {bits_and(a, six), bits_or(bits_and(c, four), shift_left<4>(bits_and(shift_right<6>(a), two)))};
    const ints minima[2] = {bits_and(b, six),
                            bits_or(bits_and(shift_right<4>(c), four), shift_left<4>(bits_and(shift_right<6>(b), two)))};
    for (int i = 0; i < 2; i++) {
        const ints scale[4] = {byte_of<0>(scales[i]), byte_of<1>(scales[i]), byte_of<2>(scales[i]), byte_of<3>(scales[i])};
        const ints minimum[4] = {byte_of<0>(minima[i]), byte_of<1>(minima[i]), byte_of<2>(minima[i]), byte_of<3>(minima[i])};
        for (int j = 0; j < 4; j++) {
            to[4 * i + j].scale = mul(d, to_floats(scale[j]));
            to[4 * i + j].minimum = mul(least, to_floats(minimum[j]));
        }
    }
}

// Bits that are FROM places up in every byte come to TO places up.
template <int FROM, int TO> inline ints move_bits(ints a) {
    if constexpr (FROM >= TO) {
        return shift_right<FROM - TO>(a);
    } else {
        return shift_left<TO - FROM>(a);
    }
}

// Thirty-two bytes of each row.
__attribute__((always_inline)) inline void transpose_block(const uint8_t * base, int64_t stride, ints * to) {
    transpose(base, stride, to);
    transpose(base + 16, stride, to + 4);
}

// Thirty-two bytes of each row: their low halves are one block, their high halves another.
__attribute__((always_inline)) inline void unpack_two_blocks(const uint8_t * base, int64_t stride, unpacked & first, unpacked & second) {
    ints packed[FOURS];
    transpose_block(base, stride, packed);
    const ints low = every_byte(0x0f);
    for (int i = 0; i < FOURS; i++) {
        first.four[i] = bits_and(packed[i], low);
        second.four[i] = bits_and(shift_right<4>(packed[i]), low);
    }
}

// Add bits to the weights of a block: those of MASK, which are FROM places up in `high`, come to TO places up.
template <int FROM, int TO, int MASK> inline void add_bits(const ints * high, unpacked & to) {
    for (int i = 0; i < FOURS; i++) {
        to.four[i] = or_masked(to.four[i], move_bits<FROM, TO>(high[i]), every_byte(MASK << TO));
    }
}

struct q4_k {
    static constexpr int blocks = 8, bytes = 144, bits = 4, offset = 0;
    static constexpr form shape = form::with_minimum;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scales_k(base, stride, to);
        for (int pair = 0; pair < 4; pair++) {
            unpack_two_blocks(base + 16 + 32 * pair, stride, to[2 * pair], to[2 * pair + 1]);
        }
    }
};

struct q5_k {
    static constexpr int blocks = 8, bytes = 176, bits = 5, offset = 0;
    static constexpr form shape = form::with_minimum;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        unpack_scales_k(base, stride, to);
        for (int pair = 0; pair < 4; pair++) {
            unpack_two_blocks(base + 48 + 32 * pair, stride, to[2 * pair], to[2 * pair + 1]);
        }
        ints high[FOURS];
        transpose_block(base + 16, stride, high);
        add_bits<0, 4, 1>(high, to[0]);
        add_bits<1, 4, 1>(high, to[1]);
        add_bits<2, 4, 1>(high, to[2]);
        add_bits<3, 4, 1>(high, to[3]);
        add_bits<4, 4, 1>(high, to[4]);
        add_bits<5, 4, 1>(high, to[5]);
        add_bits<6, 4, 1>(high, to[6]);
        add_bits<7, 4, 1>(high, to[7]);
    }
};

struct q6_k {
    static constexpr int blocks = 8, bytes = 210, bits = 6, offset = 32;
    static constexpr form shape = form::in_halves;
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(shift_right<16>(gather(base + 206, stride))); // nothing behind it
        ints scales[4];
        transpose(base + 192, stride, scales);
        for (int half = 0; half < 2; half++, to += 4) {
            unpack_two_blocks(base + 64 * half, stride, to[0], to[2]);
            unpack_two_blocks(base + 64 * half + 32, stride, to[1], to[3]);
            ints high[FOURS];
            transpose_block(base + 128 + 32 * half, stride, high);
            add_bits<0, 4, 3>(high, to[0]);
            add_bits<2, 4, 3>(high, to[1]);
            add_bits<4, 4, 3>(high, to[2]);
            add_bits<6, 4, 3>(high, to[3]);
            for (int i = 0; i < 2; i++) {
                const ints four = scales[2 * half + i];
                to[2 * i].scale = mul(d, to_floats(signed_byte_of<0>(four)));
                to[2 * i].minimum = mul(d, to_floats(signed_byte_of<1>(four)));
                to[2 * i + 1].scale = mul(d, to_floats(signed_byte_of<2>(four)));
                to[2 * i + 1].minimum = mul(d, to_floats(signed_byte_of<3>(four)));
            }
        }
    }
};

struct q3_k {
    static constexpr int blocks = 8, bytes = 110, bits = 4, offset = 4;
    static constexpr form shape = form::in_halves;
    template <int B> static void unpack_block(const ints * low, const ints * high, unpacked & to) {
        for (int i = 0; i < FOURS; i++) {
            to.four[i] = bits_and(shift_right<2 * (B % 4)>(low[i]), every_byte(3));
        }
        add_bits<B, 2, 1>(high, to);
    }
    static void set_scales(floats d, ints scales, unpacked * to) {
        const floats least = every(-32.0f);
        to[0].scale = mul(d, add(to_floats(byte_of<0>(scales)), least));
        to[0].minimum = mul(d, add(to_floats(byte_of<1>(scales)), least));
        to[1].scale = mul(d, add(to_floats(byte_of<2>(scales)), least));
        to[1].minimum = mul(d, add(to_floats(byte_of<3>(scales)), least));
    }
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const floats d = half_to_floats(shift_right<16>(gather(base + 106, stride))); // nothing behind it
        const ints a = gather(base + 96, stride), b = gather(base + 100, stride), c = gather(base + 104, stride);
        const ints four = every_byte(0x0f), two = every_byte(0x30);
        set_scales(d, or_masked(bits_and(a, four), shift_left<4>(c), two), to);
        set_scales(d, or_masked(bits_and(b, four), shift_left<2>(c), two), to + 2);
        set_scales(d, or_masked(bits_and(shift_right<4>(a), four), c, two), to + 4);
        set_scales(d, or_masked(bits_and(shift_right<4>(b), four), shift_right<2>(c), two), to + 6);
        ints high[FOURS], low[FOURS];
        transpose_block(base, stride, high);
        transpose_block(base + 32, stride, low);
        unpack_block<0>(low, high, to[0]);
        unpack_block<1>(low, high, to[1]);
        unpack_block<2>(low, high, to[2]);
        unpack_block<3>(low, high, to[3]);
        transpose_block(base + 64, stride, low);
        unpack_block<4>(low, high, to[4]);
        unpack_block<5>(low, high, to[5]);
        unpack_block<6>(low, high, to[6]);
        unpack_block<7>(low, high, to[7]);
    }
};

// Bytes are the weights times the scale of their half: at most 3 * 15.
struct q2_k {
    static constexpr int blocks = 8, bytes = 84, bits = 6, offset = 0;
    static constexpr form shape = form::with_two_minima;
    template <int B> static void unpack_block(const ints * low, ints scales, ints minima, floats d, floats least, unpacked & to) {
        constexpr int first = 2 * (B % 2);
        const ints scale[2] = {in_both_halves<first>(scales), in_both_halves<first + 1>(scales)};
        for (int i = 0; i < FOURS; i++) {
            to.four[i] = mul_halves(bits_and(shift_right<2 * (B % 4)>(low[i]), every_byte(3)), scale[i / (FOURS / 2)]);
        }
        to.scale = d;
        to.minimum = mul(least, to_floats(byte_of<first>(minima)));
        to.second = mul(least, to_floats(byte_of<first + 1>(minima)));
    }
    __attribute__((always_inline)) static void unpack(const uint8_t * base, int64_t stride, unpacked * to) {
        const ints both = gather(base + 80, stride), four = every_byte(0x0f);
        const floats d = half_to_floats(both), least = negative(half_to_floats(shift_right<16>(both)));
        for (int half = 0; half < 2; half++, to += 4) {
            const ints a = gather(base + 8 * half, stride), b = gather(base + 8 * half + 4, stride);
            const ints scales[2] = {bits_and(a, four), bits_and(b, four)};
            const ints minima[2] = {bits_and(shift_right<4>(a), four), bits_and(shift_right<4>(b), four)};
            ints low[FOURS];
            transpose_block(base + 16 + 32 * half, stride, low);
            unpack_block<0>(low, scales[0], minima[0], d, least, to[0]);
            unpack_block<1>(low, scales[0], minima[0], d, least, to[1]);
            unpack_block<2>(low, scales[1], minima[1], d, least, to[2]);
            unpack_block<3>(low, scales[1], minima[1], d, least, to[3]);
        }
    }
};

} // namespace
