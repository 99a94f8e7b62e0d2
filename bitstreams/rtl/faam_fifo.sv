// A small queue of words between two streams: DEPTH words in all, DEPTH a power of two of 2 or more.
//
// First word falls through: a word that comes into an empty queue stands at the output in the next cycle. Every output is a
// register (`out_valid`, `out_data`, `in_ready`, `level`), so no path leads through it; one word a cycle goes in and one comes
// out at any level, a full queue excepted, which takes a word again the cycle after one has left.
// The words behind the first are in a RAM with one write port and one asynchronous read port, which becomes LUT RAM: meant for
// a depth of some dozens, not for block RAM.
// Invariants: words leave in the order of their coming, none is lost or doubled; `level` is the number of words inside, the
// one at the output included; `out_data` stays while `out_valid` waits. `in_ready` is low while `rst` has been taken.
// It does not know what a word means. Proofs: bitstreams/dv/formal/fifo_properties.sv.
module faam_fifo #(
    parameter int W = 8,
    parameter int DEPTH = 16
) (
    input  logic                     clk,
    input  logic                     rst,
    input  logic                     in_valid,
    output logic                     in_ready,
    input  logic [W-1:0]             in_data,
    output logic                     out_valid,
    input  logic                     out_ready,
    output logic [W-1:0]             out_data,
    output logic [$clog2(DEPTH):0]   level
);
    localparam int A = $clog2(DEPTH);

    logic [W-1:0] words[DEPTH];
    // Free-running: they differ by the words in the RAM, which are `level` without the one at the output.
    logic [A-1:0] write_at;
    logic [A-1:0] read_at;

    logic push;
    logic moves;
    logic held;
    assign push  = in_valid && in_ready;
    assign moves = out_ready || !out_valid;
    // Words in the RAM. Never DEPTH of them, so equal pointers say none.
    assign held  = write_at != read_at;

    logic [A:0] level_next;
    assign level_next = level + (A + 1)'(push) - (A + 1)'(out_valid && out_ready);

    always_ff @(posedge clk) begin
        if (rst) begin
            in_ready  <= 1'b0;
            out_valid <= 1'b0;
            level     <= '0;
            write_at  <= '0;
            read_at   <= '0;
        end else begin
            level    <= level_next;
            in_ready <= level_next != (A + 1)'(DEPTH);
            // A word that finds the output free and nobody before it does not go through the RAM.
            if (push && !(moves && !held)) write_at <= write_at + 1'b1;
            if (moves) begin
                out_valid <= held || push;
                if (held) read_at <= read_at + 1'b1;
            end
        end
    end

    always_ff @(posedge clk) begin
        if (push) words[write_at] <= in_data;
        if (moves) out_data <= held ? words[read_at] : in_data;
    end

`ifdef FORMAL
    logic [A-1:0] look_at;
    logic [W-1:0] looked;
    assign looked = words[look_at];
    fifo_properties #(.W(W), .DEPTH(DEPTH)) properties (.*);
`endif
endmodule
