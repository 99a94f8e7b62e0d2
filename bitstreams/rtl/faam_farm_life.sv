// The life of the function: enabled, disabled, reset, and what STATUS says of it.
//
// Owns RESET_EPOCH and the requests to the sequencer. A life ends by CONTROL.enable going low, by the reset key or by a
// function-level reset: `stop` stands until the sequencer says that every engine is still, every answer of memory is in and
// every queue is gone.
// Invariants: `ready` and `dma_idle` are never both high; RESET_EPOCH changes with every reset and is never all-ones.
// It does not know how engines are stopped.
module faam_farm_life (
    input  logic        clk,
    input  logic        rst,
    input  logic        flr,
    input  logic [31:0] epoch_start,
    input  logic        set_enable,     // CONTROL was written
    input  logic        set_enable_to,
    input  logic        set_reset,      // RESET was written with its key
    output logic        registers_reset,  // a pulse: the host's registers take their reset values
    output logic        errors_clear,
    output logic        enable,
    output logic        ready,
    output logic        fatal,
    output logic        dma_idle,
    output logic        resetting,
    output logic        changing,       // a life is about to begin or to end
    output logic [31:0] epoch,
    // the sequencer
    output logic        stop,
    input  logic        stopped,
    output logic        begins,         // make the admin queue
    input  logic        begun,
    input  logic        refused         // the registers describe none
);
    logic forgets;  // the end under way is a reset's: errors go too
    logic resets;
    assign resets = flr || set_reset;

    logic [31:0] next_epoch;
    assign next_epoch = epoch + 32'd1;

    always_ff @(posedge clk) begin
        if (rst) begin
            enable  <= 1'b0;
            ready   <= 1'b0;
            fatal   <= 1'b0;
            stop    <= 1'b0;
            forgets <= 1'b0;
            epoch   <= (&epoch_start) ? '0 : epoch_start;
        end else begin
            if (stop && stopped) begin
                stop    <= 1'b0;
                forgets <= 1'b0;
            end
            if (begun && enable && !stop) ready <= 1'b1;
            if (refused && begins) fatal <= 1'b1;
            if (set_enable) begin
                enable <= set_enable_to;
                if (!set_enable_to && enable) begin
                    ready <= 1'b0;
                    stop  <= 1'b1;
                end
            end
            if (resets) begin
                enable  <= 1'b0;
                ready   <= 1'b0;
                fatal   <= 1'b0;
                stop    <= 1'b1;
                forgets <= 1'b1;
                epoch   <= (&next_epoch) ? '0 : next_epoch;
            end
        end
    end

    assign registers_reset = resets;
    assign errors_clear    = stop && stopped && forgets;
    assign begins          = enable && !ready && !fatal && !stop;
    assign changing        = stop || begins;
    assign dma_idle        = !stop && !ready;
    assign resetting       = stop;
endmodule
