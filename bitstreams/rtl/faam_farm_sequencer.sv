// The function's processor: it fetches entries, starts engines, executes admin commands and has completions written, one
// thing at a time.
//
// Owns the order. Queues are looked at in turn, an entry a turn; jobs that wait go first to an engine that is idle; what has
// ended is completed before more is fetched. Admin entries never wait for an engine.
// Invariants: an entry is fetched only with room for its completion, an I/O entry only with a place to wait; deleting a
// queue and ending a life complete only when no burst of their jobs is without its answer.
// Each wait is for cycles (counters, notes, clearing) or for memory's answers, and nothing in an entry makes it longer. An
// interrupt is asked for, never waited for.
// It does not know how bytes are moved, nor what engines do with them.
module faam_farm_sequencer #(
    parameter int ENGINES = 1,
    parameter int IO_PAIRS = 16,
    parameter int WAYS = 4,
    parameter int HASH_BITS = 13,
    parameter int TABLES = 1,
    parameter int QUEUES = IO_PAIRS + 1
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic [31:0]                now_us,
    input  logic [63:0]                now_ms,
    output logic                       awake,        // between two things to do
    // the life of the function
    input  logic                       stop,
    output logic                       stopped,
    input  logic                       begins,
    output logic                       begun,
    output logic                       refused,
    input  logic [63:0]                admin_sq,
    input  logic [63:0]                admin_cq,
    input  logic [31:0]                admin_queue,
    input  logic                       ready,
    output logic                       forget,
    input  logic                       quiet,        // no request of anybody's is without its answer
    // queues
    input  logic [QUEUES-1:0]          exists,
    input  logic [QUEUES-1:0]          alive,
    input  logic [QUEUES-1:0]          look,
    input  logic [QUEUES-1:0]          head_moved,
    output logic                       load,
    output logic [4:0]                 load_qid,
    input  logic                       loaded,
    input  faam_farm_pkg::shape_t      shape,
    input  logic [31:0]                tail,
    input  logic [31:0]                head,
    input  logic [31:0]                fetched,
    input  logic [31:0]                completed,
    output logic                       move_fetched,
    output logic [QUEUES-1:0]          look_clear,
    output logic [QUEUES-1:0]          look_set,
    output logic                       create,
    output logic [4:0]                 create_qid,
    output faam_farm_pkg::shape_t      create_shape,
    input  logic                       created,
    output logic [QUEUES-1:0]          drop,
    output logic [QUEUES-1:0]          break_down,
    // counters and errors
    output logic                       own_add,
    input  logic                       add_ready,
    output logic [4:0]                 own_row,
    output logic [2:0]                 own_place,
    output logic [31:0]                own_value,
    output logic                       own_note,
    input  logic                       note_ready,
    output logic [3:0]                 own_code,
    output logic [4:0]                 own_qid,
    output logic [63:0]                own_at,
    output logic                       clear_valid,
    input  logic                       clear_ready,
    output logic [4:0]                 clear_row,
    // completions and pages
    output logic                       complete,
    output logic                       announce,
    output faam_farm_pkg::ending_t     ending,       // stands while they are written
    output logic [3:0]                 coalesce,
    input  logic                       busy,
    input  logic [QUEUES-1:0]          owes,
    input  logic                       completer_load,
    input  logic                       completer_break_down,
    output logic                       page_start,
    output faam_farm_pkg::entry_t      entry,        // stands while it is executed
    input  logic [8:0]                 page_bytes,
    input  logic                       page_busy,
    input  logic                       page_fault,
    input  logic [63:0]                page_fault_at,
    // engines
    output logic [ENGINES-1:0]         lane_start,
    output faam_farm_pkg::job_record_t lane_record,
    output logic [ENGINES-1:0]         lane_kill,
    output logic [14:0]                lane_kill_status,
    input  logic [ENGINES-1:0]         lane_idle,
    input  logic [ENGINES-1:0]         lane_running,
    input  logic [ENGINES-1:0]         lane_done,
    input  logic [ENGINES-1:0]         lane_aborted,
    output logic [ENGINES-1:0]         lane_taken,
    input  logic [ENGINES-1:0][4:0]    lane_qid,
    input  logic [ENGINES-1:0][15:0]   lane_cid,
    input  logic [ENGINES-1:0][$bits(faam_farm_pkg::ending_t)-1:0] lane_ending,
    input  logic [ENGINES-1:0]         lane_scrubbed,
    // the control reader
    output logic                       reader_start,
    output logic [63:0]                reader_addr,
    output logic                       reader_stop,
    input  logic                       reader_busy,
    input  logic                       reader_fault,
    input  logic [63:0]                reader_fault_addr,
    input  logic                       reader_valid,
    output logic                       reader_ready,
    input  logic [63:0]                reader_data
);
    // Cycles of a scrub: the sets of the hash table, one a cycle.
    localparam logic [31:0] SCRUB_CYCLES = 32'd1 << HASH_BITS;
    // Completions that can be coalesced.
    localparam logic [3:0] COALESCE_MAX = 4'd15;
    localparam logic [3:0] ENTRY_WORDS = 4'd8;
    localparam logic [7:0] NO_VECTOR = 8'hFF;

    localparam logic [5:0] IDLE = 6'd0;
    localparam logic [5:0] BEGIN = 6'd1;
    localparam logic [5:0] BEGIN_REFUSED = 6'd2;
    localparam logic [5:0] BEGIN_CREATE = 6'd3;
    localparam logic [5:0] BEGIN_CLEAR = 6'd4;
    localparam logic [5:0] STOP = 6'd5;
    localparam logic [5:0] STOPPED = 6'd6;
    localparam logic [5:0] LANE_END = 6'd7;
    localparam logic [5:0] DISPATCH = 6'd8;
    localparam logic [5:0] START = 6'd9;
    localparam logic [5:0] STORE = 6'd10;
    localparam logic [5:0] SERVE = 6'd11;
    localparam logic [5:0] FETCH = 6'd12;
    localparam logic [5:0] FETCH_BEATS = 6'd13;
    localparam logic [5:0] FETCH_DROP = 6'd14;
    localparam logic [5:0] FETCH_FAULT = 6'd15;
    localparam logic [5:0] FETCHED = 6'd16;
    localparam logic [5:0] DECODE = 6'd17;
    localparam logic [5:0] DECODED = 6'd18;
    localparam logic [5:0] ADMIN = 6'd19;
    localparam logic [5:0] CREATE = 6'd20;
    localparam logic [5:0] CREATE_CLEAR = 6'd21;
    localparam logic [5:0] DELETE = 6'd22;
    localparam logic [5:0] DELETE_WAIT = 6'd23;
    localparam logic [5:0] PAGE = 6'd24;
    localparam logic [5:0] PAGE_WAIT = 6'd25;
    localparam logic [5:0] ACT = 6'd26;        // on what the scan of IDLE came to
    localparam logic [5:0] STARTED = 6'd27;
    localparam logic [5:0] ABORT_WAIT = 6'd28;
    localparam logic [5:0] ABORT = 6'd29;
    localparam logic [5:0] FINISH_SCRUB = 6'd30;
    localparam logic [5:0] FINISH_NOTE = 6'd31;
    localparam logic [5:0] FINISH_FAULT = 6'd32;
    localparam logic [5:0] FINISH = 6'd33;
    localparam logic [5:0] FINISH_WAIT = 6'd34;
    localparam logic [5:0] FULL = 6'd35;
    localparam logic [5:0] FULL_NOTE = 6'd36;
    localparam logic [5:0] ADMIN_DECODE = 6'd37;
    localparam logic [5:0] ANNOUNCE = 6'd38;
    localparam logic [5:0] DISPATCH_FIRST = 6'd39;
    localparam logic [5:0] SERVE_JUDGE = 6'd40;
    localparam logic [5:0] ABORT_SEE = 6'd41;

    localparam int E = ENGINES == 1 ? 1 : $clog2(ENGINES);

    logic [5:0]  state;
    logic [4:0]  scan;       // the queue whose turn it is
    logic [E-1:0] lane;      // the engine that is looked at
    logic [4:0]  qid;        // the queue being served
    logic [QUEUES-1:0] qid_bit;
    logic [QUEUES-1:0] scan_bit;
    assign qid_bit  = QUEUES'(1) << qid;
    assign scan_bit = QUEUES'(1) << scan;

    logic [31:0] fetched_us;
    logic [3:0]  word;

    logic again_abort;   // the completion was an aborted job's: the abort's own follows

    // The rings' rules.
    logic has_entry;
    logic has_room;
    logic [11:0] slot;
    logic unused_phase;
    faam_ring_service service (
        .log2     (shape.log2),
        .tail     (tail),
        .fetched  (fetched),
        .head     (head),
        .has_entry(has_entry),
        .has_room (has_room)
    );
    faam_ring_place place (
        .log2 (shape.log2),
        .index(fetched),
        .slot (slot),
        .phase(unused_phase)
    );

    // Judged in one cycle, acted on in the next. The address comes in two steps and is asked for a cycle later.
    logic fetches;
    logic stays_full;
    logic [11:0] slot_kept;
    logic [63:0] entry_at;
    always_ff @(posedge clk) begin
        fetches    <= has_entry && has_room;
        stays_full <= has_entry && !has_room && completed == fetched;
        slot_kept  <= slot;
        entry_at   <= {shape.sq + {46'd0, slot_kept}, 6'd0};
    end

    // What entries say: two cycles after they are there.
    logic [1:0]  work;
    logic [1:0]  work_next;
    logic [14:0] io_status;
    logic [7:0]  io_info;
    logic [14:0] admin_status;
    logic [7:0]  admin_info;
    logic [14:0] said_status;
    logic [7:0]  said_info;
    faam_farm_pkg::shape_t new_shape;
    faam_farm_decode #(
        .WAYS  (WAYS),
        .TABLES(TABLES)
    ) decode (
        .clk   (clk),
        .entry (entry),
        .work  (work_next),
        .status(io_status),
        .info  (io_info)
    );
    faam_farm_admin #(
        .IO_PAIRS(IO_PAIRS)
    ) admin (
        .clk   (clk),
        .entry (entry),
        .exists(32'(exists)),
        .status(admin_status),
        .info  (admin_info),
        .shape (new_shape)
    );
    always_ff @(posedge clk) begin
        work        <= work_next;
        said_status <= state == ADMIN_DECODE ? admin_status : io_status;
        said_info   <= state == ADMIN_DECODE ? admin_info : io_info;
    end

    // The admin queue that the registers describe.
    faam_farm_pkg::shape_t first_shape;
    logic first_good;
    always_comb begin
        first_shape.sq      = admin_sq[63:6];
        first_shape.cq      = admin_cq[63:6];
        first_shape.log2    = admin_queue[3:0];
        first_shape.has_irq = admin_queue[15:8] != NO_VECTOR;
        first_shape.irq     = admin_queue[12:8];
        first_shape.epoch   = admin_queue[31:16];
    end
    // Judged a cycle before it is looked at.
    always_ff @(posedge clk) begin
        first_good <= admin_sq[5:0] == 0 && admin_cq[5:0] == 0 && admin_queue[7:0] != 0 &&
                      admin_queue[7:0] <= 8'(faam_farm_pkg::ENTRIES_LOG2_MAX) &&
                      (admin_queue[15:8] == NO_VECTOR || admin_queue[15:8] < 8'(QUEUES));
    end

    // Jobs that wait.
    logic waiting_room;
    logic waiting_any;
    logic waiting_stale;
    logic [63:0] waiting_word;
    logic abort_hit;
    logic expired;
    logic [4:0] expired_qid;
    logic [15:0] expired_cid;
    logic take_expired;
    logic store_end;
    logic next_waiting;
    logic dropping_queue;
    logic [4:0] admin_qid;   // that an admin entry names
    logic [15:0] admin_cid;
    assign admin_qid      = entry.src_len[4:0];
    assign admin_cid      = entry.dst_cap[15:0];
    assign store_end      = state == STORE && word == ENTRY_WORDS;
    assign dropping_queue = state == DELETE;
    faam_farm_waiting #(
        .PLACES(ENGINES * (faam_farm_pkg::JOBS_PER_ENGINE_MAX - 1))
    ) waiting (
        .clk           (clk),
        .rst           (rst),
        .now_us        (now_us),
        .put           (state == STORE),
        .put_word      (word),
        .put_data      (word == ENTRY_WORDS ? {27'd0, qid, fetched_us} : entry[63:0]),
        .put_end       (store_end),
        .put_qid       (qid),
        .put_cid       (entry.cid),
        .put_fetched_us(fetched_us),
        .put_timeout_us(entry.timeout_us),
        .room          (waiting_room),
        .any           (waiting_any),
        .stale         (waiting_stale),
        .get_word      (word),
        .get_data      (waiting_word),
        .next          (next_waiting),
        .drop_all      (state == STOP),
        .drop_queue    (dropping_queue),
        .drop_qid      (admin_qid),
        .take          (state == ABORT),
        .take_qid      (admin_qid),
        .take_cid      (admin_cid),
        .take_hit      (abort_hit),
        .expired       (expired),
        .expired_qid   (expired_qid),
        .expired_cid   (expired_cid),
        .expire        (take_expired)
    );

    // Engines.
    logic any_idle;
    logic [E-1:0] idle_lane;
    logic [ENGINES-1:0] of_queue;    // has a job of the queue that an admin entry names
    logic [ENGINES-1:0] of_command;  // runs the command that it names
    logic [ENGINES-1:0] aborting;    // was told to end that
    always_comb begin
        any_idle  = lane_idle != 0;
        idle_lane = '0;
        for (int i = ENGINES - 1; i >= 0; i--) if (lane_idle[i]) idle_lane = E'(i);
    end
    // Entries stand for many cycles before they are acted on, so that what is a cycle old is right.
    always_ff @(posedge clk) begin
        for (int i = 0; i < ENGINES; i++) begin
            of_queue[i]   <= !lane_idle[i] && lane_qid[i] == admin_qid;
            of_command[i] <= lane_running[i] && lane_qid[i] == admin_qid && lane_cid[i] == admin_cid;
        end
        lane_start <= '0;
        lane_kill  <= '0;
        if (!rst) begin
            case (state)
                START: lane_start[idle_lane] <= 1'b1;
                ABORT: if (!abort_hit) lane_kill <= of_command;
                DELETE, DELETE_WAIT: lane_kill <= of_queue;
                STOP: lane_kill <= '1;
                default: ;
            endcase
        end
        if (state == ABORT) aborting <= abort_hit ? '0 : of_command;
    end
    always_comb begin
        lane_taken       = '0;
        lane_kill_status = faam_farm_pkg::ABORTED;
        case (state)
            LANE_END: lane_taken[lane] = 1'b1;
            DELETE, DELETE_WAIT: lane_taken = of_queue & lane_done;
            STOP: lane_taken = lane_done;
            default: ;
        endcase
        lane_record.qid        = qid;
        lane_record.fetched_us = fetched_us;
        lane_record.entry      = entry;
    end

    // What is due without a doorbell: interrupts that are owed, and completion queues that stay full.
    logic [QUEUES-1:0] announce_due;
    logic [QUEUES-1:0] full_due;
    logic nothing_else;
    logic set_full;
    assign set_full = state == SERVE_JUDGE && stays_full;
    faam_farm_watch #(
        .QUEUES(QUEUES)
    ) watch (
        .clk         (clk),
        .rst         (rst || state == STOP),
        .now_us      (now_us),
        .now_ms      (now_ms),
        .exists      (exists),
        .owes        (owes),
        .announce_due(announce_due),
        .set_full    (set_full ? qid_bit : '0),
        .head_moved  (head_moved),
        .full_noted  (state == FULL_NOTE ? qid_bit : '0),
        .full_due    (full_due)
    );

    // What Set Features grants.
    logic [4:0] pairs_granted;
    logic [3:0] coalesce_taken;
    always_ff @(posedge clk) begin
        pairs_granted  <= entry.dst_cap == 0 ? 5'd1 : entry.dst_cap > 32'(IO_PAIRS) ? 5'(IO_PAIRS) : entry.dst_cap[4:0];
        coalesce_taken <= entry.dst_cap == 0 ? 4'd1 : entry.dst_cap > {28'd0, COALESCE_MAX} ? COALESCE_MAX : entry.dst_cap[3:0];
    end

    // What the engine that is looked at has to tell: it stands from a cycle before LANE_END on.
    faam_farm_pkg::ending_t lane_said;
    always_ff @(posedge clk) lane_said <= lane_ending[lane];

    // Counts and notes of its own.
    assign complete = state == FINISH;
    assign announce = state == ANNOUNCE;
    assign page_start = state == PAGE;
    always_comb begin
        own_add   = 1'b0;
        own_row   = faam_farm_pkg::HEALTH_ROW;
        own_place = faam_farm_pkg::HEALTH_SCRUB_CYCLES;
        own_value = SCRUB_CYCLES;
        own_note  = 1'b0;
        own_code  = ending.error;
        own_qid   = ending.qid;
        own_at    = ending.at;
        case (state)
            FETCHED: begin
                own_add   = 1'b1;
                own_row   = qid;
                own_place = faam_farm_pkg::COUNT_FETCHED;
                own_value = 32'd1;
            end
            FINISH_SCRUB: own_add = 1'b1;
            FINISH_FAULT: begin
                own_add   = 1'b1;
                own_place = faam_farm_pkg::HEALTH_DMA_FAULTS;
                own_value = 32'd1;
            end
            FINISH_NOTE: own_note = ending.error != faam_farm_pkg::ERROR_NONE;
            BEGIN_REFUSED: begin
                own_note = 1'b1;
                own_code = faam_farm_pkg::ERROR_ADMIN_QUEUE;
                own_qid  = '0;
                own_at   = {32'd0, admin_queue};
            end
            FETCH_FAULT: begin
                own_note = 1'b1;
                own_code = faam_farm_pkg::ERROR_RING_ACCESS;
                own_qid  = qid;
                own_at   = reader_fault_addr;
            end
            FULL_NOTE: begin
                own_note = 1'b1;
                own_code = faam_farm_pkg::ERROR_COMPLETION_QUEUE_FULL;
                own_qid  = qid;
                own_at   = {32'd0, head};
            end
            default: ;
        endcase
    end

    // What the scan of an idle cycle comes to.
    logic pick_stop;
    logic pick_begin;
    logic pick_end;
    logic pick_stale;
    logic pick_dispatch;
    logic pick_expired;
    logic pick_full;
    logic pick_serve;
    logic pick_announce;
    logic free_to_act;
    logic serves;
    always_ff @(posedge clk) begin
        nothing_else  <= (&lane_idle) && !waiting_any && (look & alive) == 0;
        pick_stop     <= stop;
        pick_begin    <= begins;
        pick_end      <= lane_done[lane];
        pick_stale    <= waiting_any && waiting_stale;
        pick_dispatch <= waiting_any && !waiting_stale && any_idle;
        pick_expired  <= expired;
        pick_full     <= full_due[scan] && alive[scan];
        pick_serve    <= ready && look[scan] && alive[scan] && (scan == 0 || waiting_room);
        pick_announce <= owes[scan] && (announce_due[scan] || nothing_else);
    end
    assign free_to_act  = state == ACT && !pick_stop && !pick_begin && !pick_end && !pick_dispatch;
    assign take_expired = free_to_act && pick_expired;
    assign serves       = free_to_act && !pick_expired && !pick_full && pick_serve;
    assign next_waiting = (state == ACT && pick_stale) || (state == DISPATCH && word == ENTRY_WORDS + 4'd1);

    always_comb begin
        load     = completer_load;
        load_qid = completer_load ? ending.qid : scan;
        if (state == ACT && (pick_full || pick_serve)) load = 1'b1;
        look_clear = '0;
        look_set   = '0;
        if (serves) look_clear = scan_bit;
        if (move_fetched) look_set = qid_bit;
        drop = '0;
        if (state == DELETE) drop = QUEUES'(1) << admin_qid;
        if (state == STOPPED) drop = '1;
        break_down = '0;
        if (completer_break_down) break_down = QUEUES'(1) << ending.qid;
        if (state == FETCH_FAULT) break_down = qid_bit;
    end

    assign move_fetched = state == FETCHED && add_ready;
    assign reader_start = state == FETCH;
    assign reader_addr  = entry_at;
    assign reader_stop  = state == FETCH_DROP;
    // Beats come only after a start.
    assign reader_ready = 1'b1;
    assign create       = state == BEGIN_CREATE || state == CREATE;
    assign create_qid   = state == BEGIN_CREATE ? 5'd0 : admin_qid;
    assign create_shape = state == BEGIN_CREATE ? first_shape : new_shape;
    assign clear_valid  = state == BEGIN_CLEAR || state == CREATE_CLEAR;
    assign clear_row    = state == BEGIN_CLEAR ? 5'd0 : admin_qid;
    assign begun        = state == BEGIN_CREATE && created;
    assign refused      = state == BEGIN_REFUSED && note_ready;
    assign stopped      = state == STOPPED;
    assign forget       = state == STOP;
    assign awake        = state == IDLE;

    always_ff @(posedge clk) begin
        if (rst) begin
            state       <= IDLE;
            scan        <= '0;
            lane        <= '0;
            coalesce    <= 4'd1;
            again_abort <= 1'b0;
        end else begin
            case (state)
                IDLE: begin
                    word        <= '0;
                    again_abort <= 1'b0;
                    state       <= ACT;
                end
                ACT: begin
                    state <= IDLE;
                    lane  <= lane == E'(ENGINES - 1) ? '0 : lane + 1'b1;
                    scan  <= scan == 5'(QUEUES - 1) ? '0 : scan + 1'b1;
                    qid   <= scan;
                    if (pick_stop) begin
                        state <= STOP;
                    end else if (pick_begin) begin
                        state <= BEGIN;
                    end else if (pick_end) begin
                        state <= LANE_END;
                        lane  <= lane;
                    end else if (pick_dispatch) begin
                        state <= DISPATCH_FIRST;
                    end else if (pick_expired) begin
                        ending        <= '0;
                        ending.qid    <= expired_qid;
                        ending.cid    <= expired_cid;
                        ending.status <= faam_farm_pkg::TIMED_OUT;
                        state         <= FINISH;
                    end else if (pick_full) begin
                        state <= FULL;
                    end else if (pick_serve) begin
                        state <= SERVE;
                    end else if (pick_announce) begin
                        ending     <= '0;
                        ending.qid <= scan;
                        state      <= ANNOUNCE;
                    end
                end

                // A life begins or ends.
                BEGIN: state <= first_good ? BEGIN_CLEAR : BEGIN_REFUSED;
                BEGIN_REFUSED: if (note_ready) state <= IDLE;
                BEGIN_CLEAR: begin
                    coalesce <= 4'd1;
                    if (clear_ready) state <= BEGIN_CREATE;
                end
                BEGIN_CREATE: if (created) state <= IDLE;
                STOP: if ((&lane_idle) && quiet) state <= STOPPED;
                STOPPED: state <= IDLE;

                // An engine's job has ended.
                LANE_END: begin
                    ending <= lane_said;
                    state  <= lane_scrubbed[lane] ? FINISH_SCRUB : FINISH_NOTE;
                end
                FINISH_SCRUB: if (add_ready) state <= FINISH_NOTE;
                FINISH_NOTE:
                    if (ending.error == faam_farm_pkg::ERROR_NONE) state <= FINISH;
                    else if (note_ready) state <= ending.error == faam_farm_pkg::ERROR_ENGINE ? FINISH : FINISH_FAULT;
                FINISH_FAULT: if (add_ready) state <= FINISH;
                FINISH: state <= FINISH_WAIT;
                ANNOUNCE: state <= FINISH_WAIT;
                FINISH_WAIT:
                    if (!busy) begin
                        state       <= IDLE;
                        again_abort <= 1'b0;
                        if (again_abort) begin
                            ending         <= '0;
                            ending.cid     <= entry.cid;
                            ending.out_len <= 32'd1;
                            state          <= FINISH;
                        end
                    end

                // A waiting job gets its engine.
                DISPATCH_FIRST: begin
                    word  <= 4'd1;
                    state <= DISPATCH;
                end
                DISPATCH: begin
                    word <= word + 1'b1;
                    if (word == ENTRY_WORDS + 4'd1) begin
                        fetched_us <= waiting_word[31:0];
                        qid        <= waiting_word[36:32];
                        state      <= START;
                    end else begin
                        entry <= {waiting_word, entry[511:64]};
                    end
                end
                START: state <= STARTED;
                STARTED: state <= IDLE;

                // A queue's turn.
                SERVE:
                    if (loaded) state <= SERVE_JUDGE;
                SERVE_JUDGE: state <= fetches ? FETCH : IDLE;
                FETCH: state <= FETCH_BEATS;
                FETCH_BEATS:
                    if (reader_fault) begin
                        state <= FETCH_FAULT;
                    end else if (reader_valid) begin
                        entry <= {reader_data, entry[511:64]};
                        word  <= word + 1'b1;
                        if (word == ENTRY_WORDS - 4'd1) state <= FETCHED;
                    end
                FETCH_FAULT: if (note_ready) state <= FETCH_DROP;
                FETCH_DROP: if (!reader_busy) state <= IDLE;
                FETCHED: begin
                    word       <= '0;
                    fetched_us <= now_us;
                    if (add_ready) state <= qid == 0 ? ADMIN_DECODE : DECODE;
                end
                DECODE: state <= DECODED;
                DECODED: begin
                    ending        <= '0;
                    ending.qid    <= qid;
                    ending.cid    <= entry.cid;
                    ending.status <= said_status;
                    ending.info   <= {24'd0, said_info};
                    if (work != faam_farm_pkg::WORK_JOB) state <= FINISH;
                    else if (any_idle && !waiting_any) state <= START;
                    else state <= STORE;
                end
                STORE: begin
                    word <= word + 1'b1;
                    if (store_end) state <= IDLE;
                    else entry <= {entry[63:0], entry[511:64]};
                end

                // Admin commands.
                ADMIN_DECODE: state <= ADMIN;
                ADMIN: begin
                    ending        <= '0;
                    ending.cid    <= entry.cid;
                    ending.status <= said_status;
                    ending.info   <= {24'd0, said_info};
                    if (said_status != faam_farm_pkg::SUCCESS) begin
                        state <= FINISH;
                    end else begin
                        case (entry.op)
                            faam_farm_pkg::OP_CREATE_QUEUE: state <= CREATE_CLEAR;
                            faam_farm_pkg::OP_DELETE_QUEUE: state <= DELETE;
                            faam_farm_pkg::OP_ABORT: state <= ABORT;
                            faam_farm_pkg::OP_SET_FEATURES: begin
                                state <= FINISH;
                                ending.out_len <= {27'd0, entry.src_len[0] ? pairs_granted : {1'b0, coalesce_taken}};
                                if (!entry.src_len[0]) coalesce <= coalesce_taken;
                            end
                            default: begin
                                ending.out_len <= {23'd0, page_bytes};
                                state          <= page_bytes == 0 ? FINISH : PAGE;
                            end
                        endcase
                    end
                end
                CREATE_CLEAR: if (clear_ready) state <= CREATE;
                CREATE: if (created) state <= FINISH;
                DELETE: state <= DELETE_WAIT;
                DELETE_WAIT: if (of_queue == 0) state <= FINISH;
                ABORT:
                    if (abort_hit) begin
                        state         <= FINISH;
                        ending.qid    <= admin_qid;
                        ending.cid    <= admin_cid;
                        ending.status <= faam_farm_pkg::ABORTED;
                        again_abort   <= 1'b1;
                    end else begin
                        state <= ABORT_WAIT;
                    end
                ABORT_WAIT: state <= ABORT_SEE;
                ABORT_SEE: begin
                    state <= FINISH;
                    if ((aborting & lane_aborted) != 0) ending.out_len <= 32'd1;
                end
                PAGE: state <= PAGE_WAIT;
                PAGE_WAIT:
                    if (!page_busy) begin
                        state <= FINISH;
                        if (page_fault) begin
                            ending.status  <= faam_farm_pkg::DMA_WRITE_FAULT;
                            ending.out_len <= '0;
                            ending.error   <= faam_farm_pkg::ERROR_DATA_WRITE;
                            ending.at      <= page_fault_at;
                            state          <= FINISH_NOTE;
                        end
                    end

                // A completion queue that stays full.
                FULL: if (loaded) state <= FULL_NOTE;
                FULL_NOTE: if (note_ready) state <= IDLE;
                default: state <= IDLE;
            endcase
        end
    end

    logic unused;
    assign unused = &{1'b0, unused_phase, shape};
endmodule
