// What the Verilated farm and its Rust side say to each other: plain data, and functions of C.
//
// The Rust half is `ffi` of src/farm.rs; both are edited together. A farm is freed as every bench is (bench.cpp).
#pragma once

#include <cstdint>

// Beats of a burst at most, as the farm's port has it.
constexpr uint32_t FAAM_BEATS_MAX = 16;

// What the farm is told before power-on.
struct faam_farm_straps {
  uint64_t serial;
  uint32_t clock_khz;
  uint32_t epoch;
  uint8_t function;
  uint8_t functions;
  uint8_t model;
};

// How the memory behaves: cycles from a request to its first beat or its answer, and how often, of 256 cycles, a side is not
// ready though it could be.
struct faam_farm_timing {
  uint64_t seed;
  uint32_t latency_min;
  uint32_t latency_max;
  uint32_t stalls_in_256;
};

enum faam_farm_event_kind : uint32_t {
  // The cycles are over, or the farm has been quiet for long enough.
  FAAM_FARM_NOTHING = 0,
  // A burst is to be read: answered by faam_farm_supply.
  FAAM_FARM_READ = 1,
  // A burst was written: answered by faam_farm_answer.
  FAAM_FARM_WRITE = 2,
  // An interrupt was handed over.
  FAAM_FARM_INTERRUPT = 3,
  // A register access has ended.
  FAAM_FARM_REGISTER = 4,
};

struct faam_farm_event {
  uint32_t kind;
  // Of a burst.
  uint32_t beats;
  // Of a burst, as it stood on the bus.
  uint64_t address;
  uint64_t data[FAAM_BEATS_MAX];
  uint8_t strobes[FAAM_BEATS_MAX];
  // Of a written burst: those before it whose answers the farm does not have yet.
  uint32_t unanswered;
  // Of an interrupt.
  uint32_t vector;
  // Of a register.
  uint32_t value;
  // Bits of the rules of the bus that were broken since power-on.
  uint32_t broken;
  // Cycles since power-on.
  uint64_t cycles;
  // Cycles since anything was asked or under way at any port.
  uint64_t quiet;
};

extern "C" {
// Null where `index` is no model.
void *faam_farm_new(uint32_t index, const faam_farm_straps *straps, const faam_farm_timing *timing);
// Runs until there is an event, the farm has been quiet for `quiet_max` cycles, or `cycles` are over.
void faam_farm_run(void *farm, uint32_t cycles, uint64_t quiet_max, faam_farm_event *event);
void faam_farm_supply(void *farm, const uint64_t *data, uint32_t beats, uint32_t refused);
void faam_farm_answer(void *farm, uint32_t refused);
// Asks for a register access. 0 if one is under way.
uint32_t faam_farm_request(void *farm, uint32_t write, uint32_t address, uint32_t value);
void faam_farm_bus_master(void *farm, uint32_t on);
// Raises `flr` for one cycle, the next one.
void faam_farm_reset(void *farm);
}
