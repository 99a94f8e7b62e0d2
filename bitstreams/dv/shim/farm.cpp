// The Verilated farm with a memory, a register master and an interrupt sink around it, clock by clock.
//
// Owns the handshakes at the farm's ports and the latency behind them. Invariants: an answer that is shown stays until it is
// taken; answers come in the order of their requests; nothing here is larger than its bound, whatever the farm does. It does
// not know what lies at an address: bursts are handed out as events, one at a time.

#include "farm.h"

#include <new>

#include "bench.h"
#include "farm_models.h"

namespace {

// Bursts of a kind that are under way at once.
constexpr uint32_t BURSTS_MAX = 4;
// Cycles of power-on reset.
constexpr uint32_t RESET_CYCLES = 8;
// AXI4, section A3.4.4: RRESP and BRESP.
constexpr uint8_t RESP_OKAY = 0;
constexpr uint8_t RESP_SLVERR = 2;
constexpr uint64_t BEAT_BYTES = 8;
constexpr uint64_t PAGE_BYTES = 4096;

// Rules of the bus, by bit of `broken`.
enum : uint32_t {
  BROKEN_BURST_LENGTH = 1u << 0,
  BROKEN_PAGE = 1u << 1,
  BROKEN_READ_ADDRESS = 1u << 2,
  BROKEN_WRITE_ADDRESS = 1u << 3,
  BROKEN_WRITE_DATA = 1u << 4,
  BROKEN_WRITE_LAST = 1u << 5,
  BROKEN_INTERRUPT = 1u << 6,
  BROKEN_RESPONSE = 1u << 7,
};

// A ring of at most N, for what is under way.
template <typename T, uint32_t N>
class Ring {
 public:
  bool is_full() const { return count_ == N; }
  bool is_empty() const { return count_ == 0; }
  uint32_t count() const { return count_; }
  T &front() { return items_[first_]; }
  void push(const T &item) {
    items_[(first_ + count_) % N] = item;
    ++count_;
  }
  void pop() {
    first_ = (first_ + 1) % N;
    --count_;
  }

 private:
  T items_[N] = {};
  uint32_t first_ = 0;
  uint32_t count_ = 0;
};

struct Read {
  uint64_t address = 0;
  uint32_t beats = 0;
  uint64_t due = 0;
  bool has_data = false;
  bool refused = false;
  uint32_t at = 0;
  uint64_t data[FAAM_BEATS_MAX] = {};
};

struct Write {
  uint64_t address = 0;
  uint32_t beats = 0;
};

struct Answer {
  uint64_t due = 0;
  bool refused = false;
};

// What the other side asks of a farm, whatever its parameters.
class FarmRole : public faam::Bench {
 public:
  virtual void run(uint32_t cycles, uint64_t quiet_max, faam_farm_event &event) = 0;
  virtual void supply(const uint64_t *data, uint32_t beats, bool refused) = 0;
  virtual void answer(bool refused) = 0;
  virtual bool request(bool write, uint32_t address, uint32_t value) = 0;
  virtual void bus_master(bool on) = 0;
  virtual void function_reset() = 0;
};

template <class Model>
class Farm final : public faam::ModelBench<Model, FarmRole> {
  using Base = faam::ModelBench<Model, FarmRole>;
  using Base::edge;
  using Base::model;
  using Base::settle;

 public:
  Farm(const faam_farm_straps &straps, const faam_farm_timing &timing) : Base(timing.seed), timing_(timing) {
    random_ = timing.seed * 0x9E3779B97F4A7C15ull + 0x2545F4914F6CDD1Dull;
    model().strap_function = straps.function;
    model().strap_functions = straps.functions;
    model().strap_serial = straps.serial;
    model().strap_clock_khz = straps.clock_khz;
    model().strap_model = straps.model;
    model().strap_epoch = straps.epoch;
    Base::reset(RESET_CYCLES);
  }

  void run(uint32_t cycles, uint64_t quiet_max, faam_farm_event &event) override {
    faam::act(*this);
    event.kind = FAAM_FARM_NOTHING;
    for (uint32_t n = 0; !take_event(event) && n < cycles && quiet_ < quiet_max; ++n) cycle();
    event.cycles = cycles_;
    event.quiet = quiet_;
    event.broken = broken_;
  }

  void supply(const uint64_t *data, uint32_t beats, bool refused) override {
    if (!wants_data_) return;
    wants_data_ = false;
    Read &read = reads_.front();
    for (uint32_t n = 0; n < read.beats; ++n) read.data[n] = !refused && n < beats ? data[n] : 0;
    read.refused = refused;
    read.has_data = true;
  }

  void answer(bool refused) override {
    if (!wants_answer_) return;
    wants_answer_ = false;
    answers_.push({cycles_ + latency(), refused});
  }

  bool request(bool write, uint32_t address, uint32_t value) override {
    if (access_ != Access::None) return false;
    access_ = Access::Asked;
    model().reg_write = write;
    model().reg_addr = address;
    model().reg_wdata = value;
    return true;
  }

  void bus_master(bool on) override { model().bus_master = on; }

  void function_reset() override { flr_ = true; }

 private:
  enum class Access { None, Asked, Taken, Done };

  // Hands out what waits for the other side. Whether there was something.
  bool take_event(faam_farm_event &event) {
    if (has_burst_) {
      has_burst_ = false;
      wants_answer_ = true;
      event.kind = FAAM_FARM_WRITE;
      event.unanswered = answers_.count();
      event.address = burst_.address;
      event.beats = burst_.beats;
      for (uint32_t n = 0; n < burst_.beats; ++n) {
        event.data[n] = data_[n];
        event.strobes[n] = strobes_[n];
      }
      return true;
    }
    if (!wants_data_ && !reads_.is_empty() && !reads_.front().has_data && reads_.front().due <= cycles_) {
      wants_data_ = true;
      event.kind = FAAM_FARM_READ;
      event.address = reads_.front().address;
      event.beats = reads_.front().beats;
      return true;
    }
    if (has_vector_) {
      has_vector_ = false;
      event.kind = FAAM_FARM_INTERRUPT;
      event.vector = vector_;
      return true;
    }
    if (access_ == Access::Done) {
      access_ = Access::None;
      event.kind = FAAM_FARM_REGISTER;
      event.value = value_;
      return true;
    }
    return false;
  }

  void cycle() {
    drive();
    settle();
    sample();
    edge();
    ++cycles_;
  }

  // Sets what the farm sees in this cycle.
  void drive() {
    Model &farm = model();
    farm.flr = flr_;
    flr_ = false;
    farm.ar_ready = !reads_.is_full() && go();
    const bool read = !reads_.is_empty() && reads_.front().has_data;
    // Once shown it stays.
    farm.r_valid = read && (r_shown_ || go());
    if (farm.r_valid) {
      const Read &front = reads_.front();
      farm.r_data = front.data[front.at];
      farm.r_resp = front.refused ? RESP_SLVERR : RESP_OKAY;
      farm.r_last = front.at + 1 == front.beats;
    }
    // An answer has room for every burst that was taken.
    farm.aw_ready = !writes_.is_full() && go();
    farm.w_ready = !writes_.is_empty() && !answers_.is_full() && go();
    const bool answer = !answers_.is_empty() && answers_.front().due <= cycles_;
    farm.b_valid = answer && (b_shown_ || go());
    if (farm.b_valid) farm.b_resp = answers_.front().refused ? RESP_SLVERR : RESP_OKAY;
    farm.irq_ready = !has_vector_ && go();
    farm.reg_valid = access_ == Access::Asked;
  }

  // Takes what is handed over in this cycle.
  void sample() {
    Model &farm = model();
    check_held();
    if (farm.ar_valid && farm.ar_ready) {
      Read read;
      read.address = farm.ar_addr;
      read.beats = beats(farm.ar_addr, farm.ar_len);
      read.due = cycles_ + latency();
      reads_.push(read);
    }
    r_shown_ = farm.r_valid && !farm.r_ready;
    if (farm.r_valid && farm.r_ready) {
      Read &front = reads_.front();
      if (++front.at == front.beats) reads_.pop();
    }
    if (farm.w_valid && farm.w_ready) take_beat();
    if (farm.aw_valid && farm.aw_ready) writes_.push({farm.aw_addr, beats(farm.aw_addr, farm.aw_len)});
    b_shown_ = farm.b_valid && !farm.b_ready;
    if (farm.b_valid && farm.b_ready) answers_.pop();
    if (farm.irq_valid && farm.irq_ready) {
      vector_ = farm.irq_vector;
      has_vector_ = true;
    }
    if (farm.reg_rsp_valid) {
      // One response to one access, which may be taken and answered in the same cycle.
      const bool taken = access_ == Access::Taken || (access_ == Access::Asked && farm.reg_ready);
      if (!taken) broken_ |= BROKEN_RESPONSE;
      if (taken) {
        value_ = farm.reg_rdata;
        access_ = Access::Done;
      }
    } else if (access_ == Access::Asked && farm.reg_ready) {
      access_ = Access::Taken;
    }
    const bool busy = farm.ar_valid || farm.aw_valid || farm.w_valid || farm.irq_valid || !reads_.is_empty() ||
                      !writes_.is_empty() || !answers_.is_empty() || access_ != Access::None;
    quiet_ = busy ? 0 : quiet_ + 1;
  }

  void take_beat() {
    Model &farm = model();
    const Write write = writes_.front();
    data_[beat_] = farm.w_data;
    strobes_[beat_] = farm.w_strb;
    ++beat_;
    const bool last = beat_ == write.beats;
    if (last != static_cast<bool>(farm.w_last)) broken_ |= BROKEN_WRITE_LAST;
    if (last) {
      beat_ = 0;
      burst_ = write;
      has_burst_ = true;
      writes_.pop();
    }
  }

  // Beats of a burst, within the bound whatever its length says.
  uint32_t beats(uint64_t address, uint32_t len) {
    uint32_t count = len + 1;
    if (count > FAAM_BEATS_MAX) {
      broken_ |= BROKEN_BURST_LENGTH;
      count = FAAM_BEATS_MAX;
    }
    const uint64_t first = address & ~(BEAT_BYTES - 1);
    if ((first & (PAGE_BYTES - 1)) + count * BEAT_BYTES > PAGE_BYTES) broken_ |= BROKEN_PAGE;
    return count;
  }

  // What was shown and not taken is to be shown again.
  void check_held() {
    Model &farm = model();
    const bool in_reset = farm.rst;
    const auto held = [&](bool was, bool is, bool same, uint32_t bit) {
      if (was && !in_reset && !(is && same)) broken_ |= bit;
    };
    held(ar_held_, farm.ar_valid, farm.ar_addr == ar_addr_ && farm.ar_len == ar_len_, BROKEN_READ_ADDRESS);
    held(aw_held_, farm.aw_valid, farm.aw_addr == aw_addr_ && farm.aw_len == aw_len_, BROKEN_WRITE_ADDRESS);
    held(w_held_, farm.w_valid, farm.w_data == w_data_ && farm.w_strb == w_strb_ && farm.w_last == w_last_,
         BROKEN_WRITE_DATA);
    held(irq_held_, farm.irq_valid, farm.irq_vector == irq_vector_, BROKEN_INTERRUPT);
    ar_held_ = farm.ar_valid && !farm.ar_ready;
    ar_addr_ = farm.ar_addr;
    ar_len_ = farm.ar_len;
    aw_held_ = farm.aw_valid && !farm.aw_ready;
    aw_addr_ = farm.aw_addr;
    aw_len_ = farm.aw_len;
    w_held_ = farm.w_valid && !farm.w_ready;
    w_data_ = farm.w_data;
    w_strb_ = farm.w_strb;
    w_last_ = farm.w_last;
    irq_held_ = farm.irq_valid && !farm.irq_ready;
    irq_vector_ = farm.irq_vector;
  }

  // xorshift64*.
  uint32_t random() {
    random_ ^= random_ >> 12;
    random_ ^= random_ << 25;
    random_ ^= random_ >> 27;
    return static_cast<uint32_t>((random_ * 0x2545F4914F6CDD1Dull) >> 32);
  }

  bool go() { return timing_.stalls_in_256 == 0 || (random() & 0xFF) >= timing_.stalls_in_256; }

  uint64_t latency() {
    const uint32_t spread = timing_.latency_max - timing_.latency_min;
    return timing_.latency_min + (spread == 0 ? 0 : random() % (spread + 1));
  }

  faam_farm_timing timing_;
  uint64_t random_ = 1;
  uint64_t cycles_ = 0;
  uint64_t quiet_ = 0;
  uint32_t broken_ = 0;
  bool flr_ = false;

  Ring<Read, BURSTS_MAX> reads_;
  bool wants_data_ = false;
  bool r_shown_ = false;

  Ring<Write, BURSTS_MAX> writes_;
  Write burst_;
  uint64_t data_[FAAM_BEATS_MAX] = {};
  uint8_t strobes_[FAAM_BEATS_MAX] = {};
  uint32_t beat_ = 0;
  bool has_burst_ = false;
  bool wants_answer_ = false;
  Ring<Answer, BURSTS_MAX + 1> answers_;
  bool b_shown_ = false;

  uint32_t vector_ = 0;
  bool has_vector_ = false;
  Access access_ = Access::None;
  uint32_t value_ = 0;

  bool ar_held_ = false, aw_held_ = false, w_held_ = false, irq_held_ = false;
  uint64_t ar_addr_ = 0, aw_addr_ = 0, w_data_ = 0;
  uint32_t ar_len_ = 0, aw_len_ = 0, w_strb_ = 0, w_last_ = 0, irq_vector_ = 0;
};

FarmRole &farm_of(void *farm) { return *static_cast<FarmRole *>(static_cast<faam::Bench *>(farm)); }

}  // namespace

extern "C" {

void *faam_farm_new(uint32_t index, const faam_farm_straps *straps, const faam_farm_timing *timing) {
  faam::Bench *bench = nullptr;
  switch (index) {
#define FAAM_CASE(number, prefix)                             \
  case number:                                                \
    bench = new (std::nothrow) Farm<prefix>(*straps, *timing); \
    break;
    FAAM_FARM_MODELS(FAAM_CASE)
#undef FAAM_CASE
    default:
      break;
  }
  return bench;
}

void faam_farm_run(void *farm, uint32_t cycles, uint64_t quiet_max, faam_farm_event *event) {
  farm_of(farm).run(cycles, quiet_max, *event);
}

void faam_farm_supply(void *farm, const uint64_t *data, uint32_t beats, uint32_t refused) {
  farm_of(farm).supply(data, beats, refused != 0);
}

void faam_farm_answer(void *farm, uint32_t refused) { farm_of(farm).answer(refused != 0); }

uint32_t faam_farm_request(void *farm, uint32_t write, uint32_t address, uint32_t value) {
  return farm_of(farm).request(write != 0, address, value) ? 1 : 0;
}

void faam_farm_bus_master(void *farm, uint32_t on) { farm_of(farm).bus_master(on != 0); }

void faam_farm_reset(void *farm) { farm_of(farm).function_reset(); }
}
