// The way out: beats of an attempt, cut at the room that the destination has, into a queue for the mover.
//
// Invariant: in an attempt at most `cap` bytes leave, and the first beat of one that was begun with `begin_rewind` says so. Whoever
// makes beats does so only while `go` was there a few cycles before: the queue has room for what the coder has under way.
// It does not know whether the attempt will be the last.
module faam_engine_output (
    input  logic        clk,
    input  logic        rst,
    input  logic        begin_attempt,
    input  logic        begin_rewind,
    input  logic [31:0] cap,
    input  logic        beat_valid,
    input  logic [63:0] beat_data,
    input  logic [3:0]  beat_bytes,
    output logic        go,
    output logic        empty,
    output logic        out_valid,
    input  logic        out_ready,
    output logic [63:0] out_data,
    output logic [3:0]  out_bytes,
    output logic        out_rewind
);
    localparam int DEPTH = 16;
    // The coder has at most eight beats under way (16 operations of at most 28 bits, and 63 bits that wait).
    localparam logic [4:0] GO_LEVEL_MAX = 5'd7;

    logic [28:0] beats_left;
    logic        no_beats_left;
    logic [3:0]  rest;         // bytes behind the last whole beat
    logic        rewind;

    logic        push_valid;
    logic [63:0] push_data;
    logic [3:0]  push_bytes;
    logic        push_rewind;
    logic        push_ready;
    logic [4:0]  level;

    logic fits;
    assign fits = !no_beats_left || rest != '0;

    always_ff @(posedge clk) begin
        if (rst) begin
            push_valid <= 1'b0;
            go         <= 1'b0;
        end else begin
            push_valid <= beat_valid && fits;
            go         <= level <= GO_LEVEL_MAX;
        end
    end

    always_ff @(posedge clk) begin
        push_data   <= beat_data;
        push_bytes  <= no_beats_left && beat_bytes > rest ? rest : beat_bytes;
        push_rewind <= rewind;

        if (begin_attempt) begin
            beats_left    <= cap[31:3];
            no_beats_left <= cap[31:3] == '0;
            rest          <= {1'b0, cap[2:0]};
            rewind        <= begin_rewind;
        end else if (beat_valid) begin
            beats_left <= beats_left - 29'd1;
            if (beats_left == 29'd1) no_beats_left <= 1'b1;
            if (no_beats_left) rest <= '0;
            if (fits) rewind <= 1'b0;
        end
    end

    faam_fifo #(
        .W(69),
        .DEPTH(DEPTH)
    ) queue (
        .clk,
        .rst,
        .in_valid(push_valid),
        .in_ready(push_ready),
        .in_data({push_rewind, push_bytes, push_data}),
        .out_valid,
        .out_ready,
        .out_data({out_rewind, out_bytes, out_data}),
        .level
    );

    assign empty = !push_valid && level == '0;

    // The queue is never full: see GO_LEVEL_MAX.
    logic unused;
    assign unused = &{1'b0, push_ready};
endmodule
