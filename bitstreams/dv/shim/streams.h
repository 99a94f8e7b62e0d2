// What both benches share: a random source, and a stream's side that stalls.
//
// The random source is seeded by the caller, so a run is a function of its arguments. Nothing here knows a model.
#pragma once

#include <cstdint>

namespace faam {

// SplitMix64 (Steele, Lea and Flood, 2014): any seed will do, 0 included.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        state_ += 0x9e3779b97f4a7c15u;
        uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
        return mixed ^ (mixed >> 31);
    }

    // A number below `bound`, which is not 0. The bias of a bound far below 2^64 is of no account here.
    uint32_t below(uint32_t bound) { return static_cast<uint32_t>((next() >> 32) % bound); }

    bool chance(uint32_t of_256) { return below(256) < of_256; }

  private:
    uint64_t state_;
};

}  // namespace faam

extern "C" {

// How one stream's far side stalls. Mirrors `Stall` of src/stalls.rs.
struct FaamStall {
    uint16_t begins_of_256;  // chance, in each cycle without one, that a stall begins
    uint16_t cycles_max;     // a stall lasts from 1 to this many cycles
    uint8_t after_valid;     // a ready that comes only after valid was seen (for streams that the model gives)
    uint8_t reserved[3];
};
}

namespace faam {

class Staller {
  public:
    explicit Staller(const FaamStall& stall) : stall_(stall) {}

    // Whether this cycle is one of a stall. Called once a cycle.
    bool stalls(Random& random) {
        if (left_ > 0) {
            left_ -= 1;
            return true;
        }
        if (stall_.begins_of_256 != 0 && stall_.cycles_max != 0 && random.chance(stall_.begins_of_256)) {
            left_ = random.below(stall_.cycles_max);
            return true;
        }
        return false;
    }

    // A ready for this cycle. `was_valid`: valid stood in the last cycle and was not taken.
    bool ready(Random& random, bool was_valid) {
        const bool stalled = stalls(random);
        return !stalled && (stall_.after_valid == 0 || was_valid);
    }

  private:
    FaamStall stall_;
    uint32_t left_ = 0;
};

}  // namespace faam
