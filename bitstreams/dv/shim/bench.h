// What every bench has in common: a Verilated model with its context, its clock, its reset and its waveforms.
//
// Invariants: registers start at random from the seed, so that what a reset does not set must not matter; time goes on only in `settle` and
// `edge`, one clock a pair. It does not know a model's ports beyond `clk` and `rst`, nor what a run is.
#pragma once

#include <cstdint>
#include <memory>

#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace faam {

// A bench as bench.cpp hands it to the other side: all that can be asked of one whatever its model.
class Bench {
  public:
    virtual ~Bench() = default;
    virtual void reset(uint32_t cycles) = 0;
    // Whether waveforms are written to this file from now on.
    virtual bool trace(const char* path) = 0;

    // Which broken rule of mutants.txt acts in its model; 0 for none.
    uint32_t mutant = 0;
};

// Has a bench's broken rule act in the model that this thread runs, until another is told to.
void act(const Bench& bench);

// Around a Model; Role is a Bench with what it can be asked beside.
template <class Model, class Role>
class ModelBench : public Role {
  public:
    explicit ModelBench(uint64_t seed) {
        context_.randReset(2);
        context_.randSeed(static_cast<int>(seed & 0x7fffffff) | 1);
        context_.traceEverOn(VM_TRACE != 0);
        model_ = std::make_unique<Model>(&context_);
    }

    ~ModelBench() override {
#if VM_TRACE
        if (waves_) waves_->close();
#endif
        model_->final();
    }

    bool trace(const char* path) override {
#if VM_TRACE
        waves_ = std::make_unique<VerilatedVcdC>();
        model_->trace(waves_.get(), 99);
        waves_->open(path);
        return waves_->isOpen();
#else
        (void)path;
        return false;
#endif
    }

    void reset(uint32_t cycles) override {
        act(*this);
        quiet();
        model_->rst = 1;
        for (uint32_t cycle = 0; cycle < cycles; ++cycle) {
            stir();
            settle();
            edge();
        }
        model_->rst = 0;
    }

  protected:
    // Sets every valid and ready that the model sees to 0.
    virtual void quiet() {}
    // Sets what it sees while it is in reset to anything.
    virtual void stir() {}

    void settle() {
        model_->clk = 0;
        model_->eval();
        dump();
    }

    void edge() {
        model_->clk = 1;
        model_->eval();
        dump();
    }

    Model& model() { return *model_; }

  private:
    void dump() {
#if VM_TRACE
        time_ += 1;
        if (waves_) waves_->dump(time_);
#endif
    }

    VerilatedContext context_;
    std::unique_ptr<Model> model_;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> waves_;
    uint64_t time_ = 0;
#endif
};

}  // namespace faam
