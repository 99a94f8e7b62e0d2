// Whether a queue pair has an entry to fetch, and room for the completion of one more.
//
// Every entry that was fetched has one completion, written or still to come, so the entries fetched beyond the host's head
// are what counts; one place of the ring always stays free.
// Invariant: as long as entries are fetched with `has_room` only, `fetched` - `head` is less than the ring's entries, and a
// completion never waits for room.
// It does not know what an entry asks for. Combinational. Proofs: bitstreams/dv/formal.
module faam_ring_service (
    input  logic [3:0]  log2,     // of the ring's entries, 1 to 12
    input  logic [31:0] tail,     // the host's submission tail
    input  logic [31:0] fetched,  // index of the next entry to fetch
    input  logic [31:0] head,     // the host's completion head
    output logic        has_entry,
    output logic        has_room
);
    logic [31:0] most;
    assign most      = (32'd1 << log2) - 32'd1;
    assign has_entry = tail != fetched;
    assign has_room  = fetched - head < most;
endmodule
