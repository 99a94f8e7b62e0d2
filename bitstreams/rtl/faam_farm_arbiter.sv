// The farm's one memory port, shared by the movers: reads and writes apart.
//
// Movers are served in turn, a burst at a time: a mover that asks waits for one burst of each other mover at most. A burst
// is taken only when the mover can see it through (its words are in its buffer, or have room there), so that no mover holds
// the port.
// Invariants: what is offered on a channel stays until it is taken; answers go to their movers in the order of the requests;
// with `bus_master` low nothing new is offered, and who asks is denied at once. At most ORDER bursts a direction are without
// their answer. Answers reach their movers a cycle late, through registers, and no path leads from the port's ready to a mover
// that reads.
// It does not know what is moved.
module faam_farm_arbiter #(
    parameter int MOVERS = 2,
    parameter int ORDER = 8
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic                    bus_master,
    output logic                    quiet,        // no request is offered or unanswered
    // movers, reading
    input  logic [MOVERS-1:0]       read_valid,
    output logic [MOVERS-1:0]       read_ready,
    output logic                    read_denied,  // with read_ready
    input  logic [MOVERS-1:0][63:0] read_addr,
    input  logic [MOVERS-1:0][7:0]  read_len,
    output logic [MOVERS-1:0]       answer_valid,
    output logic [63:0]             answer_data,
    output logic                    answer_bad,
    // movers, writing
    input  logic [MOVERS-1:0]       write_valid,
    output logic [MOVERS-1:0]       write_ready,
    output logic                    write_denied,  // with write_ready
    input  logic [MOVERS-1:0][63:0] write_addr,
    input  logic [MOVERS-1:0][7:0]  write_len,
    input  logic [MOVERS-1:0][63:0] write_data,
    input  logic [MOVERS-1:0][7:0]  write_strb,
    input  logic [MOVERS-1:0]       write_last,
    output logic [MOVERS-1:0]       write_taken,
    output logic [MOVERS-1:0]       written_valid,
    output logic                    written_bad,
    // the port
    output logic                    ar_valid,
    input  logic                    ar_ready,
    output logic [63:0]             ar_addr,
    output logic [7:0]              ar_len,
    input  logic                    r_valid,
    output logic                    r_ready,
    input  logic [63:0]             r_data,
    input  logic [1:0]              r_resp,
    input  logic                    r_last,
    output logic                    aw_valid,
    input  logic                    aw_ready,
    output logic [63:0]             aw_addr,
    output logic [7:0]              aw_len,
    output logic                    w_valid,
    input  logic                    w_ready,
    output logic [63:0]             w_data,
    output logic [7:0]              w_strb,
    output logic                    w_last,
    input  logic                    b_valid,
    output logic                    b_ready,
    input  logic [1:0]              b_resp
);
    localparam int ID = MOVERS == 1 ? 1 : $clog2(MOVERS);

    // Reads: `read_turn` goes round, one mover a cycle, and stops where somebody asks until he is served.
    logic [ID-1:0] read_turn;
    logic          read_free;
    logic          read_asks;
    logic          read_order_ready;
    logic          read_order_valid;
    logic [ID-1:0] read_order;
    logic [$clog2(ORDER):0] read_level;
    logic          read_grant;
    assign read_free   = !ar_valid;
    assign read_asks   = read_valid[read_turn];
    assign read_denied = !bus_master;
    assign read_grant  = read_asks && (read_denied || (read_free && read_order_ready));
    always_comb begin
        read_ready = '0;
        read_ready[read_turn] = read_grant;
    end
    assign r_ready     = read_order_valid;
    always_ff @(posedge clk) begin
        answer_valid <= '0;
        if (!rst) answer_valid[read_order] <= r_valid && r_ready;
        answer_data <= r_data;
        answer_bad  <= r_resp[1];
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            read_turn <= '0;
            ar_valid  <= 1'b0;
        end else begin
            if (!read_asks || read_grant) read_turn <= (read_turn == ID'(MOVERS - 1)) ? '0 : read_turn + 1'b1;
            if (ar_ready) ar_valid <= 1'b0;
            if (read_grant && !read_denied) begin
                ar_valid <= 1'b1;
                ar_addr  <= read_addr[read_turn];
                ar_len   <= read_len[read_turn];
            end
        end
    end

    faam_fifo #(
        .W    (ID),
        .DEPTH(ORDER)
    ) read_orders (
        .clk      (clk),
        .rst      (rst),
        .in_valid (read_grant && !read_denied),
        .in_ready (read_order_ready),
        .in_data  (read_turn),
        .out_valid(read_order_valid),
        .out_ready(r_valid && r_last),
        .out_data (read_order),
        .level    (read_level)
    );

    // Writes: address and data of a burst are offered side by side.
    logic [ID-1:0] write_turn;
    logic          write_asks;
    logic          write_busy;
    logic          write_grant;
    logic          write_order_ready;
    logic          write_order_valid;
    logic [ID-1:0] write_order;
    logic [$clog2(ORDER):0] write_level;
    assign write_asks   = write_valid[write_turn];
    assign write_busy   = aw_valid || w_valid;
    assign write_denied = !bus_master;
    assign write_grant  = write_asks && !write_busy && (write_denied || write_order_ready);
    always_comb begin
        write_ready = '0;
        write_ready[write_turn] = write_grant;
        write_taken = '0;
        write_taken[write_turn] = w_valid && w_ready;
    end
    assign b_ready     = write_order_valid;
    always_ff @(posedge clk) begin
        written_valid <= '0;
        if (!rst) written_valid[write_order] <= b_valid && b_ready;
        written_bad <= b_resp[1];
    end
    assign w_data      = write_data[write_turn];
    assign w_strb      = write_strb[write_turn];
    assign w_last      = write_last[write_turn];

    always_ff @(posedge clk) begin
        if (rst) begin
            write_turn <= '0;
            aw_valid   <= 1'b0;
            w_valid    <= 1'b0;
        end else begin
            // The turn stays with a mover until the last word of its burst is taken.
            if (!write_busy && (!write_asks || (write_grant && write_denied))) begin
                write_turn <= (write_turn == ID'(MOVERS - 1)) ? '0 : write_turn + 1'b1;
            end else if (write_busy && (!aw_valid || aw_ready) && (!w_valid || (w_ready && w_last))) begin
                write_turn <= (write_turn == ID'(MOVERS - 1)) ? '0 : write_turn + 1'b1;
            end
            if (aw_ready) aw_valid <= 1'b0;
            if (w_ready && w_last) w_valid <= 1'b0;
            if (write_grant && !write_denied) begin
                aw_valid <= 1'b1;
                w_valid  <= 1'b1;
                aw_addr  <= write_addr[write_turn];
                aw_len   <= write_len[write_turn];
            end
        end
    end

    faam_fifo #(
        .W    (ID),
        .DEPTH(ORDER)
    ) write_orders (
        .clk      (clk),
        .rst      (rst),
        .in_valid (write_grant && !write_denied),
        .in_ready (write_order_ready),
        .in_data  (write_turn),
        .out_valid(write_order_valid),
        .out_ready(b_valid),
        .out_data (write_order),
        .level    (write_level)
    );

    assign quiet = !ar_valid && !write_busy && read_level == 0 && write_level == 0 && answer_valid == 0 && written_valid == 0;

    logic unused;
    assign unused = &{1'b0, r_resp[0], b_resp[0]};
endmodule
