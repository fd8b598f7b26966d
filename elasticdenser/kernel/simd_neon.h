/* Vectors of 16 numbers as four vectors of NEON. All operations, and their order in a reduction, are those of AVX2, so
   that both paths compute the same bits.

   vdotq_s32 multiplies s8 by s8 and adds up fours, so 128 is subtracted from each code, as in AVX2. */
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))
enum { ROWS = 5, FLOAT_ROWS = 5, PANELS = 1 };
/* Of 32 registers: 20 sums, 4 weights and 5 codes or inputs, all of which GCC loads before it multiplies: with 6 rows
   it moves sums to memory and back. A second panel would leave space for 2 rows: 16 sums for 10 loads, not 20 for 9. */

typedef struct { float32x4_t at[4]; } F;
typedef struct { int32x4_t at[4]; } I;
typedef struct { int8x16_t at[4]; } Weights;
typedef int8x16_t Codes;

/* Here i is a constant. GCC 12 keeps the sums of a block in memory if it is the variable of a loop. */
#define FOR_QUARTERS(statement)            \
    { enum { i = 0 }; statement; }         \
    { enum { i = 1 }; statement; }         \
    { enum { i = 2 }; statement; }         \
    { enum { i = 3 }; statement; }
#define QUARTERS(type, expression)         \
    type y;                                \
    FOR_QUARTERS(y.at[i] = (expression))   \
    return y
INLINE F f_set(float x) { QUARTERS(F, vdupq_n_f32(x)); }
INLINE F f_load(const float *from) { QUARTERS(F, vld1q_f32(from + 4 * i)); }
INLINE F f_load_first(const float *from, int64_t n) {
    float copy[16] = {0};
    memcpy(copy, from, (size_t)n * sizeof *from);
    return f_load(copy);
}
INLINE void f_store(float *to, F x) { FOR_QUARTERS(vst1q_f32(to + 4 * i, x.at[i])) }
INLINE F f_add(F a, F b) { QUARTERS(F, vaddq_f32(a.at[i], b.at[i])); }
INLINE F f_sub(F a, F b) { QUARTERS(F, vsubq_f32(a.at[i], b.at[i])); }
INLINE F f_mul(F a, F b) { QUARTERS(F, vmulq_f32(a.at[i], b.at[i])); }
INLINE F f_div(F a, F b) { QUARTERS(F, vdivq_f32(a.at[i], b.at[i])); }
INLINE F f_fma(F a, F b, F c) { QUARTERS(F, vfmaq_f32(c.at[i], a.at[i], b.at[i])); }

/* Not vminq_f32 and vmaxq_f32, which treat zeros of different signs and NaN in another way than x86 does. */
INLINE float32x4_t lesser_of_4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
INLINE float32x4_t greater_of_4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
INLINE F f_min(F a, F b) { QUARTERS(F, lesser_of_4(a.at[i], b.at[i])); }
INLINE F f_max(F a, F b) { QUARTERS(F, greater_of_4(a.at[i], b.at[i])); }

INLINE F f_round(F x) { QUARTERS(F, vrndnq_f32(x.at[i])); }
INLINE float32x4_t power_of_4(float32x4_t x) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(x), vdupq_n_s32(127)), 23));
}
/* 2 to the power of whole numbers */
INLINE F f_power(F x) { QUARTERS(F, power_of_4(x.at[i])); }
INLINE F f_from_half(const uint16_t *from) {
    QUARTERS(F, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + 4 * i))));
}
INLINE F f_from_bytes(const int8_t *from) {
    int8x16_t bytes = vld1q_s8(from);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return (F){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}
INLINE uint8x8_t codes_of_8(float32x4_t low, float32x4_t high) {
    return vqmovun_s16(vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(low)), vqmovn_s32(vcvtnq_s32_f32(high))));
}
INLINE void f_store_codes(uint8_t *to, F x) {
    vst1q_u8(to, vcombine_u8(codes_of_8(x.at[0], x.at[1]), codes_of_8(x.at[2], x.at[3])));
}

#define REDUCE(name, of_4)                                                    \
    INLINE float name(F x) {                                                  \
        float32x4_t four = of_4(of_4(x.at[0], x.at[2]), of_4(x.at[1], x.at[3])); \
        four = of_4(four, vextq_f32(four, four, 2));                          \
        return vgetq_lane_f32(of_4(four, vextq_f32(four, four, 1)), 0);       \
    }
REDUCE(f_reduce_add, vaddq_f32)
REDUCE(f_reduce_min, lesser_of_4)
REDUCE(f_reduce_max, greater_of_4)
#undef REDUCE

INLINE I i_zero(void) { QUARTERS(I, vdupq_n_s32(0)); }
INLINE Weights weights_load(const int8_t *from) { QUARTERS(Weights, vld1q_s8(from + 16 * i)); }
INLINE Codes codes_load(const uint8_t *from) {
    uint32_t four;
    memcpy(&four, from, 4);
    return vreinterpretq_s8_u32(vdupq_n_u32(four ^ 0x80808080));
}
INLINE I i_dot(I sum, Codes codes, Weights weights) { QUARTERS(I, vdotq_s32(sum.at[i], weights.at[i], codes)); }
/* Adds 128 * sum of the weights, which the subtraction of 128 from the codes has removed. */
INLINE F f_from_sums(I sum, const int32_t *sums_of_weights) {
    QUARTERS(F, vcvtq_f32_s32(vaddq_s32(sum.at[i], vshlq_n_s32(vld1q_s32(sums_of_weights + 4 * i), 7))));
}
