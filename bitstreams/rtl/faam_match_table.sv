// The hash table: a visit reads its set, then inserts (algorithm.md, sections 2 and 11).
//
// It owns 2^HASH_BITS rows of WAYS entries, each a position modulo 2^16 and an epoch, and the visits in flight. Invariants: a visit a cycle;
// the candidates of a visit are the row as all visits before it left it, also where these are still on the way into the RAM: the four
// last rows are bypassed. A candidate is marked as holding iff its epoch is the job's, its way is one of the job's
// and its distance is one that a match may have; whether bytes are equal is not looked at here.
// It does not know bytes, nor when a visit's candidates are used.
module faam_match_table #(
    parameter int HASH_BITS = 13,
    parameter int WAYS = 4
) (
    input  logic                 clk,
    input  logic                 start,
    input  logic [7:0]           epoch,
    input  logic [2:0]           ways,
    // Clears a row a cycle; no visit is on the way then.
    input  logic                 clear,
    input  logic [HASH_BITS-1:0] clear_at,
    input  logic                 visit,
    input  logic [HASH_BITS-1:0] visit_set,
    input  logic [15:0]          visit_at,
    input  logic                 visit_far,
    output logic                 candidates_valid,
    output logic [8:0]           candidates_at,
    output logic [WAYS-1:0]      candidates_hold,
    output logic [WAYS*16-1:0]   candidates_from
);
    localparam int ENTRY = 24;
    localparam int ROW = WAYS * ENTRY;
    localparam logic [15:0] DISTANCE_MAX = 16'd32744;

    typedef logic [ROW-1:0] row_t;

    // The row after `at` came in front: way 0 is in the lowest bits.
    function automatic row_t inserted(input row_t row, input logic [15:0] at, input logic [7:0] of);
        /* verilator lint_off UNUSEDSIGNAL */
        logic [ROW+ENTRY-1:0] wide;
        /* verilator lint_on UNUSEDSIGNAL */
        wide = {row, of, at};
        return wide[ROW-1:0];
    endfunction

    // Stage 1: the RAM reads. 2: its word is in a register. 3: the row of this visit is known. 4: the row after it is written.
    logic                 valid[1:5];
    logic [HASH_BITS-1:0] set[1:5];
    logic [15:0]          at[1:3];
    logic                 far[1:3];

    row_t ram_row;
    row_t raw;
    row_t row;
    row_t written;
    row_t written_before;
    row_t older;

    logic                 write;
    logic [HASH_BITS-1:0] write_at;

    // In slices as wide as a block RAM of 16 Kbit is at this depth: none has to be chosen by an address.
    localparam int SLICE = (HASH_BITS >= 13) ? 2 : (HASH_BITS == 12) ? 4 : 8;
    for (genvar slice = 0; slice < ROW / SLICE; slice++) begin : g_slice
        faam_match_ram #(
            .W(SLICE),
            .DEPTH(1 << HASH_BITS)
        ) rows (
            .clk,
            .write,
            .write_at,
            .write_data(written[slice*SLICE+:SLICE]),
            .read_at(visit_set),
            .read_data(ram_row[slice*SLICE+:SLICE])
        );
    end

    // Where the row of the visit in stage 2 comes from: visits one to four before it that are of the same set.
    typedef enum logic [1:0] {
        FROM_RAM,
        FROM_OLDER,
        FROM_WRITTEN,
        FROM_ROW
    } from_t;
    from_t from;

    always_ff @(posedge clk) begin
        valid[1] <= visit;
        set[1]   <= visit_set;
        at[1]    <= visit_at;
        far[1]   <= visit_far;
        for (int i = 2; i <= 5; i++) begin
            valid[i] <= valid[i-1];
            set[i]   <= set[i-1];
        end
        for (int i = 2; i <= 3; i++) begin
            at[i]  <= at[i-1];
            far[i] <= far[i-1];
        end

        raw   <= ram_row;
        older <= (valid[4] && set[4] == set[1]) ? written : written_before;
        if (valid[2] && set[2] == set[1]) from <= FROM_ROW;
        else if (valid[3] && set[3] == set[1]) from <= FROM_WRITTEN;
        else if ((valid[4] && set[4] == set[1]) || (valid[5] && set[5] == set[1])) from <= FROM_OLDER;
        else from <= FROM_RAM;

        unique case (from)
            FROM_ROW:     row <= inserted(row, at[3], epoch);
            FROM_WRITTEN: row <= written;
            FROM_OLDER:   row <= older;
            FROM_RAM:     row <= raw;
        endcase

        write          <= clear || valid[3];
        write_at       <= clear ? clear_at : set[3];
        written        <= clear ? '0 : inserted(row, at[3], epoch);
        written_before <= written;

        if (start) for (int i = 1; i <= 5; i++) valid[i] <= 1'b0;
    end

    // The distances, then what of them holds.
    logic                 distance_valid;
    logic [8:0]           distance_at;
    logic                 distance_far;
    logic [WAYS*16-1:0]   distance_from;
    logic [WAYS*17-1:0]   distance;
    logic [WAYS-1:0]      distance_ours;

    always_ff @(posedge clk) begin
        distance_valid <= valid[3];
        distance_at    <= at[3][8:0];
        distance_far   <= far[3];
        for (int way = 0; way < WAYS; way++) begin
            distance_from[way*16+:16] <= row[way*ENTRY+:16];
            // The highest bit is the borrow: the entry is of a position that is not yet there.
            distance[way*17+:17]      <= {1'b0, at[3]} - {1'b0, row[way*ENTRY+:16]};
            distance_ours[way]        <= row[way*ENTRY+16+:8] == epoch && 3'(way) < ways;
        end

        candidates_valid <= distance_valid;
        candidates_at    <= distance_at;
        candidates_from  <= distance_from;
        for (int way = 0; way < WAYS; way++) begin
            candidates_hold[way] <= distance_ours[way] && (distance_far || !distance[way*17+16])
                && distance[way*17+:16] != 16'd0 && distance[way*17+:16] <= DISTANCE_MAX;
        end

        if (start) begin
            distance_valid   <= 1'b0;
            candidates_valid <= 1'b0;
        end
    end
endmodule
