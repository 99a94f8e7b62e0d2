// Interrupts on their way to the shell: one bit a vector, so that whoever raises one never waits.
//
// Invariants: a vector that was raised is asked for at least once after that; raised again before it went out, it goes out
// once; what is offered stays until it is taken. The end of a life takes back what was not offered yet.
// It does not know masks: the MSI-X table is the shell's.
module faam_farm_irqs #(
    parameter int VECTORS = 17
) (
    input  logic        clk,
    input  logic        rst,
    input  logic        forget,
    input  logic        raise,
    input  logic [4:0]  raise_irq,
    output logic        irq_valid,
    input  logic        irq_ready,
    output logic [15:0] irq_vector
);
    logic [VECTORS-1:0] raised;
    logic [4:0] turn;
    logic goes;
    assign goes = raised[turn] && (!irq_valid || irq_ready);

    always_ff @(posedge clk) begin
        if (rst) begin
            raised    <= '0;
            turn      <= '0;
            irq_valid <= 1'b0;
        end else begin
            turn <= turn == 5'(VECTORS - 1) ? '0 : turn + 1'b1;
            if (irq_ready) irq_valid <= 1'b0;
            if (goes) begin
                irq_valid    <= 1'b1;
                irq_vector   <= {11'd0, turn};
                raised[turn] <= 1'b0;
            end
            if (raise) raised[raise_irq] <= 1'b1;
            if (forget) raised <= '0;
        end
    end
endmodule
