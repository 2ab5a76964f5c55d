// What the cores use of two ECP5 cells for which yosys has no simulation model. Where a
// memory's first contents are, and what the halves of 36 bits are, is as yosys maps memories
// (share/lattice/brams_map_16kd.v); the names are those of Lattice's FPGA-TN-02204 (memory) and
// FPGA-TN-02205 (sysDSP). Any other use ends the simulation.

// Block RAM without output registers: 9, 18 or 36 bits at a port; with 36, port A writes and port B
// reads. A byte that is written while it is read is read as it was, as in the design; the part does
// not promise that, and tests/firmware/test_schedule.py shows that nothing needs it.
module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
    input DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7,
    input ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
    output DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
    input DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7,
    input ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
    output DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
    parameter integer DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", GSR = "ENABLED";
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0;
    parameter [319:0] INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0;
    parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0;
    parameter [319:0] INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0;
    parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0;
    parameter [319:0] INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0;
    parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0;
    parameter [319:0] INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0;
    parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0;
    parameter [319:0] INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0;
    parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0;
    parameter [319:0] INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0;
    parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0;
    parameter [319:0] INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0;
    parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0;
    parameter [319:0] INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;
    parameter INIT_DATA = "STATIC";
    localparam [64 * 320 - 1:0] initial_values = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A,
        INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34,
        INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
        INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22,
        INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
        INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
        INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
        INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04,
        INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
    };

    wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
                       DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
                       DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7,
                       ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7,
                       ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};

    // Half a byte at port A is for reading.
    localparam paired = DATA_WIDTH_A == 36, halved = DATA_WIDTH_A == 4;
    localparam bytes_a = halved ? 1 : DATA_WIDTH_A / 9, bytes_b = DATA_WIDTH_B / 9;
    wire [35:0] written = {dib, dia};
    // One enable a byte at the wide ports' lowest address bits; one for all at the narrow port.
    wire [3:0] enable_a = !(CEA && WEA) ? 4'b0 : bytes_a == 4 ? ada[3:0] :
                          bytes_a == 2 ? {2'b0, ada[1:0]} : 4'b1;

    reg [8:0] memory [0:2047];
    reg [35:0] read_a, read_b;
    integer i;

    // The first byte of an address, of 2048: the address counts bits.
    function integer first(input [13:0] address, input integer bytes);
        first = bytes == 4 ? {address[13:5], 2'b0} : bytes == 2 ? {address[13:4], 1'b0} :
                address[13:3];
    endfunction

    initial begin
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" ||
            CLKBMUX != "CLKB" || CSDECODE_A != "0b000" || CSDECODE_B != "0b000" ||
            paired != (DATA_WIDTH_B == 36) || (bytes_a != 1 && bytes_a != 2 && bytes_a != 4) ||
            (bytes_b != 1 && bytes_b != 2 && bytes_b != 4))
            $fatal(1, "this use of DP16KD is not modelled");
        read_a = 0;
        read_b = 0;
        // 16 words of 18 bits in each parameter, 20 bits apart.
        for (i = 0; i < 1024; i = i + 1) begin
            memory[2 * i] = initial_values[(i / 16) * 320 + (i % 16) * 20 +: 9];
            memory[2 * i + 1] = initial_values[(i / 16) * 320 + (i % 16) * 20 + 9 +: 9];
        end
    end

    // A memory that is never written has no clock at port A.
    integer j;
    always @(posedge CLKB) begin
        if (WEB || RSTB) $fatal(1, "port B of DP16KD is for reading, without resets");
        if (CEB)
            for (j = 0; j < bytes_b; j = j + 1) read_b[9 * j +: 9] <= memory[first(adb, bytes_b) + j];
    end

    always @(posedge CLKA) begin
        if (RSTA) $fatal(1, "port A of DP16KD has no reset");
        if (halved && WEA) $fatal(1, "halves of a byte of DP16KD are for reading");
        if (CEA && !paired && (!WEA || WRITEMODE_A == "READBEFOREWRITE"))
            for (i = 0; i < bytes_a; i = i + 1) read_a[9 * i +: 9] <=
                halved ? memory[first(ada, 1)][4 * ada[2] +: 4] : memory[first(ada, bytes_a) + i];
        for (i = 0; i < bytes_a; i = i + 1)
            if (enable_a[i]) memory[first(ada, bytes_a) + i] <= written[9 * i +: 9];
    end

    wire [17:0] doa = paired ? read_b[17:0] : read_a[17:0];
    wire [17:0] dob = paired ? read_b[35:18] : read_b[17:0];
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
            DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = doa;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
            DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = dob;
endmodule

// 18 x 18 bits, signed, either with registers at the inputs and the output, or with none at all, as
// synthesis makes it of a product. The third input is for cascades.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CE0, CLK0, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE";
    // Synthesis writes these down as well.
    parameter REG_INPUTC_CLK = "NONE", CLK0_DIV = "ENABLED", CLK1_DIV = "ENABLED";
    parameter CLK2_DIV = "ENABLED", CLK3_DIV = "ENABLED", GSR = "ENABLED";
    parameter SOURCEB_MODE = "B_SHIFT", RESETMODE = "SYNC";

    localparam registered = REG_INPUTA_CLK == "CLK0";

    wire signed [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire signed [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg signed [17:0] held_a = 0, held_b = 0;
    reg signed [35:0] held = 0;
    wire signed [35:0] p = registered ? held : a * b;

    initial
        if (REG_INPUTB_CLK != REG_INPUTA_CLK || REG_OUTPUT_CLK != REG_INPUTA_CLK ||
            (!registered && REG_INPUTA_CLK != "NONE") || REG_PIPELINE_CLK != "NONE" ||
            REG_INPUTC_CLK != "NONE")
            $fatal(1, "this use of MULT18X18D is not modelled");

    always @(SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, RST0)
        if (SIGNEDA === 0 || SIGNEDB === 0 || SOURCEA || SOURCEB || (registered && RST0))
            $fatal(1, "this use of MULT18X18D is not modelled");

    always @(posedge CLK0)
        if (CE0) begin
            held_a <= a;
            held_b <= b;
            held <= held_a * held_b;
        end

    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19,
            P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;
endmodule
