// The histograms of a count job (algorithm.md, section 7): how often each symbol came, drained as 1280 bytes.
//
// Invariant: every count is 0 when `ready` is, and again when a drain is over: draining a count clears it, and after `rst` all are
// cleared one by one. A symbol a cycle is taken, without a stall: a count on its way back to the RAM is seen by the symbols
// behind it.
// It does not know which symbols are lengths.
module faam_count (
    input  logic        clk,
    input  logic        rst,
    output logic        ready,
    input  logic        in_valid,
    input  logic [8:0]  in_place,
    input  logic        drain,        // for a cycle: begin; nothing is under way
    input  logic        drain_go,     // there is room for what comes
    output logic        drain_step,   // a place of 320 is read
    output logic        drained,      // in the cycle of the last beat
    output logic        beat_valid,
    output logic [63:0] beat_data
);
    localparam logic [8:0] PLACE_LAST = 9'd319;
    localparam int W = 21;  // a job has 2^20 symbols at most, and one end of block

    logic [W-1:0] counts[512];

    logic       clearing;
    logic       draining;
    logic [8:0] walk_at;

    // What goes down the stages: a symbol, or a place to read and clear.
    logic       take;
    logic       take_drain;
    logic [8:0] take_place;
    assign take_drain = draining && drain_go;
    assign drain_step = take_drain;
    assign take       = in_valid || take_drain;
    assign take_place = draining ? walk_at : in_place;

    // 1: the RAM's word. 2: it is registered. 3: the new count. 4, 5: it was written a cycle ago, two cycles ago.
    logic [W-1:0] word1;
    logic [W-1:0] word2;
    logic [W-1:0] count3;
    logic [W-1:0] count4;
    logic [W-1:0] count5;
    logic         valid1;
    logic         valid2;
    logic         valid3;
    logic         valid4;
    logic         drain1;
    logic         drain2;
    logic [8:0]   place1;
    logic [8:0]   place2;
    logic [8:0]   place3;
    logic [8:0]   place4;
    // At stage 2: the count is not in the word, but that of the one ahead by 1, 2, 3.
    logic         near1;
    logic         near2;
    logic         near3;

    logic [W-1:0] count;
    always_comb begin
        if (near1) count = count3;
        else if (near2) count = count4;
        else if (near3) count = count5;
        else count = word2;
    end

    logic         write;
    logic [8:0]   write_place;
    logic [W-1:0] write_count;
    assign write       = clearing || valid3;
    assign write_place = clearing ? walk_at : place3;
    assign write_count = clearing ? '0 : count3;

    always_ff @(posedge clk) begin
        if (write) counts[write_place] <= write_count;
        word1 <= counts[take_place];
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            ready    <= 1'b0;
            clearing <= 1'b1;
            draining <= 1'b0;
            walk_at  <= '0;
            valid1   <= 1'b0;
            valid2   <= 1'b0;
            valid3   <= 1'b0;
            valid4   <= 1'b0;
        end else begin
            valid1 <= take;
            valid2 <= valid1;
            valid3 <= valid2;
            valid4 <= valid3;

            if (clearing) begin
                walk_at <= walk_at == PLACE_LAST ? 9'd0 : walk_at + 9'd1;
                if (walk_at == PLACE_LAST) begin
                    clearing <= 1'b0;
                    ready    <= 1'b1;
                end
            end else if (take_drain) begin
                walk_at <= walk_at == PLACE_LAST ? 9'd0 : walk_at + 9'd1;
                if (walk_at == PLACE_LAST) draining <= 1'b0;
            end else if (drain) begin
                draining <= 1'b1;
            end
        end
    end

    // Drained counts leave two at a time.
    logic [31:0] low;

    always_ff @(posedge clk) begin
        if (rst) begin
            beat_valid <= 1'b0;
            drained    <= 1'b0;
        end else begin
            beat_valid <= valid2 && drain2 && place2[0];
            drained    <= valid2 && drain2 && place2 == PLACE_LAST;
        end
    end

    always_ff @(posedge clk) begin
        drain1 <= take_drain;
        drain2 <= drain1;
        place1 <= take_place;
        place2 <= place1;
        place3 <= place2;
        place4 <= place3;
        word2  <= word1;
        near1  <= valid2 && place2 == place1;
        near2  <= valid3 && place3 == place1;
        near3  <= valid4 && place4 == place1;
        count3 <= drain2 ? '0 : count + W'(1);
        count4 <= count3;
        count5 <= count4;

        if (drain2 && !place2[0]) low <= {11'b0, count};
        if (drain2 && place2[0]) beat_data <= {11'b0, count, low};
    end
endmodule
