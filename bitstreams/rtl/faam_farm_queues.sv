// The queue pairs: their shapes, their indices, and the doorbells.
//
// Shapes and indices lie in RAM. Indices run free as 32 bits and are masked only to address a slot. The host's (submission
// tail, completion head) are written by doorbells alone, the card's (fetched, completed) by the sequencer alone; each side
// reads the other's.
// Invariants: a doorbell's value is taken only within the ring's window (faam_ring_doorbell), else noted as an error; a
// doorbell never waits for memory, only for the note and the count of the one before; `look` is set after a doorbell's value
// can be read, so that no entry is overlooked.
// It does not know what an entry asks for.
module faam_farm_queues #(
    parameter int QUEUES = 17
) (
    input  logic                  clk,
    input  logic                  rst,
    // doorbells
    input  logic                  bell_valid,
    output logic                  bell_ready,
    input  logic [4:0]            bell_qid,       // of a queue that could be
    input  logic                  bell_head,      // completion head rather than submission tail
    input  logic                  bell_none,      // neither: only looked at for its queue
    input  logic [31:0]           bell_value,
    output logic                  kick_valid,     // count a kick
    input  logic                  kick_ready,
    output logic [4:0]            kick_qid,
    output logic                  note_valid,     // note an error
    input  logic                  note_ready,
    output logic [3:0]            note_code,
    output logic [4:0]            note_qid,
    output logic [31:0]           note_value,
    // what there is, a bit a queue
    output logic [QUEUES-1:0]     exists,
    output logic [QUEUES-1:0]     alive,          // exists, and its rings can be reached
    output logic [QUEUES-1:0]     look,           // there may be something to do
    output logic [15:0]           io_pairs,
    output logic [QUEUES-1:0]     head_moved,     // a pulse: the host made room
    // the sequencer's: a queue is loaded, then looked at and moved on
    input  logic                  load,
    input  logic [4:0]            load_qid,
    output logic                  loaded,         // the outputs below are that queue's
    output faam_farm_pkg::shape_t shape,
    output logic [31:0]           tail,
    output logic [31:0]           head,
    output logic [31:0]           fetched,
    output logic [31:0]           completed,
    input  logic                  move_fetched,   // by one, of the loaded queue
    input  logic                  move_completed,
    input  logic [QUEUES-1:0]     look_clear,
    input  logic [QUEUES-1:0]     look_set,
    input  logic                  create,         // a level, until created
    input  logic [4:0]            create_qid,
    input  faam_farm_pkg::shape_t create_shape,
    output logic                  created,
    input  logic [QUEUES-1:0]     drop,
    input  logic [QUEUES-1:0]     break_down
);
    // Indices by {queue, completion side}.
    logic [31:0] hosts[64];
    logic [31:0] cards[64];
    faam_farm_pkg::shape_t shapes[32];
    logic [3:0] sizes[32];

    // Doorbells and creation: who writes `hosts`.
    localparam logic [3:0] WAIT = 4'd0;
    localparam logic [3:0] READ = 4'd1;
    localparam logic [3:0] JUDGE = 4'd2;
    localparam logic [3:0] TELL = 4'd3;
    localparam logic [3:0] CLEAR_TAIL = 4'd4;
    localparam logic [3:0] CLEAR_HEAD = 4'd5;
    localparam logic [3:0] CREATED = 4'd6;
    localparam logic [3:0] HOLD = 4'd7;
    localparam logic [3:0] JUDGED = 4'd8;

    logic [3:0]  state;
    logic [4:0]  at;
    logic        at_head;
    logic [31:0] value;
    logic        silent;
    logic [31:0] host_said;
    logic [31:0] card_said;
    logic [31:0] host_old;
    logic [31:0] card_done;
    logic [3:0]  size;
    logic        taken;
    logic        tail_taken;
    logic        head_taken;
    logic        tail_good;
    logic        head_good;
    assign taken = at_head ? head_good : tail_good;
    logic [QUEUES-1:0] at_bit;
    assign at_bit = QUEUES'(1) << at;

    faam_ring_doorbell tail_judge (
        .head (1'b0),
        .log2 (size),
        .old  (host_old),
        .value(value),
        .done (card_done),
        .taken(tail_taken)
    );
    faam_ring_doorbell head_judge (
        .head (1'b1),
        .log2 (size),
        .old  (host_old),
        .value(value),
        .done (card_done),
        .taken(head_taken)
    );

    logic there;
    assign there = exists[bell_qid];

    logic        host_write;
    logic [5:0]  host_write_at;
    logic [31:0] host_write_data;
    always_comb begin
        host_write      = 1'b0;
        host_write_at   = {at, at_head};
        host_write_data = value;
        case (state)
            JUDGE: host_write = taken && !silent;
            CLEAR_TAIL: begin
                host_write      = 1'b1;
                host_write_at   = {create_qid, 1'b0};
                host_write_data = '0;
            end
            CLEAR_HEAD: begin
                host_write      = 1'b1;
                host_write_at   = {create_qid, 1'b1};
                host_write_data = '0;
            end
            default: ;
        endcase
    end

    always_ff @(posedge clk) begin
        if (host_write) hosts[host_write_at] <= host_write_data;
    end

    logic [QUEUES-1:0] rung;
    // Taken when all that comes of it can be seen: a register that is read next shows it.
    assign bell_ready = state == TELL && !kick_valid && !note_valid;
    assign created    = state == CREATED;

    always_ff @(posedge clk) begin
        if (rst) begin
            state      <= WAIT;
            kick_valid <= 1'b0;
            note_valid <= 1'b0;
            rung       <= '0;
            head_moved <= '0;
        end else begin
            rung       <= '0;
            head_moved <= '0;
            if (kick_ready) kick_valid <= 1'b0;
            if (note_ready) note_valid <= 1'b0;
            case (state)
                WAIT:
                    if (create) begin
                        state <= CLEAR_TAIL;
                    end else if (bell_valid) begin
                        at         <= bell_qid;
                        at_head    <= bell_head;
                        value      <= bell_value;
                        silent     <= bell_none;
                        note_value <= bell_value;
                        note_code  <= faam_farm_pkg::ERROR_DOORBELL_QUEUE;
                        if (there) begin
                            state      <= READ;
                            kick_valid <= !bell_head && !bell_none;
                        end else begin
                            state      <= TELL;
                            note_valid <= 1'b1;
                        end
                    end
                READ: state <= HOLD;
                HOLD: state <= JUDGED;
                JUDGED: state <= JUDGE;
                JUDGE: begin
                    state <= TELL;
                    if (!silent && taken) begin
                        rung <= at_bit;
                        if (at_head) head_moved <= at_bit;
                    end
                    note_code  <= faam_farm_pkg::ERROR_DOORBELL_RANGE;
                    note_valid <= !silent && !taken;
                end
                TELL: if (!kick_valid && !note_valid) state <= WAIT;
                CLEAR_TAIL: state <= CLEAR_HEAD;
                CLEAR_HEAD: state <= CREATED;
                default: state <= WAIT;
            endcase
        end
    end
    assign kick_qid = at;
    assign note_qid = at;

    always_ff @(posedge clk) begin
        // What RAM says, in a register of its own; then the judgement.
        host_said <= hosts[{at, at_head}];
        card_said <= cards[{at, at_head}];
        host_old  <= host_said;
        card_done <= card_said;
        size      <= sizes[at];
        tail_good <= tail_taken;
        head_good <= head_taken;
    end

    // The sequencer's side: who writes `cards`.
    localparam logic [1:0] IDLE = 2'd0;
    localparam logic [1:0] SUBMISSION = 2'd1;
    localparam logic [1:0] COMPLETION = 2'd2;
    localparam logic [1:0] ADDRESS = 2'd3;

    logic [1:0]  step;
    logic [4:0]  qid;
    logic        side;
    logic [31:0] host_read;
    logic [31:0] card_read;
    faam_farm_pkg::shape_t shape_read;
    assign side = step == SUBMISSION;

    logic        card_write;
    logic [5:0]  card_write_at;
    logic [31:0] card_write_data;
    always_comb begin
        card_write      = move_fetched || move_completed;
        card_write_at   = {qid, move_completed};
        card_write_data = (move_completed ? completed : fetched) + 32'd1;
        if (state == CLEAR_TAIL || state == CLEAR_HEAD) begin
            card_write      = 1'b1;
            card_write_at   = {create_qid, state == CLEAR_HEAD};
            card_write_data = '0;
        end
    end

    always_ff @(posedge clk) begin
        if (card_write) cards[card_write_at] <= card_write_data;
        if (state == CLEAR_TAIL) begin
            shapes[create_qid] <= create_shape;
            sizes[create_qid]  <= create_shape.log2;
        end
    end

    always_ff @(posedge clk) begin
        host_read  <= hosts[{qid, side}];
        card_read  <= cards[{qid, side}];
        shape_read <= shapes[qid];
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            step   <= IDLE;
            loaded <= 1'b0;
        end else if (load) begin
            step   <= ADDRESS;
            qid    <= load_qid;
            loaded <= 1'b0;
        end else begin
            case (step)
                ADDRESS: step <= SUBMISSION;
                SUBMISSION: step <= COMPLETION;
                COMPLETION: begin
                    step   <= IDLE;
                    loaded <= 1'b1;
                end
                default: ;
            endcase
        end
    end
    // A load that comes in between takes them again: who loads waits for no other.
    always_ff @(posedge clk) begin
        case (step)
            SUBMISSION: begin
                tail    <= host_read;
                fetched <= card_read;
                shape   <= shape_read;
            end
            COMPLETION: begin
                head      <= host_read;
                completed <= card_read;
            end
            default: begin
                if (move_fetched) fetched <= fetched + 32'd1;
                if (move_completed) completed <= completed + 32'd1;
            end
        endcase
    end

    logic [QUEUES-1:0] create_bit;
    assign create_bit = QUEUES'(1) << create_qid;
    logic comes;
    logic [QUEUES-1:0] dropped;
    logic [QUEUES-1:0] broken;
    logic [QUEUES-1:0] looked;
    logic goes;
    assign comes = created && create_qid != 0;
    assign goes  = (dropped[QUEUES-1:1] & exists[QUEUES-1:1]) != 0;
    // Counted a cycle later.
    logic came;
    logic gone;
    always_ff @(posedge clk) begin
        came <= comes && !rst;
        gone <= goes && !rst && !(&dropped);
    end

    always_ff @(posedge clk) begin
        dropped <= rst ? '0 : drop;
        broken  <= rst ? '0 : break_down;
        looked  <= rst ? '0 : look_clear;
        if (rst) begin
            exists   <= '0;
            alive    <= '0;
            look     <= '0;
            io_pairs <= '0;
        end else begin
            exists <= (exists | (created ? create_bit : '0)) & ~dropped;
            alive  <= (alive | (created ? create_bit : '0)) & ~dropped & ~broken;
            look   <= ((look & ~looked) | look_set | (rung & exists)) & ~dropped;
            // One comes or goes at a time, or all go.
            if (&dropped) io_pairs <= '0;
            else io_pairs <= io_pairs + 16'(came) - 16'(gone);
        end
    end
endmodule
