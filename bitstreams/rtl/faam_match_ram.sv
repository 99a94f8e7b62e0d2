// A block RAM of the matcher: one port that writes, one that reads.
//
// It owns DEPTH words. `read_data` is the word at the `read_at` of the cycle before. Invariant: a word that is written in the very
// cycle in which it is read comes out undefined, for block RAM promises nothing there; who reads must not care or must bypass.
// It does not know what a word means and has no reset: words are undefined until they are written.
module faam_match_ram #(
    parameter int W = 16,
    parameter int DEPTH = 1024
) (
    input  logic                     clk,
    input  logic                     write,
    input  logic [$clog2(DEPTH)-1:0] write_at,
    input  logic [W-1:0]             write_data,
    input  logic [$clog2(DEPTH)-1:0] read_at,
    output logic [W-1:0]             read_data
);
    logic [W-1:0] words[DEPTH];

    always_ff @(posedge clk) begin
        if (write) words[write_at] <= write_data;
        read_data <= (write && write_at == read_at) ? 'x : words[read_at];
    end
endmodule
