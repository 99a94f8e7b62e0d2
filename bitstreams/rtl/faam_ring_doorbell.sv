// Whether a doorbell's value may be taken.
//
// A submission tail (`head` low) may move from `old` on, up to one entry less than the ring holds beyond `done`, the index
// of the next entry to fetch: never back, never more outstanding than the ring holds. A completion head (`head` high) may
// move from `old` up to `done`, the index of the next completion to write: nobody takes what was not written.
// Invariant: whatever the value, a taken one keeps both windows true. All indices run free and wrap at 2^32. Combinational.
// It does not know queues or registers. Proofs: bitstreams/dv/formal.
module faam_ring_doorbell (
    input  logic        head,
    input  logic [3:0]  log2,   // of the ring's entries, 1 to 12
    input  logic [31:0] old,    // the doorbell's last value
    input  logic [31:0] value,  // the new one
    input  logic [31:0] done,   // entries fetched, or completions written
    output logic        taken
);
    logic [31:0] from_old;
    logic [31:0] from_new;
    logic [31:0] most;
    // For a tail: how far old and new are ahead of what was fetched. For a head: how far it moves, and how far it may.
    assign from_old = head ? value - old : old - done;
    assign from_new = head ? done - old : value - done;
    assign most     = (32'd1 << log2) - 32'd1;
    assign taken    = from_old <= from_new && (head || from_new <= most);
endmodule
