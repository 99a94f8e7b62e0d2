// What a skid buffer must hold: no word lost, none doubled, order kept, nothing swallowed; valid and data stay until ready; one
// word a cycle as long as the reader takes one.
//
// One word, chosen at any moment, is followed from its coming to its leaving: it leaves when as many have left as were before it,
// and is the one that came. As the moment is free, this is said of every word. The properties are inductive as they stand.
module skid_properties #(
    parameter int W = 8
) (
    input logic         clk,
    input logic         rst,
    input logic         in_valid,
    input logic         in_ready,
    input logic [W-1:0] in_data,
    input logic         out_valid,
    input logic         out_ready,
    input logic [W-1:0] out_data,
    input logic         spare_valid,
    input logic [W-1:0] spare_data,
    input logic         moves
);
    logic push;
    logic pop;
    assign push = in_valid && in_ready;
    assign pop  = out_valid && out_ready;

    logic started;
    initial started = 1'b0;
    always_ff @(posedge clk) started <= 1'b1;
    always_comb if (!started) assume (rst);

    // The word that is followed.
    (* anyseq *) logic chosen;
    logic         followed;
    logic         behind;    // one word is before it
    logic [W-1:0] word;
    logic         was_reset;
    logic         waited;
    logic [W-1:0] waited_data;
    logic         flowed;
    logic         pushed;
    logic         popped;
    logic [1:0]   left;      // words that left since it came, for the cover

    logic [1:0] level;
    assign level = 2'(out_valid) + 2'(spare_valid);

    initial followed = 1'b0;
    always_ff @(posedge clk) begin
        was_reset   <= rst;
        waited      <= out_valid && !out_ready && !rst;
        waited_data <= out_data;
        flowed      <= moves && !rst;
        pushed      <= push && !rst;
        popped      <= pop && !rst;
        if (rst) begin
            followed <= 1'b0;
        end else if (!followed) begin
            if (push && chosen) begin
                followed <= 1'b1;
                behind   <= out_valid && !out_ready;
                word     <= in_data;
            end
        end else if (pop) begin
            if (behind) behind <= 1'b0;
            else followed <= 1'b0;
        end
        left <= rst || !followed ? 2'd0 : left + 2'(pop);
    end

    always_comb if (started) begin
        // Registers agree with each other.
        if (spare_valid) assert (out_valid);
        if (in_ready) assert (!spare_valid);
        if (was_reset) assert (!out_valid && !in_ready && !spare_valid);
        if (!was_reset) assert (in_ready == !spare_valid);
        // The word followed is where it must be, and leaves as it came.
        if (followed) assert (behind ? spare_valid && spare_data == word : out_valid && out_data == word);
        if (followed && pop && !behind) assert (out_data == word);
        // What waits, stays.
        if (waited) assert (out_valid && out_data == waited_data);
        // Full rate, and a cycle from end to end.
        if (flowed) assert (in_ready);
        if (pushed) assert (out_valid);
    end

    always_ff @(posedge clk) begin
        cover (followed && behind && pop);
        cover (followed && !behind && pop && left == 2'd1);
        cover (spare_valid && !in_ready && started && !was_reset);
        cover (pushed && popped && push && pop);
    end
endmodule
