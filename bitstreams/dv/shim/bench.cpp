// The functions of C that every bench has. src/bench.rs is their other side.

#include "bench.h"

namespace {

thread_local uint32_t acting_mutant = 0;

}  // namespace

namespace faam {

void act(const Bench& bench) { acting_mutant = bench.mutant; }

}  // namespace faam

extern "C" {

void faam_dv_bench_free(void* bench) { delete static_cast<faam::Bench*>(bench); }

void faam_dv_bench_reset(void* bench, uint32_t cycles) { static_cast<faam::Bench*>(bench)->reset(cycles); }

// From the next cycle that is run on; only a model that was made of broken rules has any.
void faam_dv_bench_mutant(void* bench, uint32_t number) { static_cast<faam::Bench*>(bench)->mutant = number; }

// The RTL asks (build/mutants.rs).
int faam_dv_mutant() { return static_cast<int>(acting_mutant); }

// 0 where the build has no waveforms, or the file cannot be opened.
uint32_t faam_dv_bench_trace(void* bench, const char* path) { return static_cast<faam::Bench*>(bench)->trace(path) ? 1 : 0; }
}
