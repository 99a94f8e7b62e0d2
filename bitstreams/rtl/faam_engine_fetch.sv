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
    logic        beat_valid;
    logic        beat_ready;
    logic [63:0] beat_data;
    logic [3:0]  beat_bytes;

    faam_skid #(
        .W(68)
    ) beats (
        .clk,
        .rst,
        .in_valid,
        .in_ready,
        .in_data({in_bytes, in_data}),
        .out_valid(beat_valid),
        .out_ready(beat_ready),
        .out_data({beat_bytes, beat_data})
    );

    logic        active;
    logic [20:0] left;       // bytes of the span that are not yet given out
    logic        left_one;
    logic [63:0] held;
    logic [3:0]  held_bytes;
    logic        held_one;

    logic gives;
    logic ends;
    assign byte_valid = held_bytes != '0;
    assign byte_data  = held[7:0];
    assign gives      = byte_valid && (byte_ready || skip);
    // Thrown away by beats. That the last one might claim more than the span has is looked at in `left`.
    assign ends       = gives && (left_one || (skip && left <= {17'b0, held_bytes}));
    assign beat_ready = active && !ends && (!byte_valid || (gives && (held_one || skip)));
    assign idle       = !active;

    always_ff @(posedge clk) begin
        if (rst) begin
            active      <= 1'b0;
            fetch_valid <= 1'b0;
            held_bytes  <= '0;
            held_one    <= 1'b0;
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

            if (ends) begin
                held_bytes <= '0;
                held_one   <= 1'b0;
            end else if (beat_valid && beat_ready) begin
                held_bytes <= beat_bytes;
                held_one   <= beat_bytes == 4'd1;
            end else if (gives) begin
                held_bytes <= skip ? 4'd0 : held_bytes - 4'd1;
                held_one   <= !skip && held_bytes == 4'd2;
            end
        end
    end

    always_ff @(posedge clk) begin
        if (!active) begin
            fetch_span <= ask_span;
            left       <= ask_bytes;
            left_one   <= ask_bytes == 21'd1;
        end else if (gives) begin
            left     <= left - (skip ? {17'b0, held_bytes} : 21'd1);
            left_one <= left == (skip ? {17'b0, held_bytes} + 21'd1 : 21'd2);
        end

        if (beat_valid && beat_ready) held <= beat_data;
        else if (gives) held <= held >> 8;
    end
endmodule
