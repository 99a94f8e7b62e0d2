// One span of memory at a time, as bytes: asks for it, takes its beats, gives a byte a cycle.
//
// Invariant: `idle` says that the span asked for last has been given out, or thrown away, whole, so that beats that come next are
// of the next one. A beat is good for its bytes up to the end of the span, whatever it claims.
// It does not know what the bytes are.
module faam_engine_fetch
    import faam_engine_pkg::*;
(
    input  logic        clk,
    input  logic        rst,
    // What to fetch: at least one byte. Taken when idle.
    input  logic        ask,
    input  span_t       ask_span,
    input  logic [20:0] ask_bytes,
    output logic        idle,
    // The mover.
    output logic        fetch_valid,
    input  logic        fetch_ready,
    output span_t       fetch_span,
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [63:0] in_data,
    input  logic [3:0]  in_bytes,
    // The bytes.
    output logic        byte_valid,
    input  logic        byte_ready,
    output logic [7:0]  byte_data,
    input  logic        skip         // what is left of the span is of no use
);
    logic        active;
    logic [20:0] left;       // bytes of the span that are not yet given out
    logic        left_one;
    // The beat that bytes are taken from, and the next one. The next is taken in whenever there is none, so that no ready of
    // the bytes' goes on to the mover; while it skips, a beat a cycle goes through.
    logic [63:0] held;
    logic [3:0]  held_bytes;
    logic        held_some;
    logic        held_one;
    logic [63:0] next;
    logic [3:0]  next_bytes;
    logic        next_valid;
    logic        skipping;

    logic gives;
    logic ends;
    logic moves;
    assign byte_valid = held_some;
    assign byte_data  = held[7:0];
    assign gives      = held_some && (byte_ready || skipping);
    // Thrown away by beats. That the last one might claim more than the span has is looked at in `left`.
    assign ends       = gives && (left_one || (skipping && left <= {17'b0, held_bytes}));
    assign moves      = !held_some || (gives && (held_one || skipping));
    assign in_ready   = active && (!next_valid || skipping);
    assign idle       = !active;

    always_ff @(posedge clk) begin
        if (rst) begin
            active      <= 1'b0;
            fetch_valid <= 1'b0;
            held_some   <= 1'b0;
            next_valid  <= 1'b0;
            skipping    <= 1'b0;
        end else begin
            if (fetch_ready) fetch_valid <= 1'b0;
            if (!active) begin
                if (ask) begin
                    active      <= 1'b1;
                    fetch_valid <= 1'b1;
                end
            end else if (ends) begin
                active <= 1'b0;
            end

            skipping <= skip && active && !ends;
            if (!active || ends) begin
                held_some  <= 1'b0;
                next_valid <= 1'b0;
            end else begin
                if (moves) held_some <= next_valid;
                if (in_ready) next_valid <= in_valid;
                else if (moves) next_valid <= 1'b0;
            end
        end
    end

    always_ff @(posedge clk) begin
        if (!active) begin
            fetch_span <= ask_span;
            left       <= ask_bytes;
            left_one   <= ask_bytes == 21'd1;
        end else if (gives) begin
            left     <= left - (skipping ? {17'b0, held_bytes} : 21'd1);
            left_one <= left == (skipping ? {17'b0, held_bytes} + 21'd1 : 21'd2);
        end

        if (moves) begin
            held       <= next;
            held_bytes <= next_bytes;
            held_one   <= next_bytes == 4'd1;
        end else if (gives) begin
            held       <= held >> 8;
            held_bytes <= held_bytes - 4'd1;
            held_one   <= held_bytes == 4'd2;
        end

        if (in_ready) begin
            next       <= in_data;
            next_bytes <= in_bytes;
        end
    end
endmodule
