// The writer of completions, and who owes an interrupt.
//
// A completion comes after its job's data is written and answered. Its counters are added, its first 28 bytes written and
// answered, then its phase word, then the interrupt is asked for. If either write fails the queue is broken: noted, and
// never served again until it is deleted.
// Interrupts are coalesced: one after `coalesce` completions, or when `announce` comes for a queue that owes one.
// Invariants: the index moves before the phase word can be seen, so that a host's head is never ahead of it; the check field
// covers the phase as written.
// Each wait is for a counter (cycles) or for memory's answer. It does not know what ended.
module faam_farm_completer #(
    parameter int QUEUES = 17
) (
    input  logic                   clk,
    input  logic                   rst,
    input  logic                   start,       // a pulse, while not busy
    input  logic                   announce,    // a pulse: only the interrupt that ending.qid owes
    input  faam_farm_pkg::ending_t ending,      // stands until finished
    input  logic [3:0]             coalesce,    // 1 to 15
    input  logic                   forget,      // a life has ended
    output logic                   busy,
    output logic [QUEUES-1:0]      owes,        // an interrupt
    // the queue
    output logic                   load,
    input  logic                   loaded,
    input  faam_farm_pkg::shape_t  shape,
    input  logic [31:0]            fetched,
    input  logic [31:0]            completed,
    input  logic                   alive,       // of ending.qid
    output logic                   move_completed,
    output logic                   break_down,  // the queue of ending.qid
    // counters and errors
    output logic                   add_valid,
    input  logic                   add_ready,
    output logic [4:0]             add_row,
    output logic [2:0]             add_place,
    output logic [31:0]            add_value,
    output logic                   note_valid,
    input  logic                   note_ready,
    // the control writer
    output logic                   writer_start,
    output logic [63:0]            writer_addr,
    output logic                   writer_valid,
    input  logic                   writer_ready,
    output logic [63:0]            writer_data,
    output logic [3:0]             writer_bytes,
    output logic                   writer_flush,
    output logic                   writer_stop,
    input  logic                   writer_idle,
    input  logic                   writer_fault,
    // the interrupt
    output logic                   raise,
    output logic [4:0]             raise_irq
);
    localparam logic [3:0] WAIT = 4'd0;
    localparam logic [3:0] LOAD = 4'd1;
    localparam logic [3:0] CHECK = 4'd2;   // the check field, two bytes a cycle
    localparam logic [3:0] COUNT = 4'd3;
    localparam logic [3:0] BODY = 4'd4;
    localparam logic [3:0] BEATS = 4'd5;
    localparam logic [3:0] FLUSH = 4'd6;
    localparam logic [3:0] COUNT_END = 4'd7;
    localparam logic [3:0] PHASE = 4'd8;
    localparam logic [3:0] PHASE_BEAT = 4'd9;
    localparam logic [3:0] PHASE_FLUSH = 4'd10;
    localparam logic [3:0] INTERRUPT = 4'd11;
    localparam logic [3:0] BROKEN = 4'd12;
    localparam logic [3:0] DROP = 4'd13;
    localparam logic [3:0] BEAT = 4'd14;   // the next beat's bytes come together

    logic [3:0]  state;
    logic        only_announce;
    logic [3:0]  step;
    logic [15:0] check;
    logic [3:0]  unannounced[32];
    logic [3:0]  unannounced_old;

    logic [11:0] slot;
    logic        phase;
    faam_ring_place place (
        .log2 (shape.log2),
        .index(completed),
        .slot (slot),
        .phase(phase)
    );

    // A step each: the slot, then the address. Both come to stand while the check field is made.
    logic [11:0] slot_kept;
    logic [57:0] line;   // address / 64
    logic [63:0] at;     // of the completion
    assign line = shape.cq + {47'd0, slot_kept[11:1]};
    always_ff @(posedge clk) begin
        slot_kept <= slot;
        // The index moves on later.
        if (state == CHECK) at <= {line, slot_kept[0], 5'd0};
    end

    logic [31:0] phase_word;
    logic [239:0] checked;
    logic [15:0] next_check;
    logic [15:0] half;   // of what is checked, a step behind
    assign phase_word = {ending.status, phase, ending.cid};
    assign checked    = {phase_word, fetched[15:0], ending.info, ending.cycles, ending.adler32, ending.crc32,
                         ending.in_len, ending.out_len};
    faam_crc16_2 check_step (
        .crc (check),
        .data(half),
        .next(next_check)
    );

    // What is counted, step by step, before the completion can be seen.
    localparam logic [3:0] STEP_END = 4'd8;
    localparam logic [3:0] STEP_LAST = 4'd9;
    logic is_io;
    logic failed;
    assign is_io  = ending.qid != 0;
    assign failed = ending.status != faam_farm_pkg::SUCCESS;
    always_comb begin
        add_row   = faam_farm_pkg::HEALTH_ROW;
        add_place = '0;
        add_value = '0;
        case (step)
            4'd0: begin
                add_place = faam_farm_pkg::HEALTH_JOBS;
                add_value = {31'd0, is_io};
            end
            4'd1: begin
                add_place = faam_farm_pkg::HEALTH_JOBS_FAILED;
                add_value = {31'd0, is_io && failed};
            end
            4'd2: begin
                add_place = faam_farm_pkg::HEALTH_BYTES_IN;
                add_value = is_io ? ending.in_len : '0;
            end
            4'd3: begin
                add_place = faam_farm_pkg::HEALTH_BYTES_OUT;
                add_value = is_io ? ending.out_len : '0;
            end
            4'd4: begin
                add_place = faam_farm_pkg::HEALTH_BUSY_CYCLES;
                add_value = is_io ? ending.cycles : '0;
            end
            4'd5: begin
                add_row   = ending.qid;
                add_place = faam_farm_pkg::COUNT_BYTES_IN;
                add_value = is_io ? ending.in_len : '0;
            end
            4'd6: begin
                add_row   = ending.qid;
                add_place = faam_farm_pkg::COUNT_BYTES_OUT;
                add_value = is_io ? ending.out_len : '0;
            end
            4'd7: begin
                add_row   = ending.qid;
                add_place = faam_farm_pkg::COUNT_CYCLES;
                add_value = is_io ? ending.cycles : '0;
            end
            4'd8: begin
                add_row   = ending.qid;
                add_place = faam_farm_pkg::COUNT_COMPLETED;
                add_value = 32'd1;
            end
            4'd9: begin
                add_row   = ending.qid;
                add_place = faam_farm_pkg::COUNT_FAILED;
                add_value = {31'd0, failed};
            end
            default: begin
                add_row   = ending.qid;
                add_place = faam_farm_pkg::COUNT_INTERRUPTS;
                add_value = 32'd1;
            end
        endcase
    end
    assign add_valid = state == COUNT || state == COUNT_END || state == INTERRUPT;

    // The index moves on before the phase word is written; the word is kept as it was checked.
    logic [31:0] phase_word_kept;
    logic [63:0] beat_next;
    always_comb begin
        case (step[1:0])
            2'd0: beat_next = {ending.in_len, ending.out_len};
            2'd1: beat_next = {ending.adler32, ending.crc32};
            2'd2: beat_next = {ending.info, ending.cycles};
            default: beat_next = {32'd0, check, fetched[15:0]};
        endcase
        if (state == PHASE) beat_next = {32'd0, phase_word_kept};
    end
    always_ff @(posedge clk) begin
        if (state == BEAT || state == PHASE) begin
            writer_data  <= beat_next;
            writer_bytes <= (state == PHASE || step[1:0] == 2'd3) ? 4'd4 : 4'd8;
        end
    end
    assign writer_valid   = state == BEATS || state == PHASE_BEAT;
    assign writer_start   = state == BODY || state == PHASE;
    assign writer_addr    = state == PHASE ? {at[63:5], 5'd28} : at;
    assign writer_flush   = state == FLUSH || state == PHASE_FLUSH;
    assign writer_stop    = state == DROP;
    assign note_valid     = state == BROKEN;
    assign break_down     = state == BROKEN;
    assign load           = state == WAIT && (start || announce);
    assign move_completed = state == PHASE;
    assign busy           = state != WAIT;
    assign raise          = state == INTERRUPT && add_ready;
    assign raise_irq      = shape.irq;

    // The ending stands from a cycle before LOAD on.
    logic [QUEUES-1:0] bit_of;
    logic was_alive;
    always_ff @(posedge clk) begin
        bit_of    <= QUEUES'(1) << ending.qid;
        was_alive <= alive;
    end

    logic due;  // not later than with this completion
    assign due = only_announce || unannounced_old + 4'd1 >= coalesce;

    always_ff @(posedge clk) begin
        unannounced_old <= (owes & bit_of) != 0 ? unannounced[ending.qid] : 4'd0;
        if (state == PHASE_FLUSH && writer_idle) unannounced[ending.qid] <= unannounced_old + 4'd1;
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            state <= WAIT;
            owes  <= '0;
        end else begin
            case (state)
                WAIT:
                    if (start || announce) begin
                        state         <= LOAD;
                        only_announce <= announce;
                    end
                LOAD: begin
                    step <= '0;
                    if (loaded) begin
                        check <= shape.epoch;
                        if (!was_alive) begin
                            state <= WAIT;
                            owes  <= owes & ~bit_of;
                        end else if (only_announce) begin
                            step  <= STEP_LAST + 4'd1;
                            state <= shape.has_irq ? INTERRUPT : WAIT;
                            owes  <= owes & ~bit_of;
                        end else begin
                            state <= CHECK;
                        end
                    end
                end
                CHECK: begin
                    if (step != 0) check <= next_check;
                    half            <= step == 4'd15 ? 16'd0 : checked[16*step+:16];
                    phase_word_kept <= phase_word;
                    step            <= step + 1'b1;
                    if (step == 4'd15) begin
                        step  <= '0;
                        state <= COUNT;
                    end
                end
                COUNT:
                    if (add_ready) begin
                        step <= step + 1'b1;
                        if (step == STEP_END - 4'd1) begin
                            step  <= '0;
                            state <= BODY;
                        end
                    end
                BODY: state <= BEAT;
                BEAT: state <= BEATS;
                BEATS:
                    if (writer_ready) begin
                        step <= step + 1'b1;
                        state <= step[1:0] == 2'd3 ? FLUSH : BEAT;
                    end
                FLUSH: begin
                    step <= STEP_END;
                    if (writer_idle) state <= writer_fault ? BROKEN : COUNT_END;
                end
                COUNT_END:
                    if (add_ready) begin
                        step <= step + 1'b1;
                        if (step == STEP_LAST) state <= PHASE;
                    end
                PHASE: state <= PHASE_BEAT;
                PHASE_BEAT: if (writer_ready) state <= PHASE_FLUSH;
                PHASE_FLUSH:
                    if (writer_idle) begin
                        state <= WAIT;
                        if (writer_fault) begin
                            state <= BROKEN;
                        end else if (shape.has_irq) begin
                            if (due) begin
                                state <= INTERRUPT;
                                owes  <= owes & ~bit_of;
                            end else begin
                                owes <= owes | bit_of;
                            end
                        end
                    end
                INTERRUPT: if (add_ready) state <= WAIT;
                BROKEN: if (note_ready) state <= DROP;
                DROP: if (writer_idle) state <= WAIT;
                default: state <= WAIT;
            endcase
            if (forget) owes <= '0;
        end
    end

    logic unused;
    assign unused = &{1'b0, ending.error, ending.at, at[4:0], shape.sq, fetched[31:16]};
endmodule
