/* Vectors of 16 numbers in AVX-512; codes x weights by VNNI's vpdpbusd, which multiplies u8 by s8 and adds up fours. */
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
enum { ROWS = 6, FLOAT_ROWS = 6, PANELS = 4 }; /* 24 sums, 4 weights and 1 code: 29 of 32 registers */

typedef __m512 F;
typedef __m512i I, Codes, Weights;

INLINE F f_set(float x) { return _mm512_set1_ps(x); }
INLINE F f_load(const float *at) { return _mm512_loadu_ps(at); }
INLINE F f_load_first(const float *at, int64_t n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), at); }
INLINE void f_store(float *at, F x) { _mm512_storeu_ps(at, x); }
INLINE F f_add(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F f_sub(F a, F b) { return _mm512_sub_ps(a, b); }
INLINE F f_mul(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F f_div(F a, F b) { return _mm512_div_ps(a, b); }
INLINE F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F f_min(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F f_max(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F f_round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* 2 to the power of whole numbers */
INLINE F f_power(F x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(127)), 23));
}
INLINE F f_from_half(const uint16_t *at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)); }
INLINE F f_from_bytes(const int8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)at)));
}
INLINE void f_store_codes(uint8_t *at, F x) {
    _mm_storeu_si128((__m128i *)at, _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(x)));
}

/* Reductions combine the two halves first, in the same order as in AVX2. */
INLINE __m256 low_half(F x) { return _mm512_castps512_ps256(x); }
INLINE __m256 high_half(F x) { return _mm512_extractf32x8_ps(x, 1); }
#include "simd_reduce.h"

INLINE F f_from_ints(const int32_t *at) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(at)); }
INLINE I i_zero(void) { return _mm512_setzero_si512(); }
INLINE Weights weights_load(const int8_t *at) { return _mm512_loadu_si512(at); }
INLINE Codes codes_load(const uint8_t *at) {
    int32_t four;
    memcpy(&four, at, 4);
    return _mm512_set1_epi32(four);
}
/* Not _mm512_dpbusd_epi32: around it, GCC 12 copies every sum to another register and back, which halves the speed. */
INLINE I i_dot(I sum, Codes codes, Weights weights) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(weights));
    return sum;
}
INLINE F f_from_sums(I sum, const int32_t *sums_of_weights) {
    (void)sums_of_weights;
    return _mm512_cvtepi32_ps(sum);
}
