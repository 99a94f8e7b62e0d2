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
    localparam logic [3:0] WIPE = 4'd0;   // power-on
    localparam logic [3:0] WAIT = 4'd1;
    localparam logic [3:0] READ = 4'd2;
    localparam logic [3:0] ADD = 4'd3;
    localparam logic [3:0] WRITE = 4'd4;
    localparam logic [3:0] CLEAR = 4'd5;
    localparam logic [3:0] SHOW = 4'd6;
    localparam logic [3:0] HOLD = 4'd7;
    localparam logic [3:0] TAKE = 4'd8;

    logic [63:0] values[256];
    logic [3:0]  state;
    logic [7:0]  at;
    logic [31:0] addend;
    logic        for_kick;
    logic        for_add;
    logic        for_clear;
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
                    for_clear <= clear_valid;
                    for_kick  <= !clear_valid && kick_valid;
                    for_add   <= !clear_valid && !kick_valid && add_valid;
                    if (clear_valid || kick_valid || add_valid || read_valid) state <= TAKE;
                end
                TAKE: begin
                    state  <= for_clear ? CLEAR : READ;
                    addend <= for_kick ? 32'd1 : add_value;
                    at     <= for_clear ? {clear_row, 3'd0} :
                              for_kick ? {kick_row, faam_farm_pkg::COUNT_KICKS} :
                              for_add ? {add_row, add_place} : read_at;
                end
                READ: state <= HOLD;
                HOLD: state <= for_add || for_kick ? ADD : SHOW;
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

    assign add_ready   = state == WRITE && for_add;
    assign kick_ready  = state == WRITE && for_kick;
    assign clear_ready = state == CLEAR && &at[2:0];
    assign read_ready  = state == SHOW;
    assign read_value  = old;
endmodule
