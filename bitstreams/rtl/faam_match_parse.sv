// The parse of algorithm.md, section 4: from the best match of each position to tokens.
//
// It owns the results of the positions that were compared ahead (32 slots), the position it looks at (the head), the match it may
// still give up for a longer one (the pending one), and the tokens on their way out. Invariants: a position a cycle, or a jump; tokens do
// not depend on when results come or tokens go. Results of positions it has jumped over are never looked at. `low` is never
// above a position whose comparison still matters.
// It does not know candidates, hashes or memories.
module faam_match_parse #(
    parameter int WAYS = 4,
    parameter int WAY_BITS = 2
) (
    input  logic                clk,
    input  logic                rst,
    input  logic                start,
    input  logic [15:0]         start_hist,
    input  logic                lazy,
    input  logic                run,
    input  logic                complete,
    input  logic [16:0]         stream_end,
    // What the comparer found.
    input  logic                result,
    input  logic                result_long,
    input  logic                result_turn,
    input  logic [9:0]          result_at,
    input  logic                result_more,
    input  logic [WAYS-1:0]     result_ways,
    input  logic [4:0]          result_length,
    input  logic [WAY_BITS-1:0] result_way,
    input  logic [7:0]          result_byte,
    // What it shall do.
    output logic [16:0]         reads_at,
    output logic                jump,
    output logic [16:0]         jump_at,
    output logic                long_start,
    output logic [16:0]         long_at,
    output logic [WAYS-1:0]     long_ways,
    output logic                long_end,
    output logic [16:0]         low,
    // The candidate of a slot, a cycle later.
    output logic [4:0]          source_at,
    output logic [WAY_BITS-1:0] source_way,
    input  logic [14:0]         source_from,
    output logic                done,
    output logic                tok_valid,
    input  logic                tok_ready,
    output faam_engine_pkg::token_t tok
);
    localparam logic [8:0] LAZY_BELOW = 9'd32;
    localparam logic [8:0] STEP = 9'd31;
    localparam int TOKENS = 16;
    // Tokens that may still come when no more are begun: those on their way, and the count's own delay.
    localparam int TOKENS_BEGIN_MAX = TOKENS - 7;

    // The slots.
    localparam int SLOT = 1 + WAYS + 5 + WAY_BITS + 8;
    logic [SLOT-1:0] slots[32];
    logic [SLOT-1:0] slot;
    logic [9:0]      known_below;

    assign slot = slots[reads_at[4:0]];

    always_ff @(posedge clk) begin
        if (result && !result_long) begin
            slots[result_at[4:0]] <= {result_more, result_ways, result_length, result_way, result_byte};
            known_below           <= result_at + 1'b1;
        end
        if (start) known_below <= start_hist[9:0];
    end

    // The head and the pending match.
    logic                head;
    logic                head_long;
    logic [WAYS-1:0]     head_ways;
    logic [8:0]          head_length;
    logic [WAY_BITS-1:0] head_way;
    logic [7:0]          head_byte;
    logic [16:0]         head_at;

    logic                pending;
    logic [8:0]          pending_length;
    logic [WAY_BITS-1:0] pending_way;
    logic [7:0]          pending_byte;
    logic [16:0]         pending_at;
    logic                pending_final;

    logic                follows;
    logic                turn;
    logic [8:0]          followed;

    logic                room;
    logic                ended;
    logic                emits;
    logic                emits_match;
    logic                takes;
    logic                keeps;
    logic                load;

    // Step 3: whether the match is taken without a look at the next position.
    assign pending_final = !lazy || pending_length >= LAZY_BELOW;

    always_comb begin
        emits       = 1'b0;
        emits_match = 1'b0;
        takes       = 1'b0;
        keeps       = 1'b0;
        if (room && pending && (pending_final || (head && !head_long && head_length <= pending_length))) begin
            emits       = 1'b1;
            emits_match = 1'b1;
        end else if (room && head && !head_long) begin
            // The pending match is given up, or there was none.
            takes = 1'b1;
            keeps = head_length != 9'd0;
            emits = pending || !keeps;
        end
    end

    assign load = $signed(reads_at[9:0] - known_below) < 0 && !jump && !emits_match && (!head || takes);

    logic long_wanted;
    assign long_wanted = head && head_long && !follows && !(pending && pending_final);

    logic piece;
    assign piece = follows && result && result_long && result_turn == turn;

    always_ff @(posedge clk) begin
        jump    <= emits_match;
        jump_at <= pending_at + {8'd0, pending_length};

        if (takes) head <= 1'b0;
        if (load) begin
            head <= 1'b1;
            {head_long, head_ways} <= slot[SLOT-1-:WAYS+1];
            head_length <= {4'd0, slot[8+WAY_BITS+:5]};
            head_way    <= slot[8+:WAY_BITS];
            head_byte   <= slot[7:0];
            head_at     <= reads_at;
            reads_at    <= reads_at + 1'b1;
        end
        if (takes) begin
            pending        <= keeps;
            pending_length <= head_length;
            pending_way    <= head_way;
            pending_byte   <= head_byte;
            pending_at     <= head_at;
        end
        if (emits_match) begin
            pending <= 1'b0;
            head    <= 1'b0;
        end
        if (jump) reads_at <= jump_at;

        // A long match.
        long_start <= long_wanted && !long_start;
        long_end   <= 1'b0;
        if (long_wanted && !long_start) begin
            long_at   <= head_at;
            long_ways <= head_ways;
            follows   <= 1'b1;
            turn      <= !turn;
            followed  <= STEP;
        end
        low <= head ? head_at : reads_at;
        if (follows) low <= low;
        if (piece) begin
            if (result_more) begin
                followed <= followed + STEP;
                low      <= head_at + {8'd0, followed} + {8'd0, STEP};
            end else begin
                follows     <= 1'b0;
                long_end    <= 1'b1;
                head_long   <= 1'b0;
                head_length <= followed + {4'd0, result_length};
                head_way    <= result_way;
            end
        end

        if (start) begin
            head     <= 1'b0;
            pending  <= 1'b0;
            follows  <= 1'b0;
            turn     <= 1'b0;
            jump     <= 1'b0;
            reads_at <= {1'b0, start_hist};
            low      <= {1'b0, start_hist};
        end
        if (rst) begin
            head       <= 1'b0;
            pending    <= 1'b0;
            follows    <= 1'b0;
            jump       <= 1'b0;
            long_start <= 1'b0;
            long_end   <= 1'b0;
        end
    end

    // The end: nothing can come any more. Two registers, for nothing that makes it true passes.
    logic at_end;
    logic idle;
    always_ff @(posedge clk) begin
        idle   <= complete && !head && !pending && !jump && !emits_match;
        at_end <= idle && !head && !pending && !jump && reads_at == stream_end;
        done   <= run && at_end && room && !ended;
        if (run && at_end && room) ended <= 1'b1;
        if (start) begin
            idle   <= 1'b0;
            at_end <= 1'b0;
            ended  <= 1'b0;
            done   <= 1'b0;
        end
        if (rst) begin
            at_end <= 1'b0;
            ended  <= 1'b0;
            done   <= 1'b0;
        end
    end

    // The tokens: their source a stage later, then the distance, then the queue.
    localparam int TOKEN = $bits(faam_engine_pkg::token_t);
    logic                             out_valid[3];
    faam_engine_pkg::token_kind_t     out_kind[3];
    logic [7:0]                       out_literal[3];
    logic [8:0]                       out_length[3];
    logic [14:0]                      out_at[2];
    logic [14:0]                      out_distance;
    logic [$clog2(TOKENS):0]          level;
    logic [TOKEN-1:0]                 out_token;
    logic [TOKEN-1:0]                 tok_bits;
    faam_engine_pkg::token_t          out_packed;

    assign source_at = out_at[0][4:0];

    always_ff @(posedge clk) begin
        out_valid[0]   <= emits || (run && at_end && room && !ended);
        out_kind[0]    <= emits_match ? faam_engine_pkg::TOKEN_MATCH
            : emits ? faam_engine_pkg::TOKEN_LITERAL : faam_engine_pkg::TOKEN_END;
        out_literal[0] <= emits_match || !emits ? 8'd0 : pending ? pending_byte : head_byte;
        out_length[0]  <= emits_match ? pending_length : 9'd0;
        out_at[0]      <= pending_at[14:0];
        source_way     <= pending_way;
        for (int i = 1; i < 3; i++) begin
            out_valid[i]   <= out_valid[i-1];
            out_kind[i]    <= out_kind[i-1];
            out_literal[i] <= out_literal[i-1];
            out_length[i]  <= out_length[i-1];
        end
        out_at[1]    <= out_at[0];
        out_distance <= out_kind[1] == faam_engine_pkg::TOKEN_MATCH ? out_at[1] - source_from : 15'd0;
        room         <= level <= ($clog2(TOKENS)+1)'(TOKENS_BEGIN_MAX);
        if (start || rst) begin
            out_valid[0] <= 1'b0;
            out_valid[1] <= 1'b0;
            out_valid[2] <= 1'b0;
        end
    end

    always_comb begin
        out_packed.kind     = out_kind[2];
        out_packed.literal  = out_literal[2];
        out_packed.length   = out_length[2];
        out_packed.distance = out_distance;
    end
    assign out_token = out_packed;
    assign tok = tok_bits;

    /* verilator lint_off UNUSEDSIGNAL */
    logic queue_ready;
    /* verilator lint_on UNUSEDSIGNAL */
    faam_fifo #(
        .W(TOKEN),
        .DEPTH(TOKENS)
    ) queue (
        .clk,
        .rst,
        .in_valid(out_valid[2]),
        .in_ready(queue_ready),
        .in_data(out_token),
        .out_valid(tok_valid),
        .out_ready(tok_ready),
        .out_data(tok_bits),
        .level
    );
endmodule
