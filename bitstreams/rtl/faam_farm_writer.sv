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
    output logic [63:0] fault_addr,
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
    // Bursts without their answer.
    localparam logic [2:0] OUTSTANDING_MAX = 3'd4;

    logic [63:0] begin_addr;
    logic [2:0]  place;        // of the next byte in the word
    logic [63:0] word;         // under construction
    logic [7:0]  strobes;
    logic [60:0] word_at;      // its address / 8
    logic        wrapped;      // that went past the last address
    logic [31:0] room;

    logic [4:0]  gathered;     // words of the burst under construction
    logic        whole;        // a burst waits or is being sent
    logic [4:0]  whole_left;   // its words
    logic        sending;
    logic [60:0] burst_at;     // address / 8 of the next burst to be offered
    logic        first_burst;
    logic [60:0] answer_at;    // address / 8 of the burst whose answer comes next
    logic        first_answer;
    logic [2:0]  outstanding;

    logic        dropping;
    assign dropping = stop || fault || overrun;

    // Shifted to its place a beat covers up to two words.
    logic [127:0] shifted;
    logic [15:0]  lanes;
    logic [8:0]   ones;
    logic [3:0]   filled;
    assign ones    = (9'd1 << in_bytes) - 9'd1;
    assign shifted = {64'd0, in_data} << {place, 3'd0};
    assign lanes   = {8'd0, ones[7:0]} << place;
    assign filled  = {1'b0, place} + in_bytes;

    logic [63:0] merged;
    always_comb begin
        for (int i = 0; i < 8; i++) merged[8*i+:8] = strobes[i] ? word[8*i+:8] : shifted[8*i+:8];
    end

    logic line_end;
    logic held_in_ready;
    logic can_push;
    logic beat;
    logic push_beat;
    logic push_rest;
    logic push;
    logic close;
    assign line_end  = word_at[3:0] == 4'd15;
    assign can_push  = held_in_ready && !(whole && line_end);
    assign in_ready  = can_push && !flush && !dropping;
    assign beat      = in_valid && in_ready;
    assign push_beat = beat && filled[3] && {28'd0, in_bytes} <= room;
    assign push_rest = flush && !dropping && strobes != 0 && can_push && !whole && !wrapped;
    assign push      = (push_beat || push_rest) && !wrapped;
    assign close     = (push && line_end) || push_rest || (flush && !dropping && strobes == 0 && gathered != 0 && !whole);

    logic granted;
    logic pop;
    assign granted = aw_valid && aw_ready && !aw_denied;
    assign pop     = sending && w_ready;

    logic held_valid;
    logic [5:0] held_level;
    assign aw_valid = whole && !sending && !dropping && outstanding != OUTSTANDING_MAX;
    assign aw_addr  = {burst_at, 3'd0};
    assign aw_len   = {3'd0, whole_left} - 8'd1;
    assign w_last   = whole_left == 5'd1;
    assign idle     = !whole && !sending && gathered == 0 && strobes == 0 && outstanding == 0 && !(dropping && held_valid);

    always_ff @(posedge clk) begin
        if (rst) begin
            strobes     <= '0;
            gathered    <= '0;
            whole       <= 1'b0;
            sending     <= 1'b0;
            outstanding <= '0;
            fault       <= 1'b0;
            overrun     <= 1'b0;
            wrapped     <= 1'b0;
        end else begin
            outstanding <= outstanding + 3'(granted) - 3'(b_valid);
            if (beat) begin
                if ({28'd0, in_bytes} > room) begin
                    overrun <= 1'b1;
                end else begin
                    room    <= room - {28'd0, in_bytes};
                    place   <= filled[2:0];
                    word    <= filled[3] ? shifted[127:64] : merged;
                    strobes <= filled[3] ? lanes[15:8] : strobes | lanes[7:0];
                    if (wrapped) begin
                        fault      <= 1'b1;
                        fault_addr <= begin_addr;
                    end
                end
            end
            if (push_rest) strobes <= '0;
            if (flush && !dropping && wrapped && strobes != 0) begin
                fault      <= 1'b1;
                fault_addr <= begin_addr;
            end
            if (push) begin
                word_at <= word_at + 1'b1;
                wrapped <= &word_at;
            end
            if (close) begin
                gathered   <= '0;
                whole      <= 1'b1;
                whole_left <= gathered + 5'(push);
            end else if (push) begin
                gathered <= gathered + 1'b1;
            end
            if (aw_valid && aw_ready) begin
                first_burst <= 1'b0;
                burst_at    <= {burst_at[60:4] + 1'b1, 4'd0};
                if (aw_denied) begin
                    fault      <= 1'b1;
                    fault_addr <= first_burst ? begin_addr : aw_addr;
                end else begin
                    sending <= 1'b1;
                end
            end
            if (pop) begin
                whole_left <= whole_left - 1'b1;
                if (w_last) begin
                    whole   <= 1'b0;
                    sending <= 1'b0;
                end
            end
            if (b_valid) begin
                first_answer <= 1'b0;
                answer_at    <= {answer_at[60:4] + 1'b1, 4'd0};
                if (b_bad && !fault) begin
                    fault      <= 1'b1;
                    fault_addr <= first_answer ? begin_addr : {answer_at, 3'd0};
                end
            end
            if (dropping) begin
                strobes  <= '0;
                gathered <= '0;
                if (!sending && !granted) whole <= 1'b0;
                if (stop && idle) begin
                    fault   <= 1'b0;
                    overrun <= 1'b0;
                end
            end
            if (start) begin
                begin_addr   <= start_addr;
                room         <= start_room;
                place        <= start_addr[2:0];
                strobes      <= '0;
                word_at      <= start_addr[63:3];
                burst_at     <= start_addr[63:3];
                answer_at    <= start_addr[63:3];
                first_burst  <= 1'b1;
                first_answer <= 1'b1;
                wrapped      <= 1'b0;
                fault        <= 1'b0;
                overrun      <= 1'b0;
            end
        end
    end

    faam_fifo #(
        .W    (72),
        .DEPTH(WORDS)
    ) store (
        .clk      (clk),
        .rst      (rst || (dropping && !sending)),
        .in_valid (push && !dropping),
        .in_ready (held_in_ready),
        .in_data  (push_rest ? {strobes, word} : {strobes | lanes[7:0], merged}),
        .out_valid(held_valid),
        .out_ready(pop),
        .out_data ({w_strb, w_data}),
        .level    (held_level)
    );

    logic unused;
    assign unused = &{1'b0, held_level, ones[8]};
endmodule
