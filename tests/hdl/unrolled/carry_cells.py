"""Carry cells that every simulator knows."""

from amaranth.hdl import Cat, Const, Mux

from gptloom.hdl.unrolled.fabric import Ecp5Fabric, Fabric


class ModelledFabric(Ecp5Fabric):
    """An ECP5's carry cells, as the manufacturer describes them."""

    copy = Fabric.copy

    def place_cell(self, **ports):
        carry = ports.get("i_CIN", Const(0, 1))
        for half in "01":
            a, b, c, d = (ports[f"i_{pin}{half}"] for pin in "ABCD")
            init = ports[f"p_INIT{half}"]
            assert ports[f"p_INJECT1_{half}"] == "NO"
            lookup = (init >> Cat(a, b, c, d))[0]
            self._m.d.comb += ports[f"o_S{half}"].eq(lookup ^ carry)
            carry = Mux(lookup, carry, (init >> Cat(a, b))[0])
        if "o_COUT" in ports:
            self._m.d.comb += ports["o_COUT"].eq(carry)
