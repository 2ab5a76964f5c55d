"""The file of peers."""

from gptloom.sim.peers import Figure, Kind, Peer, load_peers

PEERS = load_peers()


def test_every_line_has_what_it_must_have():
    assert len(PEERS) > 10
    assert len({(peer.name, peer.on, peer.figure) for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        assert isinstance(peer, Peer)
        assert peer.name
        assert peer.on
        assert peer.kind in Kind
        assert peer.figure in Figure
        assert peer.parameters > 0
        for number in (peer.tokens_per_second, peer.together, peer.mhz, peer.cycles_per_token):
            assert number is None or number > 0


def test_speeds_that_were_measured_are_clock_over_cycles():
    counted = [peer for peer in PEERS if peer.cycles_per_token]
    assert counted
    for peer in counted:
        assert peer.figure is Figure.MEASURED
        speed = peer.mhz * 1e6 / peer.cycles_per_token
        # Figures are rounded to hundreds.
        assert abs(peer.tokens_per_second - speed) <= 100
