// Stands between a core with more ports than a package has pins and three pins: place and route measures the core, not its ports.
//
// Every input of the core comes from a register of one long shift register, every output goes into a register of its own and
// from there into a second shift register that XORs it in. So each path of the core runs from register to register, and
// nothing of it can be optimised away, for each output reaches the pin in the end and no input is constant.
// It deliberately does not know what the bits mean: nothing that it shifts in makes sense to the core.
module faam_pins #(
    parameter int INPUTS  = 8,
    parameter int OUTPUTS = 8
) (
    input  logic               clk,
    input  logic               pin_in,
    output logic               pin_out,
    output logic [ INPUTS-1:0] to_core,
    input  logic [OUTPUTS-1:0] from_core
);
  logic [OUTPUTS-1:0] captured;
  logic [OUTPUTS-1:0] folded;

  always_ff @(posedge clk) begin
    to_core  <= INPUTS'({to_core, pin_in});
    captured <= from_core;
    folded   <= captured ^ OUTPUTS'({folded, to_core[INPUTS-1]});
  end

  assign pin_out = folded[OUTPUTS-1];
endmodule
