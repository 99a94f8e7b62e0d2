// Where a free-running index of a ring lies, and in which lap.
//
// Invariants: the slot is the index modulo the ring's entries; the phase is set in the first lap over zeroed memory and
// alternates with every lap, across the wrap of the index as well (hwif/src/queue.rs). Combinational.
// It does not know whose index it is. Proofs: bitstreams/dv/formal.
module faam_ring_place (
    input  logic [3:0]  log2,   // of the ring's entries, 1 to 12
    input  logic [31:0] index,
    output logic [11:0] slot,
    output logic        phase
);
    logic [12:0] mask;
    assign mask  = (13'd1 << log2) - 13'd1;
    assign slot  = index[11:0] & mask[11:0];
    assign phase = !index[{1'b0, log2}];

    logic unused;
    assign unused = mask[12];
endmodule
