// The code of a job: RFC 1951's fixed one, or a loaded table (algorithm.md, section 5), which is checked here as it comes in.
//
// A loaded code is kept as it is loaded, one place a cycle: of each symbol its length and its rank among the symbols of the same
// length. With the first code of every length (RFC 1951, 3.2.2) that gives its code by an addition at look-up, and nobody has to
// go over the places a second time. Invariant: `load_ready` says that 320 lengths have come since `load_clear`, and that `rule`
// and the look-ups are of these.
// It does not know the header's bits, and does not look whether they say the same.
module faam_table #(
    parameter int TABLES = 1
) (
    input  logic        clk,
    input  logic        rst,
    output logic        ready,             // to be loaded
    // Loading: the first 320 bytes of a table block.
    input  logic        load_clear,
    input  logic        load_valid,
    input  logic [7:0]  load_length,
    output logic        load_ready,
    output logic [2:0]  rule,              // that the lengths break, 0 for none
    // Look-up: four cycles, one a cycle, no stall.
    input  logic        loaded,            // the loaded code, not the fixed one
    input  logic [8:0]  find_place,
    output logic [14:0] found_code,        // most significant bit first, in the low bits
    output logic [3:0]  found_length       // 0: no code
);
    localparam logic [8:0] DISTANCE_PLACE = 9'd288;

    // Stages of a look-up: 1 the RAM is read, 2 its word is registered, 3 length and rank are chosen, 4 they make the code.
    logic [8:0]  place1;
    logic [8:0]  place2;
    logic [3:0]  fixed2_length;
    logic [14:0] fixed2_first;
    logic [8:0]  rank3;
    logic [3:0]  length3;
    logic [14:0] first3;

    logic [3:0]  table2_length;
    logic [8:0]  table2_rank;
    logic [14:0] table3_first;

    // The fixed code: a length and what is to be added to the place (modulo 2^15).
    logic [3:0]  fixed1_length;
    logic [14:0] fixed1_first;
    always_comb begin
        if (place1 < 9'd144) begin
            fixed1_length = 4'd8;
            fixed1_first  = 15'h0030;
        end else if (place1 < 9'd256) begin
            fixed1_length = 4'd9;
            fixed1_first  = 15'h0190 - 15'd144;
        end else if (place1 < 9'd280) begin
            fixed1_length = 4'd7;
            fixed1_first  = 15'h0000 - 15'd256;
        end else if (place1 < DISTANCE_PLACE) begin
            fixed1_length = 4'd8;
            fixed1_first  = 15'h00c0 - 15'd280;
        end else begin
            fixed1_length = 4'd5;
            fixed1_first  = 15'h0000 - 15'd288;
        end
    end

    always_ff @(posedge clk) begin
        place1        <= find_place;
        place2        <= place1;
        fixed2_length <= fixed1_length;
        fixed2_first  <= fixed1_first;
        length3       <= loaded ? table2_length : fixed2_length;
        rank3         <= loaded ? table2_rank : place2;
        first3        <= fixed2_first;
        found_length  <= length3;
        found_code    <= (loaded ? table3_first : first3) + {6'b0, rank3};
    end

    if (TABLES != 0) begin : g_loaded
        localparam logic [8:0] PLACES = 9'd320;
        localparam logic [8:0] END_OF_BLOCK = 9'd256;
        localparam logic [22:0] KRAFT_COMPLETE = 23'd32768;

        // Length and rank of each symbol.
        logic [12:0] symbols[512];
        logic [12:0] word1;
        // How many symbols have a length so far: {distance, length}. All are 0 between two loads: the walk clears what it reads,
        // and after `rst` one goes over them without reading.
        logic [8:0]  counts[32];
        // The first code of a length: {distance, length}.
        logic [14:0] firsts[32];

        // The length that is being taken.
        logic        in_valid;
        logic [7:0]  in_length;
        logic [8:0]  in_place;
        logic        in_distance;
        logic        in_reserved;
        logic        in_is_end;
        logic [8:0]  next_place;

        // The walk over the lengths, once all places are in: {distance, length}, lengths 0..=15 of each. The same register says which
        // count is looked up for the length that comes in.
        logic        clearing;
        logic        walking;
        logic [4:0]  count_at;
        logic [14:0] walk_code;
        logic [8:0]  count;
        assign count = counts[count_at];

        logic in_codes;
        assign in_codes = in_valid && in_length[3:0] != '0;

        always_ff @(posedge clk) begin
            if (in_codes || walking || clearing) counts[count_at] <= in_codes ? count + 9'd1 : 9'd0;
        end

        always_ff @(posedge clk) begin
            if (in_valid) symbols[in_place] <= {in_length[3:0], count};
            word1 <= symbols[find_place];
        end
        // A second register: the RAM's own way to its output is long.
        always_ff @(posedge clk) {table2_length, table2_rank} <= word1;

        always_ff @(posedge clk) begin
            if (walking) firsts[count_at] <= walk_code;
        end

        // The rules. Kraft sums in units of 2^-15, a register behind.
        logic        sum_valid;
        logic        sum_distance;
        logic [14:0] sum_term;
        logic [22:0] litlen_sum;
        logic [22:0] distance_sum;
        logic        out_of_range;
        logic        has_end;
        logic        distance_above_one;
        logic        litlen_bad;
        logic        distance_bad;

        logic [4:0]  distance_slot;
        logic [3:0]  length2;
        logic        is_distance3;

        // Nothing is loaded while there is `clearing`.
        always_ff @(posedge clk) begin
            if (rst) begin
                clearing <= 1'b1;
                ready    <= 1'b0;
            end else if (clearing && count_at == '1) begin
                clearing <= 1'b0;
                ready    <= 1'b1;
            end
        end

        always_ff @(posedge clk) begin
            if (rst || load_clear) begin
                next_place         <= '0;
                in_valid           <= 1'b0;
                walking            <= 1'b0;
                load_ready         <= 1'b0;
                sum_valid          <= 1'b0;
                litlen_sum         <= '0;
                distance_sum       <= '0;
                out_of_range       <= 1'b0;
                has_end            <= 1'b0;
                distance_above_one <= 1'b0;
            end else begin
                in_valid <= load_valid;
                if (load_valid) next_place <= next_place + 9'd1;

                if (in_valid) begin
                    if (in_length[7:4] != '0 || (in_reserved && in_length != '0)) out_of_range <= 1'b1;
                    if (in_is_end && in_length[3:0] != '0) has_end <= 1'b1;
                    if (in_distance && in_length[3:1] != '0) distance_above_one <= 1'b1;
                end
                sum_valid <= in_codes;
                if (sum_valid && !sum_distance) litlen_sum <= litlen_sum + {8'b0, sum_term};
                if (sum_valid && sum_distance) distance_sum <= distance_sum + {8'b0, sum_term};

                if (in_valid && in_place == PLACES - 9'd1) begin
                    walking <= 1'b1;
                end else if (walking && count_at == '1) begin
                    walking    <= 1'b0;
                    load_ready <= 1'b1;
                end
            end
        end

        always_ff @(posedge clk) begin
            in_length   <= load_length;
            in_place    <= next_place;
            in_distance <= next_place >= DISTANCE_PLACE;
            in_reserved <= next_place == 9'd286 || next_place == 9'd287 || next_place >= 9'd318;
            in_is_end   <= next_place == END_OF_BLOCK;

            sum_distance <= in_distance;
            sum_term     <= 15'h4000 >> (in_length[3:0] - 4'd1);

            if (rst) count_at <= '0;
            else if (walking || clearing) count_at <= count_at + 5'd1;
            else if (in_valid && in_place == PLACES - 9'd1) count_at <= '0;
            else count_at <= {next_place >= DISTANCE_PLACE, load_length[3:0]};

            // first(length + 1) = (first(length) + count(length)) * 2; there is none for length 0, and both codes start at 0.
            if (!walking || count_at[3:0] == '1) walk_code <= '0;
            else walk_code <= 15'((walk_code + {6'b0, count}) << 1);

            litlen_bad   <= litlen_sum != KRAFT_COMPLETE;
            distance_bad <= distance_sum != KRAFT_COMPLETE && distance_sum != '0
                && !(distance_sum == KRAFT_COMPLETE / 2 && !distance_above_one);
        end

        always_comb begin
            if (out_of_range) rule = 3'd1;
            else if (litlen_bad) rule = 3'd2;
            else if (distance_bad) rule = 3'd3;
            else if (!has_end) rule = 3'd4;
            else rule = 3'd0;
        end

        // Which of the two codes a look-up is in, as far as the addition.
        always_ff @(posedge clk) begin
            length2      <= table2_length;
            is_distance3 <= place2 >= DISTANCE_PLACE;
        end
        assign distance_slot = {is_distance3, length2};
        assign table3_first  = firsts[distance_slot];
    end else begin : g_fixed
        assign ready         = 1'b1;
        assign load_ready    = 1'b0;
        assign rule          = 3'd0;
        assign table2_length = '0;
        assign table2_rank   = '0;
        assign table3_first  = '0;
        logic unused;
        assign unused = &{1'b0, rst, load_clear, load_valid, load_length, loaded};
    end
endmodule
