// What the queue must hold: no word lost, none doubled, order kept, no overflow; `level` counts; valid and data stay until
// ready; it takes a word whenever it has room and gives one whenever it has one.
//
// One word, chosen at any moment, is followed from its coming to its leaving, as in skid_properties.sv. `look_at` and `looked` read the
// queue's RAM beside its own port. The properties are inductive as they stand.
module fifo_properties #(
    parameter int W = 8,
    parameter int DEPTH = 16,
    parameter int INDEX_BITS = $clog2(DEPTH)
) (
    input  logic         clk,
    input  logic         rst,
    input  logic         in_valid,
    input  logic         in_ready,
    input  logic [W-1:0] in_data,
    input  logic         out_valid,
    input  logic         out_ready,
    input  logic [W-1:0] out_data,
    input  logic [INDEX_BITS:0]   level,
    input  logic [INDEX_BITS-1:0] write_at,
    input  logic [INDEX_BITS-1:0] read_at,
    output logic [INDEX_BITS-1:0] look_at,
    input  logic [W-1:0] looked
);
    logic push;
    logic pop;
    assign push = in_valid && in_ready;
    assign pop  = out_valid && out_ready;

    logic started;
    initial started = 1'b0;
    always_ff @(posedge clk) started <= 1'b1;
    always_comb if (!started) assume (rst);

    (* anyseq *) logic chosen;
    logic         followed;
    logic [INDEX_BITS:0]   ahead;     // words before the one followed
    logic [W-1:0] word;
    logic         was_reset;
    logic         waited;
    logic [W-1:0] waited_data;
    logic         pushed;
    logic         was_empty;
    logic         was_full;

    logic [INDEX_BITS-1:0] held;      // words in the RAM
    assign held    = write_at - read_at;
    assign look_at = read_at + INDEX_BITS'(ahead - 1'b1);

    initial followed = 1'b0;
    always_ff @(posedge clk) begin
        was_reset   <= rst;
        waited      <= out_valid && !out_ready && !rst;
        waited_data <= out_data;
        pushed      <= push && !rst;
        was_empty   <= level == '0;
        was_full    <= level == (INDEX_BITS + 1)'(DEPTH);
        if (rst) begin
            followed <= 1'b0;
        end else if (!followed) begin
            if (push && chosen) begin
                followed <= 1'b1;
                ahead   <= level - (INDEX_BITS + 1)'(pop);
                word     <= in_data;
            end
        end else if (pop) begin
            if (ahead != '0) ahead <= ahead - 1'b1;
            else followed <= 1'b0;
        end
    end

    always_comb if (started) begin
        // The counts agree with each other, and never exceed what there is.
        assert (level <= (INDEX_BITS + 1)'(DEPTH));
        assert (level == (INDEX_BITS + 1)'(held) + (INDEX_BITS + 1)'(out_valid));
        assert (out_valid == (level != '0));
        if (push) assert (level < (INDEX_BITS + 1)'(DEPTH));
        if (was_reset) assert (level == '0 && !in_ready);
        if (!was_reset) assert (in_ready == (level != (INDEX_BITS + 1)'(DEPTH)));
        // The word followed is where it must be, and leaves as it came.
        if (followed) assert (ahead < level);
        if (followed && ahead == '0) assert (out_data == word);
        if (followed && ahead != '0) assert (looked == word);
        // What waits, stays.
        if (waited) assert (out_valid && out_data == waited_data);
        // A word that comes into an empty queue can be taken in the next cycle.
        if (pushed && was_empty) assert (out_valid);
    end

    always_ff @(posedge clk) begin
        cover (level == (INDEX_BITS + 1)'(DEPTH));
        cover (was_full && level == (INDEX_BITS + 1)'(DEPTH - 1) && push);
        cover (followed && ahead == '0 && pop && write_at == '0);
        cover (pushed && was_empty && pop);
    end
endmodule
