// A mover that writes: a stream of 1 to 8 bytes a beat goes to memory from any byte address on.
//
// Bytes are shifted into aligned 64-bit words with strobes; words gather in bursts that end where the address is a multiple
// of 128 bytes. A burst is offered only when all of its words are in the buffer, so that the port never waits for a stream.
// Invariants: no byte behind `start_room` is written (`overrun` instead); after a fault, an overrun or `stop` no further
// burst is offered, and one that was begun is ended with the words that it has; `idle` says that nothing is buffered and
// that every burst has its answer.
// A wait ends when memory answers, and memory alone decides when that is. It does not know what the bytes are.
module faam_farm_writer (
    input  logic        clk,
    input  logic        rst,
    input  logic        start,       // only while idle; also clears `fault` and `overrun`
    input  logic [63:0] start_addr,
    input  logic [31:0] start_room,  // bytes that may be written
    input  logic        flush,       // no more beats for now: what is buffered goes out. A level, until idle
    input  logic        stop,        // drop everything; a level, until idle, which also clears `fault` and `overrun`
    output logic        idle,
    output logic        fault,       // an answer was an error, or the bytes leave the address space
    output logic [63:0] fault_addr,  // where the burst begins that it happened to
    output logic        overrun,     // more came than there is room
    // the stream
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [63:0] in_data,
    input  logic [3:0]  in_bytes,
    // bursts that are whole; once one is granted its words are taken one by one, `w_last` with the last
    output logic        aw_valid,
    input  logic        aw_ready,
    input  logic        aw_denied,   // with aw_ready: not asked, and there will be no answer
    output logic [63:0] aw_addr,
    output logic [7:0]  aw_len,
    output logic [63:0] w_data,
    output logic [7:0]  w_strb,
    output logic        w_last,
    input  logic        w_ready,
    input  logic        b_valid,
    input  logic        b_bad
);
    localparam int WORDS = faam_farm_pkg::MOVER_WORDS;

    logic [2:0]  place;     // of the next byte in the word
    logic [63:0] word;      // under construction
    logic [7:0]  strobes;
    logic [3:0]  spot;      // of that word in its line of 128 bytes
    logic [31:0] room;
    logic [4:0]  gathered;  // words of the burst under construction

    // One burst at a time is offered, sent and answered, while the next one gathers.
    logic        whole;     // it waits or is being sent
    logic [4:0]  whole_left;
    logic        asking;    // it is offered
    logic        sending;
    logic        waiting;   // for its answer
    logic [60:0] burst_at;  // its address / 8
    logic [2:0]  low;       // and where in its first word it begins
    logic        leaves;    // it would begin behind the last address

    // Through registers: whoever asks waits for `idle` anyway.
    logic flushes;
    logic stops;
    logic dropping;
    assign dropping = stops || fault || overrun;
    always_ff @(posedge clk) begin
        flushes <= flush && !rst;
        stops   <= stop && !rst;
    end

    // Beats come through a skid buffer, so that no path leads from who makes them to memory's side.
    logic        beat_valid;
    logic [63:0] beat_data;
    logic [3:0]  beat_bytes;
    logic        beat_taken;
    faam_skid #(
        .W(68)
    ) skid (
        .clk      (clk),
        .rst      (rst || dropping),
        .in_valid (in_valid),
        .in_ready (in_ready),
        .in_data  ({in_bytes, in_data}),
        .out_valid(beat_valid),
        .out_ready(beat_taken),
        .out_data ({beat_bytes, beat_data})
    );

    // Turned to its place, a beat covers the rest of this word and the beginning of the next.
    logic [63:0] by_one;
    logic [63:0] by_two;
    logic [63:0] turned;
    logic [15:0] lanes;
    logic [8:0]  ones;
    logic [3:0]  filled;
    assign by_one = place[0] ? {beat_data[55:0], beat_data[63:56]} : beat_data;
    assign by_two = place[1] ? {by_one[47:0], by_one[63:48]} : by_one;
    assign turned = place[2] ? {by_two[31:0], by_two[63:32]} : by_two;
    assign ones   = (9'd1 << beat_bytes) - 9'd1;
    assign lanes  = {8'd0, ones[7:0]} << place;
    assign filled = {1'b0, place} + beat_bytes;

    logic [63:0] merged;
    always_comb begin
        for (int i = 0; i < 8; i++) merged[8*i+:8] = strobes[i] ? word[8*i+:8] : turned[8*i+:8];
    end

    logic fits;
    logic line_end;
    logic held_in_ready;
    logic can_push;
    logic takes;
    logic beat;
    logic push_beat;
    logic push_rest;
    logic push;
    logic close;
    assign fits      = room[31:4] != 0 || beat_bytes <= room[3:0];
    assign line_end  = spot == 4'd15;
    assign can_push  = held_in_ready && !(whole && line_end);
    assign takes     = can_push && !dropping;
    assign beat      = beat_valid && takes;
    assign push_beat = beat && filled[3] && fits;
    assign push_rest = flushes && !beat_valid && !dropping && strobes != 0 && can_push && !whole;
    assign push      = push_beat || push_rest;
    assign close     = (push && line_end) || push_rest ||
                       (flushes && !beat_valid && !dropping && strobes == 0 && gathered != 0 && !whole);

    assign beat_taken = takes;

    logic offered;
    logic granted;
    logic pop;
    assign offered = whole && !asking && !sending && !waiting && !dropping;
    assign granted = aw_valid && aw_ready && !aw_denied;
    assign pop     = sending && w_ready;

    logic held_valid;
    logic [5:0] held_level;
    assign aw_valid   = asking;
    assign aw_addr    = {burst_at, 3'd0};
    assign aw_len     = {3'd0, whole_left} - 8'd1;
    assign w_last     = whole_left == 5'd1;
    assign fault_addr = {burst_at, low};
    assign idle       = !beat_valid && !whole && !sending && !waiting && gathered == 0 && strobes == 0 &&
                        !(dropping && held_valid);

    logic [57:0] next_line;
    assign next_line = {1'b0, burst_at[60:4]} + 58'd1;

    always_ff @(posedge clk) begin
        if (rst) begin
            strobes  <= '0;
            gathered <= '0;
            whole    <= 1'b0;
            asking   <= 1'b0;
            sending  <= 1'b0;
            waiting  <= 1'b0;
            fault    <= 1'b0;
            overrun  <= 1'b0;
        end else begin
            if (beat) begin
                if (fits) begin
                    room    <= room - {28'd0, beat_bytes};
                    place   <= filled[2:0];
                    strobes <= filled[3] ? lanes[15:8] : strobes | lanes[7:0];
                end else begin
                    overrun <= 1'b1;
                end
                word <= filled[3] ? turned : merged;
            end
            if (push_rest) strobes <= '0;
            if (push) spot <= spot + 1'b1;
            if (close) begin
                gathered   <= '0;
                whole      <= 1'b1;
                whole_left <= gathered + 5'(push);
            end else if (push) begin
                gathered <= gathered + 1'b1;
            end
            if (granted) begin
                sending <= 1'b1;
                waiting <= 1'b1;
            end
            if (offered && !leaves) asking <= 1'b1;
            if (aw_ready) asking <= 1'b0;
            if ((offered && leaves) || (asking && aw_ready && aw_denied)) fault <= 1'b1;
            if (pop) begin
                whole_left <= whole_left - 1'b1;
                if (w_last) begin
                    whole   <= 1'b0;
                    sending <= 1'b0;
                end
            end
            if (b_valid) begin
                waiting <= 1'b0;
                // The address of a burst that failed stands.
                if (b_bad) begin
                    fault <= 1'b1;
                end else if (!fault) begin
                    burst_at <= {next_line[56:0], 4'd0};
                    leaves   <= next_line[57];
                    low      <= '0;
                end
            end
            if (dropping) begin
                strobes  <= '0;
                gathered <= '0;
                // What is offered stays until it is taken or denied.
                if (!sending && !asking) whole <= 1'b0;
                if (stops && idle) begin
                    fault   <= 1'b0;
                    overrun <= 1'b0;
                end
            end
            if (start) begin
                room     <= start_room;
                place    <= start_addr[2:0];
                low      <= start_addr[2:0];
                strobes  <= '0;
                spot     <= start_addr[6:3];
                burst_at <= start_addr[63:3];
                leaves   <= 1'b0;
                fault    <= 1'b0;
                overrun  <= 1'b0;
            end
        end
    end

    faam_fifo #(
        .W    (72),
        .DEPTH(WORDS)
    ) store (
        .clk      (clk),
        .rst      (rst || (dropping && !sending && !asking)),
        .in_valid (push && !dropping),
        .in_ready (held_in_ready),
        // Bytes without a strobe are nobody's.
        .in_data  ({push_rest ? strobes : strobes | lanes[7:0], merged}),
        .out_valid(held_valid),
        .out_ready(pop),
        .out_data ({w_strb, w_data}),
        .level    (held_level)
    );

    logic unused;
    assign unused = &{1'b0, held_level, ones[8]};
endmodule
