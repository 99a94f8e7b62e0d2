// The bench around the Verilated engine: one call a job.
//
// It owns the model and plays all that surrounds it: the farm that gives a job, the mover that answers a fetch, memory that
// takes what comes out. It stalls each stream as it is told to, and holds each rule of the seam, cycle by cycle; the first that
// is broken ends the job, with its name and its cycle. Invariants: every loop ends at a bound of cycles; nothing is
// written beyond `dst_cap` and the room that there is, whatever the model does. It does not know what a right answer is.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "bench.h"
#include "engine_models.h"
#include "streams.h"

extern "C" {

// Mirrors `RawJob` of src/engine.rs.
struct FaamJob {
    const uint8_t* table;  // 1024 bytes, or null
    const uint8_t* history;
    const uint8_t* source;
    uint8_t* out;          // out_room bytes
    uint32_t* out_cycles;  // the cycle of each beat: out_room / 8, rounded up
    uint64_t seed;
    uint64_t cycles_max;  // of the whole job
    uint64_t idle_max;    // without any transfer
    uint64_t reset_at;    // cycle after the job was taken at which the engine is reset; all ones: never
    uint32_t source_len;
    uint32_t history_len;
    uint32_t dst_cap;
    uint32_t reset_cycles;
    uint32_t out_room;  // what there really is of dst_cap: more than any job comes to
    uint32_t reserved_room;
    FaamStall input;
    FaamStall output;
    FaamStall fetch;
    FaamStall done;
    uint16_t short_of_256;  // chance that a beat that could have 8 bytes has fewer
    uint8_t count;
    uint8_t format;
    uint8_t last;
    uint8_t sync;
    uint8_t loaded_table;
    uint8_t lazy;
    uint8_t ways;
    uint8_t scrub;
    uint8_t reserved[6];
};

// Mirrors `RawOutcome` of src/engine.rs.
struct FaamOutcome {
    uint64_t cycle;       // of the end, since the job was offered
    uint64_t accepted;    // cycle in which the job was taken
    uint64_t in_bytes;    // taken by the model, all spans
    uint32_t status;      // an Ending
    uint32_t fetches;     // spans asked for
    uint32_t source_fetches;
    uint32_t rewinds;
    uint32_t out_bytes;   // of the last attempt
    uint32_t beats;       // of the last attempt
    uint32_t signals;     // job, fetch, in, out, done: valid and ready, two bits each from bit 0, at the end
    uint32_t ended;
    uint32_t rule;
    uint32_t stored;
    uint32_t out_len;
    uint32_t in_len;
    uint32_t crc32;
    uint32_t adler32;
    uint32_t cycles;
    uint32_t reserved;
};
}

static_assert(sizeof(FaamJob) == 144 && sizeof(FaamOutcome) == 88, "src/engine.rs has the same sizes");

namespace {

using faam::Random;
using faam::Staller;

// How a call ended. Mirrors `Violation` and the two before it in src/engine.rs.
enum Ending : uint32_t {
    DONE = 0,
    RESET = 1,
    HUNG = 2,
    OUT_CHANGED = 16,       // valid dropped, or the beat changed, while it waited
    FETCH_CHANGED = 17,
    DONE_CHANGED = 18,
    OUT_BYTES = 19,         // not from 1 to 8
    OUT_SHORT = 20,         // a beat behind one of fewer than 8 bytes, in one attempt
    OUT_BEYOND = 21,        // more than dst_cap bytes in an attempt
    OUT_REWIND = 22,        // a second rewind, or one with the first beat of all
    OUT_AFTER_DONE = 23,    // done stands while a beat does
    OUT_IDLE = 24,          // a beat without a job
    FETCH_ORDER = 25,       // a span out of order, an empty one, or one too many
    FETCH_EARLY = 26,       // a span before the last one came in whole
    FETCH_IDLE = 27,        // a span without a job
    DONE_EARLY = 28,        // done while a span comes in
    DONE_IDLE = 29,         // done without a job
    RESET_NOISY = 30,       // a valid after a reset
};

enum Span : uint32_t { TABLE = 0, HISTORY = 1, SOURCE = 2 };

constexpr uint32_t TABLE_BYTES = 1024;
constexpr uint32_t BEAT_BYTES = 8;

class EngineRole : public faam::Bench {
  public:
    virtual void run(const FaamJob& job, FaamOutcome& outcome) = 0;
};

template <class Model>
class EngineBench final : public faam::ModelBench<Model, EngineRole> {
    using Base = faam::ModelBench<Model, EngineRole>;
    using Base::edge;
    using Base::model;
    using Base::reset;
    using Base::settle;

  public:
    explicit EngineBench(uint64_t seed) : Base(seed), random_(seed) { quiet(); }

    void run(const FaamJob& job, FaamOutcome& outcome) override {
        outcome = FaamOutcome{};
        faam::act(*this);
        Model& m = model();
        Random random(job.seed);
        Staller input(job.input);
        Staller output(job.output);
        Staller fetch(job.fetch);
        Staller done(job.done);

        Span spans[4];
        uint32_t span_count = 0;
        if (job.loaded_table != 0 && job.count == 0) spans[span_count++] = TABLE;
        if (job.history_len != 0) spans[span_count++] = HISTORY;
        if (job.source_len != 0) {
            spans[span_count++] = SOURCE;
            // Where the body is stored.
            if (job.count == 0) spans[span_count++] = SOURCE;
        }

        const uint32_t room = job.dst_cap < job.out_room ? job.dst_cap : job.out_room;

        quiet();
        m.job_count = job.count;
        m.job_format = job.format;
        m.job_last = job.last;
        m.job_sync = job.sync;
        m.job_loaded_table = job.loaded_table;
        m.job_lazy = job.lazy;
        m.job_ways = job.ways;
        m.job_scrub = job.scrub;
        m.job_src_len = job.source_len;
        m.job_hist_len = job.history_len;
        m.job_dst_cap = job.dst_cap;
        m.job_valid = 1;

        bool accepted = false;
        const uint8_t* span_at = nullptr;
        uint32_t span_left = 0;
        bool beat_stands = false;
        uint32_t beat_bytes = 0;
        bool attempt_ended = false;
        uint64_t idle = 0;
        uint64_t done_at = 0;

        bool out_waits = false, fetch_waits = false, done_waits = false;
        uint64_t out_data = 0;
        uint32_t out_bytes = 0, out_rewind = 0, fetch_span = 0;
        Report waiting{};

        for (uint64_t cycle = 0;; ++cycle) {
            outcome.cycle = cycle;
            if (accepted && cycle - outcome.accepted >= job.reset_at) {
                reset(job.reset_cycles);
                settle();
                outcome.status = m.out_valid || m.fetch_valid || m.done_valid ? RESET_NOISY : RESET;
                return;
            }

            // Inputs of this cycle.
            m.fetch_ready = fetch.ready(random, fetch_waits);
            m.out_ready = output.ready(random, out_waits);
            m.done_ready = done.ready(random, done_waits);
            const bool input_stalls = input.stalls(random);
            if (!beat_stands && span_left > 0 && !input_stalls) {
                beat_bytes = span_left < BEAT_BYTES ? span_left : BEAT_BYTES;
                if (job.short_of_256 != 0 && beat_bytes > 1 && random.chance(job.short_of_256)) {
                    beat_bytes = 1 + random.below(beat_bytes - 1);
                }
                beat_stands = true;
                // What is behind the beat's bytes is anything.
                uint64_t data = random.next();
                std::memcpy(&data, span_at, beat_bytes);
                m.in_data = data;
                m.in_bytes = static_cast<uint8_t>(beat_bytes);
                m.in_valid = 1;
            } else if (!beat_stands) {
                m.in_valid = 0;
                m.in_data = random.next();
                m.in_bytes = static_cast<uint8_t>(random.below(16));
            }
            settle();

            const bool takes_job = m.job_valid && m.job_ready;
            const bool takes_fetch = m.fetch_valid && m.fetch_ready;
            const bool takes_in = m.in_valid && m.in_ready;
            const bool takes_out = m.out_valid && m.out_ready;
            const bool takes_done = m.done_valid && m.done_ready;
            outcome.signals = m.job_valid | m.job_ready << 1 | m.fetch_valid << 2 | m.fetch_ready << 3 | m.in_valid << 4 |
                              m.in_ready << 5 | m.out_valid << 6 | m.out_ready << 7 | m.done_valid << 8 | m.done_ready << 9;

            // What waits, stays.
            const Report report = report_of(m);
            uint32_t broken = 0;
            if (out_waits && (!m.out_valid || m.out_data != out_data || m.out_bytes != out_bytes || m.out_rewind != out_rewind)) {
                broken = OUT_CHANGED;
            } else if (fetch_waits && (!m.fetch_valid || m.fetch_span != fetch_span)) {
                broken = FETCH_CHANGED;
            } else if (done_waits && (!m.done_valid || std::memcmp(&report, &waiting, sizeof report) != 0)) {
                broken = DONE_CHANGED;
            } else if (!accepted) {
                if (m.out_valid) broken = OUT_IDLE;
                if (m.fetch_valid) broken = FETCH_IDLE;
                if (m.done_valid) broken = DONE_IDLE;
            } else if (m.done_valid && m.out_valid) {
                broken = OUT_AFTER_DONE;
            } else if (m.done_valid && (span_left > 0)) {
                broken = DONE_EARLY;
            }
            if (broken == 0 && m.fetch_valid && accepted) {
                if (span_left > 0 && !(takes_in && span_left == beat_bytes)) {
                    broken = FETCH_EARLY;
                } else if (outcome.fetches >= span_count || m.fetch_span != spans[outcome.fetches]) {
                    broken = FETCH_ORDER;
                }
            }
            if (broken != 0) {
                outcome.status = broken;
                edge();
                return;
            }
            out_waits = m.out_valid && !takes_out;
            out_data = m.out_data;
            out_bytes = m.out_bytes;
            out_rewind = m.out_rewind;
            fetch_waits = m.fetch_valid && !takes_fetch;
            fetch_span = m.fetch_span;
            done_waits = m.done_valid && !takes_done;
            waiting = report;

            if (takes_in) {
                span_at += beat_bytes;
                span_left -= beat_bytes;
                outcome.in_bytes += beat_bytes;
                beat_stands = false;
            }
            if (takes_fetch) {
                outcome.fetches += 1;
                switch (m.fetch_span) {
                    case TABLE:
                        span_at = job.table;
                        span_left = TABLE_BYTES;
                        break;
                    case HISTORY:
                        span_at = job.history;
                        span_left = job.history_len;
                        break;
                    default:
                        span_at = job.source;
                        span_left = job.source_len;
                        outcome.source_fetches += 1;
                        break;
                }
            }
            if (takes_out) {
                if (m.out_rewind) {
                    if (outcome.rewinds != 0 || outcome.beats == 0) broken = OUT_REWIND;
                    outcome.rewinds += 1;
                    outcome.out_bytes = 0;
                    outcome.beats = 0;
                    attempt_ended = false;
                }
                if (m.out_bytes < 1 || m.out_bytes > BEAT_BYTES) {
                    broken = OUT_BYTES;
                } else if (attempt_ended) {
                    broken = OUT_SHORT;
                } else if (m.out_bytes > room - outcome.out_bytes) {
                    broken = OUT_BEYOND;
                } else if (broken == 0) {
                    const uint64_t data = m.out_data;
                    std::memcpy(job.out + outcome.out_bytes, &data, m.out_bytes);
                    job.out_cycles[outcome.beats] = static_cast<uint32_t>(cycle);
                    outcome.out_bytes += m.out_bytes;
                    outcome.beats += 1;
                    attempt_ended = m.out_bytes < BEAT_BYTES;
                }
                if (broken != 0) {
                    outcome.status = broken;
                    edge();
                    return;
                }
            }
            if (m.done_valid && done_at == 0) done_at = cycle;
            edge();

            if (takes_job) {
                accepted = true;
                outcome.accepted = cycle;
                quiet_job(random);
            }
            if (takes_done) {
                outcome.status = DONE;
                outcome.cycle = done_at;
                outcome.ended = report.ended;
                outcome.rule = report.rule;
                outcome.stored = report.stored;
                outcome.out_len = report.out_len;
                outcome.in_len = report.in_len;
                outcome.crc32 = report.crc32;
                outcome.adler32 = report.adler32;
                outcome.cycles = report.cycles;
                return;
            }
            idle = takes_job || takes_fetch || takes_in || takes_out ? 0 : idle + 1;
            if (idle > job.idle_max || cycle > job.cycles_max) {
                outcome.status = HUNG;
                return;
            }
        }
    }

  private:
    struct Report {
        uint32_t ended, rule, stored, out_len, in_len, crc32, adler32, cycles;
    };

    static Report report_of(const Model& m) {
        return {m.done_ended, m.done_rule, m.done_stored, m.done_out_len, m.done_in_len, m.done_crc32, m.done_adler32, m.done_cycles};
    }

    void quiet() override {
        Model& m = model();
        m.rst = 0;
        m.job_valid = 0;
        m.fetch_ready = 0;
        m.in_valid = 0;
        m.out_ready = 0;
        m.done_ready = 0;
    }

    // After the job was taken its ports may hold anything.
    void quiet_job(Random& random) {
        Model& m = model();
        m.job_valid = 0;
        m.job_count = random.below(2);
        m.job_format = random.below(4);
        m.job_last = random.below(2);
        m.job_sync = random.below(2);
        m.job_loaded_table = random.below(2);
        m.job_lazy = random.below(2);
        m.job_ways = random.below(8);
        m.job_scrub = random.below(2);
        m.job_src_len = random.below(1u << 21);
        m.job_hist_len = random.below(1u << 16);
        m.job_dst_cap = static_cast<uint32_t>(random.next());
    }

    void stir() override {
        Model& m = model();
        m.in_valid = random_.below(2);
        m.in_data = random_.next();
        m.in_bytes = static_cast<uint8_t>(random_.below(16));
        m.out_ready = random_.below(2);
        m.fetch_ready = random_.below(2);
        m.done_ready = random_.below(2);
    }

    Random random_;
};

}  // namespace

extern "C" {

// Null where `index` is no model.
void* faam_dv_engine_new(uint32_t index, uint64_t seed) {
    faam::Bench* bench = nullptr;
    switch (index) {
#define FAAM_CASE(number, prefix) \
    case number:                  \
        bench = new (std::nothrow) EngineBench<prefix>(seed); \
        break;
        FAAM_ENGINE_MODELS(FAAM_CASE)
#undef FAAM_CASE
        default:
            break;
    }
    return bench;
}

void faam_dv_engine_run(void* bench, const FaamJob* job, FaamOutcome* outcome) {
    static_cast<EngineRole*>(static_cast<faam::Bench*>(bench))->run(*job, *outcome);
}
}
