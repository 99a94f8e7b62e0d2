// The rules of a queue pair's indices (faam_ring_place, faam_ring_doorbell, faam_ring_service), around a farm and a host that do what
// these rules let them do, in any order.
//
// The environment is what the farm uses the modules for: `fetched` moves by one where there is an entry and room, `completed` by one and
// never past `fetched`, and a doorbell's value, which is anything, replaces the last one only where it is taken. One slot of the
// completion ring, any one, is followed with the phase bit in its memory, which is zero at first.
//
// Shown, for every size from 2 to 4096 and across the wrap of the 32-bit indices:
// - no more entries are outstanding than the ring holds with one place free, whatever the doorbells say;
// - a completion never lands on one that the host has not taken, and never waits for room;
// - the host, which looks at the phase alone, sees a completion exactly from when it was written;
// - the host's own moves, which keep to the rules, are never refused.
// The properties are inductive as they stand.
module ring_properties (
    input logic        clk,
    input logic        rst,
    // What the environment does in this cycle: anything.
    input logic        writes_tail,
    input logic        writes_head,
    input logic [31:0] value,
    input logic        fetches,
    input logic        completes
);
    logic started;
    initial started = 1'b0;
    always_ff @(posedge clk) started <= 1'b1;
    always_comb if (!started) assume (rst);

    (* anyconst *) logic [3:0]  log2;
    (* anyconst *) logic [31:0] first;    // where all indices start: 0 in truth; anywhere with the same phase reaches the wrap
    (* anyconst *) logic [11:0] watched;  // the slot that is followed
    logic [31:0] mask;
    assign mask = (32'd1 << log2) - 32'd1;
    always_comb begin
        assume (log2 >= 4'd1 && log2 <= 4'd12);
        assume ({20'd0, watched} <= mask);
        // A whole number of pairs of laps.
        assume ((first & {mask[30:0], 1'b1}) == 32'd0);
    end

    logic [31:0] tail;
    logic [31:0] fetched;
    logic [31:0] completed;
    logic [31:0] head;
    logic        memory;    // the phase bit in the watched slot

    logic tail_taken;
    logic head_taken;
    logic has_entry;
    logic has_room;
    logic [11:0] slot;
    logic        phase;
    logic [11:0] head_slot;
    logic        head_phase;
    faam_ring_doorbell tail_doorbell (.head(1'b0), .log2, .old(tail), .value, .done(fetched), .taken(tail_taken));
    faam_ring_doorbell head_doorbell (.head(1'b1), .log2, .old(head), .value, .done(completed), .taken(head_taken));
    faam_ring_service service (.log2, .tail, .fetched, .head, .has_entry, .has_room);
    faam_ring_place place (.log2, .index(completed), .slot, .phase);
    faam_ring_place host_place (.log2, .index(head), .slot(head_slot), .phase(head_phase));

    logic fetch;
    logic complete;
    assign fetch    = fetches && has_entry && has_room;
    assign complete = completes && completed != fetched;

    always_ff @(posedge clk) begin
        if (rst) begin
            tail      <= first;
            fetched   <= first;
            completed <= first;
            head      <= first;
            memory    <= 1'b0;
        end else begin
            if (writes_tail && tail_taken) tail <= value;
            if (writes_head && head_taken) head <= value;
            if (fetch) fetched <= fetched + 32'd1;
            if (complete) begin
                completed <= completed + 32'd1;
                if (slot == watched) memory <= phase;
            end
        end
    end

    // The index last written to the watched slot: one before the first lap at first, whose phase is that of zeroed memory.
    logic [31:0] last_written;
    logic [11:0] last_slot;
    logic        last_phase;
    assign last_written = completed - 32'd1 - ((completed - 32'd1 - {20'd0, watched}) & mask);
    faam_ring_place last_place (.log2, .index(last_written), .slot(last_slot), .phase(last_phase));

    // One further on, for what a step does.
    logic [11:0] next_slot;
    logic        next_phase;
    faam_ring_place next_place (.log2, .index(value + 32'd1), .slot(next_slot), .phase(next_phase));
    logic [11:0] this_slot;
    logic        this_phase;
    faam_ring_place this_place (.log2, .index(value), .slot(this_slot), .phase(this_phase));

    always_comb if (started) begin
        // Whatever the doorbells said: the windows.
        assert (tail - fetched <= mask);
        assert (fetched - head <= mask);
        assert (completed - head <= fetched - head);
        // A slot is below the ring's size, and is the next one, or the first one with the phase turned.
        assert ({20'd0, this_slot} <= mask);
        assert (next_slot == (12'(this_slot + 12'd1) & mask[11:0]));
        assert (next_phase == (this_phase ^ ({20'd0, this_slot} == mask)));
        // What is in the slot is what was written last, and turns with the next writing.
        assert (last_slot == watched);
        assert (memory == last_phase);
        if (complete && slot == watched) assert (memory != phase);
        // A completion that is written finds its slot taken by the host, and room is never waited for.
        if (complete) assert (completed - head <= mask - 32'd1);
        // The host sees by the phase alone what was written, and nothing else.
        if (head_slot == watched) assert ((memory == head_phase) == (completed != head));
        // Who keeps to the rules is not refused: a tail up to one place free behind what was fetched, a head up to what was written.
        if (value - tail <= mask && value - fetched <= mask && value - fetched >= tail - fetched) assert (tail_taken);
        if (value - head <= completed - head) assert (head_taken);
        // And what is taken keeps to them.
        if (tail_taken) assert (value - fetched <= mask && value - tail <= mask);
        if (head_taken) assert (completed - value <= completed - head);
    end

    always_ff @(posedge clk) begin
        cover (log2 == 4'd1 && first == 32'hffff_fffc && completed == 32'd1 && memory);
        cover (log2 == 4'd2 && fetched - head == mask && has_entry && !has_room);
        cover (writes_tail && !tail_taken && !rst);
        cover (writes_head && !head_taken && !rst && completed != head);
        cover (head_slot == watched && completed != head && memory == head_phase && !head_phase);
    end
endmodule
