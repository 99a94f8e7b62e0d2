// What went wrong since reset: the first error, how many there were, and the log of the newest ones.
//
// Invariants: the first error is never displaced; the log keeps the newest ERROR_LOG_ENTRIES, and its page gives them newest
// first, three words each (admin.rs, ErrorLogEntry); the count stops short of all-ones.
// It does not know what an error means.
module faam_farm_errors (
    input  logic        clk,
    input  logic        rst,
    input  logic        clear,
    input  logic [63:0] now_ms,
    // notes by the doorbells and by the sequencer
    input  logic        bell_valid,
    output logic        bell_ready,
    input  logic [3:0]  bell_code,
    input  logic [4:0]  bell_qid,
    input  logic [31:0] bell_value,
    input  logic        note_valid,
    output logic        note_ready,
    input  logic [3:0]  note_code,
    input  logic [4:0]  note_qid,
    input  logic [63:0] note_value,
    // registers
    output logic [3:0]  first_code,
    output logic [4:0]  first_qid,
    output logic [63:0] first_value,
    output logic [31:0] count,
    // the page: `page_word` of entry `page_entry`, 0 the newest, stands two cycles later
    input  logic [3:0]  page_entry,
    input  logic [1:0]  page_word,
    output logic [63:0] page_data,
    output logic [4:0]  page_entries
);
    localparam logic [2:0] WAIT = 3'd0;
    localparam logic [2:0] HEAD = 3'd1;
    localparam logic [2:0] VALUE = 3'd2;
    localparam logic [2:0] TIME = 3'd3;
    localparam logic [2:0] DONE = 3'd4;
    localparam logic [2:0] TAKE = 3'd5;

    logic [63:0] words[64];
    logic [2:0]  state;
    logic        for_bell;
    logic [3:0]  newest;
    logic [3:0]  code;
    logic [4:0]  qid;
    logic [63:0] value;
    logic [63:0] page_said;

    logic [5:0]  write_at;
    logic [63:0] write_data;
    always_comb begin
        case (state)
            HEAD: begin
                write_at   = {newest, 2'd0};
                write_data = {11'd0, qid, 12'd0, code, count};
            end
            VALUE: begin
                write_at   = {newest, 2'd1};
                write_data = value;
            end
            default: begin
                write_at   = {newest, 2'd2};
                write_data = now_ms;
            end
        endcase
    end

    always_ff @(posedge clk) begin
        if (state == HEAD || state == VALUE || state == TIME) words[write_at] <= write_data;
        page_said <= words[{newest - page_entry, page_word}];
        page_data <= page_said;
    end

    always_ff @(posedge clk) begin
        if (rst || clear) begin
            state        <= WAIT;
            newest       <= '0;
            first_code   <= '0;
            first_qid    <= '0;
            first_value  <= '0;
            count        <= '0;
            page_entries <= '0;
        end else begin
            case (state)
                WAIT:
                    if (bell_valid || note_valid) begin
                        state    <= TAKE;
                        for_bell <= bell_valid;
                    end
                // Who is told stands until ready: which of the two it is was decided a cycle ago.
                TAKE: begin
                    state  <= HEAD;
                    code   <= for_bell ? bell_code : note_code;
                    qid    <= for_bell ? bell_qid : note_qid;
                    value  <= for_bell ? {32'd0, bell_value} : note_value;
                    newest <= newest + 1'b1;
                    if (count != 32'hFFFF_FFFE) count <= count + 1'b1;
                    if (!page_entries[4]) page_entries <= page_entries + 1'b1;
                end
                HEAD: begin
                    state <= VALUE;
                    if (count == 32'd1) begin
                        first_code  <= code;
                        first_qid   <= qid;
                        first_value <= value;
                    end
                end
                VALUE: state <= TIME;
                TIME: state <= DONE;
                default: state <= WAIT;
            endcase
        end
    end

    assign bell_ready = state == DONE && for_bell;
    assign note_ready = state == DONE && !for_bell;
endmodule
