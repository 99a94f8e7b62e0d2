// The bench around the Verilated matcher alone: one call a job, a stream of bytes in, tokens out.
//
// It stalls both streams as it is told to and holds the seam's rules. Every loop ends at a bound of cycles, and no more tokens are kept
// than there is room for. It does not know what a right token is.

#include <cstdint>
#include <new>

#include "bench.h"
#include "match_models.h"
#include "streams.h"

extern "C" {

// Mirrors `RawToken` of src/matcher.rs.
struct FaamToken {
    uint32_t cycle;
    uint16_t distance;
    uint16_t length;
    uint8_t kind;
    uint8_t literal;
    uint8_t reserved[2];
};

// Mirrors `RawStream` of src/matcher.rs.
struct FaamStream {
    const uint8_t* bytes;  // history, then source
    FaamToken* tokens;     // tokens_max of them
    uint64_t seed;
    uint64_t cycles_max;
    uint64_t idle_max;
    uint32_t len;
    uint32_t history_len;
    uint32_t tokens_max;
    uint32_t reserved;
    FaamStall input;
    FaamStall output;
    uint8_t ways;
    uint8_t lazy;
    uint8_t scrub;
    uint8_t reserved_too[5];
};

// Mirrors `RawEnd` of src/matcher.rs.
struct FaamEnd {
    uint64_t cycle;     // of the last token, since the job was offered
    uint64_t accepted;  // cycle in which it was taken
    uint32_t status;    // an Ending
    uint32_t tokens;    // the last one included
    uint32_t taken;     // bytes of the stream
    uint32_t signals;   // start, in, tok: valid and ready, from bit 0
};
}

static_assert(sizeof(FaamToken) == 12 && sizeof(FaamStream) == 80 && sizeof(FaamEnd) == 32, "src/matcher.rs has the same sizes");

namespace {

using faam::Random;
using faam::Staller;

// Mirrors `Violation` and the two before it in src/engine.rs.
enum Ending : uint32_t {
    DONE = 0,
    HUNG = 2,
    TOKEN_CHANGED = 32,  // valid dropped, or the token changed, while it waited
    TOKEN_MANY = 33,     // more tokens than bytes and the end
    TOKEN_IDLE = 34,     // a token without a job
};

constexpr uint8_t TOKEN_END = 2;

class MatchRole : public faam::Bench {
  public:
    virtual void run(const FaamStream& stream, FaamEnd& end) = 0;
};

template <class Model>
class MatchBench final : public faam::ModelBench<Model, MatchRole> {
    using Base = faam::ModelBench<Model, MatchRole>;
    using Base::edge;
    using Base::model;
    using Base::settle;

  public:
    explicit MatchBench(uint64_t seed) : Base(seed) { quiet(); }

    void run(const FaamStream& stream, FaamEnd& end) override {
        end = FaamEnd{};
        Model& m = model();
        Random random(stream.seed);
        Staller input(stream.input);
        Staller output(stream.output);

        quiet();
        m.start_len = stream.len;
        m.start_hist = stream.history_len;
        m.start_ways = stream.ways;
        m.start_lazy = stream.lazy;
        m.start_scrub = stream.scrub;
        m.start_valid = 1;

        bool accepted = false;
        bool byte_stands = false;
        bool waits = false;
        FaamToken waiting{};
        uint64_t idle = 0;
        for (uint64_t cycle = 0;; ++cycle) {
            end.cycle = cycle;
            const bool input_stalls = input.stalls(random);
            if (!byte_stands && !input_stalls && accepted && end.taken < stream.len) {
                byte_stands = true;
                m.in_byte = stream.bytes[end.taken];
            } else if (!byte_stands) {
                m.in_byte = static_cast<uint8_t>(random.next());
            }
            m.in_valid = byte_stands;
            m.tok_ready = output.ready(random, waits);
            settle();

            const bool takes_start = m.start_valid && m.start_ready;
            const bool takes_in = m.in_valid && m.in_ready;
            const bool takes_token = m.tok_valid && m.tok_ready;
            end.signals = m.start_valid | m.start_ready << 1 | m.in_valid << 2 | m.in_ready << 3 | m.tok_valid << 4 |
                          m.tok_ready << 5;
            FaamToken token{};
            token.cycle = static_cast<uint32_t>(cycle);
            token.kind = m.tok_kind;
            token.literal = m.tok_literal;
            token.length = m.tok_length;
            token.distance = m.tok_distance;
            uint32_t broken = 0;
            if (waits && (!m.tok_valid || token.kind != waiting.kind || token.literal != waiting.literal ||
                          token.length != waiting.length || token.distance != waiting.distance)) {
                broken = TOKEN_CHANGED;
            } else if (m.tok_valid && !accepted) {
                broken = TOKEN_IDLE;
            } else if (takes_token && end.tokens >= stream.tokens_max) {
                broken = TOKEN_MANY;
            }
            if (broken != 0) {
                end.status = broken;
                edge();
                return;
            }
            waits = m.tok_valid && !takes_token;
            waiting = token;
            if (takes_token) stream.tokens[end.tokens++] = token;
            edge();

            if (takes_in) {
                end.taken += 1;
                byte_stands = false;
            }
            if (takes_start) {
                accepted = true;
                end.accepted = cycle;
                m.start_valid = 0;
                m.start_len = random.below(1u << 21);
                m.start_hist = random.below(1u << 16);
                m.start_ways = random.below(8);
                m.start_lazy = random.below(2);
                m.start_scrub = random.below(2);
            }
            if (takes_token && token.kind == TOKEN_END) return;
            idle = takes_start || takes_in || takes_token ? 0 : idle + 1;
            if (idle > stream.idle_max || cycle > stream.cycles_max) {
                end.status = HUNG;
                return;
            }
        }
    }

  private:
    void quiet() override {
        Model& m = model();
        m.rst = 0;
        m.start_valid = 0;
        m.in_valid = 0;
        m.tok_ready = 0;
    }
};

}  // namespace

extern "C" {

// Null where `index` is no model.
void* faam_dv_match_new(uint32_t index, uint64_t seed) {
    faam::Bench* bench = nullptr;
    switch (index) {
#define FAAM_CASE(number, prefix) \
    case number:                  \
        bench = new (std::nothrow) MatchBench<prefix>(seed); \
        break;
        FAAM_MATCH_MODELS(FAAM_CASE)
#undef FAAM_CASE
        default:
            break;
    }
    return bench;
}

void faam_dv_match_run(void* bench, const FaamStream* stream, FaamEnd* end) {
    static_cast<MatchRole*>(static_cast<faam::Bench*>(bench))->run(*stream, *end);
}
}
