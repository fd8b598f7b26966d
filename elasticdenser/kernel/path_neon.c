#include "model.h"
#ifdef HAS_NEON_PATH
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#include "simd_neon.h"
#include "forward.h"
#include "rescoring.h"
#include "maxsim.h"
const Path ed_neon = PATH("neon-dotprod");
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
