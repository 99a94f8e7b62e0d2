// Counters of 64 bits, eight a row: a row a queue, and the row of the health page.
//
// Owns one RAM and the adder in front of it. Who adds waits until it is done, a few cycles; registers read between. Rows of
// queues are cleared when a queue is created, all of them after power-on, before anything is taken.
// Invariant: no count is lost: an addition is taken once and written before the next one is read.
// It does not know what is counted.
module faam_farm_counters (
    input  logic        clk,
    input  logic        rst,
    // additions by the sequencer, and kicks by doorbells
    input  logic        add_valid,
    output logic        add_ready,
    input  logic [4:0]  add_row,
    input  logic [2:0]  add_place,
    input  logic [31:0] add_value,
    input  logic        kick_valid,
    output logic        kick_ready,
    input  logic [4:0]  kick_row,
    // clearing a row
    input  logic        clear_valid,
    output logic        clear_ready,
    input  logic [4:0]  clear_row,
    // reading: the value stands in the cycle of `read_ready`
    input  logic        read_valid,
    output logic        read_ready,
    input  logic [7:0]  read_at,      // {row, place}
    output logic [63:0] read_value
);
    localparam logic [2:0] WIPE = 3'd0;   // power-on
    localparam logic [2:0] WAIT = 3'd1;
    localparam logic [2:0] READ = 3'd2;
    localparam logic [2:0] ADD = 3'd3;
    localparam logic [2:0] WRITE = 3'd4;
    localparam logic [2:0] CLEAR = 3'd5;
    localparam logic [2:0] SHOW = 3'd6;
    localparam logic [2:0] HOLD = 3'd7;

    logic [63:0] values[256];
    logic [2:0]  state;
    logic [7:0]  at;
    logic [31:0] addend;
    logic        for_kick;
    logic        for_read;
    logic [63:0] said;   // by the RAM
    logic [63:0] old;
    logic [63:0] sum;

    logic write;
    assign write = state == WIPE || state == CLEAR || state == WRITE;
    always_ff @(posedge clk) begin
        if (write) values[at] <= state == WRITE ? sum : '0;
        said <= values[at];
        old  <= said;
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            state <= WIPE;
            at    <= '0;
        end else begin
            case (state)
                WIPE: begin
                    at <= at + 1'b1;
                    if (&at) state <= WAIT;
                end
                WAIT: begin
                    for_kick <= 1'b0;
                    for_read <= 1'b0;
                    if (clear_valid) begin
                        at    <= {clear_row, 3'd0};
                        state <= CLEAR;
                    end else if (kick_valid) begin
                        at       <= {kick_row, faam_farm_pkg::COUNT_KICKS};
                        addend   <= 32'd1;
                        for_kick <= 1'b1;
                        state    <= READ;
                    end else if (add_valid) begin
                        at     <= {add_row, add_place};
                        addend <= add_value;
                        state  <= READ;
                    end else if (read_valid) begin
                        at       <= read_at;
                        for_read <= 1'b1;
                        state    <= READ;
                    end
                end
                READ: state <= HOLD;
                HOLD: state <= for_read ? SHOW : ADD;
                ADD: begin
                    sum   <= old + {32'd0, addend};
                    state <= WRITE;
                end
                CLEAR: begin
                    at <= at + 1'b1;
                    if (&at[2:0]) state <= WAIT;
                end
                default: state <= WAIT;
            endcase
        end
    end

    assign add_ready   = state == WRITE && !for_kick;
    assign kick_ready  = state == WRITE && for_kick;
    assign clear_ready = state == CLEAR && &at[2:0];
    assign read_ready  = state == SHOW;
    assign read_value  = old;
endmodule
