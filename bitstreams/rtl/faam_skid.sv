// A skid buffer: two words that cut a stream's handshake in both directions.
//
// It owns up to two words. Every output is a register: `out_valid` and `out_data` as well as `in_ready`, so no path leads through
// it. A word comes out one cycle after it came in, and one word a cycle goes through as long as the reader takes one a cycle.
// Invariants: words leave in the order of their coming, none is lost or doubled; `out_data` stays while `out_valid` waits;
// `in_ready` does not depend on `in_valid`. `in_ready` is low while `rst` has been taken, so that no word is swallowed by it.
// It does not know what a word means. Proofs: bitstreams/dv/formal/skid_properties.sv.
module faam_skid #(
    parameter int W = 8
) (
    input  logic         clk,
    input  logic         rst,
    input  logic         in_valid,
    output logic         in_ready,
    input  logic [W-1:0] in_data,
    output logic         out_valid,
    input  logic         out_ready,
    output logic [W-1:0] out_data
);
    // The word that came in the cycle in which the reader stopped. It is filled only if out_data is.
    logic [W-1:0] spare_data;
    logic         spare_valid;

    logic moves;
    assign moves = out_ready || !out_valid;

    always_ff @(posedge clk) begin
        if (rst) begin
            in_ready    <= 1'b0;
            spare_valid <= 1'b0;
            out_valid   <= 1'b0;
        end else if (moves) begin
            in_ready    <= 1'b1;
            spare_valid <= 1'b0;
            out_valid   <= spare_valid || (in_valid && in_ready);
        end else begin
            in_ready    <= !(spare_valid || (in_valid && in_ready));
            spare_valid <= spare_valid || (in_valid && in_ready);
        end
    end

    // Data needs no reset: nobody looks at it without its valid bit.
    always_ff @(posedge clk) begin
        if (moves) out_data <= spare_valid ? spare_data : in_data;
        if (in_ready) spare_data <= in_data;
    end

`ifdef FORMAL
    skid_properties #(.W(W)) properties (.*);
`endif
endmodule
