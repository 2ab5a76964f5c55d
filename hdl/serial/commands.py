"""Execution of the commands that arrive in frames."""

from collections.abc import Collection

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from gptloom.firmware.protocol import (
    LEAST_BODY,
    LONGEST_BODY,
    MAGIC,
    VERSION,
    Command,
    Feature,
    Item,
    Reply,
)
from gptloom.hdl.core import CacheCounters, Counters, Prompt, Token
from gptloom.hdl.serial.framer import Header
from gptloom.hdl.serial.loader import Pass
from gptloom.model.sampling import SEED_BITS

SIZE_BITS = 16
"""Bits of an offset in an upload, as in frames."""


class Job(enum.Enum, shape=3):
    """Reason for a pass over the memories."""

    TEXT = 0
    """The checksum for the text console."""
    WEIGHTS = 1
    """The checksum for a command."""
    STAGED = 2
    COPY = 3
    LIVE = 4
    """The three steps of a commit, see :class:`.Pass`."""


class Commands(wiring.Component):
    """Executes one frame's command at a time, and the text console's requests for a checksum.

    Every command that needs the core waits for the end of its document, and depends on no other
    state of the core. Frames are answered in order; a frame that comes before the answer is sent is
    lost.

    Parameters
    ----------
    config
        The hardware's :func:`.config_hash`.
    bos
        The token that begins a document.
    features
        Features of the chip.

    Attributes
    ----------
    arrived, good, code, sequence, argument, length
        The frame, see :class:`.Deframer`.
    hold : Out(1)
        The frame is still needed.
    set, value : Out(1), Out(32)
        Number to store in place of `argument`.
    received, complete
        See :class:`.Staging`.
    discard, to_start, to_end, step, claim : Out(1)
        Control of :class:`.Staging`.
    staged : In(8)
        Byte read from it.
    start_pass, kind : Out(1), Out(Pass)
        Control of the loader, which returns `passing` and `crc`.
    i, o, seed, core_busy, counters, cache
        Ports of the core. `i` starts names while nothing else uses it.
    text_o : Out(stream of Token)
        Tokens of names, for the text console.
    text_run : In(1)
        The text console requests names.
    check, checking : In(1), Out(1)
        The text console requests the checksum; the checksum is not ready.
    line : In(1)
        The text console is sending a line, for which it needs the page.
    scale : Out(1)
        Pulse: `argument` is the temperature.
    restart : Out(1)
        Pulse: go back to the first temperature and send the checksum's line, as at power-on.
    attention_left, attention : In(1), In(32)
        Attention frames of the token on `o` are left to send; argument of the next one. They are
        sent before the token's frame.
    attention_sent : Out(1)
        Pulse: an attention frame has been sent.
    telling : Out(1)
        The frame being sent is an attention frame.
    reply, token : Out(1)
        A reply, or a token's frame, waits to be sent, until `sent`.
    sending_reply : In(1)
        The frame being sent is the reply, not the token's.
    frame : Out(Header)
        Header of the frame being sent.
    sent : In(1)
        Pulse: the frame has been sent.
    """

    def __init__(self, config: int, bos: int, features: Collection[Feature] = ()):
        self._config, self._bos, self._features = config, bos, features
        super().__init__(
            {
                "arrived": In(1),
                "good": In(1),
                "code": In(8),
                "sequence": In(8),
                "argument": In(32),
                "length": In(range(LONGEST_BODY + 1)),
                "hold": Out(1),
                "set": Out(1),
                "value": Out(32),
                "received": In(SIZE_BITS),
                "complete": In(1),
                "discard": Out(1),
                "to_start": Out(1),
                "to_end": Out(1),
                "step": Out(1),
                "claim": Out(1),
                "staged": In(8),
                "start_pass": Out(1),
                "kind": Out(Pass),
                "passing": In(1),
                "crc": In(32),
                "i": Out(stream.Signature(Prompt)),
                "o": In(stream.Signature(Token)),
                "seed": Out(stream.Signature(SEED_BITS)),
                "core_busy": In(1),
                "counters": In(Counters),
                "cache": In(CacheCounters),
                "text_o": Out(stream.Signature(Token)),
                "text_run": In(1),
                "check": In(1),
                "checking": Out(1),
                "line": In(1),
                "scale": Out(1),
                "restart": Out(1),
                "attention_left": In(1),
                "attention": In(32),
                "attention_sent": Out(1),
                "telling": Out(1),
                "reply": Out(1),
                "token": Out(1),
                "sending_reply": In(1),
                "frame": Out(Header),
                "sent": In(1),
                "stopped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        job = Signal(Job)
        status = Signal(Reply, init=Reply.OK)
        paused, prompting, uploading = Signal(), Signal(), Signal()
        # The memories may hold parts of two models: a reset does not repair them.
        stopped = Signal(reset_less=True)
        damaged = Signal(8)
        # No document is requested of the core: it is idle as soon as it is not busy.
        halting, names = Signal(), Signal()
        halted = Signal()
        wanted = Signal()
        with m.If(self.check):
            m.d.sync += wanted.eq(1)
        # Otherwise the core would start a name before a prompt's last token is sent, and overwrite
        # that token's attention.
        attending = Signal()
        m.d.sync += names.eq(
            self.text_run & ~paused & ~stopped & ~halting & ~(prompting & attending)
        )
        m.d.comb += [halted.eq(halting & ~names & ~self.core_busy), self.checking.eq(wanted)]
        matches = Signal()
        expected = Mux(self.code == Command.BEGIN, Const(self._config, 32), self.crc)
        m.d.sync += matches.eq(self.argument == expected)

        left = Signal.like(self.length)
        prompt_sequence = Signal(8)
        first = Signal()
        feeding = Signal()
        m.d.comb += [
            self.i.valid.eq(names | feeding),
            self.i.p.token.eq(Mux(feeding & ~first, self.staged, self._bos)),
            self.i.p.last.eq(~feeding | (left == 0)),
            self.seed.payload.eq(self.argument),
        ]
        self._tokens(m, prompting, attending)
        said = Mux(self.telling, Reply.ATTENTION, Reply.TOKEN)
        m.d.comb += [
            self.frame.code.eq(Mux(self.sending_reply, status, said)),
            self.frame.sequence.eq(Mux(self.sending_reply, self.sequence, prompt_sequence)),
        ]
        m.d.comb += self.stopped.eq(stopped)
        state = Cat(paused, prompting, uploading, stopped, Const(0, 4), damaged)
        items = {
            Item.IDENTITY: Const(MAGIC << 8 | VERSION, 32),
            Item.CONFIG: Const(self._config, 32),
            Item.WEIGHTS: self.crc,
            Item.CYCLES: self.counters.cycles,
            Item.TOKENS: self.counters.tokens,
            Item.STALLS: self.counters.stalls,
            Item.RECEIVED: self.received,
            Item.STATE: state,
            Item.FEATURES: Const(sum(1 << feature for feature in self._features), 32),
            Item.ROWS: self.cache.occupancy,
            Item.WRITES: self.cache.writes,
            Item.READS: self.cache.reads,
            Item.EVICTIONS: self.cache.evictions,
            Item.HITS: self.cache.hits,
            Item.REUSED: self.cache.reused,
        }
        asked = self.argument[: ceil_log2(len(Item))]
        m.d.comb += self.value.eq(Array(items[item] for item in Item)[asked])

        # A frame is held until it is answered; the text console's checksum delays none.
        pending = Signal()
        m.d.comb += self.hold.eq(self.arrived | pending)
        with m.If(self.arrived):
            m.d.sync += pending.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [status.eq(Reply.OK), halting.eq(0)]
                with m.If(pending):
                    m.next = "DECODE"
                with m.Elif(wanted):
                    m.d.sync += job.eq(Job.TEXT)
                    m.next = "PREPARE"
            with m.State("DECODE"):
                m.next = "OBEY"
                with m.If(~self.good):
                    m.d.sync += [status.eq(Reply.DAMAGED), damaged.eq(damaged + 1)]
                    m.next = "REPLY"
            with m.State("OBEY"):
                m.next = "REPLY"
                with m.Switch(self.code):
                    with m.Case(Command.GET):
                        with m.If(self.argument >= len(Item)):
                            m.d.sync += status.eq(Reply.UNKNOWN)
                        with m.Elif(asked == Item.WEIGHTS):
                            m.d.sync += job.eq(Job.WEIGHTS)
                            m.next = "PREPARE"
                        with m.Else():
                            m.d.comb += self.set.eq(1)
                    with m.Case(Command.TEMPERATURE):
                        m.d.comb += self.scale.eq(1)
                    with m.Case(Command.SEED):
                        m.next = "SEED"
                    with m.Case(Command.RUN):
                        m.d.sync += paused.eq(~self.argument[0])
                        with m.If(stopped):
                            m.d.sync += status.eq(Reply.STOPPED)
                    with m.Case(Command.RESET):
                        m.d.comb += self.restart.eq(1)
                        m.d.sync += [paused.eq(0), uploading.eq(0)]
                        # The frame's argument is the seed.
                        m.next = "SEED"
                    with m.Case(Command.PROMPT):
                        m.d.comb += self.to_end.eq(1)
                        m.d.sync += left.eq(self.length - LEAST_BODY)
                        with m.If(stopped):
                            m.d.sync += status.eq(Reply.STOPPED)
                        with m.Elif(prompting):
                            m.d.sync += status.eq(Reply.BUSY)
                        with m.Else():
                            m.next = "PROMPT"
                    with m.Case(Command.BEGIN):
                        m.d.comb += self.discard.eq(1)
                        m.d.sync += uploading.eq(matches)
                        with m.If(~matches):
                            m.d.sync += status.eq(Reply.BAD_IMAGE)
                    with m.Case(Command.DATA):
                        m.d.comb += self.claim.eq(
                            uploading & (self.argument[:SIZE_BITS] == self.received)
                        )
                        m.d.sync += pending.eq(0)
                        m.next = "IDLE"
                    with m.Case(Command.COMMIT):
                        m.d.sync += job.eq(Job.STAGED)
                        m.next = "PREPARE"
                        with m.If(~(uploading & self.complete)):
                            m.d.sync += status.eq(Reply.BAD_IMAGE)
                            m.next = "REPLY"
                    with m.Default():
                        m.d.sync += status.eq(Reply.UNKNOWN)
            with m.State("SEED"):
                m.d.comb += self.seed.valid.eq(1)
                with m.If(self.seed.ready):
                    m.next = "REPLY"
            with m.State("PROMPT"):
                m.d.sync += [halting.eq(1), first.eq(1)]
                with m.If(halted):
                    m.d.sync += [prompting.eq(1), prompt_sequence.eq(self.sequence)]
                    if Feature.ATTENTION in self._features:
                        m.d.sync += attending.eq(self.argument[Feature.ATTENTION])
                    m.next = "FEED"
            with m.State("FEED"):
                m.d.comb += feeding.eq(1)
                with m.If(self.i.ready):
                    m.d.comb += self.step.eq(~first)
                    m.d.sync += [left.eq(left - 1), first.eq(0)]
                    m.next = "FETCH"
                    with m.If(left == 0):
                        m.next = "REPLY"
            with m.State("FETCH"):
                m.next = "FEED"
            with m.State("PREPARE"):
                # A frame may be on its way into the staging memory meanwhile.
                m.d.comb += self.to_start.eq(job != Job.TEXT)
                with m.If(job != Job.STAGED):
                    m.d.sync += halting.eq(1)
                with m.If((job == Job.STAGED) | (halted & ~self.line)):
                    m.next = "START"
            with m.State("START"):
                m.d.comb += self.start_pass.eq(1)
                with m.If(job == Job.COPY):
                    m.d.sync += stopped.eq(1)
                m.next = "WAIT"
            with m.State("WAIT"), m.If(~self.passing):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                self._judge(m, job, matches, status, uploading, stopped, wanted)
            with m.State("REPLY"):
                m.d.comb += self.reply.eq(1)
                m.d.sync += halting.eq(0)
                with m.If(self.sent & self.sending_reply):
                    m.d.sync += pending.eq(0)
                    m.next = "IDLE"
        kinds = {
            Job.TEXT: Pass.WEIGHTS,
            Job.WEIGHTS: Pass.WEIGHTS,
            Job.STAGED: Pass.STAGED,
            Job.COPY: Pass.COPY,
            Job.LIVE: Pass.LIVE,
        }
        m.d.comb += self.kind.eq(Array(kinds[j] for j in Job)[job.as_value()])
        return m

    def _tokens(self, m: Module, prompting: Signal, attending: Signal) -> None:
        """Send a prompt's tokens in frames, all others to the text console."""
        token = self.o.p
        behind = attending & self.attention_left
        sent = self.sent & ~self.sending_reply
        m.d.comb += [
            self.text_o.payload.eq(self.o.payload),
            self.text_o.valid.eq(self.o.valid & ~prompting),
            self.token.eq(self.o.valid & prompting),
            self.telling.eq(behind & ~self.sending_reply),
            self.attention_sent.eq(sent & behind),
            self.o.ready.eq(Mux(prompting, sent & ~behind, self.text_o.ready)),
            self.frame.argument.eq(
                Mux(
                    self.sending_reply,
                    self.argument,
                    Mux(
                        behind, self.attention, Cat(token.token[:8], token.position[:8], token.last)
                    ),
                )
            ),
        ]
        with m.If(self.o.valid & self.o.ready & token.last):
            m.d.sync += prompting.eq(0)

    def _judge(self, m: Module, job, matches, status, uploading, stopped, wanted) -> None:
        """Decide the next step after a pass."""
        m.next = "REPLY"
        with m.Switch(job):
            with m.Case(Job.TEXT):
                m.d.sync += wanted.eq(0)
                m.next = "IDLE"
            with m.Case(Job.WEIGHTS):
                # The item requested is still in `argument`.
                m.d.comb += self.set.eq(1)
            with m.Case(Job.STAGED):
                with m.If(matches):
                    m.d.sync += job.eq(Job.COPY)
                    m.next = "PREPARE"
                with m.Else():
                    m.d.sync += [status.eq(Reply.BAD_IMAGE), uploading.eq(0)]
            with m.Case(Job.COPY):
                m.d.sync += job.eq(Job.LIVE)
                m.next = "PREPARE"
            with m.Case(Job.LIVE):
                m.d.comb += self.restart.eq(1)
                m.d.sync += [uploading.eq(0), stopped.eq(~matches)]
                with m.If(~matches):
                    m.d.sync += status.eq(Reply.STOPPED)
