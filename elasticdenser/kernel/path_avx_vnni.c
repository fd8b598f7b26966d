#include "model.h"
#ifdef HAS_NEWER_X86_PATHS
#define HAS_AVX_VNNI
#if defined(__clang__) && defined(EMULATED_INSTRUCTIONS)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#elif defined(EMULATED_INSTRUCTIONS)
#pragma GCC target("avx2,fma,f16c")
#else
#pragma GCC target("avx2,fma,f16c,avxvnni")
#endif
#include "simd_avx2.h"
#include "forward.h"
#include "rescoring.h"
#include "maxsim.h"
const Path ed_avx_vnni = PATH("avx-vnni");
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
