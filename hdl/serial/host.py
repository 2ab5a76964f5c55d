"""The chip's side of the protocol: everything between the pin, the core and the text console."""

from collections.abc import Mapping
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.image import Image, Region
from gptloom.firmware.machine import Machine
from gptloom.firmware.protocol import Feature, config_hash, upload_sizes
from gptloom.hdl.core import CoreSignature, Token
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.serial.attention import AttentionFrames, attended
from gptloom.hdl.serial.commands import Commands
from gptloom.hdl.serial.deframer import Deframer
from gptloom.hdl.serial.framer import Framer
from gptloom.hdl.serial.loader import Loader
from gptloom.hdl.serial.staging import Staging
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError


@dataclass(frozen=True)
class Upload:
    """Requirements on an uploaded image, see :mod:`gptloom.firmware.protocol`.

    Attributes
    ----------
    sizes
        Bytes in each region.
    config
        :func:`.config_hash` of the image.
    """

    sizes: Mapping[Region, int]
    config: int

    @classmethod
    def of(cls, image: Image, machine: Machine) -> "Upload":
        """Return the requirements on images that replace a given image.

        Raises
        ------
        UserError
            If documents have no end: commands wait for the end of a document.
        """
        if image.config.endless:
            raise UserError(
                "a chip that takes commands waits for its document to end, and with a cache that "
                "evicts it has none: build it with --text, or without --cache"
            )
        sizes = upload_sizes(image, machine)
        numbers = image.lanes, image.config, sizes, image.slots, image.precision.cache.widths
        return cls(sizes, config_hash(*numbers))


class Host(wiring.Component):
    """Receives frames, executes their commands, and sends frames between the console's lines.

    Parameters
    ----------
    upload
        Requirements on images.
    bos
        The token that begins a document.
    watched
        Configuration of the model whose attention is sent, if that is built in.

    Attributes
    ----------
    valid, byte : In(1), In(8)
        A byte from the line.
    core
        Ports of the core, except its temperature; directions as the core sees them.
    attended : In
        See :func:`.attended`; only with `watched`.
    text_o, text_run, check, checking, crc
        The console's tokens, its request for documents, and its checksum; see :class:`.Commands`.
    line, quiet
        A line of text is being sent; do not begin one.
    page_write, page_address, page_data
        Bytes of a new page.
    set, scale, restart
        Temperature, and restart as at power-on. See :class:`.Console`.
    text, o : In(stream of 8 bits), Out(stream of 8 bits)
        Characters of the console; all bytes for the line.
    ask : Out(1)
        Pulse: a byte came that belongs to no frame.
    stopped : Out(1)
        See :class:`.Commands`.
    """

    def __init__(self, upload: Upload, bos: int, watched: ModelConfig | None = None):
        self._upload, self._bos = upload, bos
        self._attention = AttentionFrames(watched) if watched else None
        tap = {"attended": In(attended(watched.heads))} if watched else {}
        members = dict(CoreSignature().members)
        del members["temperature"]
        super().__init__(
            {
                "valid": In(1),
                "byte": In(8),
                "core": In(wiring.Signature(members)),
                "text_o": Out(stream.Signature(Token)),
                "text_run": In(1),
                "check": In(1),
                "checking": Out(1),
                "crc": Out(32),
                "line": In(1),
                "quiet": Out(1),
                "page_write": Out(1),
                "page_address": Out(18),
                "page_data": Out(8),
                "set": Out(1),
                "scale": Out(Temperature),
                "restart": Out(1),
                "text": In(stream.Signature(unsigned(8))),
                "o": Out(stream.Signature(unsigned(8))),
                "ask": Out(1),
                "stopped": Out(1),
                **tap,
            }
        )

    def elaborate(self, platform):
        m = Module()
        core = self.core
        m.submodules.deframer = deframer = Deframer()
        m.submodules.framer = framer = Framer(data=self._attention is not None)
        m.submodules.staging = staging = Staging(sum(self._upload.sizes.values()))
        m.submodules.loader = loader = Loader(self._upload.sizes)
        features = {Feature.ATTENTION, Feature.CACHE} if self._attention else set()
        m.submodules.commands = commands = Commands(self._upload.config, self._bos, features)
        m.d.comb += [
            deframer.valid.eq(self.valid),
            deframer.byte.eq(self.byte),
            self.ask.eq(deframer.text),
            # The frame, and the destination of its data.
            *(
                getattr(commands, name).eq(getattr(deframer, name))
                for name in ("arrived", "good", "code", "sequence", "argument", "length")
            ),
            deframer.hold.eq(commands.hold),
            deframer.set.eq(commands.set),
            deframer.value.eq(commands.value),
            staging.write.eq(deframer.data_valid),
            staging.write_data.eq(deframer.data),
            staging.to_end.eq(deframer.begin | commands.to_end),
            staging.to_start.eq(commands.to_start),
            staging.step.eq(commands.step | loader.step),
            staging.discard.eq(commands.discard),
            staging.claim.eq(commands.claim),
            commands.received.eq(staging.received),
            commands.complete.eq(staging.complete),
            commands.staged.eq(staging.read_data),
            loader.staged.eq(staging.read_data),
            # Passes over the memories.
            loader.start.eq(commands.start_pass),
            loader.kind.eq(commands.kind),
            loader.read_data.eq(core.read_data),
            commands.passing.eq(loader.busy),
            commands.crc.eq(loader.crc),
            self.crc.eq(loader.crc),
            self.page_write.eq(loader.page_write),
            self.page_address.eq(loader.load.p.address),
            self.page_data.eq(loader.load.p.data),
            # The core and the text console.
            commands.core_busy.eq(core.busy),
            commands.counters.eq(core.counters),
            commands.text_run.eq(self.text_run),
            commands.check.eq(self.check),
            commands.line.eq(self.line),
            self.checking.eq(commands.checking),
            self.set.eq(commands.scale),
            self.scale.eq(deframer.argument),
            self.restart.eq(commands.restart),
            self.stopped.eq(commands.stopped),
        ]
        wiring.connect(m, loader.load, wiring.flipped(core.load))
        wiring.connect(m, loader.read, wiring.flipped(core.read))
        wiring.connect(m, commands.i, wiring.flipped(core.i))
        wiring.connect(m, wiring.flipped(core.o), commands.o)
        wiring.connect(m, commands.seed, wiring.flipped(core.seed))
        wiring.connect(m, commands.text_o, wiring.flipped(self.text_o))

        # A frame waits for the end of a line, and no line begins while one waits.
        waiting = commands.reply | commands.token
        sending_reply = Signal()
        with m.If(framer.start):
            m.d.sync += sending_reply.eq(commands.reply)
        m.d.comb += [
            framer.start.eq(waiting & ~framer.busy & ~self.line),
            framer.i.eq(commands.frame),
            commands.sending_reply.eq(sending_reply),
            commands.sent.eq(framer.done),
            self.quiet.eq(waiting | framer.busy),
            self.o.valid.eq(Mux(framer.busy, framer.o.valid, self.text.valid)),
            self.o.payload.eq(Mux(framer.busy, framer.o.payload, self.text.payload)),
            framer.o.ready.eq(self.o.ready & framer.busy),
            self.text.ready.eq(self.o.ready & ~framer.busy),
        ]
        if self._attention:
            self._tell_attention(m, framer, commands)
        return m

    def _tell_attention(self, m: Module, framer: Framer, commands: Commands) -> None:
        """Send a token's attention before the token itself, and counters of the cache."""
        m.submodules.attention = attention = self._attention
        m.d.comb += commands.cache.eq(self.core.cache)
        token = self.core.o
        m.d.comb += [
            attention.i.eq(self.attended),
            attention.position.eq(token.p.position),
            attention.taken.eq(token.valid & token.ready),
            attention.step.eq(framer.step),
            attention.sent.eq(commands.attention_sent),
            commands.attention_left.eq(attention.left),
            commands.attention.eq(attention.argument),
            framer.more.eq(attention.more & commands.telling),
            framer.data.eq(attention.data),
        ]
