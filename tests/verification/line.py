"""A recorded serial line, read like a terminal does."""


def decode(levels, cycles):
    """Return the bytes on a line that is sampled every clock cycle; frames must be whole."""
    at, received = 0, bytearray()
    while True:
        while at < len(levels) and levels[at]:
            at += 1
        middles = [at + cycles * bit + cycles // 2 for bit in range(10)]
        if middles[-1] >= len(levels):
            return bytes(received)
        start, *bits, stop = (levels[middle] for middle in middles)
        assert (start, stop) == (0, 1)
        received.append(sum(bit << i for i, bit in enumerate(bits)))
        at = middles[-1]
