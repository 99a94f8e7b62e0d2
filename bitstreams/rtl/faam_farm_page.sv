// A page that an admin command writes: identify, the error log or the health page.
//
// Owns where each word of a page comes from. Invariant: at most `room` bytes are written, the front of the page; `busy` goes
// low only when all of them are answered, or the writer has been emptied after a fault.
// It does not know who asked, nor what is said of it.
module faam_farm_page #(
    parameter int ENGINES = 1,
    parameter int IO_PAIRS = 16
) (
    input  logic        clk,
    input  logic        rst,
    input  logic        start,     // only with bytes to write; what is asked for stands until not busy
    input  logic        identify,
    input  logic        health,    // else the error log
    input  logic [31:0] room,
    output logic [8:0]  bytes,     // that will be written
    output logic        busy,
    output logic        fault,
    output logic [63:0] fault_at,
    // sources
    input  logic [63:0] now_ms,
    input  logic [63:0] serial,
    input  logic [31:0] clock_khz,
    input  logic [7:0]  number,
    output logic        health_valid,
    input  logic        health_ready,
    output logic [2:0]  health_place,
    input  logic [63:0] health_value,
    output logic [3:0]  page_entry,
    output logic [1:0]  page_word,
    input  logic [63:0] page_data,
    input  logic [4:0]  page_entries,
    // the control writer
    output logic        writer_start,
    output logic        writer_valid,
    input  logic        writer_ready,
    output logic [63:0] writer_data,
    output logic [3:0]  writer_bytes,
    output logic        writer_flush,
    output logic        writer_stop,
    input  logic        writer_idle,
    input  logic        writer_fault,
    input  logic [63:0] writer_fault_addr
);
    localparam logic [8:0] IDENTIFY_BYTES = 9'd256;
    localparam logic [8:0] HEALTH_BYTES = 9'd64;

    localparam logic [2:0] WAIT = 3'd0;
    localparam logic [2:0] READ = 3'd1;
    localparam logic [2:0] WORD = 3'd2;
    localparam logic [2:0] BEAT = 3'd3;
    localparam logic [2:0] FLUSH = 3'd4;
    localparam logic [2:0] DROP = 3'd5;
    localparam logic [2:0] HOLD = 3'd6;

    logic [2:0]  state;
    logic [4:0]  at;     // word of the page
    logic [8:0]  left;   // bytes
    logic [63:0] word;
    logic        is_health;
    logic [8:0]  whole_now;
    logic [8:0]  whole;
    logic        ends;   // with this beat
    assign is_health = health && !identify;
    // 24 bytes an error.
    assign whole_now = identify ? IDENTIFY_BYTES : is_health ? HEALTH_BYTES : {page_entries, 4'd0} + {1'b0, page_entries, 3'd0};
    // What is asked for stands for many cycles before it is begun.
    always_ff @(posedge clk) begin
        whole <= whole_now;
        bytes <= room >= {23'd0, whole} ? whole : room[8:0];
    end

    logic [63:0] identify_word;
    faam_farm_identify #(
        .ENGINES (ENGINES),
        .IO_PAIRS(IO_PAIRS)
    ) identity (
        .index    (at),
        .serial   (serial),
        .clock_khz(clock_khz),
        .number   (number),
        .word     (identify_word)
    );

    assign health_place = at[2:0];
    assign health_valid = state == READ && is_health && at != 0;
    assign writer_start = start;
    assign writer_valid = state == BEAT;
    assign writer_data  = word;
    assign writer_flush = state == FLUSH;
    assign writer_stop  = state == DROP;
    assign busy         = state != WAIT;

    always_ff @(posedge clk) begin
        if (rst) begin
            state <= WAIT;
        end else begin
            case (state)
                WAIT: begin
                    at         <= '0;
                    page_entry <= '0;
                    page_word  <= '0;
                    left       <= bytes;
                    if (start) begin
                        state <= READ;
                        fault <= 1'b0;
                    end
                end
                // Health words come with their answer, errors two cycles after their place is named.
                READ: begin
                    word <= health_value;
                    if (!health_valid || health_ready) state <= HOLD;
                end
                HOLD: state <= WORD;
                WORD: begin
                    writer_bytes <= left < 9'd8 ? left[3:0] : 4'd8;
                    ends         <= left <= 9'd8;
                    if (identify) word <= identify_word;
                    else if (!is_health) word <= page_data;
                    else if (at == 0) word <= now_ms;
                    state <= BEAT;
                end
                BEAT:
                    if (writer_ready) begin
                        at        <= at + 1'b1;
                        page_word <= page_word == 2'd2 ? 2'd0 : page_word + 1'b1;
                        if (page_word == 2'd2) page_entry <= page_entry + 1'b1;
                        left  <= left - {5'd0, writer_bytes};
                        state <= ends ? FLUSH : READ;
                    end else if (writer_fault) begin
                        state <= FLUSH;
                    end
                FLUSH:
                    if (writer_idle) begin
                        fault    <= writer_fault;
                        fault_at <= writer_fault_addr;
                        state    <= writer_fault ? DROP : WAIT;
                    end
                DROP: if (writer_idle) state <= WAIT;
                default: state <= WAIT;
            endcase
        end
    end
endmodule
